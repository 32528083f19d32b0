//! Who may move a machine: fences, holds, running sequences, work on the node, expiry and repeated orders. Pure.
//!
//! What a person may expect of a hold: `off` by a person makes one, and it ends with `release` and nothing else.
//! It stops every order of an autoscaler, also `on`, and no order of a person: their `on` and `cycle` move the machine
//! and leave the hold, so that it does not begin to take work because someone looked at its screen.

pub mod hold;
pub mod resume;
pub mod wear;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::hold::{Expiry, Hold, HoldAsked, HoldKind, Holds, Released};
pub use self::resume::{may_resume, must_be_proven_anew};
pub use self::wear::{Dwell, Lighting, Limits, Wear};
use crate::{
    ClusterId, Fence, FenceNumber, MachineName, Moment, OnSoftOffTimeout, OperationId, Origin,
    Phase, PlanId, PoolName, PowerState, Quarantine, Reason, Verb,
};

/// How many operations an agent remembers with their answers. The reference asks for a day: 256 machines that are
/// ordered about 16 times a day each are 4 096, some 2 MB on disk; whoever repeats an order does so within minutes.
pub const OPERATIONS_MAX: usize = 4096;

/// An age beyond this is one of an earlier boot of the agent's host: how old exactly, nobody can tell.
pub const BEFORE_BOOT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// One order for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id; repeating it returns the first answer.
    pub operation: OperationId,
    /// The machine.
    pub machine: MachineName,
    /// What to do.
    pub verb: Verb,
    /// Why.
    pub reason: Reason,
    /// Who orders.
    pub origin: Origin,
    /// Begun later than this after its arrival, it is void.
    pub valid_for: Duration,
    /// What happens when the machine does not go down by itself.
    pub on_soft_off_timeout: OnSoftOffTimeout,
    /// A person's: do not ask whether the node is empty, and pass the locks that a person may pass.
    pub force: bool,
    /// A person's: drain the node first.
    pub drain: bool,
    /// The plan that it is part of, where an autoscaler told one.
    pub plan: Option<PlanId>,
}

/// Why an order is not obeyed. Nothing has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// A person holds the machine.
    Held,
    /// A newer lease has ordered.
    StaleFence,
    /// Another sequence runs.
    Busy,
    /// Its node has work, or nobody could say that it has none.
    NotEmpty,
    /// The fence's pool is not the machine's.
    WrongPool,
    /// It arrived, or would have begun, too late.
    Expired,
    /// Who orders may not: the role, or the machines that it covers, do not allow it.
    Forbidden,
    /// The machine is in quarantine.
    Quarantined,
    /// The rack file says that its power is never taken.
    NeverOff,
    /// A person has reserved it.
    Reserved,
    /// It was switched on as often as its rack file allows in an hour.
    TooManyCycles,
    /// Policies have switched it too often within minutes.
    Flapping,
    /// What runs, or was promised to, leaves no room on its feed.
    FeedFull,
    /// A newer agent's, which this version has no word for: its sentence says why. Nobody here refuses so.
    Unknown,
}

impl RefusalCode {
    /// The code as a word, in audit and metrics; for ever.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RefusalCode::Held => "held",
            RefusalCode::StaleFence => "stale-fence",
            RefusalCode::Busy => "busy",
            RefusalCode::NotEmpty => "not-empty",
            RefusalCode::WrongPool => "wrong-pool",
            RefusalCode::Expired => "expired",
            RefusalCode::Quarantined => "quarantined",
            RefusalCode::NeverOff => "never-off",
            RefusalCode::Reserved => "reserved",
            RefusalCode::Forbidden => "forbidden",
            RefusalCode::TooManyCycles => "too-many-cycles",
            RefusalCode::Flapping => "flapping",
            RefusalCode::FeedFull => "feed-full",
            RefusalCode::Unknown => "unknown",
        }
    }
}

/// A refusal with its sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class.
    pub code: RefusalCode,
    /// What stands against it and what to do.
    pub text: String,
}

/// The sequence that runs on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its order.
    pub operation: OperationId,
    /// What was ordered.
    pub verb: Verb,
    /// Where it is.
    pub phase: Phase,
    /// When that phase ends at the latest.
    pub until: Moment,
}

