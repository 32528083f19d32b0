//! The APM kind on a real Nomad: jobs wait, and `pending rack` says how many machines they need.
//!
//! Nomad is real; the agent's socket is served by this test, because nothing here moves a relay: it only
//! tells which machines there are, and keeps the plans that it is told. Without Go the tests are skipped
//! loudly; with CI=true that is a failure.
#![expect(clippy::unwrap_used, reason = "helpers that fail fail their test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use agent_api::wire::power_agent_server::{PowerAgent, PowerAgentServer};
use agent_api::{Inventory, Machine, Plan, wire};
use fleet::{HolderId, MachineName, PoolName, PowerState, Resources, Shape};
use nomad_plugin::apm::ApmPlugin;
use nomad_plugin::host::{Apm, Config, TimeRange};
use testkit::cluster::{MachineSpec, Server};
use testkit::skip::skip;
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// How long one thing may take on a machine that runs several tests at once.
const BOUND: Duration = Duration::from_secs(180);

/// What the agent tells, and what it was told.
#[derive(Clone, Default)]
struct Agent {
    machines: Arc<Mutex<Vec<Machine>>>,
    plans: Arc<Mutex<Vec<Plan>>>,
    /// It answers nothing, as an agent that is out of reach.
    silent: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl PowerAgent for Agent {
    type WatchStream = tokio_stream::Empty<Result<wire::WatchEvent, Status>>;

    async fn inventory(
        &self,
        _request: Request<wire::InventoryRequest>,
    ) -> Result<Response<wire::InventoryReply>, Status> {
        if self.silent.load(Ordering::SeqCst) {
            return Err(Status::unavailable("out of reach"));
        }
        let machines = self.machines.lock().unwrap().clone();
        let inventory = Inventory {
            agent: "test".to_owned(),
            version: "0".to_owned(),
            machines,
            fences: Vec::new(),
            host_up: None,
            running: None,
            feeds: Vec::new(),
        };
        Ok(Response::new((&inventory).into()))
    }

    async fn record_plan(
        &self,
        request: Request<wire::RecordPlanRequest>,
    ) -> Result<Response<wire::RecordPlanReply>, Status> {
        let plan = request.into_inner().plan.unwrap();
        self.plans.lock().unwrap().push(plan.try_into().unwrap());
        Ok(Response::new(wire::RecordPlanReply {}))
    }

    async fn set_power(
        &self,
        _request: Request<wire::SetPowerRequest>,
    ) -> Result<Response<wire::SetPowerReply>, Status> {
        Err(Status::unimplemented("the APM kind orders nothing"))
    }

    async fn dry_run(
        &self,
        _request: Request<wire::SetPowerRequest>,
    ) -> Result<Response<wire::DryRunReply>, Status> {
        Err(Status::unimplemented("the APM kind orders nothing"))
    }

    async fn pending(
        &self,
        _request: Request<wire::PendingRequest>,
    ) -> Result<Response<wire::PendingReply>, Status> {
        Err(Status::unimplemented("the APM kind asks for nothing that is pending"))
    }

    async fn release(
        &self,
        _request: Request<wire::ReleaseRequest>,
    ) -> Result<Response<wire::ReleaseReply>, Status> {
        Err(Status::unimplemented("the APM kind releases nothing"))
    }

    async fn set_hold(
        &self,
        _request: Request<wire::SetHoldRequest>,
    ) -> Result<Response<wire::SetHoldReply>, Status> {
        Err(Status::unimplemented("the APM kind holds nothing"))
    }

    async fn claim(
        &self,
        _request: Request<wire::ClaimRequest>,
    ) -> Result<Response<wire::ClaimReply>, Status> {
        Err(Status::unimplemented("the APM kind takes no pool"))
    }

    async fn watch(
        &self,
        _request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("the APM kind asks once"))
    }

    async fn plans(
        &self,
        _request: Request<wire::PlansRequest>,
    ) -> Result<Response<wire::PlansReply>, Status> {
        Err(Status::unimplemented("the APM kind reads no plans"))
    }

    async fn record_shape(
        &self,
        _request: Request<wire::RecordShapeRequest>,
    ) -> Result<Response<wire::RecordShapeReply>, Status> {
        Err(Status::unimplemented("the target kind records shapes"))
    }

    async fn set_quarantine(
        &self,
        _request: Request<wire::SetQuarantineRequest>,
    ) -> Result<Response<wire::SetQuarantineReply>, Status> {
        Err(Status::unimplemented("the target kind quarantines"))
    }

