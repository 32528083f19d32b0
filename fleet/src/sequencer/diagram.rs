//! The diagram: which state follows which, on what. One match for the way down, one for a movement of the outlets.

use std::time::Duration;

use super::state::{
    Action, Cut, Eligible, Input, Move, NodeSign, OnSoftOffTimeout, Record, Room, State, Step,
    WakeStep,
};
use super::waking;
use super::{
    DRIVE_ATTEMPTS_MAX, LOOK_DEADLINE, RETRY_PAUSE, ROOM_DEADLINE, ROOM_FULL_DEADLINE,
    UNDRAIN_DEADLINE,
};
use crate::lines::Agreement;
use crate::{Fault, LinesSeen, Moment, PowerState, Verb};

/// What moves the diagram.
pub(super) enum Event {
    /// Something was told.
    Told(Input),
    /// The state's own deadline has passed.
    Expired,
}

/// Moves the record on; what does not concern its state is passed over.
pub(super) fn step(record: &mut Record, event: Event, now: Moment) {
    let state = std::mem::replace(&mut record.state, State::Done);
    record.state = match (state, event) {
        (state, Event::Told(Input::Unwritten(why))) => unwritten(record, state, &why, now),
        (State::Cutting(movement), event) => moved(record, PowerState::Off, movement, event, now),
        (State::Energizing(movement), event) => moved(record, PowerState::On, movement, event, now),
        (state @ (State::Draining { .. } | State::Undraining { .. }), event) => {
            drained(record, state, event, now)
        }
        (State::AwaitingRoom { until, to, ask_at, why }, event) => {
            let state = State::AwaitingRoom { until, to, ask_at, why };
            roomed(record, state, event, now)
        }
        (state @ State::Waking { .. }, event) => waking::waking(record, state, event, now),
        (state, event) => next(record, state, event, now),
    };
}

fn next(record: &mut Record, state: State, event: Event, now: Moment) -> State {
    match (state, event) {
        (State::Looking { .. }, Event::Told(Input::Seen(Ok(seen)))) => looked(record, seen, now),
        (State::Looking { until, .. }, Event::Told(Input::Seen(Err(fault))))
            if fault.may_pass() =>
        {
            record.trouble = fault.text;
            State::Looking { until, rest: Some(now + RETRY_PAUSE) }
        }
        (State::Looking { .. }, Event::Told(Input::Seen(Err(fault)))) => {
            unseen(record, &fault.text)
        }
        (State::Looking { until, rest: Some(_) }, Event::Expired) if now < until => {
            State::Looking { until, rest: None }
        }
        (State::Looking { .. }, Event::Expired) => {
            let trouble = std::mem::take(&mut record.trouble);
            unseen(record, if trouble.is_empty() { "no answer" } else { &trouble })
        }

        (State::Waiting { .. }, Event::Told(Input::CalledOff(why))) => undrain(record, why, now),
        (State::Waiting { to: PowerState::Off, .. }, Event::Expired) => shut_down(record, now),
        (State::Waiting { to: PowerState::Off, .. }, Event::Told(Input::LifeSeen(Ok(_)))) => {
            record.task.may_wake_until = Moment::ZERO;
            shut_down(record, now)
        }
        (State::Waiting { to: PowerState::On, .. }, Event::Expired) => light(record, now),

        (State::SoftOff { until }, Event::Told(Input::SoftOffEnded(result))) => State::Settling {
            until,
            patience: until,
            soft_off_error: result.err(),
            quiet_since: None,
            up: false,
        },
        (State::SoftOff { .. }, Event::Expired) => {
            escalate(record, "the soft off did not end in time", true, now)
        }
        (state @ State::Settling { .. }, Event::Told(Input::NodeSeen(sign))) => {
            settling(state, record.task.settle, sign, now)
        }
        (State::Settling { soft_off_error, quiet_since: Some(_), .. }, Event::Expired) => {
            record.add_evidence(match soft_off_error {
                None => "shut down",
                Some(_) => "its node went down, though the soft off reported an error",
            });
            down(record, now)
        }
        (State::Settling { soft_off_error, quiet_since: None, up, .. }, Event::Expired) => {
            let up = up || soft_off_error.is_none();
            let why = soft_off_error.map_or_else(
                || "its node did not go down in time".to_owned(),
                |error| format!("the soft off failed: {error}"),
            );
            escalate(record, &why, up, now)
        }

        (State::Restoring { .. }, Event::Told(Input::Undrained(result))) => {
            restored(record, result.err().as_deref(), now)
        }
        (State::Restoring { .. }, Event::Expired) => restored(record, Some("no answer"), now),
        (State::Dwelling { .. }, Event::Expired) => light(record, now),
        (state, _) => state,
    }
}

