//! The policies of one pool: what each sets, what holds where they differ, and where they contradict each other.
//!
//! The safer value wins, field by field; where neither is safer, none of them is obeyed until they agree.

use std::collections::BTreeMap;

use crate::{Knobs, NodeFilter, OnSoftOffTimeout, WhileStarting};

/// Policies that may share a pool: a rack has a handful, and the pool's record keeps the target block of
/// each in a variable of 64 KiB.
pub const POLICIES_MAX: usize = 16;

/// What one policy sets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// Its knobs.
    pub knobs: Knobs,
    /// Which nodes it lets us choose.
    pub filter: NodeFilter,
}

/// The policies of one pool, by the name of their demand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies {
    by_name: BTreeMap<String, Terms>,
}

/// Why the policies of a pool are not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Discord {
    /// Two policies set what can not both hold.
    #[error(
        "two policies of one pool contradict each other: demand {one:?} has {what} = {ones:?}, demand \
         {other:?} has {others:?}; write the same in both target blocks, or give each its own pool"
    )]
    Contradiction {
        /// The key of the target block.
        what: &'static str,
        /// The first policy's demand.
        one: String,
        /// What it sets.
        ones: String,
        /// The other policy's demand.
        other: String,
        /// What that sets.
        others: String,
    },
    /// More policies than [`POLICIES_MAX`].
    #[error(
        "demand {0:?} is one too many: at most {POLICIES_MAX} policies share a pool; a demand that is not \
         used any more is forgotten after its demand_ttl"
    )]
    TooMany(String),
}

impl Policies {
    /// Takes what a policy sets now. Tells whether that is new.
    ///
    /// # Errors
    /// Where the pool has [`POLICIES_MAX`] others.
    pub fn take(&mut self, name: &str, terms: Terms) -> Result<bool, Discord> {
        if self.by_name.get(name) == Some(&terms) {
            return Ok(false);
        }
        if self.by_name.len() >= POLICIES_MAX && !self.by_name.contains_key(name) {
            return Err(Discord::TooMany(name.to_owned()));
        }
        self.by_name.insert(name.to_owned(), terms);
        Ok(true)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether this policy is known.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Forgets a policy: its demand has lapsed.
    pub fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// The knobs of the pool: of each the value of the policy that is the most careful.
    ///
    /// Spans that keep a machine on or off are the longest, our patience with a drain is the shortest
    /// (after it the machine stays), and what is done to work, nodes or machines is done only where every
    /// policy says so. What is told while machines start is each policy's own; of the pool it is the
    /// more careful one.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        let all = self.by_name.values().map(|terms| terms.knobs.clone());
        all.reduce(|one, other| careful(one, &other)).unwrap_or_default()
    }

    /// The filters of all: a node is chosen only where each takes it.
    #[must_use]
    pub fn filters(&self) -> Vec<NodeFilter> {
        let mut filters: Vec<NodeFilter> = Vec::new();
        for terms in self.by_name.values() {
            if !filters.contains(&terms.filter) {
                filters.push(terms.filter.clone());
            }
        }
        filters
    }

    /// The first contradiction, if there is one: then no policy of the pool is obeyed, and what was asked
    /// before it stands.
    #[must_use]
    pub fn discord(&self) -> Option<Discord> {
        let (first, terms) = self.by_name.first_key_value()?;
        let ours = choices(terms);
        self.by_name.iter().skip(1).find_map(|(name, other)| {
            let differs = ours.iter().zip(choices(other)).find(|(ours, theirs)| **ours != *theirs);
            let ((what, ones), (_, others)) = differs?;
            Some(Discord::Contradiction {
                what,
                one: first.clone(),
                ones: ones.clone(),
                other: name.clone(),
                others,
            })
        })
    }
}

/// What has no safer value: which nodes, and in which order.
fn choices(terms: &Terms) -> [(&'static str, String); 4] {
    let NodeFilter { node_class, node_pool, datacenter } = &terms.filter;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        ("node_class", text(node_class)),
        ("node_pool", text(node_pool)),
        ("datacenter", text(datacenter)),
        ("node_selector_strategy", terms.knobs.selector.as_str().to_owned()),
    ]
}

