//! The emulated Raspberry Pi: that its registers move as a Pi's do, and that the agent's static binary runs on it.
#![expect(clippy::panic, reason = "tests tell what is wrong, and that they were skipped")]

mod drivers;
mod reboot;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Result;
use testkit::gpio_sim::Level;
use testkit::pi::{self, Function, Pi};
use testkit::process::on_path;
use testkit::programs::crossed;
use testkit::skip::skip;

/// Runs what is told of a Pi where it can be emulated.
fn on_a_pi(told: impl Future<Output = Result<()>>) {
    if !pi::at_hand() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Err(error) = runtime.expect("a runtime starts").block_on(told) {
        panic!("{error:#}");
    }
}

/// What is skipped where it can not be.
const TEST: &str = "a test of the agent for other boards";

/// The agent for a kind of board, for a test that needs it; where it is not built, the test is skipped loudly, and in
/// CI fails.
fn agent_for(triple: &str) -> Option<PathBuf> {
    crossed("power-agent", triple).map_err(|error| skip(TEST, &format!("{error:#}"))).ok()
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/rack.toml")
}

/// What the agent says of itself and of the example, whose boards are not there: that is a warning.
fn is_the_agent(words: &str) {
    for word in ["power-agent 0.1.0", "agent rack-a: ", "status 1"] {
        assert!(words.contains(word), "{word:?} is not in\n{words}");
    }
}

#[test]
fn the_static_agent_runs_on_the_pi_and_checks_a_rack_file() {
    on_a_pi(async {
        let Some(agent) = agent_for("aarch64-unknown-linux-musl") else { return Ok(()) };
        let ended = Pi::new(
            "/power-agent --version && /power-agent check /rack.toml
            echo status $?",
        )
        .file("/power-agent", agent)
        .file("/rack.toml", example())
        .run()
        .await?;
        is_the_agent(&ended.console);
        Ok(())
    });
}

#[test]
fn the_agent_for_armv7_runs_and_checks_a_rack_file() {
    let Some(agent) = agent_for("armv7-unknown-linux-gnueabihf") else { return };
    if on_path("qemu-arm").is_none() {
        return skip(TEST, "qemu-arm is not on the PATH; on Debian: `apt-get install qemu-user`");
    }
    let run = |arguments: &[&str]| {
        let emulated = run_emulated(&agent, arguments);
        let words = [emulated.stdout, emulated.stderr].concat();
        format!(
            "{}status {}\n",
            String::from_utf8_lossy(&words),
            emulated.status.code().unwrap_or(-1)
        )
    };
    let file = example().display().to_string();
    is_the_agent(&format!("{}{}", run(&["--version"]), run(&["check", &file])));
}

#[expect(clippy::disallowed_methods, reason = "answers at once, and there is no runtime here")]
fn run_emulated(program: &Path, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new("qemu-arm")
        .args(["-L", "/usr/arm-linux-gnueabihf"])
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("qemu-arm starts")
}

#[test]
fn a_pin_of_the_pi_moves_with_its_registers_and_is_an_input_again_when_it_is_released() {
    on_a_pi(async {
        // By the kernel's old files, which need no program of ours.
        let ended = Pi::new(
            "uname -m
            for chip in /sys/class/gpio/gpiochip*; do
                [ $(cat $chip/label) = pinctrl-bcm2835 ] && base=$(cat $chip/base)
            done
            pin=$((base + 17))
            registers before
            echo $pin > /sys/class/gpio/export
            echo high > /sys/class/gpio/gpio$pin/direction
            registers held
            echo $pin > /sys/class/gpio/unexport
            registers released
            exit 7",
        )
        .run()
        .await?;
        assert_eq!(ended.status, 7, "{}", ended.console);
        assert!(ended.console.contains("aarch64"), "{}", ended.console);
        let seen = |name| -> Result<(Function, Level)> {
            let registers = ended.registers(name)?;
            Ok((registers.function(17)?, registers.level(17)?))
        };
        assert_eq!(seen("before")?, (Function::Input, Level::Low));
        assert_eq!(seen("held")?, (Function::Output, Level::High));
        // The emulator has no pull: the level that was driven stays on a pin that nobody drives.
        assert_eq!(seen("released")?.0, Function::Input);
        Ok(())
    });
}
