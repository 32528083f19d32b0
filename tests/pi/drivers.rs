//! Both drivers of the agent's static binary, down to the registers of the emulated Pi: what an order, another hand, a stop
//! and a crash do to a pin.

use anyhow::Result;
use testkit::gpio_sim::Level;
use testkit::pi::{Ended, Function, Pi};

use super::{agent_for, on_a_pi};

/// What all the scripts begin with: the agent in the background until it answers, a wait for what it shows, and one until it
/// stands still, so that it can not adopt a pin that was let go before the script has read it.
pub(super) const WORDS: &str = "export POWER_AGENT=unix:/run/agent.sock
begin() {
    /power-agent serve --config /rack.toml 2>>/run/log & agent=$!
    until /power-agent status | grep -q node1; do :; done
}
shown() { until /power-agent status | grep -q \"$1\"; do :; done; }
paused() { kill -STOP $agent; until grep -q '^State:.T' /proc/$agent/status; do :; done; }
";

/// The clear register of the header's pins, and GPIO17 in it.
const CLEAR: &str = "devmem 0x3f200028 32 0x20000";

/// A rack file with one machine on GPIO17.
pub(super) fn rack(driver: &str) -> String {
    format!(
        r#"[agent]
socket = "/run/agent.sock"
state = "/tmp/state"
poll = "1s"

[devices.header]
{driver}
lines = [17]

[machines.node1]
outlets = [{{ device = "header", outlet = 1 }}]
"#
    )
}

pub(super) const BY_KERNEL: &str = "driver = \"gpio\"\nchip = \"pinctrl-bcm2835\"";
pub(super) const BY_REGISTERS: &str = "driver = \"rppal\"";

/// Runs a script beside the agent with a rack file; `None`: it is not built.
async fn beside_the_agent(rack: &str, script: &str) -> Result<Option<Ended>> {
    let Some(agent) = agent_for("aarch64-unknown-linux-musl") else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rack.toml");
    std::fs::write(&file, rack)?;
    let other = folder.path().join("console.toml");
    std::fs::write(&other, rack.replace("lines = [17]", "lines = [14]"))?;
    let ended = Pi::new(&format!("{WORDS}{script}"))
        .file("/power-agent", agent)
        .file("/rack.toml", &file)
        .file("/console.toml", &other)
        .run()
        .await?;
    Ok(Some(ended))
}

/// What GPIO17 was at a moment of the script.
pub(super) fn seen(ended: &Ended, name: &str) -> Result<(Function, Level)> {
    let registers = ended.registers(name)?;
    Ok((registers.function(17)?, registers.level(17)?))
}

pub(super) fn says(ended: &Ended, expected: &[&str]) {
    for words in expected {
        assert!(ended.console.contains(words), "{words:?} is not in\n{}", ended.console);
    }
}

#[test]
fn by_the_kernel_a_pin_is_driven_read_at_the_pin_and_an_input_again_after_a_stop_or_a_crash() {
    on_a_pi(async {
        let script = format!(
            "registers before
            begin
            registers adopted
            /power-agent on node1 --reason test
            registers on
            {CLEAR}
            shown 'commanded on'
            registers moved
            /power-agent on node1 --force --reason test
            registers again
            /power-agent doctor --config /rack.toml
            kill $agent
            wait $agent
            registers stopped
            begin
            /power-agent off node1 --force --reason test
            registers off
            /power-agent on node1 --force --reason test
            kill -9 $agent
            wait $agent
            registers killed
            /power-agent check /console.toml"
        );
        let Some(ended) = beside_the_agent(&rack(BY_KERNEL), &script).await? else { return Ok(()) };
        let (output, input) = (Function::Output, Function::Input);
        for (name, expected) in [
            ("before", (input, Level::Low)),
            ("adopted", (output, Level::Low)),
            ("on", (output, Level::High)),
            ("moved", (output, Level::Low)),
            ("again", (output, Level::High)),
            ("off", (output, Level::Low)),
        ] {
            assert_eq!(seen(&ended, name)?, expected, "{name}\n{}", ended.console);
        }
        // On a board the pull of the pin decides its level from here on; the emulator has none.
        for name in ["stopped", "killed"] {
            assert_eq!(seen(&ended, name)?.0, input, "{name}\n{}", ended.console);
        }
        says(
            &ended,
            &[
                "read back on at the pin",
                "what is read of header: the level at the pin",
                "pinctrl_bcm2835 has no persist_gpio_outputs and makes outputs inputs again",
                "its lines fall back to their pulls whenever the agent ends",
                "from a reboot until the agent has them they are inputs",
                "line 14 is a pin that the board uses",
                "the serial console, which talks there at each start",
            ],
        );
        Ok(())
    });
}

#[test]
fn by_registers_a_pin_is_adopted_as_it_is_and_stays_after_a_stop_and_a_crash() {
    on_a_pi(async {
        // First the kernel holds the pin for somebody, and lets go of it while it is high.
        let script = format!(
            "for chip in /sys/class/gpio/gpiochip*; do
                [ $(cat $chip/label) = pinctrl-bcm2835 ] && base=$(cat $chip/base)
            done
            pin=$((base + 17))
            echo $pin > /sys/class/gpio/export
            echo high > /sys/class/gpio/gpio$pin/direction
            begin
            until /power-agent why node1 | grep -q 'held by sysfs'; do :; done
            /power-agent why node1
            registers held
            paused
            echo $pin > /sys/class/gpio/unexport
            registers before
            kill -CONT $agent
            until /power-agent why node1 | grep -q 'reads on'; do :; done
            registers adopted
            /power-agent off node1 --force --reason test
            registers off
            /power-agent on node1 --force --reason test
            registers on
            {CLEAR}
            shown 'commanded on'
            registers moved
            /power-agent on node1 --force --reason test
            /power-agent doctor --config /rack.toml
            kill $agent
            wait $agent
            registers stopped
            begin
            shown on
            registers started
            kill -9 $agent
            wait $agent
            registers killed
            /power-agent check /console.toml"
        );
        let ended = beside_the_agent(&rack(BY_REGISTERS), &script).await?;
        let Some(ended) = ended else { return Ok(()) };
        let (output, input) = (Function::Output, Function::Input);
        for (name, expected) in [
            ("held", (output, Level::High)),
            ("before", (input, Level::High)),
            ("adopted", (output, Level::High)),
            ("off", (output, Level::Low)),
            ("on", (output, Level::High)),
            ("moved", (output, Level::Low)),
            ("stopped", (output, Level::High)),
            ("started", (output, Level::High)),
            ("killed", (output, Level::High)),
        ] {
            assert_eq!(seen(&ended, name)?, expected, "{name}\n{}", ended.console);
        }
        says(
            &ended,
            &[
                "pin 17 is held by sysfs, which asked the kernel for it",
                "read back off at the pin",
                "a stop and a crash leave its outputs as they are",
                "any program that asks the kernel for a pin and lets it go makes it an input",
                "line 14 is a pin that the board uses",
            ],
        );
        Ok(())
    });
}
