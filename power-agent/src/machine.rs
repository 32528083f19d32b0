//! One machine as the agent holds it: its outlets, what they say, what is remembered, and the sequence that runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_api::{CommandedAge, HoldEnds, Locks, Outlet};
use fleet::arbiter::{Expiry, Hold, Holds, MachineLedger, Running, Wear};
use fleet::drift::{DriftWatch, Seen, Verdict};
use fleet::feeds::{Load, Stand, stand};
use fleet::forecast::OutletNow;
use fleet::sequencer::Record;
use fleet::{
    Boot, Commanded, DeviceName, LinesSeen, Moment, OperationId, Origin, Phase, PowerState,
    Quarantine, ReadSource, Reason, Sequencer, Shape, Verb,
};

use crate::config::{MachineConfig, OutletPath};
use crate::device::DeviceHandle;
use crate::memory::{MachineMemory, Operation, Outcome, RunningOrder};

/// How long Nomad may tell a node as up whose machine has lost its power: its heartbeat may be due in thirty seconds and be
/// waited for as long again.
const HEARTBEAT_MISSED: Duration = Duration::from_secs(60);

/// A machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) config: MachineConfig,
    pub(crate) outlets: Vec<MachineOutlet>,
    /// What wakes it.
    pub(crate) waker: Option<DeviceHandle>,
    state: Mutex<State>,
}

/// One of its outlets, with the way to its device.
#[derive(Debug)]
pub(crate) struct MachineOutlet {
    pub(crate) path: OutletPath,
    pub(crate) device: DeviceHandle,
    pub(crate) can_read_back: bool,
    /// What its reading is of.
    pub(crate) source: ReadSource,
}

/// What changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) live: Option<Live>,
    /// What an agent before this one has left half done, until it is taken up: its room is not another's.
    pub(crate) half_done: Option<Record>,
    pub(crate) last: Option<Operation>,
    pub(crate) commanded: Option<Commanded>,
    pub(crate) holds: Holds,
    pub(crate) wear: Wear,
    pub(crate) last_seen: Option<Shape>,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) boots: Vec<Boot>,
    /// An operation whose drain of its node could not be taken back yet.
    pub(crate) owed: Option<OperationId>,
    /// Whether it is as it was ordered. Not remembered beyond the agent's life: see [`fleet::drift`].
    drift: DriftWatch,
    lines: BTreeMap<OutletPath, Line>,
    /// The signs of life that were seen last, or what was looked for and not seen.
    life: Option<(Result<String, String>, Moment)>,
    /// When its power was taken last: what it answered to a question of before is no sign that it is on.
    cut_at: Option<Moment>,
}

/// The sequence that runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: OperationId,
    pub(crate) origin: Origin,
    pub(crate) reason: Reason,
    pub(crate) sequencer: Sequencer,
    /// Why a person wants it called off.
    pub(crate) call_off: Option<String>,
}

/// What one outlet said last.
#[derive(Debug, Clone, Default)]
struct Line {
    reading: Option<(PowerState, Moment)>,
    trouble: Option<String>,
}

impl Machine {
    pub(crate) fn new(
        config: MachineConfig,
        outlets: Vec<MachineOutlet>,
        waker: Option<DeviceHandle>,
        memory: MachineMemory,
    ) -> Self {
        let state = State {
            live: None,
            half_done: memory.running.map(|running| running.record),
            last: memory.last,
            commanded: memory.commanded,
            holds: memory.holds,
            wear: memory.wear,
            last_seen: memory.last_seen,
            quarantine: memory.quarantine,
            boots: memory.boots,
            owed: memory.owed,
            drift: DriftWatch::default(),
            lines: BTreeMap::new(),
            life: None,
            cut_at: None,
        };
        Self { config, outlets, waker, state: Mutex::new(state) }
    }

