//! Work that is not counted, and why.

use std::collections::BTreeMap;

use super::kind::{Kinds, Suits};
use super::{Doubt, GroupKey, Host, HostState, WaitingGroup};
use crate::Resources;

/// How many kinds of machines one refusal names: what a person reads; alike ones are counted together.
const KINDS_TOLD_MAX: usize = 4;

/// Instances of one group that light nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which group.
    pub key: GroupKey,
    /// How many of its instances.
    pub instances: u32,
    /// Why.
    pub why: Why,
}

/// Why work lights nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Not even an empty machine of the pool can hold one: what each kind of machine lacks.
    FitsNoMachine(Vec<KindLacks>),
    /// Machines that could hold it exist, but all are full, spoken for, or can not be lit.
    NoneLeft {
        /// How many machines could hold it when empty.
        could: u32,
        /// Of these, those that can not be lit: how many, by reason.
        not_usable: BTreeMap<String, u32>,
    },
    /// No machine of the pool has a shape.
    NoShape {
        /// How many machines the pool has.
        machines: u32,
    },
    /// Nomad leaves it waiting although a machine has room for it by all that we know.
    NotPlaced(Doubt),
}

/// What machines that are alike lack for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindLacks {
    /// How many they are.
    pub machines: u32,
    /// One of them.
    pub example: String,
    /// What they lack.
    pub lack: Lack,
}

/// What a machine lacks for one instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// CPU: asked and offered, in MHz.
    Cpu(u64, u64),
    /// Memory: asked and offered, in MiB.
    Memory(u64, u64),
    /// Disk: asked and offered, in MiB.
    Disk(u64, u64),
    /// It does not meet this constraint.
    Constraint(String),
    /// It does not run tasks of this driver.
    Driver(String),
    /// Nomad found its class of nodes not eligible.
    NomadSaysNo,
    /// It is in another datacenter or node pool.
    Elsewhere,
}

impl Refusal {
    pub(super) fn not_placed(group: &WaitingGroup, doubt: &Doubt) -> Self {
        let why = Why::NotPlaced(doubt.clone());
        Self { key: group.key.clone(), instances: group.count, why }
    }
}

/// Why `left` instances of a group found no machine.
pub(super) fn judge(
    group: &WaitingGroup,
    left: u32,
    hosts: &[Host],
    kinds: &Kinds<'_>,
    suits: &[Suits],
) -> Refusal {
    let refusal = |why| Refusal { key: group.key.clone(), instances: left, why };
    if kinds.is_empty() {
        let machines = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        return refusal(Why::NoShape { machines });
    }
    let lacks: Vec<Option<Lack>> = kinds
        .all()
        .iter()
        .zip(suits)
        .map(|(kind, suits)| match suits {
            Suits::Elsewhere => Some(Lack::Elsewhere),
            Suits::No(lack) => Some(lack.clone()),
            Suits::Yes { .. } => short_of(&group.ask.resources, &kind.offers()),
        })
        .collect();
    if lacks.iter().all(Option::is_some) {
        let mut told: BTreeMap<Lack, KindLacks> = BTreeMap::new();
        for (kind, lack) in kinds.all().iter().zip(lacks.into_iter().flatten()) {
            let entry = told.entry(lack.clone()).or_insert_with(|| KindLacks {
                machines: 0,
                example: kind.example.to_owned(),
                lack,
            });
            entry.machines = entry.machines.saturating_add(kind.machines);
            if kind.example < entry.example.as_str() {
                kind.example.clone_into(&mut entry.example);
            }
        }
        let mut told: Vec<KindLacks> = told.into_values().collect();
        told.sort_by_key(|kind| std::cmp::Reverse(kind.machines));
        told.truncate(KINDS_TOLD_MAX);
        return refusal(Why::FitsNoMachine(told));
    }
    let mut could = 0_u32;
    let mut not_usable: BTreeMap<String, u32> = BTreeMap::new();
    for (at, host) in hosts.iter().enumerate() {
        let lack = kinds.of_host(at).and_then(|kind| lacks.get(kind));
        if !matches!(lack, Some(None)) {
            continue;
        }
        could = could.saturating_add(1);
        if let HostState::NotUsable(why) = &host.state {
            let count = not_usable.entry(why.clone()).or_default();
            *count = count.saturating_add(1);
        }
    }
    refusal(Why::NoneLeft { could, not_usable })
}

fn short_of(ask: &Resources, offer: &Resources) -> Option<Lack> {
    if ask.cpu_mhz > offer.cpu_mhz {
        Some(Lack::Cpu(ask.cpu_mhz, offer.cpu_mhz))
    } else if ask.memory_mb > offer.memory_mb {
        Some(Lack::Memory(ask.memory_mb, offer.memory_mb))
    } else if ask.disk_mb > offer.disk_mb {
        Some(Lack::Disk(ask.disk_mb, offer.disk_mb))
    } else {
        None
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lack::Cpu(ask, offer) => {
                write!(f, "asks {ask} MHz of cpu, an empty one offers {offer}")
            }
            Lack::Memory(ask, offer) => {
                write!(f, "asks {ask} MiB of memory, an empty one offers {offer}")
            }
            Lack::Disk(ask, offer) => {
                write!(f, "asks {ask} MiB of disk, an empty one offers {offer}")
            }
            Lack::Constraint(text) => write!(f, "{text} is not met"),
            Lack::Driver(driver) => write!(f, "it needs the driver {driver}, which is not there"),
            Lack::NomadSaysNo => f.write_str("Nomad finds them not eligible for it"),
            Lack::Elsewhere => f.write_str("another datacenter or node pool"),
        }
    }
}
