//! The device's own lines on a simulated board, for the conformance tests.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bridge_simulated::{Limits, Simulated};
use firmware_bridge::protocol::{self, Identity, SafeState};
use fleet::PowerState;
use serial_port::{OpenError, Port};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

use super::super::conformance;
use super::{Config, Driver, DriverError, FirmwareBridge, OutletNumber};

const OUTLETS: u8 = 4;
/// Starts keep this distance, so that all four take longer than a test waits.
const LIMITS: Limits = Limits { min_on_ms: 0, min_off_ms: 0, start_gap_ms: 100 };
const IDENTITY: Identity = Identity(*b"LAMP0001");
/// A loop of the firmware.
const TICK: Duration = Duration::from_millis(1);
/// Two of the longest frames.
const LINE_LEN: usize = 516;

struct Plug {
    device: Simulated,
    edges: usize,
    plugged_in: bool,
    near: Option<DuplexStream>,
    started: Instant,
}

#[derive(Clone)]
pub(crate) struct PlugPort(Arc<Mutex<Plug>>);

impl Port for PlugPort {
    type Line = DuplexStream;

    fn open(&mut self) -> Result<DuplexStream, OpenError> {
        let mut plug = locked(&self.0);
        if !plug.plugged_in {
            return Err(OpenError::Away { what: "nothing is plugged in".to_owned(), source: None });
        }
        let (near, far) = duplex(LINE_LEN);
        plug.near = Some(near);
        Ok(far)
    }

    fn place(&self) -> String {
        "port /dev/bench".to_owned()
    }
}

/// A board with its driver.
pub(crate) struct Bench {
    driver: FirmwareBridge<PlugPort>,
    config: Config,
    plug: PlugPort,
    _device: JoinSet<()>,
}

fn locked(plug: &Mutex<Plug>) -> MutexGuard<'_, Plug> {
    plug.lock().expect("no test panics while it holds the lock")
}

impl Plug {
    fn turn(&mut self, bytes: &[u8]) -> Vec<u8> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        self.device.received(bytes, now);
        let said = self.device.run(now);
        self.edges += self.device.edges().len();
        said
    }
}

/// The device's loop.
async fn run(plug: PlugPort) {
    let mut ticks = interval(TICK);
    let mut buffer = [0; LINE_LEN];
    loop {
        ticks.tick().await;
        let near = locked(&plug.0).near.take();
        let Some(mut near) = near else {
            drop(locked(&plug.0).turn(&[]));
            continue;
        };
        let count = match timeout(Duration::ZERO, near.read(&mut buffer)).await {
            Err(_nothing) => 0,
            Ok(Ok(count)) if count > 0 => count,
            Ok(_ended) => continue,
        };
        let said = locked(&plug.0).turn(&buffer[..count]);
        let written = timeout(TICK, near.write_all(&said)).await;
        let mut plug = locked(&plug.0);
        if plug.plugged_in && plug.near.is_none() && matches!(written, Ok(Ok(()))) {
            plug.near = Some(near);
        }
    }
}

impl Bench {
    fn with(lease: Option<(Duration, SafeState)>) -> Self {
        let plug = PlugPort(Arc::new(Mutex::new(Plug {
            device: Simulated::new(IDENTITY, OUTLETS, LIMITS, 0),
            edges: 0,
            plugged_in: true,
            near: None,
            started: Instant::now(),
        })));
        let mut device = JoinSet::new();
        device.spawn(run(plug.clone()));
        let config = Config::for_tests(OUTLETS, Some(IDENTITY), lease);
        let driver = FirmwareBridge::new(config.clone(), plug.clone());
        Self { driver, config, plug, _device: device }
    }

    fn expecting(&mut self, outlets: u8, identity: Identity) {
        self.config = Config::for_tests(outlets, Some(identity), None);
        conformance::Bench::restart_driver(self);
    }
}

impl conformance::Bench for Bench {
    type Driver = FirmwareBridge<PlugPort>;

