//! What a device remembers over resets and losses of its supply, and how its flash wears.

use bridge_device::choose;
use bridge_device::hardware::RECORD_LEN;
use bridge_device::store::{Memory, OpenCycle, Store};
use bridge_protocol::{
    Epoch, OUTLETS_MAX, Outcome, OutletNumber, PowerState, Refusal, Request, ResetCause, SafeState,
    Said, What,
};

use crate::board::{Board, Seen, facts, outlet};
use crate::desk::Desk;
use crate::dice::Dice;
use crate::orders::rested;

const ON: PowerState = PowerState::On;
const OFF: PowerState = PowerState::Off;

#[test]
fn a_reset_moves_nothing_and_is_seen_by_the_epoch() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.edges();
    let before = desk.device.epoch();
    let mut desk = desk.reset(ResetCause::Watchdog);
    assert_eq!(desk.device.epoch(), Epoch(before.0 + 1));
    assert_eq!(desk.edges(), []);
    assert_eq!(desk.outlets()[0].driven, ON);
    assert!(desk.happened(What::Started(ResetCause::Watchdog)));
}

#[test]
fn a_reset_in_the_off_of_a_cycle_ends_with_the_on() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(300);
    desk.cycle(1, 1000);
    desk.pass(400);
    desk.edges();
    let mut desk = desk.reset(ResetCause::Watchdog);
    assert_eq!(desk.set(1, ON), Outcome::Refused(Refusal::InCycle(1000)));
    assert_eq!(desk.pass(1500), [(1000, Seen { outlet: outlet(1), state: ON })]);
    let mut desk = desk.reset(ResetCause::Watchdog);
    assert_eq!(desk.pass(5000), [], "once");
}

#[test]
fn the_intent_of_a_cycle_is_remembered_before_its_off_or_there_is_no_off() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.pass(300);
    desk.edges();
    desk.device.hardware().writes_left = Some(0);
    let cycle = Request::Cycle(desk.order(), outlet(1), 1000);
    assert_eq!(desk.refused(&cycle), Refusal::StorageFailed);
    assert_eq!(desk.pass(2000), []);
}

#[test]
fn a_supply_that_comes_back_gives_nothing_power_and_says_which_cycle_it_left_off() {
    let mut desk = rested();
    desk.set_all(&[(1, ON), (2, ON)]);
    desk.pass(400);
    desk.cycle(1, 1000);
    // The relays fall with the supply.
    desk.device.hardware().levels.fill(OFF);
    desk.edges();
    for cause in [ResetCause::BrownOut, ResetCause::PowerUp, ResetCause::Other(9)] {
        desk = desk.reset(cause);
        assert_eq!(desk.pass(5000), [], "{cause:?}");
        let left = desk.happened(What::CycleLeftOff(outlet(1)));
        assert_eq!(left, cause == ResetCause::BrownOut, "told once");
    }
}

#[test]
fn after_a_loss_of_the_supply_relays_that_hold_by_themselves_take_off_or_stay_but_never_on() {
    let mut desk = rested();
    desk.set_all(&[(1, ON), (2, ON), (3, ON)]);
    desk.pass(100);
    let safe = [(1, SafeState::Off), (2, SafeState::Keep), (3, SafeState::On), (4, SafeState::On)];
    let safe = safe.map(|(number, state)| (outlet(number), state));
    let request = Request::Lease(desk.order(), None, safe.into_iter().collect());
    assert!(matches!(desk.ask(&request), Said::Done(_)));
    desk.edges();
    let mut desk = desk.reset(ResetCause::BrownOut);
    assert_eq!(desk.edges(), [Seen { outlet: outlet(1), state: OFF }]);
    assert_eq!(desk.pass(5000), []);
    assert_eq!([1, 2, 3, 4].map(|number| desk.level(number)), [OFF, ON, ON, OFF]);
}

#[test]
fn a_device_that_can_not_remember_its_start_gives_no_power_and_still_takes_it() {
    let mut desk = rested();
    desk.set(1, ON);
    desk.edges();
    desk.device.hardware().writes_left = Some(0);
    let mut desk = desk.reset(ResetCause::Software);
    desk.pass(400);
    assert_eq!(desk.set(2, ON), Outcome::Refused(Refusal::StorageFailed));
    assert_eq!(desk.set(1, OFF), Outcome::Changed);
    assert!(desk.happened(What::StorageFailed));
}

#[test]
fn the_fullest_memory_fits_into_a_record() {
    let mut board = Board::new();
    let cycle = |outlet: OutletNumber| OpenCycle { outlet, off_tenths: u16::MAX };
    let memory = Memory {
        epoch: Epoch(u32::MAX),
        safe: [SafeState::Keep; OUTLETS_MAX],
        cycles: OutletNumber::all().map(cycle).collect(),
        ..Memory::BLANK
    };
    let mut store = Store::open(&mut board).unwrap();
    store.remember(&memory, &mut board).unwrap();
    assert_eq!(*Store::open(&mut board).unwrap().memory(), memory);
}

#[test]
fn whatever_write_the_supply_tears_the_memory_is_the_one_before_or_the_new_one() {
    let mut dice = Dice(20_261_123);
    let mut board = Board::new();
    let mut store = Store::open(&mut board).unwrap();
    let mut torn = 0;
    for epoch in 1..3000 {
        let before = store.memory().clone();
        let memory = Memory { epoch: Epoch(epoch), ..before.clone() };
        let tears = dice.once_in(3);
        board.writes_left = tears.then(|| u32::try_from(dice.below(2)).unwrap());
        let written = store.remember(&memory, &mut board);
        board.writes_left = None;
        store = Store::open(&mut board).unwrap();
        if written.is_ok() {
            assert_eq!(*store.memory(), memory);
        } else {
            torn += 1;
            assert_eq!(*store.memory(), before);
        }
    }
    assert!(torn > 100);
}

#[test]
fn each_sector_is_erased_as_often_as_the_others() {
    let mut desk = Desk::new();
    for _ in 0..500 {
        desk = desk.reset(ResetCause::Software);
    }
    let erased = desk.device.hardware().erased.clone();
    let (least, most) = (erased.iter().min().unwrap(), erased.iter().max().unwrap());
    assert!(*least > 10 && most - least <= 1, "{erased:?}");
    assert_eq!(choose(desk.device.hardware()), bridge_device::Slot::A);
}

#[test]
fn flash_of_any_content_opens_and_a_blank_one_is_a_device_that_never_ran() {
    let mut dice = Dice(7);
    for _ in 0..200 {
        let mut board = Board::new();
        for record in board.sectors.iter_mut().flatten() {
            let mut noise = [0; RECORD_LEN];
            noise.iter_mut().for_each(|byte| *byte = dice.byte());
            *record = noise;
        }
        assert_eq!(*Store::open(&mut board).unwrap().memory(), Memory::BLANK);
        let desk = Desk::with(board, facts(), ResetCause::PowerUp);
        assert_eq!(desk.device.epoch(), Epoch(1));
    }
}
