//! The agent as a service of systemd: what that keeps of it while it is not there. Asks, and changes nothing.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use serial_port::processes::Process;

/// The unit that is looked at where no agent runs.
const UNIT: &str = "power-agent.service";

/// How long systemd may take to answer: it answers at once, where there is one.
const PATIENCE: Duration = Duration::from_secs(5);

/// A unit of systemd, as far as it keeps descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) unit: String,
    /// How many it may keep.
    pub(super) keeps: u32,
    /// How many it keeps now.
    pub(super) stored: u32,
    /// Whether also while the unit is stopped: systemd 254 and later can.
    pub(super) preserves: bool,
}

/// The service that runs the agent, or would; `None`: systemd does not answer here, or has no such unit.
pub(super) async fn of_agent(processes: &[Process]) -> Option<Service> {
    let agents = processes.iter().filter(|process| process.name == "power-agent");
    let unit = agents.filter_map(|agent| unit_of(&cgroup(agent)?)).next();
    let unit = unit.unwrap_or_else(|| UNIT.to_owned());
    let mut asked = Command::new("systemctl");
    asked.args(["show", &unit, "--property"]).kill_on_drop(true);
    asked.arg("LoadState,FileDescriptorStoreMax,NFileDescriptorStore,FileDescriptorStorePreserve");
    let answer = timeout(PATIENCE, asked.output()).await.ok()?.ok()?;
    answer.status.success().then(|| Service::of(&unit, &String::from_utf8_lossy(&answer.stdout)))?
}

/// The group of processes that one is in, as the kernel tells it.
fn cgroup(process: &Process) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc").join(&process.id).join("cgroup")).ok()
}

/// The unit in whose group of processes something runs.
fn unit_of(cgroup: &str) -> Option<String> {
    let last = cgroup.trim().rsplit('/').find(|part| part.ends_with(".service"))?;
    Some(last.to_owned())
}

impl Service {
    fn of(unit: &str, told: &str) -> Option<Self> {
        let value = |key: &str| {
            let mut lines = told.lines().filter_map(|line| line.split_once('='));
            lines.find(|(name, _)| *name == key).map(|(_, value)| value.trim())
        };
        let number = |key| value(key).and_then(|value| value.parse().ok()).unwrap_or_default();
        (value("LoadState") == Some("loaded")).then(|| Self {
            unit: unit.to_owned(),
            keeps: number("FileDescriptorStoreMax"),
            stored: number("NFileDescriptorStore"),
            preserves: value("FileDescriptorStorePreserve") == Some("yes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_keeps_is_read_from_its_answer() {
        // As systemd 252 answers, which can not preserve them.
        let old = "FileDescriptorStoreMax=512\nNFileDescriptorStore=2\nLoadState=loaded\n";
        let service = Service::of(UNIT, old).unwrap();
        assert_eq!((service.keeps, service.stored, service.preserves), (512, 2, false));
        let new = format!("{old}FileDescriptorStorePreserve=yes\n");
        assert!(Service::of(UNIT, &new).unwrap().preserves);
        let restart = format!("{old}FileDescriptorStorePreserve=restart\n");
        assert!(!Service::of(UNIT, &restart).unwrap().preserves);
        assert_eq!(Service::of(UNIT, &old.replace("loaded", "not-found")), None);
    }

    #[test]
    fn the_unit_is_the_one_in_whose_group_the_agent_runs() {
        let unit = |cgroup| unit_of(cgroup);
        assert_eq!(unit("0::/system.slice/rack.service\n").as_deref(), Some("rack.service"));
        assert_eq!(unit("0::/user.slice/user-1000.slice/session-3.scope\n"), None);
    }
}
