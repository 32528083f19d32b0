//! A device at the end of a line that can be unplugged, and a host that has it open.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bridge_simulated::{Limits, Simulated};
use firmware_bridge::protocol::link::Pace;
use firmware_bridge::protocol::message::{Outcome, Request, Said, Switch};
use firmware_bridge::protocol::{Identity, OutletNumber, PowerState, Versions};
use firmware_bridge::{AskError, Bridge, Standing, own};
use serial_port::{OpenError, Port};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

pub(crate) const OUTLETS: u8 = 6;
pub(crate) const IDENTITY: Identity = Identity(*b"LAMP0001");
pub(crate) const LIMITS: Limits = Limits { min_on_ms: 0, min_off_ms: 0, start_gap_ms: 0 };

/// Longer than any wait in these tests, which pass in virtual time: for hangs alone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A loop of the firmware.
const TICK: Duration = Duration::from_millis(1);

/// A line holds two of the longest frames.
const LINE_LEN: usize = 516;

/// The plug: what is at the end of the line now.
pub(crate) struct Plug {
    pub(crate) device: Simulated,
    pub(crate) edges: Vec<(u8, PowerState)>,
    /// Whether a port is there to be opened.
    pub(crate) plugged_in: bool,
    /// Bytes from the host that still pass before the line is cut.
    pub(crate) cut_after: Option<usize>,
    /// Openings so far.
    pub(crate) opened: usize,
    started: Instant,
    near: Option<DuplexStream>,
}

pub(crate) type SharedPlug = Arc<Mutex<Plug>>;

/// The port of the plug.
pub(crate) struct PlugPort(SharedPlug);

impl Port for PlugPort {
    type Line = DuplexStream;

    fn open(&mut self) -> Result<DuplexStream, OpenError> {
        let mut plug = self.0.lock().unwrap();
        if !plug.plugged_in {
            return Err(OpenError::Away { what: "nothing is plugged in".to_owned(), source: None });
        }
        let (near, far) = duplex(LINE_LEN);
        plug.near = Some(near);
        plug.opened += 1;
        Ok(far)
    }

    fn place(&self) -> String {
        "the plug".to_owned()
    }
}

/// What is on the desk.
pub(crate) struct Desk {
    pub(crate) plug: SharedPlug,
    pub(crate) bridge: Bridge,
    tasks: JoinSet<()>,
}

impl Desk {
    pub(crate) fn new(device: Simulated) -> Desk {
        Desk::with(device, Versions::ALL, Some(IDENTITY))
    }

    pub(crate) fn with(device: Simulated, versions: Versions, expected: Option<Identity>) -> Desk {
        let plug = Arc::new(Mutex::new(Plug {
            device,
            edges: Vec::new(),
            plugged_in: true,
            cut_after: None,
            opened: 0,
            started: Instant::now(),
            near: None,
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(run_device(Arc::clone(&plug)));
        let bridge = host(&plug, versions, expected, &mut tasks);
        Desk { plug, bridge, tasks }
    }

    /// A host that is killed, and the next one: no handle of the old one is left.
    pub(crate) fn host_anew(&mut self) {
        self.plug().near = None;
        self.bridge = host(&self.plug, Versions::ALL, Some(IDENTITY), &mut self.tasks);
    }

    pub(crate) fn plug(&self) -> MutexGuard<'_, Plug> {
        self.plug.lock().unwrap()
    }

    /// Waits until it stands so.
    pub(crate) async fn until(&self, is: impl Fn(&Standing) -> bool) -> Standing {
        let mut stands = self.bridge.stands();
        let standing = timeout(PATIENCE, stands.wait_for(is)).await;
        standing.expect("it never stood so").unwrap().clone()
    }

    pub(crate) async fn until_up(&self) -> Standing {
        self.until(|standing| matches!(standing, Standing::Up(..))).await
    }

    pub(crate) async fn set(&self, number: u8, state: PowerState) -> Result<Outcome, AskError> {
        let switch = Switch { outlet: outlet(number), state };
        let make = move |order| Request::Set(order, [switch].into_iter().collect());
        let answer = timeout(PATIENCE * 2, self.bridge.order(make, PATIENCE)).await;
        match answer.expect("it is given up in time")?.said {
            Said::Set(_, outcomes) => Ok(outcomes[0]),
            other => panic!("{other:?} is no answer to a set"),
        }
    }

    pub(crate) async fn read(&self) -> Vec<(u8, Option<PowerState>)> {
        match self.bridge.ask(Request::Read, PATIENCE).await.unwrap().said {
            Said::Outlets(seen) => {
                seen.iter().map(|seen| (seen.outlet.get(), seen.contact)).collect()
            }
            other => panic!("{other:?} is no answer to a read"),
        }
    }
}

fn host(
    plug: &SharedPlug,
    versions: Versions,
    expected: Option<Identity>,
    tasks: &mut JoinSet<()>,
) -> Bridge {
    let (bridge, task) = own(PlugPort(Arc::clone(plug)), versions, expected, Pace::DEFAULT);
    tasks.spawn(task);
    bridge
}

pub(crate) fn outlet(number: u8) -> OutletNumber {
    OutletNumber::new(number).unwrap()
}

pub(crate) fn device() -> Simulated {
    Simulated::new(IDENTITY, OUTLETS, LIMITS, 0)
}

impl Plug {
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn unplug(&mut self) {
        self.plugged_in = false;
        self.near = None;
    }

    /// A moment of the device: what came, and what it says. `false`: the line is to be cut.
    fn turn(&mut self, bytes: &[u8]) -> Vec<u8> {
        let passes = self.cut_after.map_or(bytes.len(), |left| left.min(bytes.len()));
        let now = self.now_ms();
        self.device.received(&bytes[..passes], now);
        let said = self.device.run(now);
        let edges = self.device.edges();
        self.edges.extend(edges.iter().map(|edge| (edge.outlet.get(), edge.state)));
        if let Some(left) = &mut self.cut_after {
            *left -= passes;
            if passes < bytes.len() || *left == 0 {
                self.cut_after = None;
                self.unplug();
            }
        }
        said
    }
}

async fn run_device(plug: SharedPlug) {
    let mut ticks = interval(TICK);
    let mut buffer = [0; LINE_LEN];
    loop {
        ticks.tick().await;
        // Taken out while it is read from and written to: who unplugs meanwhile finds nothing to put back.
        let near = plug.lock().unwrap().near.take();
        let Some(mut near) = near else {
            drop(plug.lock().unwrap().turn(&[]));
            continue;
        };
        let opened = plug.lock().unwrap().opened;
        let read = timeout(Duration::ZERO, near.read(&mut buffer)).await;
        let count = match read {
            Err(_nothing) => 0,
            Ok(Ok(count)) if count > 0 => count,
            Ok(_ended) => continue,
        };
        let said = plug.lock().unwrap().turn(&buffer[..count]);
        let written = timeout(TICK, near.write_all(&said)).await;
        let mut plug = plug.lock().unwrap();
        let stays = plug.plugged_in && plug.opened == opened && plug.near.is_none();
        if stays && matches!(written, Ok(Ok(()))) {
            plug.near = Some(near);
        }
    }
}
