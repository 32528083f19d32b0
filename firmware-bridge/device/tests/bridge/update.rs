//! A new firmware: taken, verified, tried, kept or left.

use bridge_device::image::TRIAL_MS;
use bridge_device::{Facts, Slot, choose};
use bridge_protocol::frame::crc32;
use bridge_protocol::{
    Capability, ImageFacts, Outcome, PowerState, Refusal, Request, ResetCause, Said, What,
};

use crate::board::facts;
use crate::desk::Desk;
use crate::orders::rested;

fn image() -> Vec<u8> {
    (0..1000_u32).flat_map(u32::to_le_bytes).take(1000).collect()
}

fn announced(bytes: &[u8]) -> ImageFacts {
    let length = u32::try_from(bytes.len()).unwrap();
    ImageFacts { board: 2040, firmware: 8, length, crc: crc32(bytes) }
}

fn begin(desk: &mut Desk, image: ImageFacts) -> Said {
    let request = Request::UpdateBegin(desk.order(), image);
    desk.ask(&request)
}

fn send(desk: &mut Desk, bytes: &[u8]) {
    let mut offset = 0;
    for piece in bytes.chunks(128) {
        let piece = heapless::Vec::from_slice(piece).unwrap();
        let until = offset + u32::try_from(piece.len()).unwrap();
        assert_eq!(desk.ask(&Request::UpdateBytes(offset, piece)), Said::ImageUpTo(until));
        offset = until;
    }
}

fn end(desk: &mut Desk) -> Said {
    let request = Request::UpdateEnd(desk.order());
    desk.ask(&request)
}

/// An image was taken and verified, and the device restarts into it.
fn updated() -> Desk {
    let mut desk = rested();
    begin(&mut desk, announced(&image()));
    send(&mut desk, &image());
    assert!(matches!(end(&mut desk), Said::Done(_)));
    assert!(!desk.device.hardware().restarted, "the answer goes first");
    desk.pass(101);
    assert!(desk.device.hardware().restarted);
    desk.device.hardware().restarted = false;
    assert_eq!(choose(desk.device.hardware()), Slot::B);
    desk.reset(ResetCause::Software)
}

#[test]
fn a_new_firmware_is_tried_and_stays_when_it_is_kept() {
    let mut desk = updated();
    assert_eq!(desk.device.hardware().images[1][..1000], image());
    assert!(desk.happened(What::OnTrial));
    let keep = Request::UpdateKeep(desk.order());
    assert!(matches!(desk.ask(&keep), Said::Done(_)));
    desk.pass(u64::from(TRIAL_MS) + 1000);
    assert!(!desk.device.hardware().restarted);
    for _ in 0..3 {
        assert_eq!(choose(desk.device.hardware()), Slot::B);
        desk = desk.reset(ResetCause::Watchdog);
    }
    assert!(!desk.happened(What::FellBack));
}

#[test]
fn a_new_firmware_that_nobody_keeps_is_left_after_its_time() {
    let mut desk = updated();
    desk.pass(u64::from(TRIAL_MS) - 1);
    assert!(!desk.device.hardware().restarted);
    desk.pass(1);
    assert!(desk.device.hardware().restarted);
    assert_eq!(choose(desk.device.hardware()), Slot::A);
    let mut desk = desk.reset(ResetCause::Software);
    assert!(desk.happened(What::FellBack));
    assert_eq!(choose(desk.device.hardware()), Slot::A);
    let mut desk = desk.reset(ResetCause::Software);
    assert!(!desk.happened(What::FellBack), "told once");
}

#[test]
fn a_new_firmware_that_hangs_before_it_is_kept_is_left_by_the_next_start() {
    let mut desk = updated();
    assert_eq!(choose(desk.device.hardware()), Slot::A);
}

#[test]
fn a_trial_that_can_not_be_remembered_is_none() {
    let mut desk = rested();
    begin(&mut desk, announced(&image()));
    send(&mut desk, &image());
    end(&mut desk);
    desk.device.hardware().writes_left = Some(0);
    assert_eq!(choose(desk.device.hardware()), Slot::A);
}

#[test]
fn an_image_that_does_not_verify_is_not_started() {
    for bad_byte in [None, Some(17)] {
        let mut desk = rested();
        desk.device.hardware().bad_byte = bad_byte;
        let mut facts = announced(&image());
        if bad_byte.is_none() {
            facts.crc ^= 1;
        }
        begin(&mut desk, facts);
        send(&mut desk, &image());
        let said = end(&mut desk);
        assert!(matches!(said, Said::Refused(Refusal::DoesNotVerify(_))), "{said:?}");
        desk.pass(1000);
        assert!(!desk.device.hardware().restarted);
        assert_eq!(choose(desk.device.hardware()), Slot::A);
        assert_eq!(end(&mut desk), Said::Refused(Refusal::NoImage));
    }
}

#[test]
fn what_is_not_an_image_for_this_board_is_refused_before_anything_is_written() {
    let mut desk = rested();
    let image = announced(&image());
    let other = ImageFacts { board: 7, ..image };
    assert_eq!(begin(&mut desk, other), Said::Refused(Refusal::OtherBoard(2040)));
    let long = ImageFacts { length: 4097, ..image };
    assert_eq!(begin(&mut desk, long), Said::Refused(Refusal::ImageTooLong(4096)));
    let empty = ImageFacts { length: 0, ..image };
    assert_eq!(begin(&mut desk, empty), Said::Refused(Refusal::Malformed));
    let bytes = Request::UpdateBytes(0, heapless::Vec::from_slice(&[1]).unwrap());
    assert_eq!(desk.refused(&bytes), Refusal::NoImage);
}

#[test]
fn bytes_are_taken_in_order_and_an_image_is_ended_when_it_is_whole() {
    let mut desk = rested();
    begin(&mut desk, announced(&image()));
    send(&mut desk, &image()[..256]);
    let again = Request::UpdateBytes(128, heapless::Vec::from_slice(&[1; 128]).unwrap());
    assert_eq!(desk.refused(&again), Refusal::OutOfOrder(256));
    assert_eq!(end(&mut desk), Said::Refused(Refusal::OutOfOrder(256)));
    let long = Request::UpdateBytes(256, heapless::Vec::from_slice(&[]).unwrap());
    assert_eq!(desk.refused(&long), Refusal::Malformed);
}

#[test]
fn a_board_whose_relays_fall_at_a_start_takes_no_new_firmware_while_something_is_on() {
    let mut capabilities = facts().capabilities;
    capabilities.retain(|capability| *capability != Capability::HoldsOverReset);
    let falling = Facts { capabilities, ..facts() };
    let board = crate::board::Board::new();
    let mut desk = Desk::with(board, falling.clone(), ResetCause::PowerUp);
    desk.pass(400);
    desk.set(1, PowerState::On);
    begin(&mut desk, announced(&image()));
    send(&mut desk, &image());
    assert_eq!(end(&mut desk), Said::Refused(Refusal::OutletsOn));
    desk.pass(400);
    desk.set(1, PowerState::Off);
    assert!(matches!(end(&mut desk), Said::Done(_)));
    desk.pass(400);
    choose(desk.device.hardware());
    let board = desk.device.into_hardware();
    let mut desk = Desk::with(board, falling, ResetCause::Software);
    desk.pass(400);
    assert_eq!(desk.set(1, PowerState::On), Outcome::Refused(Refusal::OnTrial));
    let keep = Request::UpdateKeep(desk.order());
    assert!(matches!(desk.ask(&keep), Said::Done(_)));
    assert_eq!(desk.set(1, PowerState::On), Outcome::Changed);
}
