//! The promises of the driver that are its own, each in a kernel of its own.

use std::path::Path;

use anyhow::Result;
use fleet::{DeviceName, PowerState};
use gpiocdev::line::{Bias as LineBias, Direction, Drive as LineDrive, Value};
use testkit::gpio_sim::{Act, Chip, Level, Plan, Trace};
use testkit::uml::in_own_kernel;

use super::super::{
    Driver, DriverConfig, DriverError, OutletNumber, OwnerGone, Readings, Settings,
};
use super::{Gpio, look_at};
use crate::config::{Config, Findings};
use crate::descriptors::Descriptors;
use crate::drivers::conformance;

fn relays() -> Plan {
    Plan::new("relays", 8).named(1, "RELAY1").named(2, "RELAY2")
}

/// The device of a rack file with these lines for it.
fn device(lines: &str) -> Result<super::Config, Findings> {
    let text = format!("[devices.header]\ndriver = \"gpio\"\n{lines}\n");
    let config = Config::parse(Path::new("rack.toml"), &text, Path::new("/"))?;
    match config.devices.into_values().next() {
        Some(DriverConfig::Gpio(config)) => Ok(config),
        other => panic!("not a GPIO device: {other:?}"),
    }
}

fn driver(lines: &str, descriptors: &Descriptors) -> Gpio {
    let mut driver = device(lines).unwrap_or_else(|told| panic!("{told}")).driver();
    driver.introduce(&DeviceName::new("header").unwrap(), descriptors);
    driver
}

const TWO: &str = "chip = \"relays\"\nlines = [\"RELAY1\", 2]";

fn outlet(number: u16) -> OutletNumber {
    OutletNumber::new(number).unwrap()
}

/// Runs in the kernel, on a clock that stands still.
fn here<T>(told: impl Future<Output = T>) -> T {
    let mut answer = None;
    conformance::run(async { answer = Some(told.await) }).unwrap();
    answer.unwrap()
}

fn set(driver: &mut Gpio, number: u16, state: PowerState) -> Result<(), DriverError> {
    here(driver.set(&[(outlet(number), state)]))
}

fn read(driver: &mut Gpio) -> Result<Readings, DriverError> {
    here(driver.read_all())
}

fn info(chip: &Chip, offset: u32) -> gpiocdev::line::Info {
    gpiocdev::Chip::from_path(chip.node().unwrap()).unwrap().line_info(offset).unwrap()
}

fn told(error: &DriverError) -> String {
    crate::node::chain(error)
}

#[test]
fn lines_are_adopted_with_the_level_that_they_have_and_without_an_edge() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let mut driver = driver(TWO, &Descriptors::default());
        let readings = read(&mut driver)?;
        assert_eq!(readings.of(outlet(1)), Some(PowerState::On));
        assert_eq!(readings.of(outlet(2)), Some(PowerState::Off));
        // The level is there before the direction: the line never had another.
        assert_eq!(trace.of(&chip, 1)?, [Act::Driven(Level::High), Act::Output]);
        assert_eq!(trace.of(&chip, 2)?, [Act::Driven(Level::Low), Act::Output]);
        assert_eq!(trace.of(&chip, 3)?, [], "a line that is not ours");
        let line = info(&chip, 1);
        assert_eq!(
            (line.consumer.as_str(), line.direction),
            ("power-agent:header", Direction::Output)
        );
        Ok(())
    })
}

#[test]
fn a_set_is_one_act_on_one_line() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        let mut driver = driver(TWO, &Descriptors::default());
        read(&mut driver)?;
        let trace = Trace::begin()?;
        set(&mut driver, 2, PowerState::On)?;
        assert_eq!(trace.of(&chip, 2)?, [Act::Driven(Level::High)]);
        assert_eq!(trace.of(&chip, 1)?, []);
        Ok(())
    })
}

