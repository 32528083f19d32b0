//! How many machines a pool needs for the work that runs and the work that waits: the query `pending POOL`.
//!
//! The count is the machines that hold non-system work, plus the machines that waiting work needs
//! beyond the free room of those. Running work is never repacked. Nomad's own rules decide what
//! fits; what we do not model is assumed to fit, told, and given up when Nomad proves us wrong.

mod constraint;
mod kind;
mod lines;
mod packing;
mod patience;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};

pub use constraint::{Constraint, Verdict, matches_glob};
pub use lines::{LINES_MAX, Line};
pub use patience::{DOUBT_TIME, Doubt, Learnt, PLACEMENT_GRACE, Patience, WATCHED_MAX};
pub use refusal::{KindLacks, Lack, Refusal, Why};

use crate::{FedView, FeedRooms, MachineName, NodeCount, Resources, Shape};

/// How many instances of one group are placed: ten for each machine of the largest pool that is
/// planned for. More would need every machine of the pool anyway, and a typing error in a count
/// must not cost more.
pub const INSTANCES_PER_GROUP_MAX: u32 = 100_000;

/// A task group, as Nomad names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The job's namespace.
    pub namespace: String,
    /// The job's id.
    pub job: String,
    /// The group's name.
    pub group: String,
}

impl std::fmt::Display for GroupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace != "default" {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}.{}", self.job, self.group)
    }
}

/// Whether instances keep apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Distinct {
    /// They do not.
    #[default]
    No,
    /// No two instances of the group on one machine.
    Group,
    /// No two instances of the whole job on one machine.
    Job,
}

/// What one instance of a group asks of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    /// The sum over the group's tasks, and its ephemeral disk. Memory is `memory`, not `memory_max`.
    pub resources: Resources,
    /// The job's datacenters, as it wrote them: globs like `dc*` are taken. None: any.
    pub datacenters: Vec<String>,
    /// The job's node pool; `all` and the empty name mean any.
    pub node_pool: String,
    /// The constraints of job, group and tasks.
    pub constraints: Vec<Constraint>,
    /// The task drivers that the group needs.
    pub drivers: BTreeSet<String>,
    /// Whether instances keep apart.
    pub distinct: Distinct,
    /// What it asks for beyond this, in words ("devices", "a static port"): assumed and told.
    pub unmodelled: BTreeSet<String>,
}

/// A group of which Nomad could not place some instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingGroup {
    /// Which.
    pub key: GroupKey,
    /// Changes with the job's text: what was learnt of an older one is forgotten.
    pub version: u64,
    /// How many instances wait.
    pub count: u32,
    /// What one of them asks.
    pub ask: Ask,
    /// What Nomad said of the classes of nodes that it tried: computed class → whether eligible.
    pub class_eligibility: BTreeMap<String, bool>,
}

/// A group of a system job: it comes to every machine that suits it, and takes its room there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemGroup {
    /// Which.
    pub key: GroupKey,
    /// What one instance asks.
    pub ask: Ask,
}

/// All that waits, and what comes to machines by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// Work that waits; of one key there is one entry.
    pub waiting: Vec<WaitingGroup>,
    /// System groups.
    pub system: Vec<SystemGroup>,
}

/// How a machine's shape came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Written in the rack file: an attribute that is missing there is not known.
    Declared,
    /// As its node registered: an attribute that is missing there is not set.
    Seen,
}

/// What may be done with a machine for waiting work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostState {
    /// Its node is ready and eligible.
    Ready,
    /// It was given power and its deadline runs, or its node is not eligible again yet.
    Starting,
    /// It is off, or going off, and may be lit.
    Dark,
    /// No work can be placed on it, and it can not be lit: why, as a clause ("held by ada").
    NotUsable(String),
}

/// A machine of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub machine: MachineName,
    /// Its node's name.
    pub node: String,
    /// What it offers to work, and how that is known. `None`: never seen and not declared.
    pub shape: Option<(Shape, Source)>,
    /// The computed class of its node, where that is registered.
    pub class: Option<String>,
    /// What allocations of every type take on it now.
    pub used: Resources,
    /// Whether it holds non-system work.
    pub holds_work: bool,
    /// What may be done with it.
    pub state: HostState,
    /// The groups that have an allocation on it.
    pub runs: BTreeSet<GroupKey>,
    /// What it takes of its feeds.
    pub fed: FedView,
}

/// What a machine was when work was placed on it in thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlacedOn {
    /// It holds work: no further machine.
    Holder,
    /// It is on and idle.
    Idle,
    /// It is starting.
    Starting,
    /// It is to be lit.
    Dark,
}

