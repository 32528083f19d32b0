//! The emulated Raspberry Pi: that its registers move as a Pi's do, and that the agent's static binary runs on it.
#![expect(clippy::panic, reason = "tests tell what is wrong by panicking")]

use anyhow::Result;
use testkit::gpio_sim::Level;
use testkit::pi::{self, Function, Pi};

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