/// The wait for the feeds.
fn roomed(record: &mut Record, state: State, event: Event, now: Moment) -> State {
    let State::AwaitingRoom { until, to, ask_at, why } = state else { return state };
    let returns = to == PowerState::On && record.task.verb == Verb::Cycle;
    match event {
        Event::Told(Input::Room(Room::Free)) => match to {
            PowerState::On => close(record, now),
            PowerState::Off => go_down(record, now),
        },
        Event::Told(Input::Room(Room::Taken { ask_at, why })) => {
            State::AwaitingRoom { until, to, ask_at, why }
        }
        Event::Told(Input::Room(Room::Full { ask_at, why })) => {
            let until = until.min(now + ROOM_FULL_DEADLINE);
            State::AwaitingRoom { until, to, ask_at, why }
        }
        Event::Told(Input::CalledOff(why)) if !returns => undrain(record, why, now),
        Event::Told(_) => State::AwaitingRoom { until, to, ask_at, why },
        Event::Expired if returns => {
            record.add_evidence(&format!("its feeds had no room for it in time: {why}"));
            record.add_evidence("the machine was left off; `on` lights it once there is room");
            State::Failed { untouched: false }
        }
        Event::Expired => {
            undrain(record, format!("its feeds had no room for it in time: {why}"), now)
        }
    }
}

fn await_room(to: PowerState, now: Moment) -> State {
    let why = String::new();
    State::AwaitingRoom { until: now + ROOM_DEADLINE, to, ask_at: now, why }
}

/// The way to an empty node, and back from there.
fn drained(record: &mut Record, state: State, event: Event, now: Moment) -> State {
    match (state, event) {
        (State::Draining { until, left, .. }, Event::Told(Input::DrainOrdered(Ok(before)))) => {
            record.drained_from = Some(before);
            State::Draining { until, left, ordered: true }
        }
        (State::Draining { .. }, Event::Told(Input::DrainOrdered(Err(why)))) => {
            record.add_evidence(&format!("the node could not be drained: {why}"));
            State::Failed { untouched: true }
        }
        (State::Draining { .. }, Event::Told(Input::DrainSeen(None))) => {
            record.add_evidence("node drained");
            shut_down(record, now)
        }
        (State::Draining { until, .. }, Event::Told(Input::DrainSeen(Some(left)))) => {
            State::Draining { until, ordered: true, left }
        }
        (State::Draining { .. }, Event::Told(Input::CalledOff(why))) => undrain(record, why, now),
        (State::Draining { left, .. }, Event::Expired) => {
            undrain(record, format!("the node did not become empty in time: {left}"), now)
        }
        (State::Undraining { why, .. }, Event::Told(Input::Undrained(Ok(())))) => {
            record.drained_from = None;
            record.add_evidence(&format!("{why}; the drain was taken back"));
            State::Failed { untouched: true }
        }
        (State::Undraining { why, .. }, Event::Told(Input::Undrained(Err(error)))) => {
            record.add_evidence(&format!("{why}; the drain could not be taken back: {error}"));
            State::Failed { untouched: true }
        }
        (State::Undraining { why, .. }, Event::Expired) => {
            record.add_evidence(&format!("{why}; the drain could not be taken back in time"));
            State::Failed { untouched: true }
        }
        (state, _) => state,
    }
}

