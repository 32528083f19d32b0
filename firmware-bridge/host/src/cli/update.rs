//! A new firmware: sent beside the present one, verified by the device, started on trial, kept once it has answered.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bridge_protocol::frame::crc32;
use bridge_protocol::message::{Request, Said};
use bridge_protocol::{CHUNK_MAX, ImageFacts};
use firmware_bridge::{Standing, words};
use tokio::time::timeout;

use super::Target;
use super::ask::{ANSWER_WITHIN, Talk};

/// No microcontroller's flash is larger.
const IMAGE_LEN_MAX: u64 = 16 << 20;
/// A start takes less than a second; a slow USB hub takes some more to find the port again.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How often the progress is told, in bytes.
const TELL_EVERY: usize = 16 << 10;

pub(super) async fn update(target: Target, image: &Path, firmware: u32) -> Result<()> {
    let place = image.display();
    let length = std::fs::metadata(image).with_context(|| format!("image {place}"))?.len();
    if length == 0 || length > IMAGE_LEN_MAX {
        bail!("image {place}: it has {length} bytes, expected 1 to {IMAGE_LEN_MAX}");
    }
    let bytes = std::fs::read(image).with_context(|| format!("image {place}"))?;
    let talk = Talk::open(&target).await?;
    let length = u32::try_from(bytes.len()).context("the image is too long")?;
    let facts = ImageFacts { board: talk.welcome.board, firmware, length, crc: crc32(&bytes) };
    let before = talk.epoch;
    order(&talk, move |order| Request::UpdateBegin(order, facts)).await?;
    send(&talk, &bytes).await?;
    order(&talk, Request::UpdateEnd).await?;
    println!("verified; it starts on trial");
    let mut stands = talk.bridge.stands();
    let started = stands.wait_for(|now| matches!(now, Standing::Up(epoch, _) if *epoch != before));
    let started = match timeout(START_WITHIN, started).await {
        Ok(Ok(standing)) => standing.clone(),
        _ => bail!(
            "it did not answer within 20 s; if it does not by itself, it falls back to the firmware before"
        ),
    };
    let Standing::Up(_, welcome) = started else { bail!("it is not there any more") };
    if welcome.firmware != firmware {
        bail!("it runs firmware {}: the new one was left again", welcome.firmware);
    }
    order(&talk, Request::UpdateKeep).await?;
    println!("firmware {firmware} runs and is kept");
    Ok(())
}

async fn send(talk: &Talk, bytes: &[u8]) -> Result<()> {
    let mut sent = 0_usize;
    for chunk in bytes.chunks(CHUNK_MAX) {
        let offset = u32::try_from(sent).context("the image is too long")?;
        talk.ask(Request::UpdateBytes(offset, chunk.iter().copied().collect())).await?;
        if sent / TELL_EVERY != (sent + chunk.len()) / TELL_EVERY {
            println!("{} of {} bytes", sent + chunk.len(), bytes.len());
        }
        sent += chunk.len();
    }
    Ok(())
}

async fn order(
    talk: &Talk,
    make: impl FnOnce(bridge_protocol::message::Order) -> Request + Send + 'static,
) -> Result<()> {
    match talk.bridge.order(make, ANSWER_WITHIN).await?.said {
        Said::Done(_) | Said::ImageUpTo(_) => Ok(()),
        Said::Refused(why) => bail!("refused: {}; the firmware before stays", words::refusal(why)),
        other => bail!("its answer is to something else: {other:?}"),
    }
}
