//! Each message fits into a frame at its worst.

use bridge_protocol::frame::WIRE_MAX;
use bridge_protocol::{Decoder, OUTLETS_MAX, OutletNumber};

use crate::samples::longest;

#[test]
fn the_longest_of_each_message_is_a_frame_and_comes_back() {
    let mut most = 0;
    for wire in longest() {
        most = most.max(wire.len());
        let mut decoder = Decoder::new();
        let frames: Vec<_> = wire.iter().filter_map(|byte| decoder.take(*byte)).collect();
        assert_eq!(frames.len(), 1);
        assert_eq!(decoder.counts().frames, 1);
    }
    println!("the longest frame has {most} bytes of {WIRE_MAX}");
    assert!(most <= WIRE_MAX);
}

#[test]
fn outlets_are_numbered_from_one_to_the_last() {
    let all: Vec<u8> = OutletNumber::all().map(OutletNumber::get).collect();
    assert_eq!(all.len(), OUTLETS_MAX);
    assert_eq!((all.first(), all.last()), (Some(&1), Some(&16)));
    assert_eq!((OutletNumber::new(0), OutletNumber::new(17)), (None, None));
}