/// What decides about orders for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachineLedger {
    /// Its pool, if it is in one.
    pub pool: Option<PoolName>,
    /// The locks of people.
    pub holds: Holds,
    /// Whether the rack file says that its power is never taken.
    pub never_off: bool,
    /// Whether nothing can switch it off: it has neither an outlet nor a soft off.
    pub on_only: bool,
    /// How it was switched lately.
    pub wear: Wear,
    /// How often and how soon it may be.
    pub limits: Limits,
    /// Why it is out of service, if it is.
    pub quarantine: Option<Quarantine>,
    /// The sequence that runs.
    pub running: Option<Running>,
    /// What the hardware says now.
    pub reading: Option<PowerState>,
    /// What was last ordered and driven.
    pub commanded: Option<PowerState>,
    /// Why its feeds have no room for it, as a sentence; `None`: they have, or have no budget.
    pub feed_full: Option<String>,
}

/// What is known of the work on a machine's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// It was not asked about: see [`question`].
    NotAsked,
    /// None: the node is empty or down.
    Empty,
    /// Some, told in a sentence.
    Runs(String),
    /// Its node may get some at any moment: somebody has freed it.
    TakesWork,
    /// Nobody could tell, for this reason.
    NoProof(String),
}

/// What Nomad must be asked of a machine's node before an order can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Nothing.
    None,
    /// Whether it is empty: a person's order is the agent's to prove.
    IsEmpty,
    /// Whether it takes work. The plugin has proven that it is empty, and is held to its fence; but an order may be late,
    /// of a plugin that is gone or whose host slept, and somebody may have freed the node since. Only a plain yes stands
    /// against the order: where nobody can tell, the plugin's proof holds.
    TakesWork,
}

/// The highest fence number seen of each cluster and pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fences(BTreeMap<(ClusterId, PoolName), FenceNumber>);

impl Fences {
    /// The highest number seen of a cluster and pool.
    #[must_use]
    pub fn highest(&self, cluster: &ClusterId, pool: &PoolName) -> Option<FenceNumber> {
        self.0.get(&(cluster.clone(), pool.clone())).copied()
    }

    /// Remembers a fence; an older one changes nothing.
    pub fn remember(&mut self, fence: &Fence) {
        let key = (fence.cluster.clone(), fence.pool.clone());
        let highest = self.0.entry(key).or_insert(fence.number);
        *highest = (*highest).max(fence.number);
    }

    /// Forgets the highest number of a cluster and pool: the next lease begins anew.
    pub fn forget(&mut self, cluster: &ClusterId, pool: &PoolName) {
        self.0.remove(&(cluster.clone(), pool.clone()));
    }

    /// All of them, ordered.
    pub fn iter(&self) -> impl Iterator<Item = Fence> {
        self.0.iter().map(|((cluster, pool), number)| Fence {
            cluster: cluster.clone(),
            pool: pool.clone(),
            number: *number,
        })
    }
}

/// An order and what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct Hearing<'a> {
    /// The order.
    pub order: &'a Order,
    /// When it arrived.
    pub arrived: Moment,
    /// Whether its id was answered before.
    pub known: bool,
    /// What runs on the machine's node.
    pub work: &'a Work,
}

/// What becomes of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its id was answered before: the same answer again.
    Repeat,
    /// It begins, with this hold from now on if there is one.
    Begin {
        /// The hold that comes with it.
        hold: Option<Hold>,
    },
    /// The same is being done already: the running operation is its answer.
    Join {
        /// The hold that comes with it.
        hold: Option<Hold>,
    },
    /// The running operation still waits, for its drain or until the machine is awake, and is to be called off; then the
    /// order is heard again.
    CallOff,
    /// It is not obeyed.
    Refuse(Refusal),
}

/// A verdict, and the fence that must be on disk before anything moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgment {
    /// What becomes of the order.
    pub verdict: Verdict,
    /// A fence that is newer than what was known.
    pub newer: Option<Fence>,
}

/// What must be asked of the node before the order can be judged.
#[must_use]
pub fn question(order: &Order, machine: &MachineLedger) -> Question {
    let joins = machine.running.as_ref().is_some_and(|running| running.verb == order.verb);
    if joins || !takes_power(order, machine) {
        return Question::None;
    }
    match order.origin {
        Origin::Person(_) if !order.force && (machine.pool.is_some() || order.drain) => {
            Question::IsEmpty
        }
        Origin::Autoscaler(_) => Question::TakesWork,
        Origin::Person(_) | Origin::Agent => Question::None,
    }
}

/// Judges an order.
#[must_use]
pub fn judge(
    hearing: Hearing<'_>,
    machine: &MachineLedger,
    fences: &Fences,
    now: Moment,
) -> Judgment {
    if hearing.known {
        return Judgment { verdict: Verdict::Repeat, newer: None };
    }
    let newer = match &hearing.order.origin {
        Origin::Person(_) | Origin::Agent => None,
        Origin::Autoscaler(fence) => {
            match check_fence(fence, &hearing.order.machine, machine, fences) {
                Ok(newer) => newer.then(|| fence.clone()),
                Err(refusal) => {
                    return Judgment { verdict: Verdict::Refuse(refusal), newer: None };
                }
            }
        }
    };
    let verdict = weigh(hearing, machine, now).unwrap_or_else(Verdict::Refuse);
    Judgment { verdict, newer }
}

