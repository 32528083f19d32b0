//! Machines that are alike as far as the work at hand can tell: each group is judged once for each kind.

use std::collections::{BTreeMap, BTreeSet};

use super::constraint::{Subject, Verdict, key_of};
use super::{Host, Lack, Source, SystemGroup, WaitingGroup, Work, matches_glob};
use crate::{Resources, Shape};

/// Machines of the same place, class and answers to all constraints that are asked. What they offer may differ:
/// no two disks are alike.
pub(super) struct Kind<'a> {
    shape: &'a Shape,
    source: Source,
    node: &'a str,
    class: Option<&'a str>,
    /// What the system jobs that come to each of them take.
    pub(super) system: Resources,
}

/// What a group and a kind make of each other, all but room.
pub(super) enum Suits {
    /// It may go there; what was assumed for that, as clauses.
    Yes { assumed: Vec<String> },
    /// The kind is in another datacenter or node pool.
    Elsewhere,
    /// The kind lacks this.
    No(Lack),
}

impl Suits {
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Suits::Elsewhere)
    }
}

/// All kinds of a pool.
pub(super) struct Kinds<'a> {
    kinds: Vec<Kind<'a>>,
    of_host: Vec<Option<usize>>,
    /// The most of each resource that a machine offers.
    pub(super) largest: Resources,
}

/// What makes two machines alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Likeness<'a> {
    place: [&'a str; 3],
    class: Option<&'a str>,
    source: Source,
    answers: Vec<Option<&'a str>>,
}

impl<'a> Kinds<'a> {
    /// Sorts `hosts` by what `work` asks about.
    pub(super) fn of(hosts: &'a [Host], work: &Work) -> Self {
        let drivers: BTreeSet<String> = asks(work)
            .flat_map(|ask| ask.drivers.iter())
            .map(|driver| format!("attr.driver.{driver}"))
            .collect();
        let keys: BTreeSet<&str> = asks(work)
            .flat_map(|ask| ask.constraints.iter())
            .flat_map(|constraint| [constraint.left.as_str(), constraint.right.as_str()])
            .filter_map(key_of)
            .chain(drivers.iter().map(String::as_str))
            .collect();
        let mut known: BTreeMap<Likeness<'a>, usize> = BTreeMap::new();
        let mut kinds: Vec<Kind<'a>> = Vec::new();
        let mut largest = Resources::default();
        let mut of_host = Vec::with_capacity(hosts.len());
        for host in hosts {
            let Some((shape, source)) = &host.shape else {
                of_host.push(None);
                continue;
            };
            let at = *known.entry(likeness(host, shape, *source, &keys)).or_insert_with(|| {
                kinds.push(Kind {
                    shape,
                    source: *source,
                    node: &host.node,
                    class: host.class.as_deref(),
                    system: Resources::default(),
                });
                kinds.len().saturating_sub(1)
            });
            largest = most(&largest, &shape.resources);
            of_host.push(Some(at));
        }
        for kind in &mut kinds {
            kind.system = kind.comes_by_itself(&work.system);
        }
        Self { kinds, of_host, largest }
    }

    pub(super) fn all(&self) -> &[Kind<'a>] {
        &self.kinds
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The kind of the host at an index of the slice that the kinds were made of.
    pub(super) fn of_host(&self, host: usize) -> Option<usize> {
        self.of_host.get(host).copied().flatten()
    }
}

/// The greater of each resource.
pub(super) fn most(a: &Resources, b: &Resources) -> Resources {
    Resources {
        cpu_mhz: a.cpu_mhz.max(b.cpu_mhz),
        memory_mb: a.memory_mb.max(b.memory_mb),
        disk_mb: a.disk_mb.max(b.disk_mb),
    }
}

fn asks(work: &Work) -> impl Iterator<Item = &super::Ask> {
    let waiting = work.waiting.iter().map(|group| &group.ask);
    waiting.chain(work.system.iter().map(|group| &group.ask))
}

fn likeness<'a>(
    host: &'a Host,
    shape: &'a Shape,
    source: Source,
    keys: &BTreeSet<&str>,
) -> Likeness<'a> {
    let subject = Subject { node: &host.node, shape, source };
    Likeness {
        place: [&shape.datacenter, &shape.node_pool, &shape.node_class],
        class: host.class.as_deref(),
        source,
        answers: keys.iter().map(|key| subject.lookup(key)).collect(),
    }
}

impl Kind<'_> {
    /// Whether a group may go to machines of this kind, all but room.
    pub(super) fn judge(&self, group: &WaitingGroup) -> Suits {
        if !self.is_in_place(&group.ask) {
            return Suits::Elsewhere;
        }
        let subject = self.subject();
        let mut assumed = Vec::new();
        for constraint in &group.ask.constraints {
            match constraint.judge(&subject) {
                Verdict::Met => {}
                Verdict::Unmet => return Suits::No(Lack::Constraint(constraint.to_string())),
                Verdict::Unknown => assumed.push(format!("that {constraint} is met")),
            }
        }
        for driver in &group.ask.drivers {
            // A rack file rarely names drivers: not knowing is the normal case and not worth a line.
            if subject.has_driver(driver) == Verdict::Unmet {
                return Suits::No(Lack::Driver(driver.clone()));
            }
        }
        // Nomad has checked more than we model (devices, volumes, versions): its "no" stands.
        if let Some(class) = self.class
            && group.class_eligibility.get(class) == Some(&false)
        {
            return Suits::No(Lack::NomadSaysNo);
        }
        let nomad_agrees =
            self.class.is_some_and(|class| group.class_eligibility.contains_key(class));
        if nomad_agrees {
            assumed.clear();
        } else {
            assumed.extend(group.ask.unmodelled.iter().map(|what| format!("that there is {what}")));
        }
        Suits::Yes { assumed }
    }

    fn comes_by_itself(&self, system: &[SystemGroup]) -> Resources {
        let subject = self.subject();
        let comes = |group: &&SystemGroup| {
            let ask = &group.ask;
            self.is_in_place(ask)
                && ask.constraints.iter().all(|c| c.judge(&subject) != Verdict::Unmet)
                && ask.drivers.iter().all(|driver| subject.has_driver(driver) != Verdict::Unmet)
        };
        let asks = system.iter().filter(comes).map(|group| group.ask.resources);
        asks.fold(Resources::default(), |sum, ask| sum.plus(&ask))
    }

    /// Datacenter and node pool, as Nomad matches them; what a declared shape does not name, suits.
    fn is_in_place(&self, ask: &super::Ask) -> bool {
        let (datacenter, pool) = (&self.shape.datacenter, &self.shape.node_pool);
        let in_datacenter = ask.datacenters.is_empty()
            || (datacenter.is_empty() && self.source == Source::Declared)
            || ask.datacenters.iter().any(|pattern| matches_glob(pattern, datacenter));
        let in_pool = matches!(ask.node_pool.as_str(), "" | "all")
            || (pool.is_empty() && self.source == Source::Declared)
            || ask.node_pool == *pool;
        in_datacenter && in_pool
    }

    fn subject(&self) -> Subject<'_> {
        Subject { node: self.node, shape: self.shape, source: self.source }
    }
}
