//! What a reboot does to a pin of the Pi that the agent drives, and what the agent makes of it: its journal is on the card.

use anyhow::Result;
use testkit::gpio_sim::Level;
use testkit::pi::{Function, Pi};

use super::drivers::{BY_KERNEL, BY_REGISTERS, WORDS, rack, says, seen};
use super::{agent_for, on_a_pi};

/// Lights the machine and restarts the board under the agent; then looks what the agent finds and does.
const SCRIPT: &str = "
if [ ! -e /card/lit ]; then
    begin
    /power-agent on node1 --reason test
    registers on
    touch /card/lit
    sync
    reboot -f
fi
registers rebooted
begin
shown 'commanded on'
/power-agent why node1
registers adopted
/power-agent on node1 --force --reason test
registers again
/power-agent doctor --config /rack.toml
kill $agent
wait $agent";

async fn rebooted(driver: &str) -> Result<()> {
    let Some(agent) = agent_for("aarch64-unknown-linux-musl") else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rack.toml");
    std::fs::write(&file, rack(driver).replace("/tmp/state", "/card/state"))?;
    let pi = Pi::new(&format!("{WORDS}{SCRIPT}")).with_card().restarting();
    let ended = pi.file("/power-agent", agent).file("/rack.toml", &file).run().await?;
    for (name, expected) in [
        ("on", (Function::Output, Level::High)),
        // Whichever driver: on a board the pull of the pin decides its level from here on; the emulator has none.
        ("rebooted", (Function::Input, Level::Low)),
        ("adopted", (Function::Output, Level::Low)),
        ("again", (Function::Output, Level::High)),
    ] {
        assert_eq!(seen(&ended, name)?, expected, "{name}\n{}", ended.console);
    }
    says(&ended, &["reads off", "from a reboot until the agent has them they are inputs"]);
    Ok(())
}

#[test]
fn by_the_kernel_a_reboot_makes_the_pin_an_input_and_the_agent_lights_nothing_for_it() {
    on_a_pi(rebooted(BY_KERNEL));
}

#[test]
fn by_registers_a_reboot_makes_the_pin_an_input_and_the_agent_lights_nothing_for_it() {
    on_a_pi(rebooted(BY_REGISTERS));
}