    async fn record_boot(
        &self,
        _request: Request<wire::RecordBootRequest>,
    ) -> Result<Response<wire::RecordBootReply>, Status> {
        Err(Status::unimplemented("the target kind records boots"))
    }

    async fn history(
        &self,
        _: Request<wire::HistoryRequest>,
    ) -> Result<Response<wire::HistoryReply>, Status> {
        Err(Status::unimplemented("nobody asks for it here"))
    }

    async fn audit_head(
        &self,
        _: Request<wire::AuditHeadRequest>,
    ) -> Result<Response<wire::AuditHeadReply>, Status> {
        Err(Status::unimplemented("nobody asks for it here"))
    }

    async fn reset_fence(
        &self,
        _request: Request<wire::ResetFenceRequest>,
    ) -> Result<Response<wire::ResetFenceReply>, Status> {
        Err(Status::unimplemented("people reset fences"))
    }
}

/// A machine that is off and declared as the test kit's machines are.
fn dark(name: &str) -> Machine {
    let shape = Shape {
        resources: Resources { cpu_mhz: 2000, memory_mb: 1024, disk_mb: 10_000 },
        datacenter: "dc1".to_owned(),
        node_pool: "default".to_owned(),
        ..Shape::default()
    };
    Machine {
        name: MachineName::new(name).unwrap(),
        pool: Some(PoolName::new("rack").unwrap()),
        node: name.to_owned(),
        outlets: Vec::new(),
        reading: Some((PowerState::Off, Duration::ZERO)),
        commanded: None,
        hold: None,
        operation: None,
        declared: Some(shape),
        last_seen: None,
        boot_deadline: Duration::from_secs(120),
        soft_off: false,
        quarantine: None,
        drift: None,
        boots: Vec::new(),
        locks: agent_api::Locks::default(),
        fed: agent_api::Fed::default(),
        paths: agent_api::Paths::default(),
        dwell: None,
    }
}

struct Scene {
    apm: ApmPlugin,
    agent: Agent,
    server: Server,
    /// The agent's socket is served as long as this lives.
    _serving: JoinSet<()>,
    dir: tempfile::TempDir,
}

