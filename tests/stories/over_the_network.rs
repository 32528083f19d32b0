//! Story 12. Goal: plugin and agent speak over the network by mutual TLS alone, and their certificates change in the
//! midst of it without a restart. Method: the whole installation, the agent listening on loopback by TLS, certificates by
//! `power-agent certs`; between two jobs both sides' certificates are renewed and the plugin's old one is revoked.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nomad_api::ClientStatus;
use serde_json::Value;
use testkit::ports::Port;
use testkit::rig::{PATH_BOUND, Rig, RigSpec, said};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// A job of which one instance fills one machine.
fn filling_job(id: &str) -> ShellJob {
    ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, 1) }
}

async fn certs(ca: &str, arguments: &[&str]) -> Result<()> {
    let all = [&["certs"], arguments, &["--dir", ca]].concat();
    said("power-agent", &all).await?.success().map(|_| ())
}

/// Certificates, and the agent's rack file with them.
async fn put_on_the_network(rig: &mut Rig, port: &Port) -> Result<String> {
    let ca = rig.dir.join("ca").display().to_string();
    said("power-agent", &["certs", "init", &ca]).await?.success()?;
    certs(&ca, &["agent", "rack", "--host", "127.0.0.1"]).await?;
    certs(&ca, &["issue", "scaler", "--role", "autoscaler", "--pools", "rack"]).await?;
    let rack_file = rig.dir.join("agent.toml");
    let listen = format!("[agent]\nlisten = \"127.0.0.1:{}\"\n", port.number());
    let text = std::fs::read_to_string(&rack_file)?.replacen("[agent]\n", &listen, 1);
    let tls = format!(
        "[tls]\nca_file = \"{ca}/ca.pem\"\ncert_file = \"{ca}/rack.pem\"\nkey_file = \"{ca}/rack.key\"\n\
         crl_file = \"{ca}/crl.pem\"\n[access.scaler]\nrole = \"autoscaler\"\npools = [\"rack\"]\n"
    );
    std::fs::write(&rack_file, format!("{text}\n{tls}"))?;
    rig.agents = format!("https://127.0.0.1:{}", port.number());
    rig.agents_config = format!(
        "agents_ca_file = \"{ca}/ca.pem\"\n    agents_cert_file = \"{ca}/scaler.pem\"\n    \
         agents_key_file = \"{ca}/scaler.key\""
    );
    Ok(ca)
}

#[test]
fn a_waiting_job_lights_a_machine_over_mutual_tls_and_certificates_change_meanwhile() {
    crate::story("over the network", async {
        let mut rig = Rig::prepare(&RigSpec::dark(2)).await?;
        let port = Port::take()?;
        let ca = put_on_the_network(&mut rig, &port).await?;
        rig.start_agent().await?;
        rig.start_autoscaler().await?;
        rig.server.run_job(&filling_job("first")).await?;
        rig.until(1, Phase::Up).await?;
        rig.server.allocations_when("first", &ClientStatus::Running, 1, PATH_BOUND).await?;

        // A copy of the plugin's old certificate, so that it can be revoked under a name of its own.
        for ending in ["pem", "key"] {
            let file = |who: &str| Path::new(&ca).join(format!("{who}.{ending}"));
            std::fs::copy(file("scaler"), file("old"))?;
        }
        for who in ["rack", "scaler"] {
            certs(&ca, &["renew", who]).await?;
        }
        certs(&ca, &["revoke", "old"]).await?;
        rig.server.run_job(&filling_job("second")).await?;
        rig.until(2, Phase::Up).await?;
        rig.server.allocations_when("second", &ClientStatus::Running, 1, PATH_BOUND).await?;

        for job in ["first", "second"] {
            rig.server.stop_job(job).await?;
        }
        rig.until(2, Phase::Dark).await?;
        for machine in ["node1", "node2"] {
            let edges = rig.edges(machine).await?;
            ensure!(edges == [Power::On, Power::Off], "{machine}: {edges:?}");
        }
        told_by_the_audit(&rig).await
    });
}

/// Every order came over the network from the autoscaler's certificate, and the certificates have changed.
async fn told_by_the_audit(rig: &Rig) -> Result<()> {
    rig.power_agent(&["audit", "verify"]).await?.success()?;
    let shown = rig.power_agent(&["audit", "show", "--json"]).await?.success()?;
    let lines: Result<Vec<Value>, _> = shown.lines().map(serde_json::from_str).collect();
    let lines = lines.with_context(|| shown.clone())?;
    let of = |what: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["what"] == what && line["outcome"] == "accepted").collect()
    };
    for verb in ["on", "off"] {
        let orders = of(verb);
        ensure!(orders.len() == 2, "{} orders {verb}: {shown}", orders.len());
        for order in orders {
            let from = order["peer"].as_str().unwrap_or_default();
            ensure!(from.starts_with("scaler from 127.0.0.1:"), "{order}");
        }
    }
    let rotated = lines.iter().any(|line| line["what"] == "certificates-rotated");
    ensure!(rotated, "no certificate was exchanged: {shown}");
    Ok(())
}
