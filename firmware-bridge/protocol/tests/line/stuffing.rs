//! COBS of our own beside that of the crate `cobs`.

use bridge_protocol::cobs::{Garbled, Unstuffer, stuff};
use bridge_protocol::frame::RAW_MAX;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_oneof, proptest};

fn stuffed(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    stuff(raw, |byte| bytes.push(byte));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bytes_are_stuffed_as_by_the_crate_cobs_and_come_back(
        raw in vec(prop_oneof![any::<u8>(), 0..=1_u8], 1..=RAW_MAX)
    ) {
        let ours = stuffed(&raw);
        let mut theirs = vec![0; cobs::max_encoding_length(raw.len())];
        let used = cobs::encode(&raw, &mut theirs);
        assert_eq!(ours, theirs[..used]);
        assert!(!ours.contains(&0));
        let mut unstuffer = Unstuffer::new();
        ours.iter().for_each(|byte| unstuffer.take(*byte));
        assert_eq!(unstuffer.finish().unwrap(), raw[..]);
    }

    #[test]
    fn of_any_bytes_comes_what_the_crate_cobs_makes_of_them_or_an_error(
        line in vec(1..=255_u8, 0..600)
    ) {
        let mut unstuffer = Unstuffer::new();
        line.iter().for_each(|byte| unstuffer.take(*byte));
        let mut theirs = line.clone();
        match (unstuffer.finish(), cobs::decode_in_place(&mut theirs)) {
            (Ok(ours), Ok(length)) => assert_eq!(ours, theirs[..length]),
            (Err(Garbled::Overlong), Ok(length)) => assert!(length > RAW_MAX),
            (Err(Garbled::Empty), _) => assert!(line.is_empty()),
            (Err(Garbled::Torn | Garbled::Overlong), Err(_)) => {}
            (ours, theirs) => panic!("{ours:?} where cobs says {theirs:?}"),
        }
    }
}