fn careful(one: Knobs, other: &Knobs) -> Knobs {
    // Whole, so that a new knob can not be forgotten here.
    let Knobs {
        scale_in_window,
        demand_ttl,
        idle_time,
        min_on,
        min_off,
        while_starting,
        drain_patience,
        node_drain_deadline,
        node_drain_ignore_system_jobs,
        drain_batch,
        drain_retry,
        node_purge,
        selector,
        on_soft_off_timeout,
    } = one;
    Knobs {
        scale_in_window: scale_in_window.max(other.scale_in_window),
        demand_ttl: demand_ttl.max(other.demand_ttl),
        idle_time: idle_time.max(other.idle_time),
        min_on: min_on.max(other.min_on),
        min_off: min_off.max(other.min_off),
        while_starting: match (while_starting, other.while_starting) {
            (WhileStarting::Ready, WhileStarting::Ready) => WhileStarting::Ready,
            (WhileStarting::Wait, _) | (_, WhileStarting::Wait) => WhileStarting::Wait,
        },
        drain_patience: drain_patience.min(other.drain_patience),
        // Without one Nomad kills nothing.
        node_drain_deadline: node_drain_deadline
            .zip(other.node_drain_deadline)
            .map(|(one, other)| one.max(other)),
        node_drain_ignore_system_jobs: node_drain_ignore_system_jobs
            && other.node_drain_ignore_system_jobs,
        drain_batch: drain_batch && other.drain_batch,
        drain_retry: drain_retry.max(other.drain_retry),
        node_purge: node_purge && other.node_purge,
        // While they contradict each other: one that chooses only the empty.
        selector: if other.selector.is_strict() && !selector.is_strict() {
            other.selector
        } else {
            selector
        },
        on_soft_off_timeout: match (on_soft_off_timeout, other.on_soft_off_timeout) {
            (OnSoftOffTimeout::Cut, OnSoftOffTimeout::Cut) => OnSoftOffTimeout::Cut,
            (OnSoftOffTimeout::Quarantine, _) | (_, OnSoftOffTimeout::Quarantine) => {
                OnSoftOffTimeout::Quarantine
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Selector;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    fn both(one: Knobs, other: Knobs) -> Policies {
        let mut policies = Policies::default();
        for (name, knobs) in [("a", one), ("b", other)] {
            let terms = Terms { knobs, filter: NodeFilter::default() };
            assert_eq!(policies.take(name, terms.clone()), Ok(true));
            assert_eq!(policies.take(name, terms), Ok(false), "the same again is no news");
        }
        policies
    }

    #[test]
    fn of_each_knob_the_careful_value_holds_whichever_policy_asked_last() {
        let bold = Knobs {
            scale_in_window: minutes(1),
            demand_ttl: minutes(12),
            drain_patience: minutes(5),
            node_drain_deadline: Some(minutes(15)),
            drain_batch: true,
            node_purge: true,
            ..Knobs::default()
        };
        let careful = Knobs {
            min_on: minutes(20),
            while_starting: WhileStarting::Wait,
            node_purge: true,
            on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
            ..Knobs::default()
        };
        let expected = Knobs {
            min_on: minutes(20),
            drain_patience: minutes(5),
            while_starting: WhileStarting::Wait,
            node_purge: true,
            on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
            ..Knobs::default()
        };
        assert_eq!(both(bold.clone(), careful.clone()).knobs(), expected);
        assert_eq!(both(careful, bold).knobs(), expected);
    }

    #[test]
    fn a_contradiction_names_both_policies_and_ends_when_they_agree() {
        let empty = Knobs { selector: Selector::Empty, ..Knobs::default() };
        let mut policies = both(Knobs::default(), empty.clone());
        let text = policies.discord().expect("a contradiction").to_string();
        for word in ["\"a\"", "\"b\"", "node_selector_strategy", "least_busy", "\"empty\""] {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert_eq!(policies.knobs().selector, Selector::Empty);
        let terms = Terms { knobs: empty, filter: NodeFilter::default() };
        policies.take("a", terms.clone()).expect("it is known");
        assert_eq!(policies.discord(), None);

        let node_class = Some("sbc".to_owned());
        let filter = NodeFilter { node_class, ..NodeFilter::default() };
        policies.take("a", Terms { filter, ..terms }).expect("it is known");
        assert!(policies.discord().expect("a contradiction").to_string().contains("node_class"));
        assert!(!policies.filters().iter().all(|filter| filter.takes("other", "", "")));
        policies.forget("b");
        assert_eq!(policies.discord(), None);
    }

    #[test]
    fn a_policy_too_many_is_refused_and_the_others_stay() {
        let mut policies = Policies::default();
        for number in 0..POLICIES_MAX {
            policies.take(&number.to_string(), Terms::default()).expect("there is room");
        }
        let refused = policies.take("more", Terms::default()).expect_err("no room");
        assert!(refused.to_string().contains("\"more\""), "{refused}");
        assert!(policies.knows("0") && !policies.knows("more"));
        assert_eq!(policies.take("0", Terms::default()), Ok(false));
    }
}
