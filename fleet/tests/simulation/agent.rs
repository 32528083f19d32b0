//! A power agent without its IO: the shipped arbiter and sequencer, a journal that survives it, and hands that take
//! time. It dies between any two steps; what is not in its journal is gone then.

mod drifts;
mod feeds;
mod hands;
mod journal;
mod people;

use std::collections::BTreeMap;

use fleet::arbiter::{
    BEFORE_BOOT, Hearing, Judgment, MachineLedger, Running, Verdict, Work, judge, may_resume,
    must_be_proven_anew, question,
};
use fleet::drift::DriftWatch;
use fleet::reconciler::Done;
use fleet::sequencer::{Action, Eligible};
use fleet::{
    AgentFacts, Boot, Commanded, Fence, FenceNumber, LinesSeen, MachineName, Moment, NodeStatus,
    OperationFacts, OperationId, Order, Origin, Phase, PoolName, Power, Progress, Quarantine,
    RefusalCode, Sequencer,
};

pub(crate) use self::journal::RunningOrder;
use self::journal::{Journal, Kept};
use crate::chance::Chance;
use crate::check::Check;
use crate::clock::{Host, plugin_at};
use crate::hardware::Rack;
use crate::nomad::Nomad;
use crate::orders::{LIMITS, task, work};
use crate::site;

/// How often it tells of a reading that says nothing new, in seconds.
const TOLD: u64 = 10;
/// How often it is tried to take a drain back that could not be taken back, in seconds.
const DEBTS: u64 = 10;

/// A sequence in an agent that lives.
struct Live {
    order: RunningOrder,
    sequencer: Sequencer,
    call_off: bool,
    written: Option<Phase>,
    /// The action under way, and when it is done.
    hands: Option<(u64, Action)>,
}

/// What is around an agent when it does something.
pub(crate) struct Around<'a> {
    pub(crate) rack: &'a mut Rack,
    pub(crate) nomad: &'a mut Nomad,
    /// Whether Nomad does not answer it.
    pub(crate) silent: bool,
    /// Who drained each node last, and how it was before: Nomad keeps it with the drain.
    pub(crate) drains: &'a mut BTreeMap<String, (String, Eligible)>,
    pub(crate) chance: &'a mut Chance,
    pub(crate) check: &'a mut Check,
    pub(crate) now: u64,
}

#[derive(Default)]
pub(crate) struct Agent {
    journal: Journal,
    live: BTreeMap<String, Live>,
    /// What was refused, by the order's id: the same answer again, while this process lives.
    refused: BTreeMap<OperationId, Done>,
    /// Whether each machine is as it was ordered: it does not outlive the process.
    drifts: BTreeMap<String, DriftWatch>,
    /// When it last lit a machine again.
    relit: Option<Moment>,
    /// Whose power is never taken, by the rack file.
    never_off: Option<&'static str>,
    /// Dead until then.
    pub(crate) dead_until: u64,
    alive: bool,
    /// Nobody reaches it until then.
    pub(crate) cut_off_until: u64,
    pub(crate) host: Host,
}

impl Agent {
    pub(crate) fn of(names: &[&str], never_off: Option<&'static str>) -> Self {
        let machines = names.iter().map(|name| ((*name).to_owned(), Kept::default()));
        let journal = Journal { machines: machines.collect(), ..Journal::default() };
        Self { journal, never_off, ..Self::default() }
    }

    fn at(&self, now: u64) -> Moment {
        self.host.at(now)
    }

    pub(crate) fn is_heard(&self, now: u64) -> bool {
        self.alive && self.cut_off_until <= now
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.live.is_empty()
    }

    /// A lease takes a pool; an older one changes nothing.
    pub(crate) fn claim(&mut self, fence: &Fence) {
        self.journal.fences.remember(fence);
    }

    /// The highest fence that it knows of a pool.
    pub(crate) fn highest(&self, pool: &PoolName) -> FenceNumber {
        let fences = self.journal.fences.iter().filter(|fence| fence.pool == *pool);
        fences.map(|fence| fence.number).max().unwrap_or_default()
    }

    /// The process is killed: all that it has not written is gone.
    pub(crate) fn kill(&mut self, back_at: u64) {
        (self.alive, self.dead_until) = (false, back_at);
        self.live.clear();
        self.refused.clear();
        self.drifts.clear();
        self.relit = None;
    }

