//! Lines that break at any byte, devices that start anew: nothing moves twice, and what is unknown is said to be.

use std::time::Duration;

use firmware_bridge::protocol::PowerState;
use firmware_bridge::protocol::greeting::ResetCause;
use firmware_bridge::protocol::message::{Outcome, Request};
use firmware_bridge::{AskError, Standing};
use tokio::time::Instant;

use super::desk::{Desk, PATIENCE, device};

/// A frame of an order, and some of what comes after it.
const OFFSETS: usize = 60;

#[tokio::test(start_paused = true)]
async fn an_order_whose_line_is_cut_at_any_byte_is_obeyed_once_or_not_at_all() {
    let (mut obeyed, mut unsent, mut unanswered) = (0, 0, 0);
    for offset in 1..OFFSETS {
        let desk = Desk::new(device());
        desk.until_up().await;
        desk.plug().cut_after = Some(offset);
        let outcome = desk.set(4, PowerState::On).await;
        desk.until(|standing| matches!(standing, Standing::Away(_))).await;
        desk.plug().plugged_in = true;
        desk.until_up().await;
        let seen = desk.read().await[3].1;
        let edges = desk.plug().edges.clone();
        match outcome {
            Ok(Outcome::Changed) => obeyed += 1,
            Err(AskError::NotSent(_)) => unsent += 1,
            Err(AskError::Unanswered(_)) => unanswered += 1,
            other => panic!("{other:?} after {offset} bytes"),
        }
        assert!(edges.len() <= 1, "{edges:?} after {offset} bytes");
        let is_on = seen == Some(PowerState::On);
        assert_eq!(is_on, edges.len() == 1, "after {offset} bytes");
        assert!(is_on || outcome.is_err(), "it said that it did, after {offset} bytes");
    }
    assert!(
        obeyed > 0 && unanswered > 0,
        "{obeyed} obeyed, {unsent} unsent, {unanswered} unanswered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_within_100_ms_and_a_device_that_is_back_is_had_within_2_s() {
    let desk = Desk::new(device());
    desk.until_up().await;
    for silent_only in [false, true] {
        let began = Instant::now();
        if silent_only {
            // Half-open: the line stays, and nobody answers.
            desk.plug().device.supply(PowerState::Off, 0);
        } else {
            desk.plug().unplug();
        }
        desk.until(|standing| matches!(standing, Standing::Away(_))).await;
        let lost_in = began.elapsed();
        let ready = Instant::now();
        let now = desk.plug().now_ms();
        desk.plug().device.supply(PowerState::On, now);
        desk.plug().plugged_in = true;
        desk.until_up().await;
        // In virtual time: what the machine that runs this does beside it does not count.
        assert!(lost_in <= Duration::from_millis(100), "{lost_in:?}");
        assert!(ready.elapsed() <= Duration::from_secs(2), "{:?}", ready.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_reset_is_told_and_no_order_of_before_is_obeyed_after_it() {
    let desk = Desk::new(device());
    desk.until_up().await;
    desk.set(1, PowerState::On).await.unwrap();
    let mut stands = desk.bridge.stands();
    stands.mark_unchanged();
    {
        let mut plug = desk.plug();
        let now = plug.now_ms();
        plug.device.reset(ResetCause::Watchdog, now);
    }
    stands.changed().await.unwrap();
    let Standing::Up(epoch, welcome) = desk.until_up().await else { unreachable!() };
    assert_eq!((epoch.0, welcome.cause), (2, ResetCause::Watchdog));
    assert_eq!(desk.plug().edges, [(1, PowerState::On)], "what is on stays on");
    assert_eq!(desk.set(1, PowerState::Off).await, Ok(Outcome::Changed));
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_device_that_is_away_is_not_sent_after_its_time() {
    let desk = Desk::new(device());
    desk.until_up().await;
    desk.plug().unplug();
    desk.until(|standing| matches!(standing, Standing::Away(_))).await;
    let patience = Duration::from_secs(1);
    let refused = desk.bridge.ask(Request::Read, patience).await.unwrap_err();
    assert_eq!(refused, AskError::NotSent("nothing is plugged in".to_owned()));
    let later = desk.bridge.ask(Request::Read, PATIENCE);
    let back = async {
        tokio::time::sleep(patience).await;
        desk.plug().plugged_in = true;
    };
    let (answer, ()) = tokio::join!(later, back);
    answer.expect("it came back in time");
}
