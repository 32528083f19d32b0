//! A network card in standby: which frames wake the machine around it. Pure; `standby.rs` is its interface and its power.
//!
//! After AMD's "Magic Packet Technology" (publication 20213): six bytes FF, then the card's address sixteen times without a
//! break, anywhere in a frame that the card takes at all. The `SecureOn` password follows where the card has one.

/// Six bytes FF.
const SYNC: [u8; 6] = [0xff; 6];
/// How often the address is repeated.
const COPIES: usize = 16;
/// Ethernet's addresses and type, before the data.
const HEADER_BYTES: usize = 14;
/// In the first byte of an address: it means many cards.
const GROUP: u8 = 1;

/// A card that listens while its machine sleeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    mac: [u8; 6],
    password: Vec<u8>,
    deaf: u32,
    lost: u32,
}

/// What a frame is to the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// No magic packet, or none that it takes.
    Nothing,
    /// A magic packet for another card.
    Stranger,
    /// One for this card without its password.
    WrongPassword,
    /// One for this card that it has not heard: a link that has only just come up, a switch that learns.
    Lost,
    /// The one that wakes the machine.
    Wakes,
}

impl Card {
    /// A card of this address. An empty password: it wants none. Of the packets for it in each sleep it does not hear the
    /// first `deaf`.
    #[must_use]
    pub fn new(mac: [u8; 6], password: Vec<u8>, deaf: u32) -> Self {
        Self { mac, password, deaf, lost: 0 }
    }

    /// The machine is off, and the card listens anew.
    pub fn sleep(&mut self) {
        self.lost = 0;
    }

    /// A whole Ethernet frame has arrived.
    pub fn hear(&mut self, frame: &[u8]) -> Heard {
        let Some((header, data)) = frame.split_at_checked(HEADER_BYTES) else {
            return Heard::Nothing;
        };
        let to_many = header.first().is_some_and(|first| first & GROUP == GROUP);
        if !to_many && !header.starts_with(&self.mac) {
            return Heard::Nothing;
        }
        let magic = [SYNC.as_slice(), &self.mac.repeat(COPIES)].concat();
        let Some(rest) = after(data, &magic) else {
            let sync = after(data, &SYNC).and_then(|rest| rest.split_at_checked(6 * COPIES));
            let stranger = sync.is_some_and(|(copies, _)| {
                copies.get(..6).is_some_and(|one| one.repeat(COPIES) == copies)
            });
            return if stranger { Heard::Stranger } else { Heard::Nothing };
        };
        if !rest.starts_with(&self.password) {
            return Heard::WrongPassword;
        }
        if self.lost < self.deaf {
            self.lost += 1;
            return Heard::Lost;
        }
        Heard::Wakes
    }
}

/// What follows the first place where `part` stands.
fn after<'a>(data: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    let at = data.windows(part.len()).position(|window| window == part)?;
    data.get(at + part.len()..)
}

/// Reads six bytes in hexadecimal with `:` between them; also as a password.
///
/// # Errors
/// What was found and what is expected.
pub fn six_bytes(text: &str) -> Result<[u8; 6], String> {
    let wrong = || format!("found {text:?}, expected six bytes like 52:54:00:12:34:56");
    let mut bytes = Vec::new();
    for part in text.split(':') {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(part, 16).ok().filter(|_| digits);
        bytes.push(byte.ok_or_else(wrong)?);
    }
    bytes.try_into().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const THEIRS: [u8; 6] = [0x52, 0x54, 0, 0x99, 0x99, 0x99];
    const ALL: [u8; 6] = [0xff; 6];

    fn frame(to: [u8; 6], before: &[u8], named: [u8; 6], after: &[u8]) -> Vec<u8> {
        let payload = [before, &SYNC, &named.repeat(COPIES), after].concat();
        [to.as_slice(), &[2, 0, 0, 0, 0, 1, 0x08, 0x42], &payload].concat()
    }

    #[test]
    fn the_address_sixteen_times_wakes_wherever_it_stands_in_the_data() {
        let mut card = Card::new(OURS, Vec::new(), 0);
        for to in [ALL, OURS, [1, 0, 0x5e, 0, 0, 1]] {
            for before in [&[][..], &[0x45; 28], &[0xff]] {
                assert_eq!(card.hear(&frame(to, before, OURS, &[9; 20])), Heard::Wakes);
            }
        }
        assert_eq!(card.hear(&frame(THEIRS, &[], OURS, &[])), Heard::Nothing, "not sent to it");
        assert_eq!(card.hear(&frame(ALL, &[], THEIRS, &[])), Heard::Stranger);
        let mut short = frame(ALL, &[], OURS, &[]);
        short.pop();
        for nothing in [&short[..], &[0xff; 300], &[], &[0xff; 14]] {
            assert_ne!(card.hear(nothing), Heard::Wakes, "{nothing:?}");
        }
    }

    #[test]
    fn a_card_with_a_password_wakes_by_no_other_and_by_none() {
        let password = vec![1, 2, 3, 4, 5, 6];
        let mut card = Card::new(OURS, password.clone(), 0);
        assert_eq!(card.hear(&frame(ALL, &[], OURS, &password)), Heard::Wakes);
        for wrong in [&[][..], &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 7]] {
            assert_eq!(card.hear(&frame(ALL, &[], OURS, wrong)), Heard::WrongPassword);
        }
    }

    #[test]
    fn the_first_packets_are_lost_in_each_sleep() {
        let mut card = Card::new(OURS, Vec::new(), 2);
        let magic = frame(ALL, &[], OURS, &[]);
        for _sleep in 0..2 {
            let heard = [(); 3].map(|()| card.hear(&magic));
            assert_eq!(heard, [Heard::Lost, Heard::Lost, Heard::Wakes]);
            card.sleep();
        }
    }

    #[test]
    fn an_address_is_six_bytes_with_colons() {
        assert_eq!(six_bytes("52:54:00:12:34:56"), Ok(OURS));
        for wrong in ["", "52:54:00:12:34", "52:54:00:12:34:56:78", "+2:54:00:12:34:56"] {
            assert!(six_bytes(wrong).unwrap_err().contains("52:54:00:12:34:56"), "{wrong:?}");
        }
    }
}
