//! What the kernel promises of lines: adoption, one call that takes and drives, ownership, release.

use std::io::{BufRead as _, Read as _};
use std::os::fd::AsFd as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gpiocdev::Request;
use gpiocdev::line::{Direction, EdgeDetection, EdgeKind, Value};
use testkit::gpio_sim::{Act, Chip, Level, Plan, Trace};
use testkit::uml::in_own_kernel;

/// Who we are to the kernel.
const CONSUMER: &str = "power-agent:node1";

/// Tells a copy of the test that it is the one who holds a line and is killed.
const HOLDER: &str = "LAMPLIGHTER_GPIO_HOLDER";

/// Long beside the microseconds that an event takes.
const BOUND: Duration = Duration::from_secs(180);

fn relays() -> Result<Chip> {
    Plan::new("relays", 8).named(1, "RELAY1").make("rack")
}

fn output(chip: &Chip, offset: u32, value: Value) -> Result<Request> {
    Ok(Request::builder()
        .on_chip(chip.node()?)
        .with_consumer(CONSUMER)
        .with_line(offset)
        .as_output(value)
        .request()?)
}

fn info(chip: &Chip, offset: u32) -> Result<gpiocdev::line::Info> {
    Ok(gpiocdev::Chip::from_path(chip.node()?)?.line_info(offset)?)
}

#[test]
fn a_chip_is_known_by_its_label_and_a_line_by_its_name() -> Result<()> {
    in_own_kernel(|| {
        let made = relays()?;
        let chip = gpiocdev::Chip::from_path(made.node()?)?;
        assert_eq!(chip.info()?.label, "relays");
        assert_eq!(chip.find_line_info("RELAY1").map(|info| info.offset), Some(1));
        Ok(())
    })
}

#[test]
fn an_as_is_request_reads_the_level_and_touches_nothing() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let before = info(&chip, 1)?.direction;
        let request = Request::builder()
            .on_chip(chip.node()?)
            .with_consumer(CONSUMER)
            .with_line(1)
            .as_is()
            .request()?;
        assert_eq!(request.value(1)?, Value::Active);
        assert_eq!(info(&chip, 1)?.direction, before);
        assert_eq!(trace.of(&chip, 1)?, []);
        Ok(())
    })
}

#[test]
fn a_line_is_taken_and_driven_by_one_call_and_its_level_comes_before_its_direction() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let request = output(&chip, 1, Value::Active)?;
        assert_eq!(trace.of(&chip, 1)?, [Act::Driven(Level::High), Act::Output]);
        assert_eq!(trace.edges(&chip, 1, Level::High)?, 0, "a contact would not have moved");
        assert_eq!(info(&chip, 1)?.direction, Direction::Output);
        drop(request);
        Ok(())
    })
}

#[test]
fn an_adopted_line_becomes_an_output_on_the_same_descriptor_without_an_edge() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        chip.pull(1, Level::High)?;
        let trace = Trace::begin()?;
        let request = Request::builder()
            .on_chip(chip.node()?)
            .with_consumer(CONSUMER)
            .with_line(1)
            .as_is()
            .request()?;
        let mut config = request.config();
        config.with_line(1).as_output(request.value(1)?);
        request.reconfigure(&config)?;
        assert_eq!(trace.edges(&chip, 1, Level::High)?, 0);
        assert_eq!(info(&chip, 1)?.direction, Direction::Output);
        request.set_value(1, Value::Inactive)?;
        assert_eq!((chip.level(1)?, trace.edges(&chip, 1, Level::High)?), (Level::Low, 1));
        Ok(())
    })
}

#[test]
fn a_line_that_another_holds_is_busy_and_the_kernel_names_who() -> Result<()> {
    in_own_kernel(|| {
        let chip = Plan::new("relays", 8).hogged(7, "fan", Level::High).make("rack")?;
        let _held = output(&chip, 0, Value::Active)?;
        for (offset, owner) in [(0, CONSUMER), (7, "fan")] {
            let trace = Trace::begin()?;
            let refused = output(&chip, offset, Value::Inactive).expect_err("it is taken");
            assert!(format!("{refused:#}").contains("os error 16"), "{refused:#}");
            let info = info(&chip, offset)?;
            assert_eq!((info.used, info.consumer.as_str()), (true, owner));
            assert_eq!((trace.of(&chip, offset)?, chip.level(offset)?), (vec![], Level::High));
        }
        Ok(())
    })
}

