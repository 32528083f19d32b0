//! Signals, and the death of the host.
//!
//! They are handled, not set to be ignored: a child inherits an ignore, but no handler.

use std::io;

use rustix::process::{Pid, Signal, getppid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::ending::Ending;

/// What the kernel sends when the host dies. Not SIGTERM: the kernel sends it also when only the
/// host's thread ends that launched us, and then we must live.
const HOST_DIED: Signal = Signal::USR1;

/// Why signals can not be watched.
#[derive(Debug, thiserror::Error)]
#[error("watching {signal}")]
pub(super) struct SignalError {
    signal: &'static str,
    source: io::Error,
}

/// Watches signals until the tasks are dropped.
///
/// SIGINT, which a terminal sends to host and plugin alike, is swallowed as Go plugins do; SIGHUP
/// too, as the host's reload may reach its whole process group; SIGTERM ends in order.
pub(super) fn watch(tasks: &mut JoinSet<()>, ending: &Ending) -> Result<(), SignalError> {
    let open = |kind, name| signal(kind).map_err(|source| SignalError { signal: name, source });
    let mut interrupt = open(SignalKind::interrupt(), "SIGINT")?;
    let mut hangup = open(SignalKind::hangup(), "SIGHUP")?;
    let mut terminate = open(SignalKind::terminate(), "SIGTERM")?;
    let mut host_died = open(SignalKind::user_defined1(), "SIGUSR1")?;
    let host = getppid();
    if watch_the_host(host) == Host::Gone {
        ending.begin("the host died during the launch");
    }
    let ending = ending.clone();
    tasks.spawn(async move {
        let mut interrupts: u64 = 0;
        loop {
            tokio::select! {
                Some(()) = interrupt.recv() => {
                    interrupts += 1;
                    tracing::trace!(count = interrupts, "plugin received interrupt signal, ignoring");
                }
                Some(()) = hangup.recv() => {
                    tracing::trace!("plugin received hangup signal, ignoring");
                }
                Some(()) = terminate.recv() => ending.begin("SIGTERM"),
                Some(()) = host_died.recv() => {
                    if watch_the_host(host) == Host::Gone {
                        ending.begin("the host died");
                    }
                }
                else => break,
            }
        }
    });
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Lives,
    Gone,
}

/// Has the kernel tell us of the host's death, and sees whether it has happened already.
fn watch_the_host(host: Option<Pid>) -> Host {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(HOST_DIED)) {
        // The end of the host's streams still tells.
        tracing::warn!(%error, "the kernel will not tell of the host's death");
    }
    if getppid() == host { Host::Lives } else { Host::Gone }
}
