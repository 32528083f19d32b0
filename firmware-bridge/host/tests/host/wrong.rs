//! What is not the device that is meant is asked nothing, and said to be so.

use firmware_bridge::protocol::message::Request;
use firmware_bridge::protocol::{Identity, PowerState, Version, Versions};
use firmware_bridge::{AskError, Standing};

use super::desk::{Desk, IDENTITY, LIMITS, OUTLETS, PATIENCE, device};

async fn wrong(desk: &Desk) -> String {
    let standing = desk.until(|standing| matches!(standing, Standing::Wrong(_))).await;
    let Standing::Wrong(what) = standing else { unreachable!() };
    let refused = desk.set(1, PowerState::On).await.unwrap_err();
    assert_eq!(refused, AskError::CanNot(what.clone()));
    assert_eq!(desk.plug().edges, []);
    what
}

#[tokio::test(start_paused = true)]
async fn another_board_gets_nothing_and_the_right_one_is_found_once_it_is_there() {
    let twin = bridge_simulated::Simulated::new(Identity(*b"LAMP0002"), OUTLETS, LIMITS, 0);
    let desk = Desk::new(twin);
    assert_eq!(wrong(&desk).await, "it is board 4c414d5030303032");
    desk.plug().device = device();
    desk.until_up().await;
    desk.set(1, PowerState::On).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_device_of_another_age_is_told_with_what_to_do() {
    let desk = Desk::with(device(), Versions::only(Version(3)), Some(IDENTITY));
    let said = "its firmware is older: it speaks versions 1 to 2 of the protocol, and this program 3 to 3; update its firmware";
    assert_eq!(wrong(&desk).await, said);
}

#[tokio::test(start_paused = true)]
async fn what_an_older_version_has_not_is_not_asked() {
    let desk = Desk::with(device(), Versions::only(Version::SWITCHES), Some(IDENTITY));
    desk.until_up().await;
    let refused = desk.bridge.ask(Request::Watch(Some(1_000)), PATIENCE).await.unwrap_err();
    let said = "the device speaks version 1, and this needs 2";
    assert_eq!(refused, AskError::CanNot(said.to_owned()));
}