impl Scene {
    /// Three dark machines, an empty cluster and a configured plugin; `None`: there is no Nomad to be had.
    async fn start() -> Option<Self> {
        if let Err(missing) = testkit::hosts::available() {
            skip("a test on the real Nomad", &missing);
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path()).await.unwrap();
        let agent = Agent::default();
        *agent.machines.lock().unwrap() = ["node1", "node2", "node3"].map(dark).into();
        let socket = dir.path().join("agent.sock");
        let apm = ApmPlugin::new(HolderId::new("test").unwrap());
        let agents = format!("unix:{}", socket.display());
        let config =
            [("agents".to_owned(), agents), ("nomad_address".to_owned(), server.address())];
        apm.set_config(Config::from(config)).await.unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let service = PowerAgentServer::new(agent.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let router = tonic::transport::Server::builder().add_service(service);
            router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
        Some(Self { apm, agent, server, _serving: serving, dir })
    }

    async fn ask(&self, query: &str) -> Result<f64, String> {
        let now = SystemTime::UNIX_EPOCH;
        let range = TimeRange { from: now, to: now };
        let points = self.apm.query(query.to_owned(), range).await;
        points.map_err(|fault| fault.to_string()).map(|points| {
            assert_eq!(points.len(), 1, "exactly one point");
            points[0].value
        })
    }

    async fn until(&self, wanted: f64, what: &str) {
        eventually(what, BOUND, async || {
            let found = self.ask("pending rack").await;
            let is_met = found.as_ref().is_ok_and(|found| (found - wanted).abs() < 0.5);
            Ok(Probe::of(is_met.then_some(()), || format!("{found:?}")))
        })
        .await
        .unwrap();
    }

    /// Waits until the agent was told a line with all of these words.
    async fn until_told(&self, words: &[&str]) {
        eventually(&format!("a line with {words:?}"), BOUND, async || {
            self.ask("pending rack").await.ok();
            let plans = self.agent.plans.lock().unwrap();
            let Some(plan) = plans.last() else { return Ok(Probe::NotYet("no plan".into())) };
            assert_eq!((plan.author.as_str(), plan.pool.as_str()), ("apm", "rack"));
            let texts: Vec<String> = plan.lines.iter().map(|line| line.text.clone()).collect();
            let is_met = texts.iter().any(|text| words.iter().all(|word| text.contains(word)));
            Ok(Probe::of(is_met.then_some(()), || format!("{texts:#?}")))
        })
        .await
        .unwrap();
    }

    fn set(&self, name: &str, change: impl FnOnce(&mut Machine)) {
        let mut machines = self.agent.machines.lock().unwrap();
        change(machines.iter_mut().find(|machine| machine.name.as_str() == name).unwrap());
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A service that fits once on a machine of the kit.
fn large(id: &str, count: u32) -> ShellJob {
    ShellJob { cpu_mhz: 1500, ..ShellJob::service(id, count) }
}

#[tokio::test]
async fn an_empty_cluster_with_three_dark_machines_counts_what_waits_and_forgets_what_is_stopped() {
    let Some(scene) = Scene::start().await else { return };
    scene.until(0.0, "nothing waits").await;

    scene.server.run_job(&large("web", 3)).await.unwrap();
    scene.until(3.0, "three instances wait, each needs a machine").await;

    // A fourth finds no machine any more; it lights nothing and is told.
    scene.server.run_job(&large("web", 4)).await.unwrap();
    scene.until_told(&["web.group: 1 instance waits", "all 3 machines"]).await;
    scene.until(3.0, "no more machines than there are").await;

    let monster = ShellJob { memory_mb: 90_000, ..ShellJob::batch("monster", 2, "true") };
    scene.server.run_job(&monster).await.unwrap();
    scene.server.stop_job("web").await.unwrap();
    scene.until(0.0, "the stopped job waits for nothing, the monster lights nothing").await;
    scene.until_told(&["monster.group", "asks 90000 MiB of memory", "offers 1024"]).await;
}

#[tokio::test]
async fn work_that_gets_its_place_keeps_the_count_and_what_is_left_goes_on_waiting() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.server.run_job(&large("web", 3)).await.unwrap();
    scene.until(3.0, "three wait").await;

    // One machine comes up; Nomad places one, and the evaluation blocks again with its old numbers.
    let spec = MachineSpec::named("node1");
    let machine = scene.server.machine(scene.dir(), &spec).unwrap();
    let process = machine.power_on().unwrap();
    scene.set("node1", |machine| machine.reading = Some((PowerState::On, Duration::ZERO)));
    let running = &nomad_api::ClientStatus::Running;
    scene.server.allocations_when("web", running, 1, BOUND).await.unwrap();
    scene.until(3.0, "one runs, two wait").await;

    // Small work fits beside what runs, and needs no further machine.
    scene.server.run_job(&ShellJob::service("small", 2)).await.unwrap();
    scene.server.allocations_when("small", running, 2, BOUND).await.unwrap();
    scene.until(3.0, "small work has found its place").await;

    // A system job takes its room everywhere; it neither waits nor counts.
    scene.server.run_job(&ShellJob { cpu_mhz: 600, ..ShellJob::system("logs") }).await.unwrap();
    scene
        .until(1.0, "1500 and 600 do not fit together, so no dark machine can hold an instance")
        .await;
    scene.until_told(&["web.group: 2 instances wait", "offers 1400 beside system jobs"]).await;
    scene.server.stop_job("logs").await.unwrap();
    scene.until(3.0, "without it they can").await;

    // Nomad answers and the agent does not: what is known to hold work is counted, and never less.
    scene.agent.silent.store(true, Ordering::SeqCst);
    scene.until(1.0, "machines out of reach can not be lit, the one that holds work counts").await;
    scene.agent.silent.store(false, Ordering::SeqCst);
    scene.until(3.0, "the agent is back").await;

    // Nomad does not answer: no number is invented, and the host holds what it has.
    scene.server.stop().await.unwrap();
    eventually("an error instead of a number", BOUND, async || {
        let found = scene.ask("pending rack").await;
        let text = found.clone().err().filter(|text| text.contains("Nomad"));
        Ok(Probe::of(text, || format!("{found:?}")))
    })
    .await
    .unwrap();
    drop(process);
}

#[tokio::test]
async fn what_is_no_query_and_what_is_no_pool_get_an_error_with_its_remedy() {
    let Some(scene) = Scene::start().await else { return };
    let error = scene.ask("waiting rack").await.unwrap_err();
    assert!(error.contains("pending POOL"), "{error}");
    let error = scene.ask("pending rak").await.unwrap_err();
    assert!(error.contains("pool = \"rak\"") && error.contains("agents name: rack"), "{error}");
}
