//! What Lamplighter relies on in Nomad, asked of a real one through `nomad-api`, and the test kit's own
//! cluster. Each test has a server of its own on loopback. What demo and tests rely on where there is no Go is asked of
//! the stand-in too: [`checks`] is that list, and says what the stand-in leaves out.
//!
//! Where a test here goes red with a newer Nomad, a decision in the design stands on sand.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod access;
mod calls;
mod checks;
mod doctor;
mod drains;
mod events;
mod least;
mod moves;
mod queries;
mod waiting;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use nomad_api::{DrainDeadline, DrainSpec};
use testkit::cluster::{Access, Hosts, NomadMachine, Server};
use testkit::process::Process;

/// How long one thing may take on a machine that runs several tests at once.
const BOUND: Duration = Duration::from_secs(180);

/// A cluster whose state goes with the test.
struct Cluster {
    // Dropped in this order: what runs, then where it lives.
    server: Server,
    dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        Self::start_with(Access::Open).await
    }

    async fn start_with(access: Access) -> Self {
        Self::start_on(Hosts::Real, access).await
    }

    async fn start_on(hosts: Hosts, access: Access) -> Self {
        // A machine without Go fails here with what is missing; CI skips nothing.
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start_on(hosts, dir.path(), access).await.unwrap();
        Self { server, dir }
    }

    /// Adds a machine of 1,024 MiB that is on, and returns its node's id.
    async fn machine(&self, name: &str) -> (NomadMachine, Process, String) {
        let spec = testkit::cluster::MachineSpec::named(name);
        let machine = self.server.machine(self.dir.path(), &spec).unwrap();
        let process = machine.power_on().unwrap();
        let node = self.server.node_ready(name).await.unwrap();
        (machine, process, node.id)
    }
}

/// A drain that kills nothing and leaves system jobs alone: ours.
const PATIENT: DrainSpec = DrainSpec { deadline: DrainDeadline::None, ignore_system_jobs: true };

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