/// The first look: what is so already is not driven.
fn looked(record: &mut Record, seen: LinesSeen, now: Moment) -> State {
    let dark = seen.agreement(PowerState::Off) == Agreement::Confirmed;
    let lit = seen.agreement(PowerState::On) == Agreement::Confirmed;
    match record.task.verb {
        Verb::On if lit && record.task.paths.wake.is_none() => {
            unchanged(record, PowerState::On, now)
        }
        Verb::On => light(record, now),
        Verb::Off if dark => unchanged(record, PowerState::Off, now),
        Verb::Cycle if dark => {
            record.add_evidence("was off already");
            dwell(record, now)
        }
        Verb::Off | Verb::Cycle => match record.task.drain {
            Some(patience) => {
                record.drained_from = Some(Eligible::No);
                State::Draining {
                    until: now + patience,
                    ordered: false,
                    left: "the drain is being ordered".to_owned(),
                }
            }
            None => shut_down(record, now),
        },
    }
}

/// What can not be looked at can not be moved: the machine is not asked to shut down if nothing could cut it then.
fn unseen(record: &mut Record, why: &str) -> State {
    record.add_evidence(&format!("nothing was done: {why}"));
    State::Failed { untouched: true }
}

fn unchanged(record: &mut Record, state: PowerState, now: Moment) -> State {
    record.reach(state, now);
    record.add_evidence(&format!("read {state} before; nothing was driven"));
    State::Done
}

/// A drain whose order had no answer may have been ordered all the same: it is taken back too.
fn undrain(record: &mut Record, why: String, now: Moment) -> State {
    if record.drained_from.is_some() {
        State::Undraining { until: now + UNDRAIN_DEADLINE, why }
    } else {
        record.add_evidence(&why);
        State::Failed { untouched: true }
    }
}

/// The journal takes nothing more.
fn unwritten(record: &mut Record, state: State, why: &str, now: Moment) -> State {
    if matches!(state, State::Draining { ordered: false, .. }) {
        record.drained_from = None; // this was to be on the disk before it was ordered
    }
    // In these states the machine was not asked yet and no outlet has moved.
    let untouched = match &state {
        State::Draining { .. } | State::Waiting { .. } | State::SoftOff { .. } => true,
        State::AwaitingRoom { .. } => !record.moved,
        State::Cutting(_) => record.task.soft_off.is_none() && !record.moved,
        State::Dwelling { .. } | State::Energizing(_) | State::Waking { .. } => !record.moved,
        State::Looking { .. }
        | State::Undraining { .. }
        | State::Settling { .. }
        | State::Restoring { .. }
        | State::Done
        | State::Failed { .. } => false,
    };
    if untouched {
        if !record.moved {
            (record.cut, record.lit) = (None, None);
        }
        return undrain(record, format!("nothing was moved: {why}"), now);
    }
    state
}

/// The way down of a machine that is to go, once its hardware may: asked first where it can be.
fn shut_down(record: &mut Record, now: Moment) -> State {
    let may = record.task.asked_from();
    if now < may {
        return State::Waiting { until: may, to: PowerState::Off };
    }
    // What goes down for a cycle must be able to come back.
    if record.task.fed && record.task.verb == Verb::Cycle {
        return await_room(PowerState::Off, now);
    }
    go_down(record, now)
}

/// Asks the machine to shut down, or cuts it at once.
fn go_down(record: &mut Record, now: Moment) -> State {
    match record.task.soft_off {
        Some(patience) => State::SoftOff { until: now + patience },
        None if record.task.paths.cut == Cut::Never => {
            unseen(record, "nothing can shut it down and nothing can cut its power")
        }
        None => cut(record, now),
    }
}

/// Begins to open the outlets.
fn cut(record: &mut Record, now: Moment) -> State {
    record.cut = Some(now);
    State::Cutting(Move::first(Step::Drive, now))
}

