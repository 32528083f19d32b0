//! Several of everything: a second agent beside the same rack, more autoscalers beside the same Nomad.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::access::grant_election;
use crate::hosts;
use crate::ports::Port;
use crate::process::Process;
use crate::programs::program;
use crate::rig::{READY_BOUND, Rig};
use crate::said::run;
use crate::wait::{Probe, eventually};

/// Nomad's own election of one autoscaler, as fast as Nomad lets it be.
const HIGH_AVAILABILITY: &str = "high_availability {\n  enabled = true\n  lock_ttl = \"10s\"\n  \
                                 lock_delay = \"1s\"\n}\n";

/// Who holds a pool's lease, by its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSeen {
    /// The holder's name; none where the lease was given back.
    pub holder: Option<String>,
    /// Its fence.
    pub fence: u64,
}

/// An autoscaler beside the rig's own.
pub struct Another {
    /// It, while it runs.
    pub process: Process,
    /// Its log.
    pub log: PathBuf,
    _http: Port,
}

impl Rig {
    /// Gives the second board to an agent of its own, whose socket is `second.sock`, and names both agents
    /// to the plugin. Before [`Rig::start_agent`].
    ///
    /// # Errors
    /// Where the agent's file is not as it is written here.
    pub fn split_agent(&mut self) -> Result<()> {
        let file = self.dir.join("agent.toml");
        let whole = std::fs::read_to_string(&file)?;
        let (mut first, mut second) = (String::new(), String::new());
        for section in whole.split("\n[") {
            let section = format!("[{}\n", section.trim_start_matches('['));
            let is_second = section.contains("board2");
            if !is_second {
                first.push_str(&section);
            }
            if !section.contains("board1") {
                second.push_str(&section);
            }
        }
        ensure!(second.contains("[machines."), "no machine hangs on a second board: {whole}");
        let dir = self.dir.display();
        let second = second
            .replace("name = \"rig\"", "name = \"second\"")
            .replace(&format!("{dir}/agent.sock"), &format!("{dir}/second.sock"))
            .replace(&format!("state = \"{dir}/agent\""), &format!("state = \"{dir}/second\""));
        std::fs::write(&file, first)?;
        std::fs::write(self.dir.join("second.toml"), second)?;
        self.agents = format!("{},unix:{dir}/second.sock", self.agents);
        Ok(())
    }

    /// Puts the last machines into a pool `other` of the same agent, whose nodes have that class, with a policy of its
    /// own; returns the policy. Of a rig whose machines have the class `rack`, before [`Rig::start_agent`].
    ///
    /// # Errors
    /// Where a file is not as the rig writes it.
    pub fn split_pool(&self, machines: usize, others: usize) -> Result<String> {
        let class = |text: &str| text.replace("node_class = \"rack\"", "node_class = \"other\"");
        let file = self.dir.join("agent.toml");
        let whole = std::fs::read_to_string(&file)?;
        let mut text = String::new();
        let names: Vec<String> =
            (machines - others + 1..=machines).map(|number| format!("node{number}")).collect();
        for section in whole.split("\n[") {
            let section = format!("[{}\n", section.trim_start_matches('['));
            let is_other =
                names.iter().any(|name| section.starts_with(&format!("[machines.{name}]")));
            let pool = if is_other { "pool = \"other\"" } else { "pool = \"rack\"" };
            text.push_str(&section.replace("pool = \"rack\"", pool));
            if section.starts_with("[pools.rack]") {
                text.push_str(&class(&section).replace("[pools.rack]", "[pools.other]"));
            }
        }
        ensure!(text.contains("node_class = \"other\""), "no pool of class rack: {whole}");
        std::fs::write(&file, text)?;
        for name in names {
            let client = self.dir.join(name).join("client.hcl");
            std::fs::write(&client, class(&std::fs::read_to_string(&client)?))?;
        }
        let policy = std::fs::read_to_string(self.dir.join("policies/rack.hcl"))?;
        Ok(policy.replace("\"rack\"", "\"other\"").replace("pending rack", "pending other"))
    }

    /// Starts the second agent and waits until it answers.
    ///
    /// # Errors
    /// Where it does not; the message has the end of its log.
    pub async fn start_second_agent(&self) -> Result<Process> {
        let agent = program("power-agent")?;
        let config = self.dir.join("second.toml");
        let argv = [agent.as_os_str(), "serve".as_ref(), "--config".as_ref(), config.as_os_str()];
        let process = Process::start("second", &argv, &self.dir)?;
        let socket = format!("unix:{}", self.dir.join("second.sock").display());
        eventually("the second power agent", READY_BOUND, async || {
            let said = run(&agent, &["--agent", &socket, "status", "--json"]).await?;
            Ok(Probe::Met(said.success()?))
        })
        .await
        .with_context(|| process.log_tail())?;
        Ok(process)
    }

