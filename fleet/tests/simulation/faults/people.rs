//! What people do: orders, locks, a button on the board, and writes of their own to Nomad.

use std::time::Duration;

use fleet::arbiter::HoldAsked;
use fleet::{HoldKind, Reason, Verb};

use super::Kind;
use crate::chance::Chance;
use crate::installation::Installation;
use crate::site::{machines, pool_of, rack_of};

const PEOPLE: [&str; 2] = ["ada", "bob"];

pub(super) fn happen(kind: Kind, name: &'static str, all: &mut Installation, chance: &mut Chance) {
    let by = *chance.pick(&PEOPLE);
    match kind {
        Kind::Button => {
            all.check.touched(name, all.now);
            all.racks[rack_of(name)].press(name, all.now);
        }
        Kind::Locks => lock((name, by), all, chance),
        Kind::Operator => operate(name, all, chance),
        _ => order((name, by), all, chance),
    }
}

fn order(who: (&'static str, &str), all: &mut Installation, chance: &mut Chance) {
    let (verb, how) = match chance.between(0, 6) {
        0 => return all.release(who.0, None, (who.1, false), chance),
        1 => return all.reset_fences(pool_of(who.0)),
        2 => (Verb::On, (false, false)),
        3 => (Verb::Off, (chance.once_in(2), false)),
        4 => (Verb::Cycle, (chance.once_in(2), false)),
        5 => (Verb::Off, (false, true)),
        _ => (Verb::Cycle, (false, true)),
    };
    all.person(who, verb, how, chance);
}

fn lock((name, by): (&str, &str), all: &mut Installation, chance: &mut Chance) {
    if chance.once_in(4) {
        let kind = chance.once_in(2).then(|| *chance.pick(&HoldKind::ALL));
        return all.release(name, kind, (by, chance.once_in(4)), chance);
    }
    let kind = *chance.pick(&[HoldKind::Maintenance, HoldKind::Reservation, HoldKind::Hold]);
    let span = *chance.pick(&[None, Some(20), Some(90), Some(400)]);
    let asked = HoldAsked {
        kind,
        by: by.to_owned(),
        reason: Reason::new("because"),
        span: span.map(Duration::from_secs),
        force: chance.once_in(4),
    };
    all.note(format!("{by} asks for {} of {name} for {span:?}", kind.as_str()));
    all.hold(name, asked, chance);
}

/// Somebody frees a node, takes it out of scheduling, or something else happens to it.
fn operate(name: &str, all: &mut Installation, chance: &mut Chance) {
    all.check.touched(name, all.now);
    match chance.between(0, 2) {
        0 => free(name, all),
        1 => {
            all.nomad.write(name, None);
        }
        // Where it is so already, this leaves no trace.
        _ if all.nomad.eligibility(name, false) == 0 => {}
        _ => {
            all.note(format!("{name} is taken out of scheduling"));
            all.check.set_aside(name, true, all.now);
        }
    }
}

/// Somebody gives a node back.
fn free(name: &str, all: &mut Installation) {
    all.note(format!("{name} is freed"));
    all.check.set_aside(name, false, all.now);
    all.nomad.end_drain(name);
}

/// People go home: what they took out of scheduling they give back.
pub(super) fn give_back(all: &mut Installation) {
    for name in machines() {
        if all.check.is_theirs(name) {
            free(name, all);
        }
    }
}