    /// The machine as the rack file now has it, at rest: with all that is remembered, and with what its outlets said that
    /// still hang on the same device.
    pub(crate) fn succeeded(
        &self,
        config: MachineConfig,
        outlets: Vec<MachineOutlet>,
        waker: Option<DeviceHandle>,
    ) -> Self {
        let next = Self::new(config, outlets, waker, self.memory());
        let stays = |path: &OutletPath| {
            let device = |machine: &Self| {
                machine.outlets.iter().find(|outlet| outlet.path == *path).map(|o| o.device.clone())
            };
            device(self).zip(device(&next)).is_some_and(|(one, other)| one.is_same(&other))
        };
        let mut lines = self.state().lines.clone();
        lines.retain(|path, _| stays(path));
        next.state().lines = lines;
        next.state().drift = self.state().drift.clone();
        next
    }

    /// What changes. Held for moments only, never over an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is no reason to stop serving what is whole: each field is set in one go.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outlets' names, as they are kept with an intent.
    pub(crate) fn outlet_names(&self) -> Vec<String> {
        let name =
            |outlet: &MachineOutlet| format!("{}/{}", outlet.path.device, outlet.path.outlet);
        let wake = self.config.wake.as_ref();
        let wake = wake.map(|wake| format!("{} wakes {}", wake.device, wake.call.mac));
        self.outlets.iter().map(name).chain(wake).collect()
    }

    /// All that must survive the agent.
    pub(crate) fn memory(&self) -> MachineMemory {
        let state = self.state();
        let running = state.live.as_ref().map(|live| RunningOrder {
            id: live.id.clone(),
            origin: live.origin.clone(),
            reason: live.reason.clone(),
            outlets: self.outlet_names(),
            record: live.sequencer.record().clone(),
        });
        MachineMemory {
            running,
            last: state.last.clone(),
            commanded: state.commanded.clone(),
            holds: state.holds.clone(),
            wear: state.wear.clone(),
            last_seen: state.last_seen.clone(),
            quarantine: state.quarantine.clone(),
            boots: state.boots.clone(),
            owed: state.owed.clone(),
        }
    }

    /// Its sequence has ended, and this is on the disk: from now on it is told.
    pub(crate) fn settle(&self, memory: MachineMemory) {
        let mut state = self.state();
        state.live = None;
        state.last = memory.last;
        state.commanded = memory.commanded;
        state.holds = memory.holds;
        state.wear = memory.wear;
        state.last_seen = memory.last_seen;
        state.quarantine = memory.quarantine;
        state.boots = memory.boots;
        state.owed = memory.owed;
    }

    /// How it stands towards its feeds; `None`: it hangs on none that is counted.
    pub(crate) fn load(&self) -> Option<Load> {
        if self.config.supplies.is_empty() {
            return None;
        }
        let state = self.state();
        let off = |outlet: &MachineOutlet| {
            let (reading, at) = state.lines.get(&outlet.path)?.reading?;
            (reading == PowerState::Off).then_some(at)
        };
        let read: Option<Vec<Moment>> = self.outlets.iter().map(off).collect();
        let off_read = read.and_then(|read| read.into_iter().min());
        let live = state.live.as_ref().map(|live| live.sequencer.record());
        let stand = stand(off_read, state.wear.lit, live.or(state.half_done.as_ref()));
        Some(Load { supplies: self.config.supplies.clone(), stand })
    }

    /// What decides about orders; of its feeds only the agent as a whole can say.
    pub(crate) fn ledger(&self, now: Moment) -> MachineLedger {
        let reading = self.power_seen().machine();
        let state = self.state();
        let running = state.live.as_ref().map(|live| {
            let record = live.sequencer.record();
            Running {
                operation: live.id.clone(),
                verb: record.task.verb,
                phase: record.phase(),
                until: record.state.until().unwrap_or(now),
            }
        });
        MachineLedger {
            pool: self.config.pool.clone(),
            holds: state.holds.clone(),
            never_off: self.config.never_off,
            on_only: self.config.is_on_only(),
            wear: state.wear.clone(),
            limits: self.config.limits,
            quarantine: state.quarantine.clone(),
            running,
            reading,
            commanded: state.commanded.as_ref().map(|commanded| commanded.state),
            feed_full: None,
        }
    }