    /// Starts an autoscaler beside the others, in Nomad's own election and with a token for it; its log has
    /// this name.
    ///
    /// # Errors
    /// Where it can not be started.
    pub async fn elected_autoscaler(&mut self, name: &str) -> Result<Another> {
        self.token = grant_election(&self.server).await?;
        self.another_autoscaler(name, true).await
    }

    /// Starts an autoscaler beside the others, with a log of this name and the rig's token; `elected`: in
    /// Nomad's own election.
    ///
    /// # Errors
    /// Where it can not be started.
    pub async fn another_autoscaler(&mut self, name: &str, elected: bool) -> Result<Another> {
        self.link_plugin()?;
        let config = self.write_autoscaler_config()?;
        let http = Port::take()?;
        let text = std::fs::read_to_string(&config)?;
        let own = text
            .lines()
            .map(|line| match line.trim_start().starts_with("bind_port") {
                true => format!("  bind_port = {}\n", http.number()),
                false => format!("{line}\n"),
            })
            .collect::<String>();
        let own = if elected { format!("{own}{HIGH_AVAILABILITY}") } else { own };
        let file = self.dir.join(format!("{name}.hcl"));
        std::fs::write(&file, own)?;
        let host = hosts::autoscaler().await?;
        let argv = [host.as_os_str(), "agent".as_ref(), "-config".as_ref(), file.as_os_str()];
        let process = Process::start(name, &argv, &self.dir)?;
        let log = self.dir.join(format!("{name}.log"));
        Ok(Another { process, log, _http: http })
    }

    /// Who holds the lease of pool `rack`; none before anybody has taken it.
    ///
    /// # Errors
    /// Where Nomad does not answer or the record can not be read.
    pub async fn lease(&self) -> Result<Option<LeaseSeen>> {
        self.lease_of("rack").await
    }

    /// Who holds the lease of a pool; none before anybody has taken it.
    ///
    /// # Errors
    /// Where Nomad does not answer or the record can not be read.
    pub async fn lease_of(&self, pool: &str) -> Result<Option<LeaseSeen>> {
        let Some(variable) = self.record_of(pool).await? else { return Ok(None) };
        let text = variable.items.get("record").context("the variable holds a record")?;
        let record: serde_json::Value = serde_json::from_str(text)?;
        let holder = record.get("holder").and_then(|holder| holder.as_str()).map(str::to_owned);
        let fence = record.get("fence").and_then(serde_json::Value::as_u64);
        Ok(Some(LeaseSeen { holder, fence: fence.context("the record has a fence")? }))
    }

    /// Waits until somebody holds the lease whose fence is above this one.
    ///
    /// # Errors
    /// Where nobody does within [`crate::rig::PATH_BOUND`]; the message has the ends of all logs.
    pub async fn lease_above(&self, fence: u64) -> Result<LeaseSeen> {
        self.lease_of_above("rack", fence).await
    }

    /// As [`Rig::lease_above`], of a pool.
    ///
    /// # Errors
    /// As there.
    pub async fn lease_of_above(&self, pool: &str, fence: u64) -> Result<LeaseSeen> {
        eventually(
            &format!("a lease of {pool} above {fence}"),
            crate::rig::PATH_BOUND,
            async || {
                let lease = self.lease_of(pool).await?;
                let state = format!("{lease:?}");
                let newer = |lease: &LeaseSeen| lease.holder.is_some() && lease.fence > fence;
                Ok(Probe::of(lease.filter(newer), || state))
            },
        )
        .await
        .with_context(|| self.logs())
    }
}

impl Another {
    /// Waits until these words stand in one line of its log.
    ///
    /// # Errors
    /// Where they do not within [`crate::rig::PATH_BOUND`].
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        says(&self.log, words).await
    }
}

/// Waits until these words stand in one line of a log.
///
/// # Errors
/// Where they do not within [`crate::rig::PATH_BOUND`].
pub async fn says(log: &Path, words: &[&str]) -> Result<String> {
    eventually(&format!("{words:?} in a line"), crate::rig::PATH_BOUND, async || {
        let text = std::fs::read_to_string(log)?;
        let told = |line: &&str| words.iter().all(|word| line.contains(word));
        let found = text.lines().find(told).map(str::to_owned);
        Ok(Probe::of(found, || "no such line".to_owned()))
    })
    .await
    .with_context(|| crate::process::tail_of(log))
}