#[test]
fn a_set_as_the_very_first_act_moves_only_its_own_line() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let mut driver = driver(TWO, &Descriptors::default());
        set(&mut driver, 2, PowerState::On)?;
        assert_eq!(trace.edges(&chip, 1, Level::High)?, 0);
        assert_eq!(trace.edges(&chip, 2, Level::Low)?, 1);
        Ok(())
    })
}

#[test]
fn a_line_that_is_active_low_is_on_when_it_is_low() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let mut driver = driver(
            "chip = \"relays\"\nlines = [{ line = \"RELAY1\", active_low = true }, 2]",
            &Descriptors::default(),
        );
        let readings = read(&mut driver)?;
        assert_eq!(readings.of(outlet(1)), Some(PowerState::Off));
        assert_eq!(readings.of(outlet(2)), Some(PowerState::Off), "the other line is not");
        assert_eq!(trace.edges(&chip, 1, Level::High)?, 0);
        set(&mut driver, 1, PowerState::On)?;
        assert_eq!(chip.level(1)?, Level::Low);
        assert_eq!(read(&mut driver)?.of(outlet(1)), Some(PowerState::On));
        Ok(())
    })
}

#[test]
fn an_open_drain_line_is_only_ever_driven_low() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let descriptors = Descriptors::default();
        let mut driver = driver(
            "chip = \"relays\"\nlines = [1]\nactive_low = true\ndrive = \"open-drain\"",
            &descriptors,
        );
        assert_eq!(read(&mut driver)?.of(outlet(1)), Some(PowerState::Off));
        assert_eq!(info(&chip, 1).drive, Some(LineDrive::OpenDrain));
        set(&mut driver, 1, PowerState::On)?;
        assert_eq!(chip.level(1)?, Level::Low);
        set(&mut driver, 1, PowerState::Off)?;
        // Let go, so that its pull makes it high; the simulator shows that only to a line that nobody holds.
        let acts = trace.of(&chip, 1)?;
        assert_eq!(acts.last(), Some(&Act::Input));
        let driven_high = acts.windows(2).any(|two| two == [Act::Driven(Level::High), Act::Output]);
        assert!(!driven_high, "{acts:?}");
        drop((driver, descriptors));
        assert_eq!(chip.level(1)?, Level::High);
        Ok(())
    })
}

#[test]
fn a_bias_is_given_to_the_lines_that_have_it_and_no_other() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        let mut driver = driver(
            "chip = \"relays\"\nlines = [{ line = 1, bias = \"pull-down\" }, 2]",
            &Descriptors::default(),
        );
        read(&mut driver)?;
        assert_eq!(info(&chip, 1).bias, Some(LineBias::PullDown));
        assert_eq!(info(&chip, 2).bias, None);
        Ok(())
    })
}

#[test]
fn a_line_that_is_held_by_another_is_left_alone_and_its_holder_is_named() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().hogged(7, "fan", Level::High).make("rack")?;
        let held = gpiocdev::Request::builder()
            .on_chip(chip.node()?)
            .with_consumer("other")
            .with_line(1)
            .as_output(Value::Active)
            .request()?;
        let trace = Trace::begin()?;
        let mut first = driver("chip = \"relays\"\nlines = [1, 7, 2]", &Descriptors::default());
        let refused = told(&read(&mut first).unwrap_err());
        assert!(refused.contains("line 1 is held by other, line 7 is held by fan"), "{refused}");
        for offset in [1, 2, 7] {
            assert_eq!(trace.of(&chip, offset)?, [], "line {offset}");
        }
        // Once it is let go, it is taken without a restart of anything.
        drop(held);
        let mut second = driver("chip = \"relays\"\nlines = [1, 2]", &Descriptors::default());
        read(&mut second)?;
        Ok(())
    })
}

