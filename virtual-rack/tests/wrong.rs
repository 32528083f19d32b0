//! What goes wrong in a rack, on its model. Method: a rack of two feeds and three boards; frames and
//! faults in with their moments, and what the wiring would have to do out.

use std::path::Path;

use virtual_rack::config;
use virtual_rack::edges::Cause;
use virtual_rack::machine::Effect;
use virtual_rack::machine::Phase;
use virtual_rack::moment::Moment;
use virtual_rack::rack::Action;
use virtual_rack::rack::Rack;
use virtual_rack::relay::Power;

const RACK: &str = r#"
socket = "s"
edge_log = "e"
[feeds.left]
[feeds.right]
[boards.drops]
kind = "lcus-ascii"
channels = 2
link = "d"
feed = "left"
[boards.holds]
kind = "lcus-ascii"
channels = 2
link = "h"
feed = "left"
unpowered = "hold"
[boards.usb]
kind = "lcus-ascii"
channels = 1
link = "u"
[machines.node1]
board = "drops"
channel = 1
feed = "left"
on = true
boot_ms = 1000
shutdown_ms = 500
watts = 5
[machines.node2]
board = "holds"
channel = 1
feed = "left"
on = true
boot_ms = 1000
shutdown_ms = 500
watts = 5
[machines.node3]
board = "usb"
channel = 1
feed = "right"
on = true
boot_ms = 1000
shutdown_ms = 500
watts = 5
"#;

const ON_1: [u8; 4] = [0xA0, 1, 1, 0xA2];
const OFF_1: [u8; 4] = [0xA0, 1, 0, 0xA1];

fn rack() -> Rack {
    Rack::assemble(&config::parse(RACK, Path::new("RACK.toml")).expect("a rack"))
}

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn fail(rack: &mut Rack, fault: &str, millis: u64) -> Vec<Action> {
    rack.fail(fault.parse().expect("a fault"), at(millis)).expect("its place")
}

fn edges(actions: &[Action]) -> Vec<(&str, u8, Power, Cause)> {
    let edge = |action: &'_ Action| match action {
        Action::LogEdge { board, channel, power, cause, .. } => {
            Some((board.clone(), *channel, *power, *cause))
        }
        _ => None,
    };
    let found: Vec<_> = actions.iter().filter_map(edge).collect();
    found
        .into_iter()
        .map(|(board, channel, power, cause)| {
            let known = ["drops", "holds", "usb"].into_iter().find(|name| *name == board);
            (known.expect("a board of this rack"), channel, power, cause)
        })
        .collect()
}

/// What the board answers to a query, as ON and OFF per channel.
fn told(rack: &mut Rack, board: &str, millis: u64) -> Option<String> {
    rack.receive(board, &[0xFF], at(millis)).into_iter().find_map(|action| match action {
        Action::Answer { bytes, .. } => Some(String::from_utf8(bytes).expect("text")),
        _ => None,
    })
}

fn phase(rack: &Rack, machine: &str) -> Phase {
    rack.machine(machine).expect("a machine of this rack").phase()
}

#[test]
fn mains_that_fail_kill_all_on_the_feed_at_once_and_relays_drop_or_hold() {
    let mut rack = rack();
    let gone = fail(&mut rack, "left no-mains", 100);
    let killed =
        |machine: &str| Action::Command { machine: machine.to_owned(), effect: Effect::Kill };
    assert_eq!(
        gone[..2],
        [killed("node1"), killed("node2")],
        "machines die before any relay moves"
    );
    assert_eq!(edges(&gone), [("drops", 1, Power::Off, Cause::Mains)]);
    assert_eq!(phase(&rack, "node3"), Phase::Up, "the other feed is not concerned");
    assert_eq!(told(&mut rack, "drops", 200), None, "a board without power is deaf");
    assert_eq!(rack.receive("holds", &OFF_1, at(300)), []);
    assert_eq!(fail(&mut rack, "left no-mains", 300), [], "twice is once");
    let back = rack.heal("left", at(1000)).unwrap();
    assert_eq!(edges(&back), [("holds", 1, Power::Off, Cause::Mains)], "open at power-up");
    assert_eq!((phase(&rack, "node1"), phase(&rack, "node2")), (Phase::Dark, Phase::Dark));
    rack.receive("drops", &ON_1, at(2000));
    assert_eq!(phase(&rack, "node1"), Phase::Booting);
}

#[test]
fn what_hangs_on_a_closed_relay_of_a_living_board_boots_when_the_mains_return() {
    let mut rack = rack();
    let gone = fail(&mut rack, "right no-mains", 100);
    assert_eq!((gone.len(), edges(&gone).len()), (1, 0), "it dies and no contact moves");
    rack.receive("usb", &OFF_1, at(200));
    assert_eq!(rack.receive("usb", &ON_1, at(400)).len(), 1, "contacts move without current");
    assert_eq!(phase(&rack, "node3"), Phase::Dark);
    rack.heal("all", at(1000)).unwrap();
    assert_eq!(phase(&rack, "node3"), Phase::Booting);
}