/// Instances of one group placed on one machine in thought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Which group.
    pub key: GroupKey,
    /// The machine.
    pub machine: MachineName,
    /// How many instances.
    pub instances: u32,
    /// What the machine was.
    pub on: PlacedOn,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pending {
    /// `holding` + `needed` + `beside`.
    pub count: NodeCount,
    /// Machines that hold non-system work, by name.
    pub holding: BTreeSet<MachineName>,
    /// Machines that waiting work needs beyond those, by name, and what they are now.
    pub needed: BTreeMap<MachineName, PlacedOn>,
    /// While a dark machine is needed: those that are on or starting, without work, and have no room for what waits for it.
    /// The planner counts them and knows no work: a count that they fill would light nothing, and the work wait for ever.
    pub beside: BTreeSet<MachineName>,
    /// Where waiting work would go.
    pub placements: Vec<Placement>,
    /// Work that is not counted, and why, by group.
    pub refusals: Vec<Refusal>,
    /// What was assumed of work that was placed: the group, and the assumption as a clause.
    pub assumed: BTreeSet<(GroupKey, String)>,
    /// Work for other datacenters or node pools than this pool's machines have: not ours. How many instances, by group.
    pub elsewhere: BTreeMap<GroupKey, u32>,
}

/// Answers for one pool. Total and deterministic: the order of `work` and `hosts` does not matter.
///
/// Groups are placed largest first: by the share of the pool's largest machine that one instance
/// takes, of the resource of which it takes most; then by key. Each goes first to the free room of
/// machines that hold work or have been counted already, then to machines that are on or starting,
/// then to dark ones; a further machine is the smallest that takes all that is left of the group,
/// else the one that takes most of it; then by name. `learnt` is what earlier answers left behind;
/// its groups in doubt are told and not counted. A dark machine for whose start its feeds have no room beside what runs
/// and those that were chosen before it is not chosen.
#[must_use]
pub fn pending(work: &Work, hosts: &[Host], feeds: &FeedRooms, learnt: &Learnt) -> Pending {
    let mut answer = Pending {
        holding: hosts
            .iter()
            .filter(|host| host.holds_work)
            .map(|host| host.machine.clone())
            .collect(),
        ..Pending::default()
    };
    let kinds = kind::Kinds::of(hosts, work);
    let mut rack = packing::Rack::new(&kinds, hosts, work, feeds, &learnt.chosen);
    let mut for_dark = Vec::new();
    for group in packing::in_order(&work.waiting, &kinds) {
        let suits: Vec<kind::Suits> = kinds.all().iter().map(|kind| kind.judge(group)).collect();
        if !kinds.is_empty() && suits.iter().all(|suits| suits.is_elsewhere()) {
            answer.elsewhere.insert(group.key.clone(), group.count);
            continue;
        }
        if let Some(doubt) = learnt.doubts.get(&group.key) {
            answer.refusals.push(Refusal::not_placed(group, doubt));
            continue;
        }
        let wanted = group.count.min(INSTANCES_PER_GROUP_MAX);
        let placed = rack.place(group, wanted, &suits);
        let left = wanted.saturating_sub(placed.instances);
        for assumption in placed.assumed {
            answer.assumed.insert((group.key.clone(), assumption));
        }
        let needs_dark = placed.placements.iter().any(|placed| placed.on == PlacedOn::Dark);
        answer.placements.extend(placed.placements);
        if left > 0 {
            answer.refusals.push(refusal::judge(
                group,
                left,
                (hosts, rack.unfed()),
                &kinds,
                &suits,
            ));
        }
        if needs_dark {
            for_dark.push((group, suits));
        }
    }
    answer.needed = rack.opened();
    let idle = hosts.iter().enumerate().filter(|(_, host)| {
        let is_up = matches!(host.state, HostState::Ready | HostState::Starting);
        is_up && !host.holds_work && !answer.needed.contains_key(&host.machine)
    });
    let no_room = idle.filter(|(at, host)| {
        for_dark.iter().any(|(group, suits)| !has_room(*at, host, &kinds, group, suits))
    });
    answer.beside = no_room.map(|(_, host)| host.machine.clone()).collect();
    answer.refusals.sort_by(|a, b| a.key.cmp(&b.key));
    answer.placements.sort_by(|a, b| (&a.key, &a.machine).cmp(&(&b.key, &b.machine)));
    let count = answer.holding.len() + answer.needed.len() + answer.beside.len();
    answer.count = NodeCount(u32::try_from(count).unwrap_or(u32::MAX));
    answer
}

/// Whether one instance fits into what a machine offers in its place. What else forbids it, a constraint or Nomad's own
/// word, may have been learnt after it was lit, and be so on the next machine too: that lights no further one.
fn has_room(
    at: usize,
    host: &Host,
    kinds: &kind::Kinds<'_>,
    group: &WaitingGroup,
    suits: &[kind::Suits],
) -> bool {
    let here = kinds.of_host(at).and_then(|kind| suits.get(kind));
    let free = host.shape.as_ref().map(|(shape, _)| shape.resources.less(&host.used));
    here.is_some_and(|suits| !suits.is_elsewhere())
        && free.is_some_and(|free| free.holds(&group.ask.resources))
}