#[test]
fn a_line_that_is_released_falls_back_to_its_pull() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        for (pull, value, driven) in
            [(Level::Low, Value::Active, Level::High), (Level::High, Value::Inactive, Level::Low)]
        {
            chip.pull(2, pull)?;
            let request = output(&chip, 2, value)?;
            assert_eq!(chip.level(2)?, driven);
            drop(request);
            assert_eq!(chip.level(2)?, pull);
        }
        Ok(())
    })
}

#[test]
fn a_line_keeps_its_level_and_owner_while_anybody_has_its_descriptor() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        let request = output(&chip, 2, Value::Active)?;
        let kept = request.as_fd().try_clone_to_owned()?;
        drop(request);
        assert_eq!(chip.level(2)?, Level::High);
        assert_eq!(info(&chip, 2)?.consumer, CONSUMER);
        assert!(output(&chip, 2, Value::Active).is_err());
        drop(kept);
        assert_eq!((chip.level(2)?, info(&chip, 2)?.used), (Level::Low, false));
        Ok(())
    })
}

#[test]
fn an_active_low_line_is_driven_and_read_the_other_way_round() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        chip.pull(3, Level::High)?;
        let trace = Trace::begin()?;
        let request = Request::builder()
            .on_chip(chip.node()?)
            .with_line(3)
            .as_active_low()
            .as_output(Value::Inactive)
            .request()?;
        assert_eq!((chip.level(3)?, trace.edges(&chip, 3, Level::High)?), (Level::High, 0));
        request.set_value(3, Value::Active)?;
        assert_eq!((chip.level(3)?, request.value(3)?), (Level::Low, Value::Active));
        assert!(info(&chip, 3)?.active_low);
        Ok(())
    })
}

#[test]
fn a_spike_between_two_looks_is_in_the_trace() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        let request = output(&chip, 0, Value::Inactive)?;
        let trace = Trace::begin()?;
        request.set_value(0, Value::Active)?;
        request.set_value(0, Value::Inactive)?;
        assert_eq!((chip.level(0)?, trace.edges(&chip, 0, Level::Low)?), (Level::Low, 2));
        Ok(())
    })
}

#[test]
fn an_input_tells_its_edges() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        let request = Request::builder()
            .on_chip(chip.node()?)
            .with_line(4)
            .with_edge_detection(EdgeDetection::BothEdges)
            .request()?;
        for (level, kind) in [(Level::High, EdgeKind::Rising), (Level::Low, EdgeKind::Falling)] {
            chip.pull(4, level)?;
            assert!(request.wait_edge_event(BOUND)?, "no event of {kind:?}");
            assert_eq!(request.read_edge_event()?.kind, kind);
        }
        Ok(())
    })
}

#[test]
fn who_is_killed_lets_go_of_his_lines() -> Result<()> {
    in_own_kernel(|| {
        if let Some(node) = std::env::var_os(HOLDER) {
            return hold(&node);
        }
        let chip = relays()?;
        let mut holder = copy_of_this_test("who_is_killed_lets_go_of_his_lines", &chip)?;
        let said = holder.stdout.take().context("its output")?;
        let mut lines = std::io::BufReader::new(said).lines();
        let held = lines.any(|line| line.is_ok_and(|line| line.contains("held")));
        assert!(held, "the holder says that it holds the line");
        assert_eq!((chip.level(5)?, info(&chip, 5)?.used), (Level::High, true));
        holder.kill()?;
        holder.wait()?;
        assert_eq!((chip.level(5)?, info(&chip, 5)?.used), (Level::Low, false));
        Ok(())
    })
}

/// Drives line 5 high, says so, and holds it until it is killed.
#[expect(clippy::print_stdout, reason = "the other process waits for the word")]
fn hold(node: &std::ffi::OsStr) -> Result<()> {
    let _held = Request::builder().on_chip(node).with_line(5).as_output(Value::Active).request()?;
    println!("held");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it is killed by the test, in a kernel of its own")]
fn copy_of_this_test(name: &str, chip: &Chip) -> Result<std::process::Child> {
    let child = std::process::Command::new(std::env::current_exe()?)
        .arg(format!("lines::{name}"))
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .env(HOLDER, chip.node()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

#[test]
fn a_chip_that_is_unplugged_takes_its_lines_from_who_holds_them() -> Result<()> {
    in_own_kernel(|| {
        let chip = relays()?;
        let node = chip.node()?;
        let request = output(&chip, 0, Value::Active)?;
        chip.unplug()?;
        assert!(!node.exists());
        let refused = request.set_value(0, Value::Active).expect_err("it is gone");
        assert!(format!("{refused:?}").contains("19"), "ENODEV: {refused:?}");
        drop(request);
        chip.plug()?;
        assert_eq!((chip.level(0)?, info(&chip, 0)?.used), (Level::Low, false));
        Ok(())
    })
}