    /// Its host goes down with it: moments of that boot are older than anything from now on.
    pub(crate) fn reboot(&mut self, back_at: u64) {
        self.kill(back_at);
        self.host.reboot(back_at);
    }

    /// Whoever was away comes back at once.
    pub(crate) fn come_back(&mut self, now: u64) {
        self.cut_off_until = self.cut_off_until.min(now);
        self.dead_until = self.dead_until.min(now);
        self.host.is_up_at(now);
    }

    fn seen(&self, name: &str, rack: &Rack) -> Result<LinesSeen, fleet::Fault> {
        rack.read(name).map(|reading| LinesSeen::default().and(reading))
    }

    fn ledger(&self, name: &str, around: &Around<'_>) -> MachineLedger {
        let running = self.live.get(name).map(|live| {
            let record = live.sequencer.record();
            Running {
                operation: live.order.id.clone(),
                verb: record.task.verb,
                phase: record.phase(),
                until: record.state.until().unwrap_or(self.at(around.now)),
            }
        });
        let kept = &self.journal.machines[name];
        MachineLedger {
            quarantine: kept.quarantine.clone(),
            commanded: kept.commanded.as_ref().map(|last| last.state),
            limits: LIMITS,
            wear: kept.wear.clone(),
            pool: Some(site::pool_of(name).name()),
            holds: kept.holds.clone(),
            never_off: self.never_off == Some(name),
            on_only: false,
            running,
            feed_full: self
                .feeds(around.rack, around.now)
                .promise(&Self::machine(name))
                .err()
                .map(|f| f.to_string()),
            reading: self.seen(name, around.rack).ok().and_then(|seen| seen.machine()),
        }
    }

    /// An order arrives. `None`: nobody is there to hear it.
    pub(crate) fn order(&mut self, order: &Order, around: &mut Around<'_>) -> Option<Done> {
        self.is_heard(around.now).then(|| self.hear(order, around))?
    }

    fn hear(&mut self, order: &Order, around: &mut Around<'_>) -> Option<Done> {
        let name = order.machine.as_str().to_owned();
        let ledger = self.ledger(&name, around);
        let work = work(question(order, &ledger), around, &name);
        let at = self.at(around.now);
        if let Some(first) = self.refused.get(&order.operation) {
            return Some(first.clone());
        }
        let known = self.journal.answers.contains_key(&order.operation);
        let hearing = Hearing { order, arrived: at, known, work: &work };
        let Judgment { verdict, newer } = judge(hearing, &ledger, &self.journal.fences, at);
        let highest = match &order.origin {
            Origin::Autoscaler(fence) => self.journal.fences.highest(&fence.cluster, &fence.pool),
            Origin::Person(_) | Origin::Agent => None,
        };
        if let Some(fence) = &newer {
            self.journal.fences.remember(fence);
        }
        let kept = self.journal.machines.get_mut(&name)?;
        let answer = match verdict {
            Verdict::Repeat => return self.journal.answers.get(&order.operation).cloned(),
            Verdict::Refuse(refusal) => {
                around.check.full += u64::from(refusal.code == RefusalCode::FeedFull);
                let refused = Done::Refused(refusal.text);
                self.refused.insert(order.operation.clone(), refused.clone());
                return Some(refused);
            }
            Verdict::CallOff => {
                let live = self.live.get_mut(&name)?;
                live.call_off = true;
                return Some(Done::Refused("the drain is being taken back".to_owned()));
            }
            Verdict::Join { hold } => {
                around.check.locks.comes_with(&name, hold.as_ref());
                kept.holds.extend(hold);
                Done::Accepted
            }
            Verdict::Begin { hold } => {
                around.check.obeyed(order, highest, kept.quarantine.is_some(), around.now);
                around.check.locks.comes_with(&name, hold.as_ref());
                kept.holds.extend(hold);
                self.begin(order, &work, around);
                Done::Accepted
            }
        };
        self.journal.answers.insert(order.operation.clone(), answer.clone());
        Some(answer)
    }