#[test]
fn a_device_that_is_changed_takes_over_the_lines_of_the_one_before() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        let descriptors = Descriptors::default();
        let mut before = driver(TWO, &descriptors);
        set(&mut before, 1, PowerState::On)?;
        let trace = Trace::begin()?;
        // A reload makes the new device before the old one ends.
        let mut after = driver(&format!("{TWO}\nactive_low = true"), &descriptors);
        let readings = read(&mut after)?;
        drop(before);
        assert_eq!(readings.of(outlet(1)), Some(PowerState::Off), "the level is what it was");
        assert_eq!(readings.of(outlet(2)), Some(PowerState::On));
        assert_eq!(chip.level(1)?, Level::High);
        assert_eq!(trace.edges(&chip, 1, Level::High)?, 0);
        assert_eq!(trace.edges(&chip, 2, Level::Low)?, 0);
        Ok(())
    })
}

#[test]
fn a_kept_request_of_other_lines_is_not_let_go_for_the_new_ones() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        let descriptors = Descriptors::default();
        let mut before = driver(TWO, &descriptors);
        set(&mut before, 1, PowerState::On)?;
        drop(before);
        let trace = Trace::begin()?;
        let mut after = driver("chip = \"relays\"\nlines = [1, 3]", &descriptors);
        let refused = read(&mut after).unwrap_err();
        assert!(matches!(refused, DriverError::Misconfigured { .. }), "{refused:?}");
        let refused = told(&refused);
        assert!(
            refused.contains("lines [1, 2]") && refused.contains("stop the service"),
            "{refused}"
        );
        assert_eq!((chip.level(1)?, trace.of(&chip, 1)?), (Level::High, vec![]));
        // With its lines in another order it is the same request.
        let mut turned = driver("chip = \"relays\"\nlines = [2, 1]", &descriptors);
        assert_eq!(read(&mut turned)?.of(outlet(2)), Some(PowerState::On));
        set(&mut turned, 2, PowerState::Off)?;
        assert_eq!(chip.level(1)?, Level::Low);
        Ok(())
    })
}

#[test]
fn a_chip_that_comes_back_under_another_number_is_found_by_its_label() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().make("rack")?;
        let descriptors = Descriptors::default();
        let mut driver = driver(TWO, &descriptors);
        set(&mut driver, 1, PowerState::On)?;
        chip.unplug()?;
        let other = Plan::new("other", 4).make("other")?;
        let gone = told(&read(&mut driver).unwrap_err());
        assert!(
            gone.contains("no GPIO chip \"relays\"") && gone.contains("(other, 4 lines)"),
            "{gone}"
        );
        chip.plug()?;
        assert_ne!(chip.node()?, other.node()?);
        assert_eq!(
            read(&mut driver)?.of(outlet(1)),
            Some(PowerState::Off),
            "as the chip came back"
        );
        set(&mut driver, 1, PowerState::On)?;
        assert_eq!((chip.level(1)?, other.level(1)?), (Level::High, Level::Low));
        Ok(())
    })
}

#[test]
fn what_is_wrong_with_chip_or_lines_is_told_with_what_there_is() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays().hogged(7, "fan", Level::High).make("rack")?;
        let node = chip.node()?;
        let findings = |lines: &str| {
            let config = device(lines).unwrap();
            let said = config.look().into_iter().map(|finding| {
                let expected = finding.expected.unwrap_or_default();
                let remedy = finding.remedy.unwrap_or_default();
                format!("{:?} {} | {expected} | {remedy}", finding.severity, finding.title)
            });
            said.collect::<Vec<_>>().join("\n")
        };
        for (lines, expected) in [
            (
                "chip = \"pinctrl-rp1\"\nlines = [1]",
                "Warning there is no GPIO chip \"pinctrl-rp1\"; there is only gpiochip0 (relays, 8 lines)",
            ),
            (
                "chip = \"relays\"\nlines = [1, 8]",
                "Error gpiochip0 has no line 8 | a number from 0 to 7",
            ),
            (
                "chip = \"relays\"\nlines = [\"RELAI1\"]",
                "has no line \"RELAI1\" | one of RELAY1, RELAY2 | did you mean \"RELAY1\"?",
            ),
            ("chip = \"relays\"\nlines = [\"RELAY1\", 1]", "Error line 1 is the same as RELAY1"),
            ("chip = \"relays\"\nlines = [7]", "Warning line 7 of gpiochip0 is held by fan"),
        ] {
            let said = findings(lines);
            assert!(said.contains(expected), "{lines}\n{said}");
        }
        let path = format!("chip = {node:?}\nlines = [1]");
        assert_eq!(findings(&path), "");
        let mut driver = driver(TWO, &Descriptors::default());
        read(&mut driver)?;
        assert_eq!(findings(TWO), "", "the agent's own lines are not another's");
        let looked = look_at(&device(TWO).unwrap());
        assert_eq!(looked.gone, OwnerGone::FallsBack);
        assert!(looked.because.contains("go with their owner"), "{}", looked.because);
        Ok(())
    })
}

