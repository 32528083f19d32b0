//! Story 11. Goal: who draws and alerts sees the pool as it is, and every metric that our dashboard and our
//! alerts name is there. Method: a scrape of a real target and a real agent, after a machine was lit and an
//! order refused.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nomad_api::ClientStatus;
use testkit::ports::Port;
use testkit::rig::{PATH_BOUND, Rig, RigSpec};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use virtual_rack::machine::Phase;

/// Nobody wakes it; its packets are counted from the start.
const SLEEPER: &str = "[devices.lan]\ndriver = \"wol\"\ninterface = \"lo\"\n\
    [machines.sleeper]\nwake = { device = \"lan\", mac = \"52:54:00:12:34:56\" }\n";

/// The exit code of a refusal.
const REFUSED: i32 = 2;

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_there_and_says_how_the_pool_is() {
    crate::story("measured", async {
        let port = Port::take()?;
        let mut rig = Rig::prepare(&RigSpec::dark(2)).await?;
        rig.target_config = format!("metrics = \"127.0.0.1:{}\"", port.number());
        let agents = Port::take()?;
        let (file, section) = (rig.dir.join("agent.toml"), "[agent]\n");
        let with = format!("{section}metrics = \"127.0.0.1:{}\"\n", agents.number());
        let (pool, feed) = (
            "[pools.rack]\n",
            "[feeds.mains]\nbudget = \"10A\"\n[pools.rack]\nfeed = \"mains\"\nrunning = \"1A\"\n",
        );
        let text = std::fs::read_to_string(&file)?;
        let text = text.replacen(section, &with, 1).replacen(pool, feed, 1) + SLEEPER;
        std::fs::write(&file, text)?;
        rig.start_agent().await?;
        rig.start_autoscaler().await?;
        says(&rig, &port, "machines{pool=\"rack\",state=\"off\"}", 2).await?;
        rig.server.run_job(&ShellJob::service("web", 1)).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;
        for (series, number) in [
            ("desired_machines{pool=\"rack\"}", 1),
            ("counted_machines{pool=\"rack\"}", 1),
            ("machines{pool=\"rack\",state=\"on\"}", 1),
            ("machines{pool=\"rack\",state=\"off\"}", 1),
            ("asked_machines{pool=\"rack\",demand=\"default\"}", 1),
            ("lease_held{pool=\"rack\"}", 1),
            ("nomad_up{pool=\"rack\"}", 1),
            ("ready{pool=\"rack\"}", 1),
        ] {
            says(&rig, &port, series, number).await?;
        }
        // A machine with work is not switched off: one refusal.
        let lit = rig.rack.state().await?.machines;
        let lit =
            lit.iter().find(|(_, machine)| machine.state == Phase::Up).context("one is up")?;
        let said = rig.power_agent(&["off", lit.0, "--reason", "to be counted"]).await?;
        ensure!(said.code == REFUSED, "{said:?}");
        let text = format!("{}{}", scraped(&port).await?, scraped(&agents).await?);
        let named = named()?;
        for part in ["lamplighter_plugin_", "lamplighter_agent_"] {
            let count = named.iter().filter(|name| name.starts_with(part)).count();
            ensure!(count > 5, "the dashboard and the alerts name {named:?}");
        }
        for name in named {
            let there = [" ", "{"].iter().any(|end| text.contains(&format!("\n{name}{end}")));
            ensure!(there, "{name} is named and not there: {text}");
        }
        Ok(())
    });
}

/// The names of our metrics in the files that users take.
fn named() -> Result<BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dashboard = std::fs::read_to_string(root.join("examples/grafana/lamplighter.json"))?;
    let read: serde_json::Value = serde_json::from_str(&dashboard)?;
    ensure!(read["panels"].is_array(), "the dashboard has no panels");
    let mut alerts = std::fs::read_to_string(root.join("examples/prometheus-alerts.yml"))?;
    let of_agents = root.join("examples/prometheus-alerts-agent.yml");
    alerts.push_str(&std::fs::read_to_string(of_agents)?);
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let words = dashboard.split(word).chain(alerts.split(word));
    let ours = words.filter(|word| word.starts_with("lamplighter_"));
    Ok(ours.map(str::to_owned).collect())
}

/// Waits until a series of the plugin's has this number.
async fn says(rig: &Rig, port: &Port, series: &str, number: u32) -> Result<()> {
    let line = format!("\nlamplighter_plugin_{series} {number}\n");
    eventually(&line, PATH_BOUND, || async {
        let text = scraped(port).await?;
        Ok(Probe::of(text.contains(&line).then_some(()), || text))
    })
    .await
    .with_context(|| rig.logs())
}

async fn scraped(port: &Port) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port.number())).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}
