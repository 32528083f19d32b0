//! The answer in sentences for a person, as `lamplighter why POOL` shows them.

use std::collections::BTreeMap;

use super::{GroupKey, Pending, PlacedOn, Refusal, Why};
use crate::{MachineName, Moment, PoolName};

/// How many lines one answer has: more than a person reads, and far below what an agent keeps.
pub const LINES_MAX: usize = 64;

/// How many names a line lists before it counts the rest.
const NAMES_MAX: usize = 5;

/// One sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The machine that it speaks of; `None`: of the whole pool.
    pub machine: Option<MachineName>,
    /// The sentence.
    pub text: String,
}

impl Pending {
    /// The sum first, then refusals, then where work would go, then what was assumed. `now` is the
    /// moment of the answer. At most [`LINES_MAX`] lines; the last one counts what was left out.
    #[must_use]
    pub fn lines(&self, pool: &PoolName, now: Moment) -> Vec<Line> {
        let mut texts = vec![self.summary(pool)];
        texts.extend(self.refusals.iter().map(|refusal| refusal.sentence(now)));
        texts.extend(self.placed());
        texts.extend(self.assumed.iter().map(|(key, assumption)| {
            format!("{key}: assumed {assumption}; Lamplighter can not check it")
        }));
        texts.extend(self.elsewhere_line());
        if texts.len() > LINES_MAX {
            let rest = texts.len() - (LINES_MAX - 1);
            texts.truncate(LINES_MAX - 1);
            texts.push(format!("... and {rest} more lines"));
        }
        texts.into_iter().map(|text| Line { machine: None, text }).collect()
    }

    fn summary(&self, pool: &PoolName) -> String {
        let mut text = format!("pending {pool} = {}: ", self.count);
        match self.holding.len() {
            0 => text.push_str("no machine holds work"),
            1 => text.push_str("1 machine holds work"),
            many => text.push_str(&format!("{many} machines hold work")),
        }
        match self.needed.len() {
            0 => text.push_str(", no further one is needed"),
            1 => text.push_str(", 1 more is needed"),
            many => text.push_str(&format!(", {many} more are needed")),
        }
        if !self.needed.is_empty() {
            let names = self.needed.iter().map(|(name, on)| match on {
                PlacedOn::Holder | PlacedOn::Idle => format!("{name} (on)"),
                PlacedOn::Starting => format!("{name} (starting)"),
                PlacedOn::Dark => format!("{name} (dark)"),
            });
            text.push_str(&format!(": {}", listed(names)));
        }
        if !self.beside.is_empty() {
            let names = self.beside.iter().map(MachineName::to_string);
            text.push_str(&format!(", beside {}, without room for it", listed(names)));
        }
        text
    }

    fn placed(&self) -> Vec<String> {
        let mut by_group: BTreeMap<&GroupKey, (u32, Vec<String>)> = BTreeMap::new();
        for placement in &self.placements {
            let (count, names) = by_group.entry(&placement.key).or_default();
            *count = count.saturating_add(placement.instances);
            names.push(placement.machine.to_string());
        }
        let line = |(key, (count, names)): (&GroupKey, (u32, Vec<String>))| {
            format!("{key}: {}, for which {} would do", waits(count), listed(names.into_iter()))
        };
        by_group.into_iter().map(line).collect()
    }

    fn elsewhere_line(&self) -> Option<String> {
        let names = self.elsewhere.keys().map(GroupKey::to_string);
        let count = self.elsewhere.values().fold(0_u32, |sum, count| sum.saturating_add(*count));
        (!self.elsewhere.is_empty()).then(|| {
            format!(
                "not of this pool: {} for other datacenters or node pools ({})",
                waits(count),
                listed(names)
            )
        })
    }
}

impl Refusal {
    /// The refusal in one sentence: who, how many, why, and what helps. `now` as in [`Pending::lines`].
    #[must_use]
    pub fn sentence(&self, now: Moment) -> String {
        let start = format!("{}: {}", self.key, waits(self.instances));
        match &self.why {
            Why::FitsNoMachine(lacks) => {
                let lacks: Vec<String> = lacks
                    .iter()
                    .map(|kind| match kind.machines {
                        1 => format!("{}: {}", kind.example, kind.lack),
                        many => format!("{many} machines like {}: {}", kind.example, kind.lack),
                    })
                    .collect();
                format!(
                    "{start} and no machine of the pool can hold it, so nothing is lit ({}); ask for less, or correct the machines' shapes in the rack file",
                    lacks.join("; ")
                )
            }
            Why::NoneLeft { could, not_usable } if not_usable.is_empty() => {
                format!(
                    "{start} although all {could} machines that could hold it are counted: they are full or spoken for"
                )
            }
            Why::NoneLeft { could, not_usable } => {
                let reasons = not_usable.iter().map(|(why, count)| format!("{count} {why}"));
                format!(
                    "{start}: of the {could} machines that could hold it none is left; not usable: {}",
                    listed(reasons)
                )
            }
            Why::NoShape { machines: 0 } => {
                format!(
                    "{start} and no agent names a machine of this pool, so nothing is lit; give machines `pool` in the rack file"
                )
            }
            Why::NoShape { machines } => format!(
                "{start} and none of the {machines} machines has a shape, so nothing is lit; declare `shape` in the rack file, or light each machine once so that it is learnt"
            ),
            Why::NotPlaced(doubt) => format!(
                "{start} although {} has had room for it for longer than {} s: Nomad knows a reason that Lamplighter does not model (`nomad job status` tells it; a constraint on node class or meta makes it known here); not counted for another {} min, or until the job changes",
                doubt.machine,
                super::PLACEMENT_GRACE.as_secs(),
                doubt.until.since(now).as_secs().div_ceil(60),
            ),
        }
    }
}

fn waits(count: u32) -> String {
    if count == 1 { "1 instance waits".to_owned() } else { format!("{count} instances wait") }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let shown = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