/// Begins to close the outlets, once the hardware may and the feeds have room.
fn light(record: &mut Record, now: Moment) -> State {
    let may = record.task.may_light_at;
    if now < may {
        return State::Waiting { until: may, to: PowerState::On };
    }
    if record.task.fed {
        return await_room(PowerState::On, now);
    }
    close(record, now)
}

/// Begins to close the outlets: those of a machine that is woken may be closed already.
fn close(record: &mut Record, now: Moment) -> State {
    let paths = record.task.paths;
    if let (Cut::Never, Some(patience)) = (paths.cut, paths.wake) {
        return waking::begin(patience, now);
    }
    record.lit = Some(now);
    if paths.wake.is_some() {
        return State::Energizing(Move::first(Step::Look, now));
    }
    State::Energizing(Move::first(Step::Drive, now))
}

/// Remembers when the outlets were driven last.
const fn switched(record: &mut Record, state: PowerState, now: Moment) {
    match state {
        PowerState::Off => record.cut = Some(now),
        PowerState::On => record.lit = Some(now),
    }
}

/// Leaves the outlets open for the time of a cycle.
fn dwell(record: &Record, now: Moment) -> State {
    State::Dwelling { until: (now + record.task.off_dwell).max(record.task.may_light_at) }
}

/// The signs that it is down are a soft off that went well and a node that is down, where there is one to ask;
/// a node that went down is sign enough where the soft off reported an error, because ssh does when its host goes.
fn settling(state: State, settle: Duration, sign: NodeSign, now: Moment) -> State {
    let State::Settling { patience, soft_off_error, quiet_since, up, .. } = state else {
        return state;
    };
    let quiet_since = match (sign, &soft_off_error) {
        (NodeSign::Down, _) | (NodeSign::NotKnown, None) => Some(quiet_since.unwrap_or(now)),
        (NodeSign::Up, _) | (NodeSign::NotKnown, Some(_)) => None,
        // Nomad's silence takes no sign away, but it gives none either.
        (NodeSign::Silent, _) => quiet_since,
    };
    let until = quiet_since.map_or(patience, |since| since + settle);
    let up = up || sign == NodeSign::Up;
    State::Settling { until, patience, soft_off_error, quiet_since, up }
}

/// It went down by itself: its outlets open, or stay closed.
fn down(record: &mut Record, now: Moment) -> State {
    let evidence = match record.task.paths.cut {
        Cut::After => return cut(record, now),
        Cut::LastResort => "its outlets stay closed",
        Cut::Never => "nothing cuts its power",
    };
    record.moved = true;
    record.cut = Some(now);
    arrived(record, PowerState::Off, evidence, now)
}

/// The machine did not go down by itself. Where nothing can cut it, it is put aside if it is known to be up; one that
/// could only not be reached may be off already.
fn escalate(record: &mut Record, why: &str, up: bool, now: Moment) -> State {
    let never = record.task.paths.cut == Cut::Never;
    match record.task.on_soft_off_timeout {
        OnSoftOffTimeout::Cut if !never => {
            record.add_evidence(&format!("{why}, hence a hard cut"));
            cut(record, now)
        }
        OnSoftOffTimeout::Cut | OnSoftOffTimeout::Quarantine => {
            record.add_evidence(&match (never, up) {
                (true, true) => format!("{why}; nothing can cut its power"),
                (true, false) => {
                    format!("{why}; nothing can cut its power, and nothing says whether it is up")
                }
                (false, _) => format!("{why}; its power was left as it is"),
            });
            record.stays_up = !never || up;
            State::Failed { untouched: false }
        }
    }
}

