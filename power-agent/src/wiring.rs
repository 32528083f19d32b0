//! Puts the agent together and takes it apart again: journal, devices, adoption, socket, and the end of each.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_api::client::{KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use fleet::DeviceName;
use futures_util::future::join_all;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::agent::Agent;
use crate::audit::{Event, What, Who};
use crate::clock::BootId;
use crate::config::Config;
use crate::descriptors::Descriptors;
use crate::device::{self, DeviceHandle};
use crate::identity::{GateLayer, Keeper};
use crate::node::{Nodes, chain};
use crate::notify;
use crate::rack::{Device, Draft};
use crate::reload;
use crate::server::Service;
use crate::store::{Store, StoreError};
use crate::tls::Trust;
use crate::tls::door::{self, Door};
use crate::tls::link::Link;

/// How long the end waits for outlets that are on their way and for machines in their dwell: a cycle of 60 s and its
/// movement; less than the 90 s after which systemd kills.
const STOP_PATIENCE: Duration = Duration::from_secs(75);

/// How long the end waits for callers that are being answered.
const CALLERS_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried to take back drains that could not be taken back: a Nomad that comes back finds its nodes
/// eligible within seconds, and one that is away is not beaten on.
const GIVE_BACK_AGAIN: Duration = Duration::from_secs(10);

/// How long it may take to learn whether somebody answers on an old socket: it is on this host.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

/// How many calls one connection may have open at once: a plugin's watch and an order for each machine of a rack.
const STREAMS_MAX: u32 = 256;

/// The socket's mode: its owner and its group may give orders.
const SOCKET_MODE: u32 = 0o660;

/// Why the agent can not serve. Nothing has moved.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its journal can not be used.
    #[error("the agent does not start")]
    Journal(#[from] StoreError),
    /// The settings for Nomad can not work.
    #[error("the agent does not start: [nomad] can not work")]
    Nomad(#[from] nomad_api::Error),
    /// Somebody answers on the socket already.
    #[error("socket {}: another process listens there; stop it, or name another socket as `agent.socket`", path.display())]
    SocketTaken {
        /// The socket.
        path: PathBuf,
    },
    /// There is something else where the socket should be.
    #[error("socket {}: there is a file that is no socket; move it away, or name another path as `agent.socket`", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The files of `[tls]` can not be used.
    #[error("the agent does not start: [tls] can not work")]
    Tls(#[from] agent_api::credentials::FileError),
    /// It can not listen on the network.
    #[error(
        "address {address}: can not listen there; is it an address of this host, and is the port free? It stands as `listen` in [agent]"
    )]
    Network {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The socket can not be made.
    #[error("socket {}: can not be made; look at the rights of its directory", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel does not tell which boot this is, or takes no signal handler.
    #[error("the agent does not start: the system does not tell {what}")]
    System {
        /// What was asked.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("the agent no longer listens")]
    Listener(#[from] tonic::transport::Error),
}

/// Serves until SIGTERM or SIGINT; reads `file` again on SIGHUP.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: Config, file: &Path) -> Result<(), ServeError> {
    let handler = |kind| {
        signal(kind).map_err(|source| ServeError::System { what: "when it should end", source })
    };
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;
    let hangup = handler(SignalKind::hangup())?;
    let told_to_stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let boot = BootId::of_kernel()
        .map_err(|source| ServeError::System { what: "which boot this is", source })?;
    let descriptors = Descriptors::of_service()
        .map_err(|source| ServeError::System { what: "which descriptors it has kept", source })?;
    serve_reloading(config, boot, descriptors, told_to_stop, Some((file, hangup))).await
}

/// Serves until `stop` is ready: journal, then socket, then a look at every device, then intake.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve_until(
    config: Config,
    boot: BootId,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_reloading(config, boot, Descriptors::default(), stop, None).await
}

async fn serve_reloading(
    mut config: Config,
    boot: BootId,
    descriptors: Descriptors,
    stop: impl Future<Output = ()>,
    again: Option<(&Path, Signal)>,
) -> Result<(), ServeError> {
    let socket = config.agent.socket.clone();
    // The journal's lock is what makes this the only agent of its hardware: it comes first.
    let store = Store::open(&config.agent.state, boot)?;
    let nodes = Nodes::new(config.nomad.as_ref())?;
    let of_page = config.page.as_ref().and_then(|page| page.tls.as_ref());
    let tls = config.network.as_ref().map(|network| &network.tls).or(of_page);
    let trust = tls.map(Trust::load).transpose()?.map(Arc::new);
    let network = match &config.network {
        Some(network) => Some(bind(network.listen, "listens on the network, by mutual TLS").await?),
        None => None,
    };
    let page = match &config.page {
        Some(page) => Some((bind(page.listen, "serves the page").await?, page.tls.is_some())),
        None => None,
    };
    let metrics = match config.agent.metrics {
        Some(address) => Some(bind(address, "answers Prometheus at /metrics").await?),
        None => None,
    };
    let listener = listen(&socket).await?;
    let mut owners = JoinSet::new();
    let devices = own_devices(&config, &descriptors, &mut owners);
    let keeper = Keeper::new(std::mem::take(&mut config.access), trust);
    let draft = Draft { config: &config, nodes, devices };
    let (agent, half_done) = Agent::new(draft, store, keeper, descriptors)?;
    let version =
        format!("version {}, {} machines", env!("CARGO_PKG_VERSION"), config.machines.len());
    agent.audit_durably(Event::new(What::Started, Who::agent(), &version)).await;
    agent.adopt(half_done).await;
    for device in agent.rack().devices.values() {
        agent.spawn(poll(Arc::clone(&agent), device.handle.clone()));
    }
    agent.spawn(give_back(Arc::clone(&agent)));
    agent.spawn(watch_life(Arc::clone(&agent)));
    tracing::info!(socket = %socket.display(), machines = config.machines.len(), "agent serves");
    if let Some(listener) = metrics {
        agent.spawn(crate::metrics::serve(Arc::clone(&agent), listener));
    }
    if let Some((listener, secure)) = page {
        agent.spawn(crate::page::serve(Arc::clone(&agent), listener, secure));
    }
    let links = open_doors(&agent, (listener, socket_group(&socket)?), network);
    agent.spawn(notify::live(Arc::clone(&agent)));
    notify::ready(config.machines.len());
    let served = tokio::select! {
        served = serve_links(&agent, links, stop) => served,
        never = reloads(&agent, again, &mut owners) => match never {},
    };
    end(agent, owners).await;
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::debug!(err = %error, "socket was gone already");
    }
    served
}