    /// Its outlets in the order in which they are driven, how they stand, and why they can not be read if they can not.
    pub(crate) fn outlets_now(&self) -> (Vec<(DeviceName, u32)>, Vec<OutletNow>, Option<String>) {
        let state = self.state();
        let mut outlets: Vec<&MachineOutlet> = self.outlets.iter().collect();
        outlets.sort_by(|one, other| one.path.device.cmp(&other.path.device));
        let (mut contacts, mut now, mut trouble) = (Vec::new(), Vec::new(), None);
        for outlet in outlets {
            let line = state.lines.get(&outlet.path).cloned().unwrap_or_default();
            contacts.push((outlet.path.device.clone(), u32::from(outlet.path.outlet.get())));
            let reading = line.reading.map(|(state, _)| state);
            now.push(OutletNow { can_read_back: outlet.can_read_back, reading });
            trouble = trouble.or(line.trouble);
        }
        (contacts, now, trouble)
    }

    /// When the agent lights it again, because it reads otherwise than it was ordered.
    pub(crate) fn relit_at(&self, last_try: Option<Moment>, now: Moment) -> Option<Moment> {
        let lines = self.power_seen();
        let mut state = self.state();
        let (drift, seen) = self.seen(&mut state, lines, last_try, now);
        drift.relit_at(seen, now)
    }

    /// Weighs what its outlets said last against what was ordered.
    pub(crate) fn weigh_drift(&self, last_try: Option<Moment>, now: Moment) -> Verdict {
        let lines = self.power_seen();
        let mut state = self.state();
        let (drift, seen) = self.seen(&mut state, lines, last_try, now);
        drift.see(seen, now)
    }