/// `Ok(true)`: newer than what was known.
fn check_fence(
    fence: &Fence,
    name: &MachineName,
    machine: &MachineLedger,
    fences: &Fences,
) -> Result<bool, Refusal> {
    if machine.pool.as_ref() != Some(&fence.pool) {
        let is = machine.pool.as_ref().map_or("no pool".to_owned(), |pool| format!("pool {pool}"));
        let text = format!(
            "{} is in {is}, and the order speaks for pool {}; check `pool` in the policy and in the agent's file",
            name, fence.pool
        );
        return Err(Refusal { code: RefusalCode::WrongPool, text });
    }
    match fences.highest(&fence.cluster, &fence.pool) {
        None => Ok(true),
        Some(highest) if fence.number < highest => {
            let text = format!(
                "the order carries fence {} of cluster {} and pool {}, and {} has ordered already: another autoscaler has taken the lease",
                fence.number.0, fence.cluster, fence.pool, highest.0
            );
            Err(Refusal { code: RefusalCode::StaleFence, text })
        }
        Some(highest) => Ok(fence.number > highest),
    }
}

fn weigh(hearing: Hearing<'_>, machine: &MachineLedger, now: Moment) -> Result<Verdict, Refusal> {
    let order = hearing.order;
    let waited = now.since(hearing.arrived);
    if waited > order.valid_for {
        let text = format!(
            "the order was valid for {} and could only begin after {}; give it again",
            spoken(order.valid_for),
            spoken(waited)
        );
        return Err(Refusal { code: RefusalCode::Expired, text });
    }
    check_own(order, machine)?;
    check_locks(order, machine, now)?;
    check_quarantine(order, machine, now)?;
    if let Some(running) = &machine.running {
        return beside(order, running, machine, now);
    }
    // What is on is not lit again.
    let lights = order.verb != Verb::Off
        && (order.verb == Verb::Cycle || machine.reading != Some(PowerState::On));
    let forced = order.force && matches!(order.origin, Origin::Person(_));
    if lights && !forced {
        machine.wear.check_rate(&order.machine, machine.limits, now)?;
    }
    // Nor is what could not come back taken down; breakers do not care who asks.
    if let Some(text) = machine.feed_full.clone().filter(|_| lights) {
        return Err(Refusal { code: RefusalCode::FeedFull, text });
    }
    check_work(hearing, machine)?;
    Ok(Verdict::Begin { hold: hold_of(order, machine, now) })
}

/// The agent's own order says again what was ordered last; if another has ended meanwhile it is void.
fn check_own(order: &Order, machine: &MachineLedger) -> Result<(), Refusal> {
    if order.origin == Origin::Agent && machine.commanded != Some(order.verb.leaves()) {
        let text = format!("{} is not wanted {} any more", order.machine, order.verb.leaves());
        return Err(Refusal { code: RefusalCode::Expired, text });
    }
    Ok(())
}

/// The locks that stand against an order, whoever gives it.
fn check_locks(order: &Order, machine: &MachineLedger, now: Moment) -> Result<(), Refusal> {
    if machine.on_only && order.verb != Verb::On {
        let text = format!(
            "nothing can switch {} off: its rack file names neither an outlet nor a `soft_off`; add one, or shut it down on the machine itself",
            order.machine
        );
        return Err(Refusal { code: RefusalCode::NeverOff, text });
    }
    let held = match &order.origin {
        Origin::Autoscaler(_) | Origin::Agent => machine.holds.foremost(now),
        Origin::Person(_) if order.force => return Ok(()),
        Origin::Person(by) => machine.holds.against(by, now),
    };
    if let Some(hold) = held {
        return Err(hold.refusal(&order.machine, now));
    }
    if !matches!(order.origin, Origin::Person(_))
        && let Some(breaker) = machine.wear.breaker(machine.limits, now)
    {
        return Err(breaker.refusal(&order.machine, now));
    }
    if machine.never_off && takes_power(order, machine) {
        let text = format!(
            "the rack file says `never_off` of {}: no policy takes its power, and a person only with --force",
            order.machine
        );
        return Err(Refusal { code: RefusalCode::NeverOff, text });
    }
    Ok(())
}