/// A task for each device of the rack file.
fn own_devices(
    config: &Config,
    descriptors: &Descriptors,
    owners: &mut JoinSet<()>,
) -> BTreeMap<DeviceName, Device> {
    let mut devices = BTreeMap::new();
    for (name, driver) in &config.devices {
        let (handle, task) = device::own(name.clone(), driver, descriptors);
        owners.spawn(task);
        devices.insert(name.clone(), Device { settings: driver.clone(), handle });
    }
    for device in descriptors.unclaimed(config.devices.keys().map(DeviceName::as_str)) {
        tracing::warn!(
            device,
            "lines of a device that the rack file no longer names are kept as they are; they are let go when the service is stopped"
        );
    }
    devices
}

/// Reads the rack file again whenever that is asked.
async fn reloads(
    agent: &Arc<Agent>,
    again: Option<(&Path, Signal)>,
    owners: &mut JoinSet<()>,
) -> std::convert::Infallible {
    if let Some((file, mut hangup)) = again {
        while hangup.recv().await.is_some() {
            notify::reloading();
            reload::reload(agent, file, owners).await;
            notify::ready(agent.rack().machines.len());
        }
    }
    std::future::pending().await
}

/// Takes connections from the socket and, where it is so configured, from the network.
fn open_doors(
    agent: &Arc<Agent>,
    (socket, group): (UnixListener, u32),
    network: Option<TcpListener>,
) -> mpsc::Receiver<std::io::Result<Link>> {
    let (sender, links) = mpsc::channel(door::WAITING_MAX);
    if let Some(trust) = agent.keeper.trust.clone() {
        agent.spawn(door::renew(Arc::clone(agent), Arc::clone(&trust)));
        if let Some(listener) = network {
            let door = Door::new(Arc::clone(agent), trust, sender.clone());
            agent.spawn(door.open(listener));
        }
    }
    agent.spawn(door::local(Arc::clone(agent), socket, group, sender));
    links
}

