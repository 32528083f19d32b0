//! The bytes of a magic packet: what a sleeping network card listens for. Pure.

use std::fmt;
use std::str::FromStr;

/// EtherType of Wake-on-LAN.
const ETHERTYPE: [u8; 2] = [0x08, 0x42];
/// EtherType of a VLAN tag, 802.1Q.
const TAG: [u8; 2] = [0x81, 0x00];
/// How often the address stands in the packet.
const COPIES: usize = 16;
const BROADCAST: [u8; 6] = [0xff; 6];

/// The hardware address of one network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

/// What a MAC address can not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six bytes in hexadecimal.
    #[error("not six bytes in hexadecimal")]
    Malformed,
    /// Addresses many cards.
    #[error("a multicast or broadcast address, which belongs to no card")]
    Multicast,
    /// All zeros.
    #[error("all zeros, which is no card's address")]
    Zero,
}

impl FromStr for MacAddress {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let bytes = <[u8; 6]>::try_from(bytes(text).ok_or(MacError::Malformed)?)
            .map_err(|_| MacError::Malformed)?;
        match bytes {
            [0, 0, 0, 0, 0, 0] => Err(MacError::Zero),
            [first, ..] if first & 1 == 1 => Err(MacError::Multicast),
            bytes => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// `SecureOn`'s password, which follows the packet: some cards wake only by it. It crosses the wire as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Takes six bytes as a MAC address is written, or four as an IPv4 address is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(four) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Self(four.octets().to_vec()));
        }
        bytes(text).filter(|bytes| matches!(bytes.len(), 4 | 6)).map(Self)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Which card is to wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeCall {
    /// The card.
    pub mac: MacAddress,
    /// Its password, if it wants one.
    pub password: Option<Password>,
}

impl WakeCall {
    /// What the card listens for, wherever it stands in a frame.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = BROADCAST.to_vec();
        for _ in 0..COPIES {
            payload.extend(self.mac.0);
        }
        payload.extend(self.password.iter().flat_map(|password| &password.0));
        payload
    }

    /// A whole Ethernet frame, tagged where a VLAN is named. To all cards: a switch whose table has forgotten a machine
    /// that sleeps sends it to its port all the same.
    #[must_use]
    pub fn frame(&self, from: [u8; 6], vlan: Option<u16>) -> Vec<u8> {
        let mut frame = BROADCAST.to_vec();
        frame.extend(from);
        if let Some(vlan) = vlan {
            frame.extend(TAG);
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(ETHERTYPE);
        frame.extend(self.payload());
        frame
    }
}

/// Bytes in hexadecimal, two digits each, with `:` or `-` between them.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let byte = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits { u8::from_str_radix(part, 16).ok() } else { None }
    };
    text.split(separator).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(password: Option<&str>) -> WakeCall {
        let password = password.map(|text| Password::parse(text).unwrap());
        WakeCall { mac: "52:54:00:12:34:56".parse().unwrap(), password }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn the_bytes_of_a_frame_are_those_of_the_book() {
        let head = "ffffffffffff0200000000010842";
        let body = format!("ffffffffffff{}", "525400123456".repeat(16));
        assert_eq!(hex(&call(None).frame(FROM, None)), format!("{head}{body}"));
        assert_eq!(call(None).payload().len(), 102);
        let tagged = format!("ffffffffffff0200000000018100000c0842{body}");
        assert_eq!(hex(&call(None).frame(FROM, Some(12))), tagged);
    }

    #[test]
    fn a_password_follows_with_its_four_or_six_bytes() {
        assert!(hex(&call(Some("192.168.1.5")).payload()).ends_with("525400123456c0a80105"));
        let six = hex(&call(Some("01:02:03:0a:0b:0c")).payload());
        assert!(six.ends_with("5254001234560102030a0b0c"), "{six}");
        for wrong in ["", "secret", "01:02:03", "01:02:03:04:05", "1.2.3.4.5"] {
            assert_eq!(Password::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(format!("{:?}", call(Some("1.2.3.4")).password), "Some(Password(…))");
    }

    #[test]
    fn what_is_no_cards_address_is_refused() {
        for (text, error) in [
            ("", MacError::Malformed),
            ("52:54:00:12:34", MacError::Malformed),
            ("52:54:00:12:34:56:78", MacError::Malformed),
            ("52:54:00:12:34:5g", MacError::Malformed),
            ("+2:54:00:12:34:56", MacError::Malformed),
            ("525400123456", MacError::Malformed),
            ("ff:ff:ff:ff:ff:ff", MacError::Multicast),
            ("01:00:5e:00:00:01", MacError::Multicast),
            ("00:00:00:00:00:00", MacError::Zero),
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(error), "{text:?}");
        }
        let dashed: MacAddress = "52-54-00-12-34-AB".parse().unwrap();
        assert_eq!(dashed.to_string(), "52:54:00:12:34:ab");
    }
}
