//! What is asked and ordered of one device.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bridge_protocol::event::{Cause, Event, What};
use bridge_protocol::link::Pace;
use bridge_protocol::message::{News, Outcome, Request, Said, Switch};
use bridge_protocol::{DeviceTime, Epoch, EventNumber, OutletNumber, Version, Versions, Welcome};
use firmware_bridge::{Bridge, Standing, own, words};
use serial_port::{PortSettings, TtyPort};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Target, word};

/// The speed of a line that is one; a USB port and a pseudo-terminal have none.
const BAUD: u32 = 115_200;
/// How long a device may take to greet: it may be starting.
const GREET_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may take: all tries of the link are shorter.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A person waits, a host may be busy, and nothing is at stake that a tenth of a second would save.
const CALM: Pace =
    Pace { answer_ms: 500, tries: 6, beat_ms: 500, silence_ms: 4_000, greet_ms: 250 };
/// Between two tellings of measurements.
const WATCH_EVERY_MS: u32 = 1_000;

/// A device that has greeted.
pub(super) struct Talk {
    pub(super) bridge: Bridge,
    pub(super) epoch: Epoch,
    pub(super) welcome: Arc<Welcome>,
    _task: JoinSet<()>,
}

impl Talk {
    /// Opens the port and waits for the greeting.
    pub(super) async fn open(target: &Target) -> Result<Talk> {
        let path = target.port.clone();
        let place = path.display().to_string();
        let port = TtyPort::new(PortSettings { path, usb: None, serial: None, dtr: true }, BAUD);
        let (bridge, run) = own(port, Versions::ALL, target.board, CALM);
        let mut task = JoinSet::new();
        task.spawn(run);
        let mut stands = bridge.stands();
        let greeted = stands.wait_for(|stands| !matches!(stands, Standing::Away(_)));
        drop(timeout(GREET_WITHIN, greeted).await);
        match bridge.standing() {
            Standing::Up(epoch, welcome) => Ok(Talk { bridge, epoch, welcome, _task: task }),
            Standing::Wrong(what) => bail!("{place}: {what}"),
            Standing::Away(why) => bail!("{place}: no bridge has greeted within 5 s: {why}"),
        }
    }

    /// Asks something that moves nothing.
    pub(super) async fn ask(&self, request: Request) -> Result<Said> {
        match self.bridge.ask(request, ANSWER_WITHIN).await?.said {
            Said::Refused(why) => bail!("refused: {}", words::refusal(why)),
            said => Ok(said),
        }
    }
}

pub(super) async fn info(target: Target, json: bool) -> Result<()> {
    let talk = Talk::open(&target).await?;
    let Said::Outlets(outlets) = talk.ask(Request::Read).await? else {
        bail!("it did not say how its outlets are");
    };
    let welcome = &talk.welcome;
    if json {
        let identity = words::identity(welcome.identity);
        let all = serde_json::json!({
            "identity": identity, "start": talk.epoch.0, "device": **welcome, "outlets": outlets,
        });
        println!("{all}");
        return Ok(());
    }
    println!("board     {} (kind {:#06x})", words::identity(welcome.identity), welcome.board);
    println!("firmware  {}", welcome.firmware);
    println!("speaks    version {}", welcome.speaks.0);
    let cause = words::reset_cause(welcome.cause);
    println!("started   {} ago, for the {}. time: {cause}", seconds(welcome.at), talk.epoch.0);
    for seen in outlets {
        let contact = seen.contact.map_or("can not be told", word);
        let soon = seen.changes_in_ms.map_or_else(String::new, |ms| format!(", on in {ms} ms"));
        let (number, driven) = (seen.outlet.get(), word(seen.driven));
        println!("outlet {number:<2} driven {driven:<3} contact {contact}{soon}");
    }
    Ok(())
}

pub(super) async fn set(target: Target, switches: Vec<Switch>, json: bool) -> Result<()> {
    let talk = Talk::open(&target).await?;
    let asked = switches.clone();
    let make = move |order| Request::Set(order, switches.into_iter().collect());
    let outcomes = match talk.bridge.order(make, ANSWER_WITHIN).await?.said {
        Said::Set(_, outcomes) => outcomes,
        Said::Refused(why) => bail!("refused: {}", words::refusal(why)),
        other => bail!("its answer is to something else: {other:?}"),
    };
    for (switch, outcome) in asked.iter().zip(&outcomes) {
        let (number, state) = (switch.outlet.get(), word(switch.state));
        if json {
            println!(
                "{}",
                serde_json::json!({ "outlet": number, "state": state, "outcome": outcome })
            );
        } else {
            println!("outlet {number:<2} {}", became(state, *outcome));
        }
    }
    let refused = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(_)));
    ensure!(!refused, "not all of it was done");
    Ok(())
}