async fn serve_links(
    agent: &Arc<Agent>,
    links: mpsc::Receiver<std::io::Result<Link>>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut stopping = agent.stop.subscribe();
    let closing = async move {
        drop(stopping.wait_for(|stop| *stop).await);
    };
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .layer(GateLayer(Arc::clone(agent)))
        .add_service(Service::server(Arc::clone(agent)))
        .serve_with_incoming_shutdown(ReceiverStream::new(links), closing);
    let mut server = std::pin::pin!(server);
    tokio::select! {
        served = &mut server => return served.map_err(ServeError::from),
        () = stop => {}
    }
    tracing::info!("agent stops");
    notify::stopping();
    agent.stop.send_replace(true);
    agent.end_watches();
    match timeout(CALLERS_PATIENCE, server).await {
        Ok(served) => served.map_err(ServeError::from),
        Err(_elapsed) => Ok(()),
    }
}

/// Waits for what must not be left half way; the rest is in the journal.
async fn end(agent: Arc<Agent>, owners: JoinSet<()>) {
    agent.stop.send_replace(true);
    let mut tasks = agent.take_tasks();
    let joined = timeout(STOP_PATIENCE, async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(err = %error, "a task of the agent failed");
            }
        }
    });
    if joined.await.is_err() {
        tracing::error!(
            "sequences were still running at the end; they are finished at the next start"
        );
    }
    tasks.shutdown().await;
    agent.audit_durably(Event::new(What::Stopped, Who::agent(), "told to stop")).await;
    drop(agent);
    let mut owners = owners;
    owners.shutdown().await;
}

/// Takes back, again and again, the drains that could not be taken back when their operations ended.
async fn give_back(agent: Arc<Agent>) {
    let mut stopping = agent.stop.subscribe();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(GIVE_BACK_AGAIN) => {}
        }
        agent.give_back_drains().await;
    }
}

/// Looks again and again which machines answer on the network, so that the signs are as old as they say. The sequence of
/// one that moves looks for itself.
async fn watch_life(agent: Arc<Agent>) {
    let mut stopping = agent.stop.subscribe();
    let mut reloads = agent.reloads.subscribe();
    loop {
        let rack = agent.rack();
        let look = join_all(rack.machines.values().map(|machine| async {
            if agent.presence(machine).await.is_some() {
                agent.publish(&machine.config.name);
            }
        }));
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = look => {}
        }
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = reloads.changed() => {}
            () = tokio::time::sleep(rack.config.poll) => {}
        }
    }
}

/// Reads a device again and again, so that readings are as old as they say, and at once when the way to it has broken or
/// is there again; until a reload has put another in its place.
pub(crate) async fn poll(agent: Arc<Agent>, device: DeviceHandle) {
    let mut stopping = agent.stop.subscribe();
    let mut reloads = agent.reloads.subscribe();
    let mut trouble = None;
    loop {
        let pause = agent.rack().config.poll;
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            _ = reloads.changed() => {
                if !agent.rack().has(&device) {
                    return;
                }
                continue;
            }
            () = device.stirred() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let now_wrong = agent.read_device(&device).await.err().map(|error| chain(&error));
        agent.weigh_drift(&device);
        match (&trouble, &now_wrong) {
            (None, Some(err)) => {
                tracing::error!(device = %device.name(), err, "device can not be read");
            }
            (Some(_), None) => tracing::info!(device = %device.name(), "device can be read again"),
            _ => {}
        }
        trouble = now_wrong;
    }
}

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServeError::Network { address, source })?;
    // The port may have been 0: then the kernel has chosen one.
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "{what}");
    Ok(listener)
}

/// The group that may open the socket.
fn socket_group(path: &Path) -> Result<u32, ServeError> {
    let found = std::fs::metadata(path);
    found
        .map(|found| found.gid())
        .map_err(|source| ServeError::Socket { path: path.to_owned(), source })
}

/// Listens on the socket; an old one goes only where nobody answers on it.
async fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Socket { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => {
            let probe = timeout(PROBE_PATIENCE, UnixStream::connect(path)).await;
            match probe {
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Ok(Err(source)) => return Err(failed(source)),
                // Who does not answer in time is there all the same.
                Ok(Ok(_)) | Err(_) => {
                    return Err(ServeError::SocketTaken { path: path.to_owned() });
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}
