//! Plays scripts and storms through the loop's own door.

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::RackConfig;
use crate::control::Reply;
use crate::control::Request;
use crate::script::Act;
use crate::script::Script;
use crate::server::Ask;
use crate::storm::Storm;

/// The rack has ended; who plays has nothing more to do.
struct RackEnded;

/// Plays a script. The first step that fails ends it.
pub(super) async fn script(
    script: Script,
    config: RackConfig,
    clock: Clock,
    asks: mpsc::Sender<Ask>,
) -> Result<(), String> {
    for step in script.steps {
        tokio::time::sleep_until(clock.instant(step.at).into()).await;
        match step.act {
            Act::Storm(which) => {
                storm(which, config.clone(), clock, asks.clone()).await?;
                tracing::info!(line = step.line, "a script's storm is over");
            }
            Act::Ask(request) => match ask(&asks, request).await {
                Ok(Reply::Error(what)) => {
                    return Err(format!("{}:{}: {what}", script.path.display(), step.line));
                }
                Ok(reply) => tracing::info!(line = step.line, ?reply, "a script's step was done"),
                Err(RackEnded) => return Ok(()),
            },
        }
    }
    Ok(())
}

/// Plays a storm from now on. A gust that does not concern what is there (nothing can hang on a dark
/// machine) passes; the last one heals all.
pub(super) async fn storm(
    storm: Storm,
    config: RackConfig,
    clock: Clock,
    asks: mpsc::Sender<Ask>,
) -> Result<(), String> {
    let began = clock.now();
    let Storm { seed, length, every } = storm;
    tracing::info!(seed, ?length, ?every, "a storm begins; the same seed gives the same again");
    for gust in storm.gusts(&config) {
        tokio::time::sleep_until(clock.instant(began + gust.after).into()).await;
        let what = match &gust.request {
            Request::Fault { fault } => fault.to_string(),
            Request::Heal { place } => format!("heal {place}"),
            other => format!("{other:?}"),
        };
        match ask(&asks, gust.request).await {
            Ok(Reply::Error(why)) => {
                tracing::info!(seed, after_ms = gust.after.as_millis(), what, why, "a gust passed");
            }
            Ok(_) => tracing::info!(seed, after_ms = gust.after.as_millis(), what, "a gust"),
            Err(RackEnded) => return Ok(()),
        }
    }
    tracing::info!(seed, "the storm is over: nothing is wrong any more");
    Ok(())
}

async fn ask(asks: &mpsc::Sender<Ask>, request: Request) -> Result<Reply, RackEnded> {
    let (answer, answered) = oneshot::channel();
    asks.send(Ask { request, answer }).await.map_err(|_| RackEnded)?;
    answered.await.map_err(|_| RackEnded)
}
