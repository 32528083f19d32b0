//! A Nomad cluster on loopback: a server, and the configurations of clients for machines to run. It is real but
//! where [`Hosts::StandIn`] is asked for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nomad_api::{Client, Config, NodeStub, QueryOptions, Secret, TokenSource};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::hosts;
pub use crate::machine::{MachineSpec, NomadMachine, POWERED};
use crate::ports::Port;
use crate::process::Process;
use crate::wait::{Probe, eventually};

/// How long a server may take until it has a leader: 5 s on an idle machine, and tests run side by side.
pub const SERVER_UP_BOUND: Duration = Duration::from_secs(180);

/// How long a client may take from its start to a ready node: 0.7 s on an idle machine.
pub const NODE_READY_BOUND: Duration = Duration::from_secs(180);

/// How long Nomad may take for a clean end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often a start is tried on other ports: a clash is rare, two in a row are not chance.
const STARTS_MAX: u32 = 3;

/// How long one call of Nomad's own command line may take.
const CLI_DEADLINE: Duration = Duration::from_secs(180);

/// What stands for Nomad and for the Nomad Autoscaler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// They themselves: see [`crate::hosts`].
    Real,
    /// Our own `standin`, for demo and tests where there is no Go. It knows the calls that Lamplighter makes, jobs of
    /// one shell script and no more, asks for no tokens and forgets all when it is stopped.
    StandIn,
}

/// A Nomad server. It may be stopped and started again: its state and its ports stay.
pub struct Server {
    hosts: Hosts,
    program: PathBuf,
    dir: PathBuf,
    ports: Ports,
    access: Access,
    process: Option<Process>,
    api: Client,
    token: Option<String>,
    /// Serf's port while the server is stopped, so that nobody else takes it.
    left: Option<Port>,
}

struct Ports {
    http: Port,
    rpc: Port,
    serf: u16,
    /// Where clients reach `rpc`, and other servers `serf`; `http` is for this host alone.
    seen_at: Ipv4Addr,
}

impl Ports {
    fn take(seen_at: Ipv4Addr) -> Result<Self> {
        // Serf needs the UDP port too, so its number can not be held.
        let serf = Port::take()?;
        let ports = Self { http: Port::take()?, rpc: Port::take()?, serf: serf.number(), seen_at };
        drop(serf);
        Ok(ports)
    }
}

/// What a cluster asks of those who call its HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// A token; also of its clients' tasks.
    Tokens,
    /// A certificate of its own authority; the server's is for `server.global.nomad`.
    MutualTls,
}

