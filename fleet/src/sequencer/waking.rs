//! The way from closed outlets to a machine that is awake, where power alone does not start it: wake packets until a
//! sign of life, or until its time is over. A packet is no evidence: nobody answers it.

use std::time::Duration;

use super::diagram::Event;
use super::state::{Input, Record, State, WakeStep};
use crate::{Moment, PowerState};

/// How many packets go out in a row before the first second is over: one may meet a switch port that still sleeps.
pub const WAKE_BURST: u32 = 3;

/// The pause between the first packets: longer than a network card needs to weigh one.
pub const WAKE_GAP: Duration = Duration::from_millis(100);

/// The pause between two later packets: a switch port that has to learn its link again forwards after some thirty
/// seconds, and a packet costs nothing.
pub const WAKE_PAUSE: Duration = Duration::from_secs(1);

/// How long a machine that is to be woken is looked at first: it may be awake.
pub const LIFE_DEADLINE: Duration = Duration::from_secs(5);

/// Begins with a look.
pub(super) fn begin(patience: Duration, now: Moment) -> State {
    let step = WakeStep::Look { until: now + LIFE_DEADLINE.min(patience) };
    State::Waking { until: now + patience, step, sent: 0, seen: String::new() }
}

/// The next state.
pub(super) fn waking(record: &mut Record, state: State, event: Event, now: Moment) -> State {
    let State::Waking { until, step, sent, seen } = state else { return state };
    match (step, event) {
        (_, Event::Told(Input::LifeSeen(Ok(sign)))) => awake(record, sent, &sign, now),
        (_, Event::Told(Input::CalledOff(why))) => called_off(record, sent, &why),
        (_, Event::Expired) if until <= now => asleep(record, sent, &seen),
        (WakeStep::Look { .. }, Event::Told(Input::LifeSeen(Err(seen)))) => {
            State::Waking { until, step: WakeStep::Send, sent, seen }
        }
        (WakeStep::Look { .. } | WakeStep::Watch { .. }, Event::Expired) => {
            State::Waking { until, step: WakeStep::Send, sent, seen }
        }
        (WakeStep::Watch { again_at }, Event::Told(Input::LifeSeen(Err(seen)))) => {
            State::Waking { until, step: WakeStep::Watch { again_at }, sent, seen }
        }
        (WakeStep::Send, Event::Told(Input::WakeSent(Ok(())))) => {
            called(record, now);
            let sent = sent.saturating_add(1);
            let again_at = now + if sent < WAKE_BURST { WAKE_GAP } else { WAKE_PAUSE };
            State::Waking { until, step: WakeStep::Watch { again_at }, sent, seen }
        }
        (WakeStep::Send, Event::Told(Input::WakeSent(Err(fault)))) if fault.may_pass() => {
            record.trouble = fault.text;
            let step = WakeStep::Watch { again_at: now + WAKE_PAUSE };
            State::Waking { until, step, sent, seen }
        }
        (WakeStep::Send, Event::Told(Input::WakeSent(Err(fault)))) => {
            record.add_evidence(&format!("no wake packet could be sent: {}", fault.text));
            State::Failed { untouched: !record.moved }
        }
        (step, _) => State::Waking { until, step, sent, seen },
    }
}

/// From the first packet on its former state may not be assumed.
fn called(record: &mut Record, now: Moment) {
    record.moved = true;
    record.lit = Some(now);
    record.trouble.clear();
    record.reach(PowerState::On, now);
}

fn awake(record: &mut Record, sent: u32, sign: &str, now: Moment) -> State {
    record.trouble.clear();
    record.reach(PowerState::On, now);
    record.add_evidence(&match (sent, record.moved) {
        (0, false) => format!("awake before: {sign}; nothing was sent"),
        (0, true) => format!("awake without a wake packet: {sign}"),
        (1, _) => format!("awake after one wake packet: {sign}"),
        (sent, _) => format!("awake after {sent} wake packets: {sign}"),
    });
    State::Done
}

/// What was sent can not be called back.
fn called_off(record: &mut Record, sent: u32, why: &str) -> State {
    record.add_evidence(why);
    if sent > 0 {
        record.add_evidence(&format!("{sent} wake packets were sent, and it may wake by them"));
    }
    State::Failed { untouched: !record.moved }
}

fn asleep(record: &mut Record, sent: u32, seen: &str) -> State {
    let text = match sent {
        0 => "no wake packet could be sent",
        1 => "it did not wake in time: one wake packet was sent",
        _ => "it did not wake in time",
    };
    record.add_evidence(text);
    if sent > 1 {
        record.add_evidence(&format!("{sent} wake packets were sent"));
    }
    let trouble = std::mem::take(&mut record.trouble);
    for seen in [trouble.as_str(), seen] {
        if !seen.is_empty() {
            record.add_evidence(seen);
        }
    }
    State::Failed { untouched: !record.moved }
}
