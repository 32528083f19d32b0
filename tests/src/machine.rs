//! A machine that is a Nomad client while it is on: its configuration and its argv, for a rack or for a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cluster::{Access, access_block};
use crate::diary::TASK_PATIENCE;
use crate::ports::Port;
use crate::process::Process;

/// What makes a process a power cut's victim: killing the `unshare` kills all that it started, at once.
pub const POWERED: [&str; 6] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];

/// What a machine's Nomad client says of itself.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its node's name, and the folder of its state.
    pub name: String,
    /// Its node's class; empty for none.
    pub node_class: String,
    /// Its node's datacenter.
    pub datacenter: String,
    /// Its node's pool.
    pub node_pool: String,
    /// Its node's metadata.
    pub meta: BTreeMap<String, String>,
    /// In MHz.
    pub cpu_mhz: u32,
    /// In MiB.
    pub memory_mb: u32,
    /// In MiB.
    pub disk_mb: u32,
}

impl MachineSpec {
    /// A machine of 2,000 MHz, 1,024 MiB of memory and 10,000 MiB of disk in `dc1`, without a class.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            node_class: String::new(),
            datacenter: "dc1".to_owned(),
            node_pool: "default".to_owned(),
            meta: BTreeMap::new(),
            cpu_mhz: 2000,
            memory_mb: 1024,
            disk_mb: 10_000,
        }
    }
}

/// A machine that is a Nomad client while it is on; keep it while the machine may boot again.
#[derive(Debug)]
pub struct NomadMachine {
    name: String,
    argv: Vec<String>,
    dir: PathBuf,
    _port: Option<Port>,
}

impl NomadMachine {
    pub(crate) fn prepare(
        nomad: &Path,
        rpc: &str,
        access: Access,
        dir: &Path,
        spec: &MachineSpec,
    ) -> Result<Self> {
        let dir = dir.join(&spec.name);
        std::fs::create_dir_all(&dir)?;
        let port = Port::take()?;
        let config = dir.join("client.hcl");
        std::fs::write(&config, client_hcl(&dir, port.number(), rpc, access, spec))?;
        let nomad = nomad.to_str().context("the cache's path is no UTF-8")?.to_owned();
        let argv = vec![nomad, "agent".to_owned(), format!("-config={}", config.display())];
        Ok(Self { name: spec.name.clone(), argv, dir, _port: Some(port) })
    }

    /// As [`NomadMachine::prepare`], with the stand-in's client.
    pub(crate) fn stand_in(
        standin: &Path,
        server: &str,
        dir: &Path,
        spec: &MachineSpec,
    ) -> Result<Self> {
        ensure!(spec.meta.is_empty(), "the stand-in's nodes have no metadata: {:?}", spec.meta);
        let dir = dir.join(&spec.name);
        std::fs::create_dir_all(&dir)?;
        let program = standin.to_str().context("the program's path is no UTF-8")?;
        let options = [
            ("server", server.to_owned()),
            ("dir", dir.join("data").display().to_string()),
            ("name", spec.name.clone()),
            ("datacenter", spec.datacenter.clone()),
            ("node-pool", spec.node_pool.clone()),
            ("node-class", spec.node_class.clone()),
            ("cpu", spec.cpu_mhz.to_string()),
            ("memory", spec.memory_mb.to_string()),
            ("disk", spec.disk_mb.to_string()),
        ];
        let options = options.into_iter().map(|(key, value)| format!("--{key}={value}"));
        let argv = [program.to_owned(), "client".to_owned()].into_iter().chain(options).collect();
        Ok(Self { name: spec.name.clone(), argv, dir, _port: None })
    }

    /// The name of the machine and of its node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client's own argv: what a virtual machine runs while it is on.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Where its configuration, state and log are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Switches it on without a rack: [`Process::kill`] or a drop is then a power cut.
    pub fn power_on(&self) -> Result<Process> {
        let argv: Vec<&str> =
            POWERED.into_iter().chain(self.argv.iter().map(String::as_str)).collect();
        Process::start(&self.name, &argv, &self.dir)
    }
}

/// Garbage is not collected for the sake of the disk: all machines share that of the host, and where it is
/// fuller than four fifths, Nomad would throw away data before they have moved.
fn client_hcl(dir: &Path, http: u16, rpc: &str, access: Access, spec: &MachineSpec) -> String {
    let meta: String =
        spec.meta.iter().map(|(key, value)| format!("    {key:?} = {value:?}\n")).collect();
    format!(
        r#"
name = {name:?}
datacenter = {datacenter:?}
data_dir = "{data}"
bind_addr = "127.0.0.1"
disable_update_check = true
leave_on_terminate = false
advertise {{
  http = "127.0.0.1"
  rpc = "127.0.0.1"
  serf = "127.0.0.1"
}}
ports {{
  http = {http}
}}
client {{
  enabled = true
  servers = ["{rpc}"]
  node_class = {class:?}
  node_pool = {pool:?}
  network_interface = "lo"
  cpu_total_compute = {cpu}
  memory_total_mb = {memory}
  disk_total_mb = {disk}
  disk_free_mb = {disk}
  max_kill_timeout = "{TASK_PATIENCE}"
  gc_disk_usage_threshold = 100
  gc_inode_usage_threshold = 100
  options {{
    "driver.allowlist" = "raw_exec"
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault"
  }}
  meta {{
{meta}  }}
}}
plugin "raw_exec" {{
  config {{
    enabled = true
  }}
}}
{acl}"#,
        name = spec.name,
        datacenter = spec.datacenter,
        data = dir.join("data").display(),
        class = spec.node_class,
        pool = spec.node_pool,
        cpu = spec.cpu_mhz,
        memory = spec.memory_mb,
        disk = spec.disk_mb,
        acl = if access == Access::Tokens { access_block(dir, access) } else { String::new() },
    )
}