fn became(state: &str, outcome: Outcome) -> String {
    match outcome {
        Outcome::Changed => format!("{state}: switched now"),
        Outcome::Unchanged => format!("{state}: it was so already"),
        Outcome::Scheduled(ms) => format!("{state} in {ms} ms, when its start has room"),
        Outcome::Refused(why) => format!("not {state}: {}", words::refusal(why)),
    }
}

pub(super) async fn cycle(target: Target, outlet: OutletNumber, off_ms: u32) -> Result<()> {
    let talk = Talk::open(&target).await?;
    let make = move |order| Request::Cycle(order, outlet, off_ms);
    match talk.bridge.order(make, ANSWER_WITHIN).await?.said {
        Said::Done(_) => println!("outlet {} is off, and on again in {off_ms} ms", outlet.get()),
        Said::Refused(why) => bail!("refused: {}", words::refusal(why)),
        other => bail!("its answer is to something else: {other:?}"),
    }
    Ok(())
}

pub(super) async fn log(target: Target, json: bool) -> Result<()> {
    let talk = Talk::open(&target).await?;
    let mut after = EventNumber(0);
    loop {
        let Said::Events(events, newest) = talk.ask(Request::Log(after)).await? else {
            bail!("it did not say what happened");
        };
        for event in &events {
            tell(event, json)?;
        }
        match events.last() {
            Some(last) if last.number < newest => after = last.number,
            _ => return Ok(()),
        }
    }
}

pub(super) async fn watch(target: Target, json: bool) -> Result<()> {
    let talk = Talk::open(&target).await?;
    let mut told = talk.bridge.told();
    let mut stands = talk.bridge.stands();
    let measures = talk.welcome.speaks >= Version::MEASURES;
    loop {
        if measures && matches!(talk.bridge.standing(), Standing::Up(..)) {
            talk.ask(Request::Watch(Some(WATCH_EVERY_MS))).await?;
        }
        loop {
            tokio::select! {
                stopped = tokio::signal::ctrl_c() => return stopped.map_err(Into::into),
                changed = stands.changed() => {
                    changed.map_err(|_ended| anyhow!("its task has stopped"))?;
                    stood(&talk.bridge.standing());
                    break;
                }
                news = told.recv() => match news {
                    Ok(told) => match told.news {
                        News::Event(event) => tell(&event, json)?,
                        News::Measured(samples) if json => {
                            println!("{}", serde_json::to_string(&samples)?);
                        }
                        News::Measured(samples) => {
                            for sample in &samples {
                                println!("outlet {:<2} {:?}", sample.outlet.get(), sample.reading);
                            }
                        }
                    },
                    Err(RecvError::Lagged(missed)) => eprintln!("{missed} tellings came too fast"),
                    Err(RecvError::Closed) => bail!("its task has stopped"),
                },
            }
        }
    }
}

fn stood(standing: &Standing) {
    match standing {
        Standing::Away(why) => eprintln!("away: {why}"),
        Standing::Wrong(what) => eprintln!("wrong: {what}"),
        Standing::Up(epoch, _) => eprintln!("it answers (its start {})", epoch.0),
    }
}

fn tell(event: &Event, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(event)?);
    } else {
        println!("{:>5}  {:>10}  {}", event.number.0, seconds(event.at), happened(event.what));
    }
    Ok(())
}

fn happened(what: What) -> String {
    match what {
        What::Started(cause) => format!("started: {}", words::reset_cause(cause)),
        What::Driven { outlet, state, by } => {
            let by = match by {
                Cause::Order => "an order",
                Cause::Cycle => "a cycle",
                Cause::Lease => "the end of the lease",
                Cause::Start => "the start",
            };
            format!("outlet {} driven {} by {by}", outlet.get(), word(state))
        }
        What::Disagrees { outlet, contact } => {
            let contact = contact.map_or("can not be told", word);
            format!("the contact of outlet {} reads otherwise than driven: {contact}", outlet.get())
        }
        What::LeaseEnded => "nobody was heard for the whole lease: safe states taken".to_owned(),
        What::CycleLeftOff(outlet) => {
            format!("outlet {} left off: the supply went in its cycle", outlet.get())
        }
        What::StorageFailed => "the storage failed".to_owned(),
        What::OnTrial => "a new firmware runs on trial".to_owned(),
        What::FellBack => "the firmware on trial was not kept: the one before runs".to_owned(),
    }
}

fn seconds(at: DeviceTime) -> String {
    format!("{}.{:03} s", at.0 / 1000, at.0 % 1000)
}