/// Whether an order would take the power of a machine, by what is read of it.
#[must_use]
pub fn takes_power(order: &Order, machine: &MachineLedger) -> bool {
    order.verb != Verb::On && machine.reading != Some(PowerState::Off)
}

/// A person's order is the test that returns a machine to service; an autoscaler's has not seen the quarantine.
fn check_quarantine(order: &Order, machine: &MachineLedger, now: Moment) -> Result<(), Refusal> {
    match (&order.origin, &machine.quarantine) {
        (Origin::Autoscaler(_) | Origin::Agent, Some(quarantine)) => {
            let text = format!(
                "{} is in quarantine since {} ({}); `power-agent release {}` returns it to service, `power-agent on {}` tries it",
                order.machine,
                spoken(now.since(quarantine.since)),
                quarantine.reason,
                order.machine,
                order.machine
            );
            Err(Refusal { code: RefusalCode::Quarantined, text })
        }
        (Origin::Autoscaler(_) | Origin::Agent, None) | (Origin::Person(_), _) => Ok(()),
    }
}

/// Whether an autoscaler's word about a machine is to be taken: it must speak for the machine's pool, and nobody may
/// have ordered there with a newer fence.
///
/// # Errors
/// The refusal.
pub fn check_word(
    fence: &Fence,
    machine: &MachineName,
    ledger: &MachineLedger,
    fences: &Fences,
) -> Result<(), Refusal> {
    check_fence(fence, machine, ledger, fences).map(|_newer| ())
}

/// What becomes of an order while another runs.
fn beside(
    order: &Order,
    running: &Running,
    machine: &MachineLedger,
    now: Moment,
) -> Result<Verdict, Refusal> {
    let person = matches!(order.origin, Origin::Person(_));
    // Before the point of no return a person may think again, or be in a hurry.
    let otherwise = order.verb != running.verb || order.force;
    if person && matches!(running.phase, Phase::Draining | Phase::Waiting) && otherwise {
        return Ok(Verdict::CallOff);
    }
    // Minutes may pass until a machine answers, and nothing of it is half way: it gets no more packets.
    if person && running.phase == Phase::Waking && order.verb != running.verb {
        return Ok(Verdict::CallOff);
    }
    if order.verb == running.verb {
        return Ok(Verdict::Join { hold: hold_of(order, machine, now) });
    }
    let text = format!(
        "{} is busy: {} ({}) runs and is {}, for at most {} more; try again then",
        order.machine,
        running.verb.as_str(),
        running.operation,
        running.phase,
        spoken(running.until.since(now))
    );
    Err(Refusal { code: RefusalCode::Busy, text })
}

fn check_work(hearing: Hearing<'_>, machine: &MachineLedger) -> Result<(), Refusal> {
    let order = hearing.order;
    let stands_against = match (question(order, machine), hearing.work) {
        (Question::IsEmpty, work) => unproven(order, work),
        (Question::TakesWork, Work::TakesWork) => Some(format!(
            "{}'s node takes work: somebody has freed it since this was decided, which is to be decided anew",
            order.machine
        )),
        (Question::None | Question::TakesWork, _) => None,
    };
    let refuse = |text| Err(Refusal { code: RefusalCode::NotEmpty, text });
    stands_against.map_or(Ok(()), refuse)
}

/// Why a person's order is not obeyed, given what is known of the work.
fn unproven(order: &Order, work: &Work) -> Option<String> {
    Some(match work {
        Work::Empty => return None,
        Work::Runs(_) if order.drain => return None,
        Work::Runs(work) => {
            format!("{} has work: {work}; --drain moves it first, --force cuts it", order.machine)
        }
        Work::NoProof(why) => format!(
            "nobody can tell whether {} has work: {why}; --force goes on without knowing",
            order.machine
        ),
        Work::NotAsked | Work::TakesWork => format!(
            "nobody has asked whether {} has work; --force goes on without knowing",
            order.machine
        ),
    })
}

/// The hold that comes with an order: a person's `off` makes one, unless there is one already, which stays as it is.
fn hold_of(order: &Order, machine: &MachineLedger, now: Moment) -> Option<Hold> {
    match (&order.origin, order.verb, machine.holds.of(HoldKind::Off)) {
        (Origin::Person(by), Verb::Off, None) => Some(Hold {
            kind: HoldKind::Off,
            by: by.clone(),
            reason: order.reason.clone(),
            since: now,
            expiry: Expiry::Never,
            operation: Some(order.operation.clone()),
        }),
        _ => None,
    }
}

/// A span as a person says it.
fn spoken(span: Duration) -> String {
    match span.as_secs() {
        _ if span >= BEFORE_BOOT => "before the host's last boot".to_owned(),
        0 => format!("{} ms", span.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