#[test]
fn a_liars_answer_and_its_contact_are_two_things() {
    // What is wrong, then after an order on: whether the contact closed, and what is told.
    let on = "CH1: ON \r\n";
    let off = "CH1: OFF\r\n";
    for (faults, contact, answer) in [
        (&["usb ignores-frames"][..], Power::Off, Some(off)),
        (&["usb ignores-frames", "usb echoes"], Power::Off, Some(on)),
        (&["usb mute"], Power::On, None),
        (&["usb stale"], Power::On, Some(off)),
        (&["usb inverted-answers"], Power::On, Some(off)),
        (&["usb inverted-relays"], Power::Off, Some(off)),
        (&["usb inverted-relays", "usb echoes"], Power::Off, Some(on)),
        (&["usb:1 welded-open"], Power::Off, Some(on)),
    ] {
        let mut rack = rack();
        rack.receive("usb", &OFF_1, at(0));
        for fault in faults {
            fail(&mut rack, fault, 100);
        }
        rack.receive("usb", &ON_1, at(200));
        let found = rack.boards().find(|(name, _)| *name == "usb").unwrap().1.relays()[0].contact();
        assert_eq!(found, contact, "{faults:?}");
        assert_eq!(told(&mut rack, "usb", 400).as_deref(), answer, "{faults:?}");
        rack.heal("usb", at(500)).unwrap();
        assert_eq!(rack.faults(), [], "{faults:?}");
    }
}

#[test]
fn a_late_board_acts_late_once_more_and_answers_late_each_at_its_moment() {
    let mut rack = rack();
    fail(&mut rack, "usb acts-late 300ms", 0);
    fail(&mut rack, "usb acts-again 500ms", 0);
    fail(&mut rack, "usb answers-late 100ms", 0);
    assert_eq!(rack.receive("usb", &OFF_1, at(0)), []);
    assert_eq!(rack.deadline(), Some(at(300)));
    let acted = rack.elapse(at(310));
    assert_eq!(edges(&acted), [("usb", 1, Power::Off, Cause::Late)]);
    assert_eq!(told(&mut rack, "usb", 400), None);
    let answered = rack.elapse(at(500));
    assert!(matches!(&answered[..], [Action::Answer { .. }]), "{answered:?}");
    rack.by_hand("usb:1", Power::On, at(600)).unwrap();
    let again = rack.elapse(at(900));
    assert_eq!(edges(&again), [("usb", 1, Power::Off, Cause::Late)], "the second time undoes it");
    assert_eq!(rack.deadline(), None);
}

#[test]
fn a_line_that_loses_and_garbles_everything_moves_nothing() {
    let mut rack = rack();
    fail(&mut rack, "usb loses 100", 0);
    for millis in [0, 100, 200] {
        assert_eq!(rack.receive("usb", &OFF_1, at(millis)), []);
    }
    rack.heal("usb", at(300)).unwrap();
    fail(&mut rack, "usb noisy 100", 300);
    for millis in (400..4000).step_by(150) {
        assert_eq!(edges(&rack.receive("usb", &OFF_1, at(millis))), []);
    }
    let counts = rack.boards().find(|(name, _)| *name == "usb").unwrap().1.counts(at(9000));
    assert_eq!((counts.accepted, counts.lost >= 3, counts.bad > 3), (0, true, true), "{counts:?}");
}

#[test]
fn by_hand_a_relay_moves_past_every_driver_and_is_logged_as_such() {
    let mut rack = rack();
    let moved = rack.by_hand("usb:1", Power::Off, at(0)).unwrap();
    assert_eq!(edges(&moved), [("usb", 1, Power::Off, Cause::Hand)]);
    assert_eq!(rack.by_hand("usb:1", Power::Off, at(1)).unwrap(), []);
}

#[test]
fn what_is_not_there_can_not_go_wrong_and_the_error_names_what_is() {
    let mut rack = rack();
    let mut refused =
        |fault: &str| rack.fail(fault.parse().unwrap(), at(0)).unwrap_err().to_string();
    let expected = "found no machine \"node9\", expected one of node1, node2, node3";
    assert_eq!(refused("node9 hangs"), expected);
    assert_eq!(refused("x mute"), "found no board \"x\", expected one of drops, holds, usb");
    let expected = "found no relay \"usb:2\", expected one of usb:1 to usb:1";
    assert_eq!(refused("usb:2 welded-open"), expected);
    assert_eq!(refused("mid no-mains"), "found no feed \"mid\", expected one of left, right");
    let nowhere = rack.heal("nowhere", at(0)).unwrap_err().to_string();
    assert!(nowhere.contains("node1, node2, node3, drops, holds, usb, left, right"), "{nowhere}");
    rack.by_hand("usb:1", Power::Off, at(0)).unwrap();
    let dark = rack.fail("node3 hangs".parse().unwrap(), at(1)).unwrap_err().to_string();
    assert_eq!(dark, "machine node3 can not hang: found it dark, expected it on");
}