    /// What decides about a drift.
    fn seen<'a>(
        &self,
        state: &'a mut State,
        lines: LinesSeen,
        last_try: Option<Moment>,
        now: Moment,
    ) -> (&'a mut DriftWatch, Seen<'a>) {
        let State { live, commanded, holds, quarantine, drift, .. } = state;
        let wanted = commanded.as_ref().map(|commanded| (commanded.state, &commanded.operation));
        let seen = Seen {
            wanted,
            lines,
            busy: live.is_some(),
            barred: holds.foremost(now).is_some() || quarantine.is_some(),
            policy: self.config.drift,
            last_try,
        };
        (drift, seen)
    }

    /// The order that lights it again was taken.
    pub(crate) fn note_drift_try(&self) {
        self.state().drift.tried();
    }

    /// How it reads otherwise than it was ordered, if it does.
    pub(crate) fn drift(&self, now: Moment) -> Option<agent_api::Drift> {
        let drift = self.state().drift.drift()?;
        Some(agent_api::Drift {
            age: now.since(drift.since),
            wanted: drift.wanted,
            read: drift.read,
            policy: self.config.drift,
            tries: drift.tries,
            gave_up: drift.gave_up,
        })
    }

    /// Takes what a device said of one outlet, or why it said nothing.
    pub(crate) fn note(
        &self,
        path: &OutletPath,
        said: Result<Option<PowerState>, &str>,
        now: Moment,
    ) {
        let line = match said {
            Ok(reading) => Line { reading: reading.map(|state| (state, now)), trouble: None },
            Err(trouble) => Line { reading: None, trouble: Some(trouble.to_owned()) },
        };
        self.state().lines.insert(path.clone(), line);
    }

    /// What the outlets said last, together.
    pub(crate) fn lines_seen(&self) -> LinesSeen {
        let state = self.state();
        self.outlets.iter().fold(LinesSeen::default(), |seen, outlet| {
            let reading = state.lines.get(&outlet.path).and_then(|line| line.reading);
            seen.and(reading.map(|(state, _)| state)).read_from(outlet.source)
        })
    }

    /// What they say of the machine's power, with its signs of life. One that answers is on. One that has to be woken is
    /// not on because it has power; without power it is off. Silence says nothing.
    pub(crate) fn power_seen(&self) -> LinesSeen {
        let lines = self.lines_seen();
        match (self.is_alive(), &self.config.wake) {
            (true, _) => LinesSeen { on: lines.on.max(1), ..lines },
            (false, Some(_)) => LinesSeen { on: 0, untold: lines.untold + lines.on, ..lines },
            (false, None) => lines,
        }
    }

    fn is_alive(&self) -> bool {
        matches!(self.state().life, Some((Ok(_), _)))
    }

    /// Takes the signs of life that were looked for then, or what was not seen.
    pub(crate) fn note_life(&self, seen: Result<String, String>, asked: Moment) {
        let mut state = self.state();
        if seen.is_err() || state.cut_at.is_none_or(|cut| cut < asked) {
            state.life = Some((seen, asked));
        }
    }

    /// Its outlets were opened: how it was seen before counts no more.
    pub(crate) fn note_cut(&self, now: Moment) {
        let mut state = self.state();
        state.life = None;
        state.cut_at = Some(now);
    }

    /// The signs of life that were seen last; `None`: none.
    pub(crate) fn life(&self) -> Option<String> {
        self.state().life.clone().and_then(|(seen, _)| seen.ok())
    }

    /// Whether its node may still be told as up though its power was taken: Nomad has not missed its heartbeat yet.
    pub(crate) fn may_look_up(&self, now: Moment) -> bool {
        let state = self.state();
        let ordered = state.commanded.as_ref().filter(|last| last.state == PowerState::Off);
        let cut = state.live.as_ref().and_then(|live| live.sequencer.record().cut);
        let latest = ordered.map(|last| last.at).max(cut);
        latest.is_some_and(|at| now.since(at) < HEARTBEAT_MISSED)
    }

    /// Until when it may still wake by packets that were sent: an `off` that nothing can cut would find nobody, and it
    /// would be up afterwards.
    pub(crate) fn may_wake_until(&self) -> Option<Moment> {
        let wake = self.config.wake.as_ref().filter(|_| self.outlets.is_empty())?;
        let state = self.state();
        let last = state.last.as_ref().filter(|last| last.verb != Verb::Off)?;
        let answered = matches!(&last.outcome, Outcome::Ended(ended) if ended.well);
        let alive = matches!(state.life, Some((Ok(_), _)));
        let sent = state.wear.lit.filter(|_| !answered && !alive)?;
        Some(sent + wake.deadline)
    }

    /// Its paths, as they are told of.
    fn paths(&self, state: &State, now: Moment) -> agent_api::Paths {
        agent_api::Paths {
            wake: self.config.wake.as_ref().map(|wake| agent_api::WakePath {
                device: wake.device.clone(),
                mac: wake.call.mac.to_string(),
            }),
            outlets_stay: self.config.last_resort,
            on_only: self.config.is_on_only(),
            life: state
                .life
                .as_ref()
                .map(|(seen, at)| agent_api::Life { seen: seen.clone(), age: now.since(*at) }),
        }
    }

    /// The machine as it is told of.
    pub(crate) fn view(&self, now: Moment) -> agent_api::Machine {
        let reading = self.power_seen().machine();
        let drift = self.drift(now);
        let stand = self.load().map(|load| load.stand);
        let state = self.state();
        let holds = state.all_holds(&self.config, now);
        let lines = state.lines.values().filter_map(|line| line.reading).map(|(_, at)| at).min();
        let life = state.life.as_ref().filter(|(seen, _)| seen.is_ok()).map(|(_, at)| *at);
        let read_at = life.or(lines);
        agent_api::Machine {
            name: self.config.name.clone(),
            pool: self.config.pool.clone(),
            node: self.config.node.clone(),
            outlets: self.outlets.iter().map(|outlet| state.outlet(outlet, now)).collect(),
            reading: reading.zip(read_at).map(|(reading, at)| (reading, now.since(at))),
            commanded: state.commanded.as_ref().map(|commanded| CommandedAge {
                state: commanded.state,
                age: now.since(commanded.at),
                origin: commanded.origin.clone(),
                operation: commanded.operation.clone(),
            }),
            hold: holds.foremost(now).map(|hold| hold_view(hold, now)),
            operation: state.operation(now),
            declared: self.config.shape.clone(),
            last_seen: state.last_seen.clone(),
            boot_deadline: self.config.boot_deadline,
            soft_off: self.config.soft_off.is_some(),
            quarantine: state.quarantine.as_ref().map(|quarantine| agent_api::Quarantine {
                cause: quarantine.cause,
                reason: quarantine.reason.clone(),
                age: now.since(quarantine.since),
                by: quarantine.by.clone(),
            }),
            drift,
            boots: state.boots.iter().map(|boot| boot_view(boot, now)).collect(),
            paths: self.paths(&state, now),
            locks: Locks {
                holds: holds.iter().map(|hold| hold_view(hold, now)).collect(),
                never_off: self.config.never_off,
            },
            fed: agent_api::Fed {
                supplies: self.config.supplies.clone(),
                counted: stand.is_some_and(Stand::is_counted),
                starts: stand.is_some_and(Stand::starts),
            },
            dwell: Some(state.wear.dwell(self.config.limits, now)),
        }
    }
}

