//! The agent itself on lines of a real kernel: what a kill, a restart, a stop and a reload do to them. Each test has a
//! kernel of its own, and is systemd to the agent: it keeps what the agent stores and hands it to the next one.

mod hands;
mod service;

use anyhow::Result;
use testkit::gpio_sim::{Chip, Level, Plan, Trace};
use testkit::uml::{in_own_kernel, over_reboots};

use service::{RACK, Service, Store};

fn relays() -> Result<Chip> {
    Plan::new("relays", 8).named(1, "RELAY1").make("rack")
}

/// Tells something of the agent, which runs on these lines before and is ended after it.
fn beside_the_agent(
    store: Store,
    told: impl AsyncFnOnce(&Chip, &mut Service) -> Result<()>,
) -> Result<()> {
    on_a_runtime(async {
        let chip = relays()?;
        let mut service = Service::new(store)?;
        service.start().await?;
        told(&chip, &mut service).await?;
        service.end().await
    })
}

fn on_a_runtime(told: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(told)
}

#[test]
fn a_line_keeps_its_level_over_kills_and_restarts_where_systemd_stores_it() -> Result<()> {
    in_own_kernel(|| {
        beside_the_agent(Store::Keeps, async |chip, service| {
            service.said("on node1 --reason test").await?;
            assert_eq!(chip.level(1)?, Level::High);
            assert_eq!(service.stored().await?, ["gpio-header"]);
            let trace = Trace::begin()?;
            for _ in 0..3 {
                service.kill().await?;
                assert_eq!(chip.level(1)?, Level::High, "nobody but systemd holds it");
                service.start().await?;
                let status = service.said("status").await?;
                assert!(status.contains("node1") && status.contains(" on "), "{status}");
                // A program that it starts, like ssh, would hold the lines beyond its end.
                let passed = service.passes_on()?;
                assert!(!passed.is_empty() && !passed.contains(&true), "{passed:?}");
            }
            service.stop().await?;
            assert_eq!(chip.level(1)?, Level::High);
            service.start().await?;
            assert_eq!(trace.edges(chip, 1, Level::High)?, 0);
            assert_eq!(trace.edges(chip, 2, Level::Low)?, 0);
            // What came back by the store is the line itself.
            service.said("off node1 --force --reason test").await?;
            assert_eq!((chip.level(1)?, trace.edges(chip, 1, Level::High)?), (Level::Low, 1));
            assert_eq!(service.stored().await?, ["gpio-header"], "it is stored once");
            Ok(())
        })
    })
}

#[test]
fn without_a_store_the_line_falls_back_when_the_agent_is_killed_and_doctor_has_said_so()
-> Result<()> {
    in_own_kernel(|| {
        beside_the_agent(Store::None, async |chip, service| {
            service.said("on node1 --reason test").await?;
            let doctor = service.said("doctor").await?;
            assert!(
                doctor.contains("fall back to their pulls whenever the agent ends"),
                "{doctor}"
            );
            let trace = Trace::begin()?;
            service.kill().await?;
            assert_eq!(chip.level(1)?, Level::Low, "the kernel lets it fall");
            service.start().await?;
            let status = service.said("status").await?;
            assert!(status.contains("off"), "what is read is told, not what was ordered: {status}");
            assert_eq!(trace.edges(chip, 1, Level::Low)?, 0, "and nothing is moved for it");
            Ok(())
        })
    })
}

#[test]
fn after_a_reboot_the_line_is_as_its_pull_makes_it_and_the_agent_tells_so_and_moves_nothing()
-> Result<()> {
    over_reboots(2, |boot| {
        on_a_runtime(async {
            let chip = relays()?;
            // systemd's store is gone with its kernel as everybody's is.
            let rack = RACK.replace("\"state\"", &format!("{:?}", boot.folder.join("state")));
            let mut service = Service::of(Store::Keeps, &rack)?;
            let trace = Trace::begin()?;
            service.start().await?;
            if boot.number == 1 {
                service.said("on node1 --reason test").await?;
                assert_eq!(chip.level(1)?, Level::High);
                // The kernel ends under it.
                return Ok(());
            }
            service.says("status", &["node1", "off (commanded on)"]).await?;
            assert_eq!((chip.level(1)?, trace.edges(&chip, 1, Level::Low)?), (Level::Low, 0));
            service.said("on node1 --force --reason test").await?;
            assert_eq!((chip.level(1)?, trace.edges(&chip, 1, Level::Low)?), (Level::High, 1));
            service.end().await
        })
    })
}

#[test]
fn a_reload_moves_nothing_and_refuses_what_would_let_lines_go() -> Result<()> {
    in_own_kernel(|| {
        beside_the_agent(Store::None, async |chip, service| {
            service.said("on node1 --reason test").await?;
            let trace = Trace::begin()?;
            for (from, to, expected) in [
                ("poll = \"1s\"", "poll = \"2s\"", "[agent] changed"),
                (
                    "[\"RELAY1\", 2]\n",
                    "[\"RELAY1\", 2]\nmin_gap = \"20ms\"\n",
                    "devices changed: header",
                ),
                ("[\"RELAY1\", 2]", "[\"RELAY1\", 3]", "fall back to their pulls"),
            ] {
                service.reload(from, to, expected).await?;
                assert_eq!(chip.level(1)?, Level::High, "{expected}");
                assert_eq!(trace.edges(chip, 1, Level::High)?, 0, "{expected}");
            }
            service.said("off node1 --force --reason test").await?;
            assert_eq!(chip.level(1)?, Level::Low, "and the lines are still ours");
            Ok(())
        })
    })
}

#[test]
fn in_a_nomad_job_lines_that_fall_are_refused_with_their_place() -> Result<()> {
    in_own_kernel(|| {
        on_a_runtime(async {
            let _chip = relays()?;
            let service = Service::new(Store::None)?;
            let told = service.checked(&[("NOMAD_ALLOC_ID", "a1")]).await?;
            for expected in
                ["rack.toml:8:8", "no GPIO line survives the agent", "persist_gpio_outputs"]
            {
                assert!(told.contains(expected), "{told}");
            }
            let told = service.checked(&[]).await?;
            assert!(!told.contains("error"), "{told}");
            Ok(())
        })
    })
}

#[test]
fn init_finds_a_chip_proposes_lines_that_are_nobody_s_and_takes_none() -> Result<()> {
    in_own_kernel(|| {
        on_a_runtime(async {
            let chip = Plan::new("relays", 4)
                .named(1, "RELAY1")
                .hogged(2, "fan", Level::High)
                .make("rack")?;
            let trace = Trace::begin()?;
            let service = Service::new(Store::None)?;
            let told = service.said("init").await?;
            assert!(told.contains("# relays, gpiochip0 now; taken: 2 (fan)\n"), "{told}");
            assert!(told.contains("\n#chip = \"relays\"\n#lines = [0, 3] "), "{told}");
            for offset in 0..4 {
                let level = if offset == 2 { Level::High } else { Level::Low };
                assert_eq!(chip.level(offset)?, level);
                assert_eq!(trace.edges(&chip, offset, level)?, 0);
            }
            Ok(())
        })
    })
}
