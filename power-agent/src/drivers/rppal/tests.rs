//! The promises of the driver that are its own. Its registers are shown on an emulated Pi, by the test kit's `pi`.

use std::path::Path;

use fleet::PowerState;

use super::super::{Driver, DriverError, OutletNumber, conformance};
use super::bench::{Board, driver};
use super::header::Function;
use super::settings::PinConfig;
use crate::config::{Config, Findings};

const HIGH_IS_ON: PinConfig = PinConfig { number: 17, active_low: false, bias: None };

fn here<T>(told: impl Future<Output = T>) -> T {
    let mut answer = None;
    conformance::run(async { answer = Some(told.await) }).unwrap();
    answer.unwrap()
}

fn outlet(number: u16) -> OutletNumber {
    OutletNumber::new(number).unwrap()
}

/// The rack file with these lines for a device.
fn device(lines: &str) -> Result<Config, Findings> {
    let text = format!("[devices.header]\ndriver = \"rppal\"\n{lines}\n");
    Config::parse(Path::new("rack.toml"), &text, Path::new("/"))
}

#[test]
fn a_pin_is_adopted_with_the_level_that_its_pull_gives_it() {
    for pulled_up in [false, true] {
        let board = Board::default();
        board.pin(17, |pin| pin.pulled_up = pulled_up);
        let edges = board.pin(17, |pin| pin.edges);
        let mut driver = driver(&[HIGH_IS_ON], &board);
        let read = here(driver.read_all()).unwrap().of(outlet(1));
        assert_eq!(read, Some(if pulled_up { PowerState::On } else { PowerState::Off }));
        let seen = board.pin(17, |pin| (pin.function, pin.level(), pin.edges));
        assert_eq!(seen, (Function::Output, pulled_up, edges));
    }
}

#[test]
fn where_one_pin_is_held_or_the_board_s_own_none_is_touched() {
    let held = |board: &Board| {
        board.pin(27, |pin| pin.holder = Some("fan".to_owned()));
        "pin 27 is held by fan"
    };
    let used = |board: &Board| {
        board.pin(27, |pin| pin.function = Function::Other);
        "pin 27 is neither an input nor an output"
    };
    let ways: [&dyn Fn(&Board) -> &'static str; 2] = [&held, &used];
    for way in ways {
        let board = Board::default();
        let expected = way(&board);
        let pins = [HIGH_IS_ON, PinConfig { number: 27, ..HIGH_IS_ON }];
        let mut driver = driver(&pins, &board);
        let refused = here(driver.set(&[(outlet(1), PowerState::On)])).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(board.pin(17, |pin| pin.function), Function::Input);
    }
}

#[test]
fn what_another_hand_does_to_a_pin_is_read_and_mended_only_by_an_order() {
    let board = Board::default();
    let mut driver = driver(&[HIGH_IS_ON], &board);
    here(driver.set(&[(outlet(1), PowerState::On)])).unwrap();
    // A program that asked the kernel for the pin and let it go.
    board.pin(17, |pin| pin.function = Function::Input);
    let read = here(driver.read_all()).unwrap().of(outlet(1));
    assert_eq!(read, Some(PowerState::Off), "its pull is what the relay sees");
    assert_eq!(board.pin(17, |pin| pin.function), Function::Input, "reading mends nothing");
    here(driver.set(&[(outlet(1), PowerState::On)])).unwrap();
    assert!(board.pin(17, |pin| pin.level()));
    // A bus that was switched on over it is not written over.
    board.pin(17, |pin| pin.function = Function::Other);
    let refused = here(driver.set(&[(outlet(1), PowerState::Off)])).unwrap_err();
    assert!(matches!(refused, DriverError::Misconfigured { .. }), "{refused:?}");
    assert_eq!(board.pin(17, |pin| pin.function), Function::Other);
}

#[test]
fn a_rack_file_s_mistakes_in_pins_are_found() {
    for (lines, expected) in [
        ("", "has no `lines`"),
        ("lines = [28]", "28 is no pin of the header"),
        ("lines = [\"RELAY1\"]", "RELAY1 is no pin of the header"),
        ("lines = [17, \"GPIO17\"]", "line GPIO17 is there twice"),
        ("lines = [17]\ndrive = \"open-drain\"", "registers drive both levels"),
        ("lines = [17]\nchip = \"pinctrl-bcm2711\"", "chip"),
    ] {
        let found = device(lines).expect_err(lines).to_string();
        assert!(found.contains(expected), "{lines}\n{found}");
    }
    assert!(device("lines = [17, \"GPIO27\", { line = 22, active_low = true }]").is_ok());
}

#[test]
fn one_pin_by_both_drivers_is_refused() {
    let other =
        "[devices.other]\ndriver = \"gpio\"\nchip = \"pinctrl-bcm2711\"\nlines = [\"GPIO17\"]";
    let found = device(&format!("lines = [17]\n{other}")).expect_err("one pin twice").to_string();
    assert!(found.contains("GPIO17 of the header is a line of two devices"), "{found}");
}
