//! A plugin's life as a process: launch, socket, handshake, signals, orderly end.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::answers::{ApmSide, Side, TargetSide, guarded};
use super::ending::Ending;
use super::hclog::{Fields, Level};
use super::launch::{self, Launch, LaunchError};
use super::log;
use super::server::{self, ServerError};
use super::signals::{self, SignalError};
use super::socket::{self, SocketError};
use super::{Apm, STOP_WAIT_MAX, Target};

/// How long open calls may take to end: the host kills two seconds after its Shutdown, and
/// [`STOP_WAIT_MAX`] passes at the same time.
const DRAIN_WAIT_MAX: Duration = Duration::from_millis(500);

/// Serves a target to the autoscaler that launched this process, until that ends.
///
/// `target` should cost nothing to make: no state is loaded before the handshake line is out. Its
/// tasks begin with the first `set_config`, which runs inside the runtime.
pub fn serve_target<T: Target>(target: T) -> ExitCode {
    serve(TargetSide(Arc::new(target)))
}

/// Serves an APM to the autoscaler that launched this process; see [`serve_target`].
pub fn serve_apm<A: Apm>(apm: A) -> ExitCode {
    serve(ApmSide(Arc::new(apm)))
}

/// Answers an invocation without any argument.
///
/// From a shell: what every go-plugin binary says. From a host: which line its plugin block lacks.
pub fn refuse_bare_start() -> ExitCode {
    if !launch::launched_by_a_host() {
        return refuse_people();
    }
    refuse_start(
        "this binary serves several kinds of plugin and was started as none: write \
         args = [\"target\"] into the plugin block of type target, args = [\"apm\"] into that of type apm",
    )
}

/// Tells the host that launched us, in its log, why this launch can not be followed.
pub fn refuse_start(why: &str) -> ExitCode {
    tell(Level::Error, why.to_owned());
    ExitCode::FAILURE
}

fn refuse_people() -> ExitCode {
    io::stderr().write_all(launch::NOT_FOR_PEOPLE.as_bytes()).ok();
    ExitCode::FAILURE
}

fn tell(level: Level, message: String) {
    log::write_line(level, "lamplighter.host", message, Fields::default());
}

/// What ends a plugin before its host does.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("writing the handshake line to stdout")]
    Handshake(#[source] io::Error),
    #[error("serving gRPC was lost")]
    Lost(#[source] tokio::task::JoinError),
    #[error("starting the runtime")]
    Runtime(#[source] io::Error),
}

fn serve<S: Side>(side: S) -> ExitCode {
    if !launch::launched_by_a_host() {
        return refuse_people();
    }
    log::install();
    let served =
        Launch::read(|name| std::env::var_os(name)).map_err(ServeError::from).and_then(|launch| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(ServeError::Runtime)?;
            let served = runtime.block_on(live(side, &launch));
            // Blocking calls that still run are left behind: the host's patience is short.
            runtime.shutdown_background();
            served
        });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse_start(&super::Fault::caused("plugin init error", &error).to_string()),
    }
}

async fn live<S: Side>(side: S, launch: &Launch) -> Result<(), ServeError> {
    let ending = Ending::default();
    let mut watching = JoinSet::new();
    signals::watch(&mut watching, &ending)?;
    let (listener, socket) = socket::bind(&launch.socket_dir, launch.socket_group.as_deref())?;
    let handshake = launch.handshake(socket.path())?;
    let mut serving = JoinSet::new();
    let (name, served, ended) = (launch::driver_name(), side.clone(), ending.clone());
    serving.spawn(async move { server::converse(&name, served, listener, ended).await });
    greet(&handshake).map_err(ServeError::Handshake)?;
    tracing::debug!(network = "unix", address = %socket.path().display(), "plugin address");
    if let Some(versions) = &launch.incompatible {
        tracing::warn!(?versions, "the host speaks no protocol version of ours, which is 1");
    }
    tokio::select! {
        () = ending.begun() => {}
        // Serving ends first only by failing.
        Some(served) = serving.join_next() => return served.map_err(ServeError::Lost)?.map_err(ServeError::from),
    }
    drop(socket);
    end(side, &mut serving).await
}

/// The only line that stdout ever carries: the host drops what comes later.
fn greet(handshake: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(handshake.as_bytes())?;
    stdout.flush()
}

/// Lets the plugin and its open calls end, each within its bound.
async fn end<S: Side>(
    side: S,
    serving: &mut JoinSet<Result<(), ServerError>>,
) -> Result<(), ServeError> {
    let stop = async {
        side.stop().await;
        Ok(())
    };
    let stopped = tokio::time::timeout(STOP_WAIT_MAX, guarded(stop));
    let drained = tokio::time::timeout(DRAIN_WAIT_MAX, serving.join_next());
    let (stopped, drained) = tokio::join!(stopped, drained);
    if stopped.is_err() {
        tracing::warn!(waited = ?STOP_WAIT_MAX, "the plugin's own end was cut");
    }
    match drained {
        Ok(Some(served)) => Ok(served.map_err(ServeError::Lost)??),
        // Calls that outlive the wait are cancelled with the runtime, as Go cancels them at once.
        Ok(None) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Fault, ScalingAction, TargetStatus};
    use super::*;

    /// Ends never, or by a panic.
    struct Stubborn {
        panics: bool,
    }

    impl Target for Stubborn {
        async fn set_config(&self, _config: Config) -> Result<(), Fault> {
            Ok(())
        }

        async fn status(&self, _config: Config) -> Result<TargetStatus, Fault> {
            Ok(TargetStatus::default())
        }

        async fn scale(&self, _action: ScalingAction, _config: Config) -> Result<(), Fault> {
            Ok(())
        }

        async fn stop(&self) {
            assert!(!self.panics, "at the very end");
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn item_16_neither_a_hanging_plugin_nor_a_hanging_call_outlasts_the_hosts_patience() {
        let mut serving = JoinSet::new();
        serving.spawn(std::future::pending());
        let side = TargetSide(Arc::new(Stubborn { panics: false }));
        let host_kills_after = Duration::from_secs(2);
        let ended = tokio::time::timeout(host_kills_after, end(side, &mut serving)).await;
        ended.expect("before the host kills").expect("in order");
    }

    #[tokio::test(start_paused = true)]
    async fn item_24_a_plugin_that_panics_at_its_end_still_ends_in_order() {
        let mut serving = JoinSet::new();
        serving.spawn(async { Ok(()) });
        let side = TargetSide(Arc::new(Stubborn { panics: true }));
        end(side, &mut serving).await.expect("in order");
    }
}
