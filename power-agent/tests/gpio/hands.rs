//! Other hands on the lines of the agent: who holds one before it, who moves one under it, a chip that goes.

use anyhow::Result;
use gpiocdev::line::Value;
use gpiocdev_uapi::v2::{LineValues, set_line_values};
use testkit::gpio_sim::{Level, Plan, Trace};
use testkit::uml::in_own_kernel;

use super::service::{RACK, Service, Store};
use super::{beside_the_agent, on_a_runtime, relays};

/// A second device on a chip of its own, with a machine.
const SPARE: &str = r#"
[devices.spare]
driver = "gpio"
chip = "spare"
lines = [0]

[machines.node2]
outlets = [{ device = "spare", outlet = 1 }]
"#;

#[test]
fn a_held_line_and_a_missing_chip_cost_their_own_device_and_no_other() -> Result<()> {
    in_own_kernel(|| {
        on_a_runtime(async {
            let chip = relays()?;
            let held = gpiocdev::Request::builder()
                .on_chip(chip.node()?)
                .with_consumer("kiosk")
                .with_line(1)
                .as_output(Value::Active)
                .request()?;
            let trace = Trace::begin()?;
            let mut service = Service::of(Store::None, &format!("{RACK}{SPARE}"))?;
            let checked = service.checked(&[]).await?;
            for expected in [
                "rack.toml:9:10",
                "line RELAY1 of gpiochip0 is held by kiosk",
                "end that program",
                "rack.toml:17:8",
                "there is no GPIO chip \"spare\"; there is only gpiochip0 (relays, 8 lines)",
                "gpiodetect",
            ] {
                assert!(checked.contains(expected), "{expected:?}\n{checked}");
            }
            let doctor = service.said("doctor").await?;
            assert!(doctor.contains("FAIL  lines of header: line RELAY1"), "{doctor}");

            // It starts all the same, and says of each what is so.
            service.start().await?;
            service.says("why node1", &["line 1 is held by kiosk", "unknown"]).await?;
            service.says("why node2", &["no GPIO chip \"spare\""]).await?;
            let refused = service.says("on node1 --reason test", &["held by kiosk"]).await?;
            assert!(refused.contains("failed"), "{refused}");
            assert_eq!((chip.level(1)?, trace.of(&chip, 1)?), (Level::High, vec![]));

            // The other device comes while the first is still held, and works.
            let spare = Plan::new("spare", 4).make("spare")?;
            service.says("status", &["node2", "off"]).await?;
            service.said("on node2 --reason test").await?;
            assert_eq!(spare.level(0)?, Level::High);
            service.says("why node1", &["line 1 is held by kiosk"]).await?;

            // What is let go is taken at the next poll, as it is: it has fallen to its pull.
            drop(held);
            let trace = Trace::begin()?;
            service.says("why node1", &["reads off"]).await?;
            assert_eq!(trace.edges(&chip, 1, Level::Low)?, 0, "it is not moved for it");
            service.said("on node1 --reason test").await?;
            assert_eq!(chip.level(1)?, Level::High);
            service.end().await
        })
    })
}

#[test]
fn a_line_that_another_hand_moves_is_told_as_it_reads_and_left_so() -> Result<()> {
    in_own_kernel(|| {
        beside_the_agent(Store::Keeps, async |chip, service| {
            let done = service.said("on node1 --reason test").await?;
            let evidence = "read back on as it was written: its chip does not read the pin";
            assert!(done.contains(evidence), "{done}");
            let doctor = service.said("doctor").await?;
            assert!(doctor.contains("a short or a pull that wins is not seen"), "{doctor}");
            // That is so: what pulls the pin the other way changes nothing that this chip would tell.
            chip.pull(1, Level::Low)?;
            service.says("why node1", &["outlet header/1: on as it was written"]).await?;

            let trace = Trace::begin()?;
            let mut low = LineValues::default();
            low.set(0, false);
            set_line_values(&service.another_hand().await?, &low)?;
            assert_eq!(chip.level(1)?, Level::Low);
            service.says("status", &["off (commanded on)"]).await?;
            service.says("why node1", &["reads off"]).await?;
            assert_eq!(trace.edges(chip, 1, Level::High)?, 1, "the other hand's, and no other");
            service.said("on node1 --force --reason test").await?;
            assert_eq!(chip.level(1)?, Level::High);
            Ok(())
        })
    })
}

#[test]
fn a_chip_that_lost_its_supply_comes_back_as_its_pulls_are_and_is_told_so() -> Result<()> {
    in_own_kernel(|| {
        beside_the_agent(Store::Keeps, async |chip, service| {
            service.said("on node1 --reason test").await?;
            chip.unplug()?;
            service.says("why node1", &["there is no GPIO chip \"relays\""]).await?;
            service.says("status", &["assumed on", "device header: "]).await?;
            chip.plug()?;
            let trace = Trace::begin()?;
            service.says("status", &["off (commanded on)"]).await?;
            assert_eq!(trace.edges(chip, 1, Level::Low)?, 0, "it is not lit for that");
            service.said("on node1 --force --reason test").await?;
            assert_eq!(chip.level(1)?, Level::High);
            Ok(())
        })
    })
}
