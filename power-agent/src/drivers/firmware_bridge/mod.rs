//! A firmware bridge: a microcontroller on a serial line that switches outlets, reads their contacts, answers each order,
//! and keeps the rack safe alone (`firmware-bridge/`).
//!
//! The link is kept alive by a task of its own, so a loss is known within a tenth of a second.

#[cfg(test)]
pub(super) mod bench;
mod settings;

use std::time::Duration;

use firmware_bridge::protocol::message::{Outcome, Request, Said, Switch};
use firmware_bridge::protocol::{
    self, Capability, Epoch, OutletSeen, SafeState, Versions, Welcome,
};
use firmware_bridge::{AskError, Bridge, Standing, own, words};
use fleet::{PowerState, ReadSource};
use serial_port::Port;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Capabilities, Driver, DriverError, OutletNumber, OwnerGone, Readings};

pub use settings::Config;

/// How long an order waits for a bridge that is away: a USB board that was plugged in needs a second or two.
const ORDER_PATIENCE: Duration = Duration::from_secs(3);
/// How long the first question waits for the first greeting. Later ones do not wait for a bridge that is away.
const GREET_PATIENCE: Duration = Duration::from_secs(1);
/// How long a question may take: three tries of the link are a tenth of a second.
const ASK_PATIENCE: Duration = Duration::from_millis(500);
/// How often outlets are read until a start that the device has scheduled was made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The driver: owns the line to one bridge.
pub(crate) struct FirmwareBridge<P> {
    config: Config,
    /// Until the first request.
    port: Option<P>,
    place: String,
    line: Option<Line>,
}

/// The line, from the first request on.
struct Line {
    bridge: Bridge,
    stands: watch::Receiver<Standing>,
    told: broadcast::Receiver<protocol::Told>,
    /// The start of the device that has our lease.
    leased: Option<Epoch>,
    /// Joined by being dropped with the driver.
    _task: JoinSet<()>,
}

impl<P: Port + 'static> FirmwareBridge<P> {
    pub(crate) fn new(config: Config, port: P) -> Self {
        let place = port.place();
        Self { config, port: Some(port), place, line: None }
    }

    /// The line to a device that answers, is what the rack file says, and has our lease.
    async fn line(&mut self, patience: Duration) -> Result<&mut Line, DriverError> {
        let by = Instant::now() + patience;
        if let Some(port) = self.port.take() {
            self.line =
                Some(Line::open(port, &self.config, by.max(Instant::now() + GREET_PATIENCE)).await);
        }
        let Some(line) = &mut self.line else {
            return Err(unreachable(&self.place, "its task has stopped".to_owned()));
        };
        settled(&mut line.stands, by).await;
        let (epoch, welcome) = match line.bridge.standing() {
            Standing::Up(epoch, welcome) => (epoch, welcome),
            Standing::Away(why) => return Err(unreachable(&self.place, why)),
            Standing::Wrong(what) => return Err(wrong(&self.place, what)),
        };
        if let Some(what) = self.config.differs(&welcome) {
            return Err(wrong(&self.place, what));
        }
        if line.leased != Some(epoch) {
            let said =
                line.take_lease(&self.config).await.map_err(|error| failed(&self.place, error))?;
            if let Said::Refused(why) = said {
                return Err(rejected(&self.place, format!("the lease: {}", words::refusal(why))));
            }
            line.leased = Some(epoch);
        }
        Ok(line)
    }

    async fn seen(&mut self, patience: Duration) -> Result<Vec<OutletSeen>, DriverError> {
        let line = self.line(patience).await?;
        let said = line.bridge.ask(Request::Read, ASK_PATIENCE).await.map(|answer| answer.said);
        match said {
            Ok(Said::Outlets(seen)) => Ok(seen.into_iter().collect()),
            Ok(other) => Err(strange(&self.place, &other)),
            // Reading moves nothing, so nothing is indeterminate about it.
            Err(AskError::CanNot(what)) => Err(wrong(&self.place, what)),
            Err(error) => Err(unreachable(&self.place, error.to_string())),
        }
    }

    /// Waits until the device has made the starts that it has scheduled, in the time that its caller gives.
    async fn started(&mut self, scheduled: &[protocol::OutletNumber]) -> Result<(), DriverError> {
        loop {
            let seen = self.seen(Duration::ZERO).await?;
            let waiting = seen.iter().find(|seen| {
                scheduled.contains(&seen.outlet) && seen.driven == protocol::PowerState::Off
            });
            match waiting.map(|seen| seen.changes_in_ms) {
                None => return Ok(()),
                Some(None) => {
                    let what = "a start that it had scheduled was withdrawn".to_owned();
                    return Err(rejected(&self.place, what));
                }
                Some(Some(left)) => {
                    sleep(LOOK_AGAIN.max(Duration::from_millis(u64::from(left)))).await;
                }
            }
        }
    }
}

impl Line {
    async fn open<P: Port + 'static>(port: P, config: &Config, greeted_by: Instant) -> Line {
        let (bridge, run) = own(port, Versions::ALL, config.identity(), protocol::Pace::DEFAULT);
        let mut task = JoinSet::new();
        task.spawn(run);
        let (mut stands, told) = (bridge.stands(), bridge.told());
        settled(&mut stands, greeted_by).await;
        Line { bridge, stands, told, leased: None, _task: task }
    }

    /// What the outlets become when the agent is gone; a lease of before ends, where the file has none.
    async fn take_lease(&self, config: &Config) -> Result<Said, AskError> {
        let (length, safe) = config.lease();
        let outlets = protocol::OutletNumber::all().take(usize::from(config.outlets()));
        let safe =
            outlets.filter(|_| safe != SafeState::Keep).map(|outlet| (outlet, safe)).collect();
        let make = move |order| Request::Lease(order, length, safe);
        Ok(self.bridge.order(make, ASK_PATIENCE).await?.said)
    }
}