    fn begin(&mut self, order: &Order, work: &Work, around: &Around<'_>) {
        let (name, at) = (order.machine.as_str(), self.at(around.now));
        let kept = self.journal.machines.get_mut(name).unwrap();
        let sequencer = Sequencer::begin(task(order, work, &kept.wear), at);
        let running = RunningOrder {
            id: order.operation.clone(),
            origin: order.origin.clone(),
            forced: order.force,
            record: sequencer.record().clone(),
        };
        kept.running = Some(running.clone());
        let written = Some(Phase::Accepted);
        let live = Live { order: running, sequencer, call_off: false, written, hands: None };
        self.live.insert(name.to_owned(), live);
    }

    pub(crate) fn step(&mut self, around: &mut Around<'_>) {
        if !self.alive {
            if self.dead_until > around.now {
                return;
            }
            self.start(around);
        }
        let names: Vec<String> = self.live.keys().cloned().collect();
        for name in names {
            self.go_on(&name, around);
        }
        if around.now.is_multiple_of(DEBTS) && !around.silent {
            self.pay(around);
        }
        self.look_for_drift(around);
    }

    fn start(&mut self, around: &mut Around<'_>) {
        self.alive = true;
        self.journal.open(self.host.stamp(around.now));
        let at = self.at(around.now);
        let names: Vec<String> = self.journal.machines.keys().cloned().collect();
        for name in names {
            let kept = self.journal.machines.get_mut(&name).unwrap();
            let Some(order) = kept.running.clone() else { continue };
            let doing = (order.record.task.verb, order.record.phase());
            let fences = &self.journal.fences;
            let may = may_resume(
                &order.origin,
                doing,
                (&kept.holds, kept.quarantine.as_ref()),
                fences,
                at,
            );
            let node = around.nomad.nodes.get(&name);
            let takes = node.is_some_and(|n| n.eligible && n.status == NodeStatus::Ready);
            let asks = must_be_proven_anew(&order.origin, &order.record, at);
            let unsure = asks && (around.silent || takes);
            let may = if unsure { Err("its node takes work again".to_owned()) } else { may };
            let resumed = may.and_then(|()| {
                let resumed = Sequencer::resume(order.record.clone(), at);
                resumed.ok_or_else(|| "its deadline has passed".to_owned())
            });
            around.check.taken_up(&name, &order, resumed.is_ok(), around.now);
            let sequencer = match resumed {
                Ok(sequencer) => sequencer,
                Err(why) => Sequencer::abandoned(order.record.clone(), &why, at),
            };
            let live = Live { order, sequencer, call_off: false, written: None, hands: None };
            self.live.insert(name, live);
        }
    }

    /// What it says of a machine to those who reach it, on their clock.
    pub(crate) fn facts(&self, name: &str, rack: &Rack, now: u64) -> Option<AgentFacts> {
        if !self.is_heard(now) {
            return None;
        }
        let theirs = |at: Moment| plugin_at(now).ago(self.at(now).since(at));
        let kept = &self.journal.machines[name];
        let reading = rack.read(name).ok().flatten();
        let commanded = kept.commanded.as_ref();
        let commanded =
            commanded.map(|commanded| Commanded { at: theirs(commanded.at), ..commanded.clone() });
        let read_at = now - now % TOLD;
        let quarantine = kept.quarantine.as_ref();
        let boot = kept.last_boot.as_ref();
        let running = self.live.get(name).map(|live| OperationFacts {
            id: live.order.id.clone(),
            verb: live.sequencer.record().task.verb,
            progress: Progress::Running,
            by_hand: matches!(live.order.origin, Origin::Person(_)),
            changed: false,
        });
        let at = self.at(now);
        let holds = kept.holds.iter().find(|hold| hold.binds(at)).cloned();
        let held = holds.or_else(|| kept.wear.breaker(LIMITS, at));
        Some(AgentFacts {
            power: Power { reading: reading.map(|state| (state, plugin_at(read_at))), commanded },
            held_by: held.map(|hold| hold.by),
            never_off: self.never_off == Some(name),
            quarantine: quarantine.map(|q| Quarantine { since: theirs(q.since), ..q.clone() }),
            last_boot: boot.map(|boot| Boot { at: theirs(boot.at), ..boot.clone() }),
            host_booted: Some(theirs(Moment::ZERO + BEFORE_BOOT)),
            operation: running.or_else(|| kept.last.clone()),
        })
    }

    fn machine(name: &str) -> MachineName {
        MachineName::new(name).unwrap()
    }
}