impl State {
    /// The locks of people, and the breaker's where it has tripped.
    pub(crate) fn all_holds(&self, config: &MachineConfig, now: Moment) -> Holds {
        let breaker = self.wear.breaker(config.limits, now);
        self.holds.iter().cloned().chain(breaker).collect()
    }

    fn outlet(&self, outlet: &MachineOutlet, now: Moment) -> Outlet {
        let line = self.lines.get(&outlet.path).cloned().unwrap_or_default();
        Outlet {
            device: outlet.path.device.clone(),
            number: u32::from(outlet.path.outlet.get()),
            can_read_back: outlet.can_read_back,
            reading: line.reading.map(|(state, at)| (state, now.since(at))),
            trouble: line.trouble,
            source: outlet.source,
        }
    }

    fn operation(&self, now: Moment) -> Option<agent_api::Operation> {
        match (&self.live, &self.last) {
            (Some(live), _) => Some(live.view(now)),
            (None, Some(last)) => ended_view(last, now),
            (None, None) => None,
        }
    }
}

impl Live {
    /// The running operation as it is told of.
    pub(crate) fn view(&self, now: Moment) -> agent_api::Operation {
        let record = self.sequencer.record();
        agent_api::Operation {
            id: self.id.clone(),
            verb: record.task.verb,
            origin: self.origin.clone(),
            reason: self.reason.clone(),
            phase: self.phase(),
            age: now.since(record.began),
            deadline_in: record.state.until().map(|until| until.since(now)),
            changed: record.moved,
            evidence: String::new(),
            took: Duration::ZERO,
            progress: record.progress(),
        }
    }

    /// Until its end is on disk, a sequence is told as in its last phase: nobody hears of an end that has no evidence
    /// yet and that a crash could undo.
    fn phase(&self) -> Phase {
        let record = self.sequencer.record();
        match (record.phase(), record.task.verb.leaves()) {
            (Phase::Done | Phase::Failed, PowerState::Off) => Phase::Cutting,
            (Phase::Done | Phase::Failed, PowerState::On) => Phase::Energizing,
            (phase, _) => phase,
        }
    }
}

fn boot_view(boot: &Boot, now: Moment) -> agent_api::Boot {
    agent_api::Boot {
        operation: boot.operation.clone(),
        end: boot.end,
        took: boot.took,
        age: now.since(boot.at),
    }
}

/// A lock as it is told of.
pub(crate) fn hold_view(hold: &Hold, now: Moment) -> agent_api::Hold {
    agent_api::Hold {
        by: hold.by.clone(),
        reason: hold.reason.clone(),
        age: now.since(hold.since),
        kind: hold.kind,
        ends: match hold.expiry {
            Expiry::Never => HoldEnds::Released,
            Expiry::At(end) if now < end => HoldEnds::In(end.since(now)),
            Expiry::At(_) => HoldEnds::Expired,
            Expiry::Lost => HoldEnds::Lost,
        },
    }
}

/// An operation that has ended as it is told of; `None` where it has not.
pub(crate) fn ended_view(operation: &Operation, now: Moment) -> Option<agent_api::Operation> {
    let Outcome::Ended(ended) = &operation.outcome else { return None };
    Some(agent_api::Operation {
        id: operation.id.clone(),
        verb: operation.verb,
        origin: operation.origin.clone(),
        reason: operation.reason.clone(),
        phase: if ended.well { Phase::Done } else { Phase::Failed },
        age: now.since(operation.ordered),
        deadline_in: None,
        changed: ended.changed,
        evidence: ended.evidence.clone(),
        took: ended.at.since(operation.ordered),
        progress: String::new(),
    })
}