    fn each_kind() -> Vec<Self> {
        let lease = Duration::from_secs(60);
        vec![Self::with(None), Self::with(Some((lease, SafeState::Off)))]
    }

    fn driver(&mut self) -> &mut Self::Driver {
        &mut self.driver
    }

    fn restart_driver(&mut self) {
        locked(&self.plug.0).near = None;
        self.driver = FirmwareBridge::new(self.config.clone(), self.plug.clone());
    }

    fn relays(&self) -> Vec<(OutletNumber, PowerState)> {
        let mut plug = locked(&self.plug.0);
        let outlets = protocol::OutletNumber::all().take(usize::from(OUTLETS));
        let relays = outlets.map(|outlet| {
            let number = OutletNumber::new(u16::from(outlet.get())).unwrap();
            (number, super::ours(plug.device.board().contact_of(outlet)))
        });
        relays.collect()
    }

    fn edges(&self) -> usize {
        locked(&self.plug.0).edges
    }

    fn lost_frames(&self) -> usize {
        0
    }

    fn unplug(&mut self) {
        let mut plug = locked(&self.plug.0);
        plug.plugged_in = false;
        plug.near = None;
    }

    fn plug_in(&mut self) {
        locked(&self.plug.0).plugged_in = true;
    }
}

fn outlet(number: u16) -> OutletNumber {
    OutletNumber::new(number).unwrap()
}

#[tokio::test(start_paused = true)]
async fn another_board_gets_nothing_and_one_with_fewer_outlets_is_not_what_the_file_says() {
    let mut bench = Bench::with(None);
    for (outlets, identity, said) in [
        (OUTLETS, Identity(*b"LAMP0002"), "it is board 4c414d5030303031"),
        (8, IDENTITY, "it has 4 outlets, and the file says 8"),
    ] {
        bench.expecting(outlets, identity);
        let refused = bench.driver.set(&[(outlet(1), PowerState::On)]).await.unwrap_err();
        assert!(matches!(refused, DriverError::Misconfigured { .. }), "{refused}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    assert_eq!(conformance::Bench::edges(&bench), 0);
}

#[tokio::test(start_paused = true)]
async fn outlets_become_what_the_file_says_when_the_agent_is_gone_and_not_before() {
    let lease = Duration::from_secs(5);
    let mut bench = Bench::with(Some((lease, SafeState::Off)));
    bench.driver.set(&[(outlet(1), PowerState::On)]).await.unwrap();
    tokio::time::sleep(lease * 10).await;
    assert_eq!(conformance::Bench::edges(&bench), 1, "the agent lives");
    let gone = bench.driver.line.take();
    drop(gone);
    tokio::time::sleep(lease * 2).await;
    assert_eq!(conformance::Bench::edges(&bench), 2);
    assert!(conformance::Bench::relays(&bench).iter().all(|(_, state)| *state == PowerState::Off));
}

#[tokio::test(start_paused = true)]
async fn a_loss_and_a_return_are_told_and_so_is_what_the_device_does_by_itself() {
    let mut bench = Bench::with(None);
    bench.driver.read_all().await.unwrap();
    let limit = Duration::from_secs(2);
    // The greeting itself.
    while timeout(limit, bench.driver.stirs()).await.is_ok() {}
    conformance::Bench::unplug(&mut bench);
    assert!(timeout(Duration::from_millis(100), bench.driver.stirs()).await.is_ok());
    conformance::Bench::plug_in(&mut bench);
    assert!(timeout(limit, bench.driver.stirs()).await.is_ok());
    while timeout(limit, bench.driver.stirs()).await.is_ok() {}
    {
        let mut plug = locked(&bench.plug.0);
        let welded = bridge_simulated::Contact::Stuck(protocol::PowerState::On);
        plug.device.board().wrong(protocol::OutletNumber::new(2).unwrap(), Some(welded));
    }
    assert!(timeout(limit, bench.driver.stirs()).await.is_ok(), "a contact that moved alone");
    let readings = bench.driver.read_all().await.unwrap();
    assert_eq!(readings.of(outlet(2)), Some(PowerState::On));
}
