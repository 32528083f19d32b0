//! In the place of a Nomad client: registers its machine, speaks each second, and runs the node's work. It
//! restarts nothing; what was power cut with it is begun again, as Nomad's would be.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::cluster::{
    ClientStatus, Order, Registration, ToClient, ToServer, id, read_line, write_line,
};

/// How often the client says that it is there.
const BEAT: Duration = Duration::from_secs(1);

/// How long it waits before it connects again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a task may take to end before it is killed: Nomad's default.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Lets a task die with its client, also where that is killed.
const TETHER: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// Who the machine is, and whom it serves.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Where the stand-in listens for clients
    #[arg(long, value_name = "ADDRESS")]
    server: SocketAddr,
    /// Where its identity and its work's output are kept, over reboots
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The node's name
    #[arg(long)]
    name: String,
    /// The node's datacenter
    #[arg(long)]
    datacenter: String,
    /// The node's pool
    #[arg(long)]
    node_pool: String,
    /// The node's class
    #[arg(long, default_value = "")]
    node_class: String,
    /// In MHz
    #[arg(long)]
    cpu: u64,
    /// In MiB
    #[arg(long)]
    memory: u64,
    /// In MiB
    #[arg(long)]
    disk: u64,
}

/// The node's work.
#[derive(Default)]
struct Tasks {
    known: BTreeMap<String, Known>,
    running: JoinSet<(String, ClientStatus)>,
}

struct Known {
    status: ClientStatus,
    /// Taken when it has been told to stop.
    stop: Option<oneshot::Sender<()>>,
}

/// Serves until SIGTERM.
pub(crate) async fn run(settings: &Settings) -> Result<()> {
    let own = registration(settings)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut tasks = Tasks::default();
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        () = serve(settings, &own, &mut tasks) => Ok(()),
    }
}

async fn serve(settings: &Settings, own: &Registration, tasks: &mut Tasks) {
    loop {
        if let Err(error) = converse(settings, own, tasks).await {
            eprintln!("the line to {} has ended: {error:#}", settings.server);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn registration(settings: &Settings) -> Result<Registration> {
    let file = settings.dir.join("node-id");
    std::fs::create_dir_all(&settings.dir)
        .with_context(|| format!("can not make {}", settings.dir.display()))?;
    if !file.exists() {
        std::fs::write(&file, id::random())?;
    }
    let id = std::fs::read_to_string(&file)
        .with_context(|| format!("can not read {}", file.display()))?;
    Ok(Registration {
        id,
        name: settings.name.clone(),
        datacenter: settings.datacenter.clone(),
        node_pool: settings.node_pool.clone(),
        node_class: settings.node_class.clone(),
        cpu_mhz: settings.cpu,
        memory_mb: settings.memory,
        disk_mb: settings.disk,
    })
}

/// One connection: says who it is, then does as it is told.
async fn converse(settings: &Settings, own: &Registration, tasks: &mut Tasks) -> Result<()> {
    let (from, mut to) = TcpStream::connect(settings.server).await?.into_split();
    write_line(&mut to, &ToServer::Register(own.clone())).await?;
    // A line that is half read is not lost while something else happens.
    let (told, mut lines) = tokio::sync::mpsc::channel::<ToClient>(1);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let mut from = BufReader::new(from);
        while let Ok(Some(line)) = read_line(&mut from).await {
            if told.send(line).await.is_err() {
                break;
            }
        }
    });
    let mut beat = tokio::time::interval(BEAT);
    loop {
        let reports = tokio::select! {
            line = lines.recv() => tasks.obey(&line.context("the server hung up")?.work, settings),
            Some(ended) = tasks.running.join_next() => tasks.ended(ended?),
            _ = beat.tick() => vec![ToServer::Beat],
        };
        for report in reports {
            write_line(&mut to, &report).await?;
        }
    }
}

impl Tasks {
    /// Begins what is to run, stops what is not, and tells how all of it stands.
    fn obey(&mut self, work: &[Order], settings: &Settings) -> Vec<ToServer> {
        for order in work {
            if order.runs && !self.known.contains_key(&order.id) {
                self.begin(order, settings);
            }
            let known = self.known.entry(order.id.clone());
            // What never ran here has come to its end.
            let known = known.or_insert(Known { status: ClientStatus::Complete, stop: None });
            if let Some(stop) = known.stop.take_if(|_| !order.runs) {
                stop.send(()).ok();
            }
        }
        // Who is told of no more is over for the server too.
        self.known.retain(|id, known| {
            known.status == ClientStatus::Running || work.iter().any(|order| order.id == *id)
        });
        self.known.iter().map(|(id, known)| report(id, known.status)).collect()
    }

    fn begin(&mut self, order: &Order, settings: &Settings) {
        let (stop, stopped) = oneshot::channel();
        let known = match spawn(order, settings) {
            Ok(child) => {
                self.running.spawn(see_through(order.id.clone(), child, stopped));
                Known { status: ClientStatus::Running, stop: Some(stop) }
            }
            Err(error) => {
                eprintln!("{} of {}: {error:#}", order.id, order.job);
                Known { status: ClientStatus::Failed, stop: None }
            }
        };
        self.known.insert(order.id.clone(), known);
    }

    fn ended(&mut self, (id, status): (String, ClientStatus)) -> Vec<ToServer> {
        let reports = vec![report(&id, status)];
        self.known.insert(id, Known { status, stop: None });
        reports
    }
}

fn report(id: &str, status: ClientStatus) -> ToServer {
    ToServer::Report { id: id.to_owned(), status }
}

/// Starts a task in a process group of its own, its output in a file of its allocation's folder.
fn spawn(order: &Order, settings: &Settings) -> Result<Child> {
    let folder = settings.dir.join("alloc").join(&order.id);
    std::fs::create_dir_all(&folder)?;
    let out = File::create(folder.join("output"))?;
    let program = Path::new(&order.command);
    let args = order.args.iter().map(|arg| arg.replace("${node.unique.name}", &settings.name));
    let [tether, rest @ ..] = TETHER;
    Command::new(tether)
        .args(rest)
        .arg(program)
        .args(args)
        .env("NOMAD_ALLOC_ID", &order.id)
        .env("NOMAD_JOB_ID", &order.job)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("can not start {}", program.display()))
}

/// Waits for a task's end, by itself or because it is stopped: SIGINT, then after a while SIGKILL.
async fn see_through(
    id: String,
    mut child: Child,
    stopped: oneshot::Receiver<()>,
) -> (String, ClientStatus) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let send = |signal: Signal| {
        // An error means that the group is gone already.
        group.map(|group| kill_process_group(group, signal).ok());
    };
    tokio::select! {
        status = child.wait() => {
            send(Signal::KILL);
            let well = status.is_ok_and(|status| status.success());
            (id, if well { ClientStatus::Complete } else { ClientStatus::Failed })
        }
        Ok(()) = stopped => {
            send(Signal::INT);
            tokio::time::timeout(KILL_PATIENCE, child.wait()).await.ok();
            send(Signal::KILL);
            child.wait().await.ok();
            (id, ClientStatus::Complete)
        }
    }
}
