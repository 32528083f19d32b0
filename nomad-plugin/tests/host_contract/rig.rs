//! What the tests share: a started plugin process, a server in this process, bounded waits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::shared::proto::v1 as shared;
use nomad_plugin::host::{self, Apm, Ending, Target};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

pub(crate) const COOKIE: (&str, &str) = (
    "NOMAD_AUTOSCALER_PLUGIN_MAGIC_COOKIE",
    "e082fa04d587a6525d683666fa253d6afda00f20c122c54a80a3ed57fec99ff3",
);

/// Far longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `check` holds, or fails naming `what`.
pub(crate) async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited {PATIENCE:?} in vain until {what}");
}

/// Awaits `work` within the bound.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// The lines that a stream has carried so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn follow(tasks: &mut JoinSet<()>, stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let lines = Self::default();
        let kept = lines.clone();
        tasks.spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                kept.0.lock().expect("not poisoned").push(line);
            }
        });
        lines
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.all().iter().filter(|line| line.contains(part)).count()
    }
}

/// A started process whose output is followed; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    tasks: JoinSet<()>,
    pub(crate) dir: tempfile::TempDir,
}

impl Process {
    /// Starts `program` in an environment without the variables of a host but `vars`, with TMPDIR
    /// in a directory of its own.
    pub(crate) fn start(program: &Path, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(program);
        command.args(args).env_remove(COOKIE.0).env("TMPDIR", dir.path());
        command.envs(vars.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::follow(command, dir)
    }

    pub(crate) fn follow(mut command: Command, dir: tempfile::TempDir) -> Self {
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let mut tasks = JoinSet::new();
        let stdout = Lines::follow(&mut tasks, child.stdout.take().expect("piped"));
        let stderr = Lines::follow(&mut tasks, child.stderr.take().expect("piped"));
        Self { child, stdout, stderr, tasks, dir }
    }

    /// Our binary as the autoscaler starts it.
    pub(crate) fn plugin(args: &[&str]) -> Self {
        Self::start(ours(), args, &[COOKIE, ("PLUGIN_PROTOCOL_VERSIONS", "1")])
    }

    /// The socket that the handshake line names.
    pub(crate) async fn socket(&self) -> PathBuf {
        until("the handshake line is there", || !self.stdout.all().is_empty()).await;
        let line = self.stdout.all().remove(0);
        PathBuf::from(line.split('|').nth(3).unwrap_or_else(|| panic!("handshake {line:?}")))
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(&self.socket().await).await
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("it runs");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Waits for its end and for the rest of its output.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = within("the process to end", self.child.wait()).await.expect("a status");
        within("its output to end", async { while self.tasks.join_next().await.is_some() {} })
            .await;
        status
    }
}

/// The binary under test.
pub(crate) fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lamplighter"))
}

/// Connects as the Go host does: its `:authority` is the word "unused".
pub(crate) async fn connect(socket: &Path) -> Channel {
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).expect("a path");
    let endpoint = endpoint.origin("http://unused".parse().expect("a URI"));
    within("the connection", endpoint.connect()).await.expect("a connection")
}

/// A server in this process.
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    pub(crate) ending: Ending,
    pub(crate) serving: JoinSet<Result<(), host::ServerError>>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn target<T: Target>(target: &Arc<T>) -> Self {
        let target = Arc::clone(target);
        Self::with(|listener, ending| host::converse_target("rig", target, listener, ending))
    }

    pub(crate) fn apm<A: Apm>(apm: &Arc<A>) -> Self {
        let apm = Arc::clone(apm);
        Self::with(|listener, ending| host::converse_apm("rig", apm, listener, ending))
    }

    fn with<F>(serve: impl FnOnce(UnixListener, Ending) -> F) -> Self
    where
        F: Future<Output = Result<(), host::ServerError>> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("plugin");
        let ending = Ending::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(UnixListener::bind(&socket).expect("a socket"), ending.clone()));
        Self { socket, ending, serving, _dir: dir }
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(&self.socket).await
    }
}

pub(crate) fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// An action as the host sends it: the meta is JSON in an `Any` without a type.
pub(crate) fn action(count: i64, direction: i32, meta: Option<&str>) -> shared::ScalingAction {
    shared::ScalingAction {
        count,
        reason: "because".to_owned(),
        error: false,
        direction,
        meta: meta.map(|json| prost_types::Any {
            type_url: String::new(),
            value: json.as_bytes().to_vec(),
        }),
    }
}
