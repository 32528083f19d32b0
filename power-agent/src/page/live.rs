//! The rack as it changes: the service's own watch, told as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agent_api::{Event, wire};
use axum::body::Body;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tonic::Status;

use super::tile::{RackJson, TileJson};
use crate::agent::Agent;
use crate::identity::Identity;

/// After how long without a change a line is sent all the same: a browser that is gone is noticed by it, and proxies
/// close what is silent for a minute.
const BEAT: Duration = Duration::from_secs(15);

/// How long a browser waits before it asks again, in milliseconds: an agent that restarts is back within seconds.
const AGAIN_MS: u32 = 2000;

type Events = Pin<Box<dyn Stream<Item = Result<wire::WatchEvent, Status>> + Send>>;

/// One browser that looks on.
struct Looking {
    agent: Arc<Agent>,
    who: Identity,
    events: Events,
    _place: OwnedSemaphorePermit,
}

/// The events as a body that ends with the watch.
pub(crate) fn body(
    agent: Arc<Agent>,
    who: Identity,
    events: Events,
    place: OwnedSemaphorePermit,
) -> Body {
    let looking = Looking { agent, who, events, _place: place };
    let begin = stream::once(async { format!("retry: {AGAIN_MS}\n\n") });
    let rest = stream::unfold(Some(looking), next);
    Body::from_stream(begin.chain(rest).map(Ok::<_, Infallible>))
}

async fn next(looking: Option<Looking>) -> Option<(String, Option<Looking>)> {
    let mut looking = looking?;
    let text = match timeout(BEAT, looking.events.next()).await {
        Err(_elapsed) => ": still here\n\n".to_owned(),
        Ok(Some(Ok(event))) => match Event::try_from(event) {
            Ok(event) => looking.told(&event),
            Err(error) => return Some((line("end", &error.to_string()), None)),
        },
        Ok(Some(Err(status))) => return Some((line("end", status.message()), None)),
        Ok(None) => return None,
    };
    Some((text, Some(looking)))
}

impl Looking {
    fn told(&mut self, event: &Event) -> String {
        match event {
            Event::Snapshot(inventory) => {
                // With a rack file that was read again, they may have another role.
                if let Ok(who) = self.agent.keeper.identify(&self.who.caller) {
                    self.who = who;
                }
                line("rack", &RackJson::new(inventory, &self.who))
            }
            Event::Changed(machine) => line("machine", &TileJson::from(&**machine)),
        }
    }
}

/// JSON has no line breaks of its own.
fn line(event: &str, data: &(impl serde::Serialize + ?Sized)) -> String {
    match serde_json::to_string(data) {
        Ok(json) => format!("event: {event}\ndata: {json}\n\n"),
        Err(error) => format!(": {error}\n\n"),
    }
}