#[test]
fn two_chips_of_one_label_are_told_apart_by_their_paths() -> Result<()> {
    in_own_kernel(|| {
        let first = relays().make("rack")?;
        let second = relays().make("twin")?;
        let mut either = driver(TWO, &Descriptors::default());
        let refused = read(&mut either).unwrap_err();
        assert!(matches!(refused, DriverError::Misconfigured { .. }), "{refused:?}");
        let lines = format!("chip = {:?}\nlines = [1]", second.node()?);
        set(&mut driver(&lines, &Descriptors::default()), 1, PowerState::On)?;
        assert_eq!(first.level(1)?, Level::Low);
        Ok(())
    })
}

#[test]
fn a_pin_that_a_pi_s_console_or_bus_uses_is_told_with_its_place() -> Result<()> {
    in_own_kernel(|| {
        Plan::new("pinctrl-bcm2835", 54).make("pi")?;
        let config = device("chip = \"pinctrl-bcm2835\"\nlines = [14, 17, 2]").unwrap();
        let said: Vec<String> = config.look().into_iter().map(|finding| finding.title).collect();
        let expected = [14, 2].map(|line| format!("line {line} is a pin that the board uses"));
        assert_eq!(said, expected);
        let looked = look_at(&config);
        assert_eq!(looked.on_by_default, ["2 is pulled up by default, and high is on"]);
        Ok(())
    })
}

#[test]
fn a_rack_file_s_mistakes_in_lines_are_found_without_any_chip() {
    for (lines, expected) in [
        ("lines = [1]", "has no `chip`"),
        ("chip = \"relays\"", "has no `lines`"),
        ("chip = \"relays\"\nlines = []", "1 to 64 lines"),
        ("chip = \"relays\"\nlines = [1, 1]", "line 1 is there twice"),
        ("chip = \"relays\"\nlines = [-1]", "a number from 0"),
        ("chip = \"relays\"\nlines = [70000]", "70000 is no line of any chip"),
        ("chip = \"relays\"\nlines = [{ active_low = true }]", "has no `line`"),
        (
            "chip = \"relays\"\nlines = [{ line = 1, activelow = true }]",
            "did you mean `active_low`?",
        ),
        ("chip = \"relays\"\nlines = [1]\ndrive = \"open\"", "`open-drain`"),
    ] {
        let found = device(lines).expect_err(lines).to_string();
        assert!(found.contains(expected), "{lines}\n{found}");
    }
    let many: Vec<String> = (0..65).map(|line| line.to_string()).collect();
    let many = format!("chip = \"relays\"\nlines = [{}]", many.join(", "));
    let found = device(&many).expect_err("too many").to_string();
    assert!(found.contains("at most 64"), "{found}");
}

#[test]
fn other_lines_hinder_a_reload_and_other_wirings_do_not() {
    let old = device(TWO).unwrap();
    let wired = device(&format!("\n\n{TWO}\nactive_low = true")).unwrap();
    assert_eq!(wired.hinders(&old), None);
    assert!(old != wired, "but it is another device");
    assert_eq!(device(&format!("# moved\n{TWO}")).unwrap(), old, "a place in the file is nothing");
    let more = device("chip = \"relays\"\nlines = [\"RELAY1\", 2, 3]").unwrap();
    assert!(more.hinders(&old).unwrap().contains("fall back to their pulls"));
}
