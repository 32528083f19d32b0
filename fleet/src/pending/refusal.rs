//! Work that is not counted, and why.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::kind::{Kinds, Suits};
use super::{Doubt, GroupKey, Host, HostState, WaitingGroup};
use crate::{MachineName, NoRoom, Resources};

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
    /// CPU: asked, and the most that one of them offers beside system jobs, in MHz.
    Cpu(u64, u64),
    /// Memory: the same, in MiB.
    Memory(u64, u64),
    /// Disk: the same, in MiB.
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
    (hosts, unfed): (&[Host], &BTreeMap<MachineName, NoRoom>),
    kinds: &Kinds<'_>,
    suits: &[Suits],
) -> Refusal {
    let refusal = |why| Refusal { key: group.key.clone(), instances: left, why };
    if kinds.is_empty() {
        let machines = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        return refusal(Why::NoShape { machines });
    }
    let mut told: BTreeMap<Class, KindLacks> = BTreeMap::new();
    let mut could = 0_u32;
    let mut not_usable: BTreeMap<String, u32> = BTreeMap::new();
    for (at, host) in hosts.iter().enumerate() {
        let Some((kind, (shape, _))) = kinds.of_host(at).zip(host.shape.as_ref()) else { continue };
        let system = kinds.all().get(kind).map(|kind| kind.system).unwrap_or_default();
        let offer = shape.resources.less(&system);
        match (suits.get(kind), short_of(&group.ask.resources, &offer)) {
            (Some(Suits::Elsewhere), _) => {
                tell(&mut told, Class::Kind(kind), host, || Lack::Elsewhere);
            }
            (Some(Suits::No(lack)), _) => {
                tell(&mut told, Class::Kind(kind), host, || lack.clone());
            }
            (_, Some((class, lack))) => tell(&mut told, class, host, || lack.clone()),
            (_, None) => {
                could = could.saturating_add(1);
                if let Some(why) = why_not(host, unfed) {
                    let count = not_usable.entry(why).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
    }
    if could == 0 {
        return refusal(Why::FitsNoMachine(summed(told)));
    }
    refusal(Why::NoneLeft { could, not_usable })
}

/// Why a machine that could hold work is of no use for it now.
fn why_not(host: &Host, unfed: &BTreeMap<MachineName, NoRoom>) -> Option<String> {
    match &host.state {
        HostState::NotUsable(why) => Some(why.clone()),
        HostState::Ready | HostState::Starting | HostState::Dark => {
            let NoRoom { feed, room } = unfed.get(&host.machine)?;
            Some(format!("dark, for which feed {feed} of {} has no room left", room.budget))
        }
    }
}

/// Machines that are told of together: of one kind, or short of the same resource.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Cpu,
    Memory,
    Disk,
    Kind(usize),
}

/// Counts a machine; of those short of a resource the one that has most of it is the example.
fn tell(told: &mut BTreeMap<Class, KindLacks>, class: Class, host: &Host, lack: impl Fn() -> Lack) {
    let name = host.machine.as_str();
    match told.entry(class) {
        Entry::Vacant(vacant) => {
            vacant.insert(KindLacks { machines: 1, example: name.to_owned(), lack: lack() });
        }
        Entry::Occupied(mut occupied) => {
            let known = occupied.get_mut();
            known.machines = known.machines.saturating_add(1);
            let (offer, most) = (lack().offer(), known.lack.offer());
            if offer > most || (offer == most && name < known.example.as_str()) {
                known.lack = lack();
                name.clone_into(&mut known.example);
            }
        }
    }
}

/// Kinds that lack the same are one line; the most numerous first.
fn summed(told: BTreeMap<Class, KindLacks>) -> Vec<KindLacks> {
    let mut by_lack: BTreeMap<Lack, KindLacks> = BTreeMap::new();
    for lacks in told.into_values() {
        match by_lack.entry(lacks.lack.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(lacks);
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                known.machines = known.machines.saturating_add(lacks.machines);
                if lacks.example < known.example {
                    known.example = lacks.example;
                }
            }
        }
    }
    let mut told: Vec<KindLacks> = by_lack.into_values().collect();
    told.sort_by_key(|kind| Reverse(kind.machines));
    told.truncate(KINDS_TOLD_MAX);
    told
}

impl Lack {
    /// Of a resource: how much is offered.
    fn offer(&self) -> u64 {
        match self {
            Lack::Cpu(_, offer) | Lack::Memory(_, offer) | Lack::Disk(_, offer) => *offer,
            Lack::Constraint(_) | Lack::Driver(_) | Lack::NomadSaysNo | Lack::Elsewhere => 0,
        }
    }
}

fn short_of(ask: &Resources, offer: &Resources) -> Option<(Class, Lack)> {
    if ask.cpu_mhz > offer.cpu_mhz {
        Some((Class::Cpu, Lack::Cpu(ask.cpu_mhz, offer.cpu_mhz)))
    } else if ask.memory_mb > offer.memory_mb {
        Some((Class::Memory, Lack::Memory(ask.memory_mb, offer.memory_mb)))
    } else if ask.disk_mb > offer.disk_mb {
        Some((Class::Disk, Lack::Disk(ask.disk_mb, offer.disk_mb)))
    } else {
        None
    }
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Lack::Cpu(ask, offer) => {
                write!(f, "asks {ask} MHz of cpu, an empty one offers {offer} beside system jobs")
            }
            Lack::Memory(ask, offer) => {
                write!(
                    f,
                    "asks {ask} MiB of memory, an empty one offers {offer} beside system jobs"
                )
            }
            Lack::Disk(ask, offer) => {
                write!(f, "asks {ask} MiB of disk, an empty one offers {offer} beside system jobs")
            }
            Lack::Constraint(text) => write!(f, "{text} is not met"),
            Lack::Driver(driver) => write!(f, "it needs the driver {driver}, which is not there"),
            Lack::NomadSaysNo => f.write_str("Nomad finds them not eligible for it"),
            Lack::Elsewhere => f.write_str("another datacenter or node pool"),
        }
    }
}