impl Server {
    /// Starts a server with its state in `DIR/server` and waits until it leads.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, Access::Open).await
    }

    /// As [`Server::start`]; with [`Access::Tokens`] the server has a management token afterwards.
    pub async fn start_with(dir: &Path, access: Access) -> Result<Self> {
        Self::start_on(Hosts::Real, dir, access).await
    }

    /// As [`Server::start_with`], on these hosts.
    pub async fn start_on(hosts: Hosts, dir: &Path, access: Access) -> Result<Self> {
        Self::start_at(hosts, dir, access, Ipv4Addr::LOCALHOST).await
    }

    /// As [`Server::start_on`], for clients that reach it at this address of the host.
    pub async fn start_at(
        hosts: Hosts,
        dir: &Path,
        access: Access,
        seen_at: Ipv4Addr,
    ) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let mut server = Self::prepare_on(hosts, dir, access, seen_at).await?;
            match server.run().await {
                Ok(()) => return Ok(server),
                Err(error) => {
                    let clash = format!("{error:#}").contains("address already in use");
                    if !clash || attempt == STARTS_MAX {
                        return Err(error);
                    }
                    drop(server);
                    std::fs::remove_dir_all(dir.join("server"))?;
                    attempt += 1;
                }
            }
        }
    }

    /// Takes ports and writes the configuration, but starts nothing: the address is known while Nomad is down.
    pub async fn prepare(dir: &Path, access: Access) -> Result<Self> {
        Self::prepare_on(Hosts::Real, dir, access, Ipv4Addr::LOCALHOST).await
    }

    async fn prepare_on(
        hosts: Hosts,
        dir: &Path,
        access: Access,
        seen_at: Ipv4Addr,
    ) -> Result<Self> {
        let program = match (hosts, access) {
            (Hosts::Real, _) => hosts::nomad().await?,
            (Hosts::StandIn, Access::Open) => crate::programs::program("standin")?,
            (Hosts::StandIn, _) => bail!("the stand-in for Nomad asks for nothing: {access:?}"),
        };
        let dir = dir.join("server");
        std::fs::create_dir_all(&dir)?;
        let ports = Ports::take(seen_at)?;
        std::fs::write(dir.join("server.hcl"), server_hcl(&dir, &ports, access))?;
        if access == Access::MutualTls {
            certify(&program, &dir).await?;
        }
        let api = Client::new(&config(&dir, &ports, access))?;
        Ok(Self { hosts, program, dir, ports, access, process: None, api, token: None, left: None })
    }

    /// Starts the server, for the first time or again, and waits until it leads.
    pub async fn run(&mut self) -> Result<()> {
        let mut argv = vec![self.program.display().to_string()];
        argv.extend(match self.hosts {
            Hosts::Real => {
                let config = self.dir.join("server.hcl");
                vec!["agent".to_owned(), format!("-config={}", config.display())]
            }
            Hosts::StandIn => {
                let http = format!("--http=127.0.0.1:{}", self.ports.http.number());
                vec!["nomad".to_owned(), http, format!("--clients={}", self.rpc())]
            }
        });
        self.left = None;
        let mut process = Process::start("nomad-server", &argv, &self.dir)?;
        let led = eventually("a Nomad server that leads", SERVER_UP_BOUND, || {
            let ended = process.ended();
            let api = self.api.clone();
            async move {
                if let Some(status) = ended? {
                    return Ok(Probe::Met(Err(status)));
                }
                let leader = api.leader().await?;
                Ok(Probe::of((!leader.is_empty()).then_some(Ok(())), || "no leader".to_owned()))
            }
        })
        .await
        .with_context(|| process.log_tail())?;
        if let Err(status) = led {
            bail!("the Nomad server ended with {status}; {}", process.log_tail());
        }
        self.process = Some(process);
        if self.access == Access::Tokens && self.token.is_none() {
            self.bootstrap().await?;
        }
        self.wait_for_keyring().await
    }

    /// A young leader has no key for variables and identities yet, and refuses both.
    async fn wait_for_keyring(&self) -> Result<()> {
        const PATH: &str = "testkit/keyring";
        let items = BTreeMap::from([("ready".to_owned(), "yes".to_owned())]);
        eventually("a keyring", SERVER_UP_BOUND, async || {
            self.api.put_variable(PATH, &items, 0).await?;
            self.api.delete_variable(PATH).await?;
            Ok(Probe::Met(()))
        })
        .await
        .with_context(|| self.log_tail())
    }

    async fn bootstrap(&mut self) -> Result<()> {
        let made: serde_json::Value =
            serde_json::from_str(&self.cli(&["acl", "bootstrap", "-json"], None).await?)?;
        let token = made.get("SecretID").and_then(serde_json::Value::as_str);
        let token = token.context("nomad acl bootstrap gave no SecretID")?.to_owned();
        self.token = Some(token);
        self.api = Client::new(&self.config())?;
        Ok(())
    }

    /// Ends the server cleanly; clients and their work go on.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.stop(STOP_PATIENCE).await?;
            self.left = Some(Port::hold(self.ports.serf)?);
        }
        Ok(())
    }

    /// Kills the server at once; clients and their work go on.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(process) = self.process.take() {
            process.kill().await?;
            self.left = Some(Port::hold(self.ports.serf)?);
        }
        Ok(())
    }

    /// What this server is.
    #[must_use]
    pub const fn hosts(&self) -> Hosts {
        self.hosts
    }

    /// `http://127.0.0.1:PORT`, or https where it asks for certificates.
    #[must_use]
    pub fn address(&self) -> String {
        self.config().address
    }

    /// How to reach this server and be allowed everything.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = config(&self.dir, &self.ports, self.access);
        if let Some(token) = &self.token {
            config.token = TokenSource::Value(Secret::new(token.clone()));
        }
        config
    }

    /// `ADDRESS:PORT`, where clients register.
    #[must_use]
    pub fn rpc(&self) -> String {
        format!("{}:{}", self.ports.seen_at, self.ports.rpc.number())
    }

    /// The management token; none where ACLs are off.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A client of this server that may do everything.
    #[must_use]
    pub const fn api(&self) -> &Client {
        &self.api
    }

    /// A client of this server with this token.
    pub fn client_with(&self, token: TokenSource) -> Result<Client> {
        let mut config = self.config();
        config.token = token;
        Ok(Client::new(&config)?)
    }

    /// The end of the server's log, for the message of a failure.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map_or_else(|| "the server is stopped".to_owned(), Process::log_tail)
    }

    /// Makes a policy of these rules and a token that has only it; returns the token's secret.
    pub async fn token_with(&self, name: &str, rules: &str) -> Result<String> {
        self.cli(&["acl", "policy", "apply", name, "-"], Some(rules)).await?;
        let policy = format!("-policy={name}");
        let made = self.cli(&["acl", "token", "create", "-json", &policy], None).await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let secret = made.get("SecretID").and_then(serde_json::Value::as_str);
        Ok(secret.context("nomad acl token create gave no SecretID")?.to_owned())
    }

    /// Calls Nomad's own command line against this server and returns its output.
    pub async fn cli(&self, arguments: &[&str], input: Option<&str>) -> Result<String> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("NOMAD_ADDR", self.address())
            .env("NOMAD_TOKEN", self.token.as_deref().unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("the command has a stdin")?;
        let calling = async {
            stdin.write_all(input.unwrap_or_default().as_bytes()).await?;
            drop(stdin);
            Ok::<_, anyhow::Error>(child.wait_with_output().await?)
        };
        let output = tokio::time::timeout(CLI_DEADLINE, calling).await.with_context(|| {
            format!("nomad {arguments:?} did not end within {CLI_DEADLINE:?}")
        })??;
        if !output.status.success() {
            bail!("nomad {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Writes the configuration of a client whose state is in `DIR/NAME`, and stays there over reboots.
    pub fn machine(&self, dir: &Path, spec: &MachineSpec) -> Result<NomadMachine> {
        match self.hosts {
            Hosts::Real => {
                NomadMachine::prepare(&self.program, &self.rpc(), self.access, dir, spec)
            }
            Hosts::StandIn => NomadMachine::stand_in(&self.program, &self.rpc(), dir, spec),
        }
    }

    /// Waits until the node of this name satisfies a condition, and returns it.
    pub async fn node_when(
        &self,
        name: &str,
        what: &str,
        bound: Duration,
        holds: impl Fn(&NodeStub) -> bool,
    ) -> Result<NodeStub> {
        eventually(&format!("node {name} {what}"), bound, || async {
            let (nodes, _) = self.api.nodes(&QueryOptions::NOW).await?;
            let state = format!("{:?}", nodes.iter().find(|node| node.name == name));
            let found = nodes.into_iter().find(|node| node.name == name && holds(node));
            Ok(Probe::of(found, || state))
        })
        .await
        .with_context(|| format!("{}\n{}", self.machine_log_tail(name), self.log_tail()))
    }

    /// The end of the log of a machine that lives beside the server, for the message of a failure.
    fn machine_log_tail(&self, name: &str) -> String {
        let log = self.dir.with_file_name(name).join(format!("{name}.log"));
        crate::process::tail_of(&log)
    }

    /// Waits until the node of this name is ready.
    pub async fn node_ready(&self, name: &str) -> Result<NodeStub> {
        let ready = |node: &NodeStub| node.status == nomad_api::NodeStatus::Ready;
        self.node_when(name, "ready", NODE_READY_BOUND, ready).await
    }
}

fn config(dir: &Path, ports: &Ports, access: Access) -> Config {
    let scheme = if access == Access::MutualTls { "https" } else { "http" };
    let mut config = Config::at(format!("{scheme}://127.0.0.1:{}", ports.http.number()));
    if access == Access::MutualTls {
        config.ca_file = Some(dir.join("nomad-agent-ca.pem"));
        config.client_cert_file = Some(dir.join("global-client-nomad.pem"));
        config.client_key_file = Some(dir.join("global-client-nomad-key.pem"));
        config.tls_server_name = Some("server.global.nomad".to_owned());
    }
    config
}

/// Makes an authority and certificates for server and client, by Nomad's own command line.
async fn certify(nomad: &Path, dir: &Path) -> Result<()> {
    for arguments in [
        &["tls", "ca", "create"][..],
        &["tls", "cert", "create", "-server"],
        &["tls", "cert", "create", "-client"],
    ] {
        let made = Command::new(nomad).args(arguments).current_dir(dir).kill_on_drop(true).output();
        let output = tokio::time::timeout(CLI_DEADLINE, made).await??;
        if !output.status.success() {
            bail!("nomad {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(())
}

pub(crate) fn access_block(dir: &Path, access: Access) -> String {
    match access {
        Access::Open => String::new(),
        Access::Tokens => "acl {\n  enabled = true\n}\n".to_owned(),
        Access::MutualTls => format!(
            r#"
tls {{
  http = true
  ca_file = "{dir}/nomad-agent-ca.pem"
  cert_file = "{dir}/global-server-nomad.pem"
  key_file = "{dir}/global-server-nomad-key.pem"
  verify_https_client = true
}}
"#,
            dir = dir.display()
        ),
    }
}

fn server_hcl(dir: &Path, ports: &Ports, access: Access) -> String {
    format!(
        r#"
name = "server"
data_dir = "{data}"
bind_addr = "127.0.0.1"
disable_update_check = true
addresses {{
  rpc = "{seen_at}"
  serf = "{seen_at}"
}}
advertise {{
  http = "127.0.0.1"
  rpc = "{seen_at}"
  serf = "{seen_at}"
}}
ports {{
  http = {http}
  rpc = {rpc}
  serf = {serf}
}}
server {{
  enabled = true
  bootstrap_expect = 1
  heartbeat_grace = "2s"
  min_heartbeat_ttl = "2s"
  failover_heartbeat_ttl = "5s"
}}
{access}"#,
        data = dir.join("data").display(),
        http = ports.http.number(),
        rpc = ports.rpc.number(),
        serf = ports.serf,
        seen_at = ports.seen_at,
        access = access_block(dir, access),
    )
}