/// One movement: drive, read back, and again where the fault may pass.
fn moved(
    record: &mut Record,
    wanted: PowerState,
    movement: Move,
    event: Event,
    now: Moment,
) -> State {
    let stay = |step| within(wanted, Move { step, ..movement.clone() });
    match (movement.step, event) {
        (Step::Rest { .. }, Event::Expired) if now < movement.until => stay(Step::Look),
        (_, Event::Expired) => give_up(record, wanted, "its time is over"),
        (Step::Drive, Event::Told(Input::Driven(Ok(())))) => {
            record.moved = true;
            switched(record, wanted, now);
            // Also where no reading will confirm it: from now on the former state may not be assumed.
            record.reach(wanted, now);
            stay(Step::Verify)
        }
        (Step::Drive, Event::Told(Input::Driven(Err(fault)))) => {
            // What was perhaps sent has perhaps moved it.
            if fault.class == crate::FaultClass::Indeterminate {
                record.moved = true;
                switched(record, wanted, now);
            }
            again(record, wanted, movement, &fault, now)
        }
        (Step::Look | Step::Verify, Event::Told(Input::Seen(Err(fault)))) => {
            again(record, wanted, movement, &fault, now)
        }
        (Step::Look | Step::Verify, Event::Told(Input::Seen(Ok(seen)))) => {
            match (seen.agreement(wanted), movement.step) {
                (Agreement::Confirmed, _) => {
                    let evidence = format!("read back {wanted}{}", seen.source.told());
                    arrived(record, wanted, &evidence, now)
                }
                (Agreement::CanNotTell, Step::Verify) => {
                    arrived(record, wanted, &assumed(wanted, seen), now)
                }
                (Agreement::Contradicted, Step::Verify) => {
                    let fault = Fault {
                        class: crate::FaultClass::Indeterminate,
                        text: format!("driven {wanted}, but it reads otherwise"),
                    };
                    again(record, wanted, movement, &fault, now)
                }
                (Agreement::CanNotTell | Agreement::Contradicted, _) => stay(Step::Drive),
            }
        }
        (step, Event::Told(_)) => stay(step),
    }
}

/// On what an arrival rests that not every outlet confirms.
fn assumed(wanted: PowerState, seen: LinesSeen) -> String {
    let told = seen.on + seen.off;
    if told == 0 {
        return format!("assumed {wanted}: the board can not be read");
    }
    let all = told + seen.untold;
    format!(
        "read back {wanted} on {told} of {all} outlets, assumed on the rest: their board can not be read"
    )
}

fn within(wanted: PowerState, movement: Move) -> State {
    match wanted {
        PowerState::On => State::Energizing(movement),
        PowerState::Off => State::Cutting(movement),
    }
}

fn again(
    record: &mut Record,
    wanted: PowerState,
    movement: Move,
    fault: &Fault,
    now: Moment,
) -> State {
    let attempts = movement.attempts + 1;
    if !fault.may_pass() || attempts >= DRIVE_ATTEMPTS_MAX {
        return give_up(record, wanted, &fault.text);
    }
    record.trouble.clone_from(&fault.text);
    let step = Step::Rest { until: now + RETRY_PAUSE };
    within(wanted, Move { step, attempts, ..movement })
}

fn give_up(record: &mut Record, wanted: PowerState, why: &str) -> State {
    record.add_evidence(&format!("could not be driven {wanted}: {why}"));
    if record.task.verb == Verb::Cycle && wanted == PowerState::On {
        record.add_evidence("the machine was left off");
    }
    State::Failed { untouched: false }
}

fn arrived(record: &mut Record, state: PowerState, evidence: &str, now: Moment) -> State {
    record.reach(state, now);
    record.trouble.clear();
    if state == PowerState::Off && record.drained_from.is_some() {
        record.add_evidence(evidence);
        return State::Restoring { until: now + UNDRAIN_DEADLINE };
    }
    if record.task.verb == Verb::Cycle && state == PowerState::Off {
        return dwell(record, now);
    }
    record.add_evidence(evidence);
    match (state, record.task.paths.wake) {
        (PowerState::On, Some(patience)) => waking::begin(patience, now),
        (PowerState::On | PowerState::Off, _) => State::Done,
    }
}