/// Waits until it is no longer away, or until a moment.
async fn settled(stands: &mut watch::Receiver<Standing>, by: Instant) {
    let is_there = stands.wait_for(|stands| !matches!(stands, Standing::Away(_)));
    // Whether it came in time, the standing says.
    drop(timeout_at(by, is_there).await);
}

impl<P: Port + 'static> Driver for FirmwareBridge<P> {
    async fn set(&mut self, wanted: &[(OutletNumber, PowerState)]) -> Result<(), DriverError> {
        let mut switches = Vec::new();
        for (outlet, state) in wanted {
            let known =
                u8::try_from(outlet.get()).ok().filter(|number| *number <= self.config.outlets());
            let Some(number) = known.and_then(protocol::OutletNumber::new) else {
                let what = format!("outlet {outlet} of a bridge with {}", self.config.outlets());
                return Err(wrong(&self.place, what));
            };
            switches.push(Switch { outlet: number, state: theirs(*state) });
        }
        let asked = switches.clone();
        let line = self.line(ORDER_PATIENCE).await?;
        let make = move |order| Request::Set(order, switches.into_iter().collect());
        let said = line.bridge.order(make, ORDER_PATIENCE).await;
        let outcomes = match said.map_err(|error| failed(&self.place, error))?.said {
            Said::Set(_, outcomes) => outcomes,
            Said::Refused(why) => return Err(rejected(&self.place, words::refusal(why))),
            other => return Err(strange(&self.place, &other)),
        };
        let mut scheduled = Vec::new();
        for (switch, outcome) in asked.iter().zip(&outcomes) {
            match outcome {
                Outcome::Changed | Outcome::Unchanged => {}
                Outcome::Scheduled(_) => scheduled.push(switch.outlet),
                Outcome::Refused(why) => {
                    let what = format!("outlet {}: {}", switch.outlet.get(), words::refusal(*why));
                    return Err(rejected(&self.place, what));
                }
            }
        }
        if scheduled.is_empty() { Ok(()) } else { self.started(&scheduled).await }
    }

    async fn read_all(&mut self) -> Result<Readings, DriverError> {
        let contacts = self.config.contacts();
        let seen = self.seen(Duration::ZERO).await?;
        let told = seen.iter().filter(|_| contacts).filter_map(|seen| {
            Some((OutletNumber::new(u16::from(seen.outlet.get()))?, ours(seen.contact?)))
        });
        Ok(told.collect())
    }

    async fn stirs(&mut self) {
        let Some(line) = &mut self.line else { return std::future::pending().await };
        loop {
            tokio::select! {
                changed = line.stands.changed() => {
                    return if changed.is_err() { std::future::pending().await };
                }
                told = line.told.recv() => match told {
                    Ok(told) if matches!(told.news, protocol::message::News::Event(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                },
            }
        }
    }

    fn capabilities(&self, _outlet: OutletNumber) -> Capabilities {
        let stays = self.config.lease().1 == SafeState::Keep;
        Capabilities {
            can_cut: true,
            reads: self.config.contacts().then_some(ReadSource::Device),
            gap_min: Duration::ZERO,
            owner_gone: if stays { OwnerGone::Stays } else { OwnerGone::FallsBack },
        }
    }
}

impl Config {
    /// What the device is not that the rack file says.
    fn differs(&self, welcome: &Welcome) -> Option<String> {
        if self.outlets() > welcome.outlets {
            return Some(format!(
                "it has {} outlets, and the file says {}",
                welcome.outlets,
                self.outlets()
            ));
        }
        let unread = self.contacts() && !welcome.has(Capability::Contacts);
        unread.then(|| "it does not read its contacts: say `contacts = false`".to_owned())
    }
}

const fn theirs(state: PowerState) -> protocol::PowerState {
    match state {
        PowerState::On => protocol::PowerState::On,
        PowerState::Off => protocol::PowerState::Off,
    }
}

const fn ours(state: protocol::PowerState) -> PowerState {
    match state {
        protocol::PowerState::On => PowerState::On,
        protocol::PowerState::Off => PowerState::Off,
    }
}

fn failed(place: &str, error: AskError) -> DriverError {
    match error {
        AskError::NotSent(what) => unreachable(place, what),
        AskError::CanNot(what) => wrong(place, what),
        AskError::Unanswered(what) => {
            DriverError::Indeterminate { what, who: place.to_owned(), source: None }
        }
    }
}

fn unreachable(place: &str, what: String) -> DriverError {
    DriverError::Unreachable { what, who: place.to_owned(), source: None }
}

fn wrong(place: &str, what: String) -> DriverError {
    DriverError::Misconfigured { what, who: place.to_owned(), source: None }
}

fn rejected(place: &str, what: String) -> DriverError {
    DriverError::Rejected { what, who: place.to_owned(), source: None }
}

fn strange(place: &str, said: &Said) -> DriverError {
    rejected(place, format!("its answer is to something else: {said:?}"))
}
