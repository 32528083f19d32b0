//! What a host orders happens, once.

use firmware_bridge::Standing;
use firmware_bridge::protocol::message::{Outcome, Refusal, Request, Said};
use firmware_bridge::protocol::{PowerState, SafeState};

use super::desk::{Desk, OUTLETS, PATIENCE, device, outlet};

#[tokio::test(start_paused = true)]
async fn an_order_moves_its_contact_once_and_is_unchanged_the_second_time() {
    let desk = Desk::new(device());
    let Standing::Up(epoch, welcome) = desk.until_up().await else { unreachable!() };
    assert_eq!((epoch.0, welcome.outlets), (1, OUTLETS));
    assert_eq!(desk.set(2, PowerState::On).await, Ok(Outcome::Changed));
    assert_eq!(desk.set(2, PowerState::On).await, Ok(Outcome::Unchanged));
    assert_eq!(desk.read().await[1], (2, Some(PowerState::On)));
    assert_eq!(desk.plug().edges, [(2, PowerState::On)]);
}

#[tokio::test(start_paused = true)]
async fn a_cycle_is_ended_by_the_device_when_its_host_is_gone() {
    let mut desk = Desk::new(device());
    desk.until_up().await;
    desk.set(3, PowerState::On).await.unwrap();
    let cycle = |order| Request::Cycle(order, outlet(3), 2_000);
    let said = desk.bridge.order(cycle, PATIENCE).await.unwrap().said;
    assert!(matches!(said, Said::Done(_)), "{said:?}");
    desk.host_anew();
    desk.until_up().await;
    assert_eq!(desk.read().await[2], (3, Some(PowerState::Off)), "its off still lasts");
    while desk.read().await[2].1 != Some(PowerState::On) {}
    let edges = [(3, PowerState::On), (3, PowerState::Off), (3, PowerState::On)];
    assert_eq!(desk.plug().edges, edges);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_comes_after_another_orders_above_its_generation() {
    let mut desk = Desk::new(device());
    desk.until_up().await;
    for state in [PowerState::On, PowerState::Off, PowerState::On] {
        desk.set(1, state).await.unwrap();
    }
    desk.host_anew();
    desk.until_up().await;
    assert_eq!(desk.set(1, PowerState::Off).await, Ok(Outcome::Changed));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_link_can_not_keep_is_refused_and_one_that_it_can_is_kept() {
    let desk = Desk::new(device());
    desk.until_up().await;
    desk.set(1, PowerState::On).await.unwrap();
    let lease = |length: u32| {
        move |order| {
            let safe = [(outlet(1), SafeState::Off)].into_iter().collect();
            Request::Lease(order, Some(length), safe)
        }
    };
    let refused = desk.bridge.order(lease(10), PATIENCE).await.unwrap_err();
    assert_eq!(refused.to_string(), "the link can keep no lease shorter than 440 ms");
    let said = desk.bridge.order(lease(500), PATIENCE).await.unwrap().said;
    assert!(matches!(said, Said::Done(_)), "{said:?}");
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(desk.plug().edges, [(1, PowerState::On)], "the host lives");
    desk.plug().unplug();
    desk.until(|standing| matches!(standing, Standing::Away(_))).await;
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(desk.plug().edges, [(1, PowerState::On), (1, PowerState::Off)]);
}

#[tokio::test(start_paused = true)]
async fn an_outlet_that_the_device_does_not_have_is_refused_by_it() {
    let desk = Desk::new(device());
    desk.until_up().await;
    let outcome = desk.set(OUTLETS + 1, PowerState::On).await;
    assert_eq!(outcome, Ok(Outcome::Refused(Refusal::NoSuchOutlet)));
}