fn restored(record: &mut Record, error: Option<&str>, now: Moment) -> State {
    match error {
        None => record.drained_from = None,
        Some(error) => {
            record.add_evidence(&format!("its node could not be made eligible yet: {error}"));
        }
    }
    match record.task.verb {
        Verb::Cycle => dwell(record, now),
        Verb::Off | Verb::On => State::Done,
    }
}

/// What is done in a state.
pub(super) fn action(record: &Record) -> Action {
    match &record.state {
        State::Looking { rest: Some(rest), until } => Action::Wait { until: *rest.min(until) },
        State::Looking { until, rest: None } => Action::ReadBack { until: *until },
        State::Draining { until, ordered: false, .. } => Action::OrderDrain { until: *until },
        State::Draining { until, ordered: true, .. } => Action::WatchDrain { until: *until },
        State::Waiting { until, to: PowerState::Off } if record.task.waits_for_life() => {
            Action::WatchLife { again_at: *until, until: *until }
        }
        State::Waiting { until, .. } => Action::Wait { until: *until },
        State::AwaitingRoom { until, to, ask_at, .. } => {
            Action::AskRoom { to: *to, ask_at: *ask_at, until: *until }
        }
        State::Undraining { until, .. } | State::Restoring { until } => {
            Action::CancelDrain { until: *until }
        }
        State::SoftOff { until } => Action::SoftOff { until: *until },
        State::Settling { until, .. } => Action::WatchNode { until: *until },
        State::Cutting(movement) => movement_action(PowerState::Off, movement),
        State::Dwelling { until } => Action::Wait { until: *until },
        State::Energizing(movement) => movement_action(PowerState::On, movement),
        State::Waking { until, step: WakeStep::Send, .. } => Action::Wake { until: *until },
        State::Waking { step: WakeStep::Look { until }, .. } => {
            Action::LookForLife { until: *until }
        }
        State::Waking { until, step: WakeStep::Watch { again_at }, .. } => {
            Action::WatchLife { again_at: *again_at, until: *until }
        }
        State::Done | State::Failed { .. } => Action::Finished,
    }
}

const fn movement_action(state: PowerState, movement: &Move) -> Action {
    let until = movement.until;
    match movement.step {
        Step::Look | Step::Verify => Action::ReadBack { until },
        Step::Drive => Action::Drive { state, until },
        Step::Rest { until } => Action::Wait { until },
    }
}

/// The state in which another process goes on: what may have been lost is looked at or asked again.
pub(super) fn resumed(state: State, now: Moment) -> State {
    match state {
        State::Looking { .. } => State::Looking { until: now + LOOK_DEADLINE, rest: None },
        State::Settling { patience, soft_off_error, .. } => {
            let until = patience.max(now + LOOK_DEADLINE);
            State::Settling { until, patience: until, soft_off_error, quiet_since: None, up: false }
        }
        State::SoftOff { until } => State::SoftOff { until: until.max(now + LOOK_DEADLINE) },
        State::Undraining { why, .. } => State::Undraining { until: now + UNDRAIN_DEADLINE, why },
        State::Restoring { .. } => State::Restoring { until: now + UNDRAIN_DEADLINE },
        State::Cutting(_) => State::Cutting(Move::first(Step::Look, now)),
        State::Energizing(_) => State::Energizing(Move::first(Step::Look, now)),
        // To wake it twice is harmless.
        State::Waking { until, sent, seen, .. } => {
            let until = until.max(now + LOOK_DEADLINE);
            State::Waking { until, step: WakeStep::Send, sent, seen }
        }
        State::AwaitingRoom { until, to, why, .. } => {
            let until = until.max(now + LOOK_DEADLINE);
            State::AwaitingRoom { until, to, ask_at: now, why }
        }
        State::Waiting { .. }
        | State::Draining { .. }
        | State::Dwelling { .. }
        | State::Done
        | State::Failed { .. } => state,
    }
}
