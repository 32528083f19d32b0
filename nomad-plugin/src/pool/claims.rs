//! Our fence at the agents. Before an agent has heard of it, it may still obey an older lease whose order is on its way,
//! and nothing that such an order could hit is safe to do.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::AgentAddress;
use fleet::{Fence, Moment};

use super::assemble::Heard;

/// How long a claim may take to show in an agent's watch before it is made again: a write to its journal,
/// and a snapshot.
const CLAIM_AGAIN: Duration = Duration::from_secs(2);

/// The claims that have been made and do not show yet.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<AgentAddress, Asked>);

#[derive(Debug)]
struct Asked {
    again: Moment,
    /// How the last one failed.
    failed: Option<String>,
}

impl Claims {
    /// The agents that answer, do not know our fence, and are to be told of it now; and when to ask again.
    pub(super) fn due(
        &mut self,
        heard: &BTreeMap<AgentAddress, Option<Heard>>,
        fence: &Fence,
        now: Moment,
    ) -> (Vec<AgentAddress>, Option<Moment>) {
        let unaware = |heard: &Option<Heard>| {
            heard.as_ref().is_some_and(|heard| heard.answers && !heard.knows(fence))
        };
        self.0.retain(|address, _| heard.get(address).is_some_and(unaware));
        let mut due = Vec::new();
        for (address, _) in heard.iter().filter(|(_, heard)| unaware(heard)) {
            let first = Asked { again: now, failed: None };
            let asked = self.0.entry(address.clone()).or_insert(first);
            if asked.again <= now {
                asked.again = now + CLAIM_AGAIN;
                due.push(address.clone());
            }
        }
        (due, self.0.values().map(|asked| asked.again).min())
    }

    /// A claim has failed. Tells whether that is news: one that is refused is made again for as long as it is.
    pub(super) fn failed(&mut self, address: &AgentAddress, why: &str) -> bool {
        let Some(asked) = self.0.get_mut(address) else { return false };
        let is_news = asked.failed.as_deref() != Some(why);
        asked.failed = Some(why.to_owned());
        is_news
    }
}
