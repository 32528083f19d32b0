//! Tokens for the page: a secret that its owner alone keeps. The rack file has its SHA-256, which opens nothing.

use std::net::SocketAddr;

use ring::digest;

/// The bytes of a hash.
pub const SHA256_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// What the rack file knows of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its SHA-256.
    pub sha256: [u8; SHA256_BYTES],
    /// When it ends, in milliseconds since 1970; `None`: when its lines are taken out of the rack file.
    pub until_ms: Option<u64>,
}

/// Somebody who has shown a token.
#[derive(Debug)]
pub(crate) struct Bearer {
    /// The name that the rack file gives it.
    pub(crate) name: String,
    /// The hash of what was shown: asked about again at each call.
    pub(crate) hash: [u8; SHA256_BYTES],
    /// From where.
    pub(crate) peer: SocketAddr,
}

impl Token {
    /// Whether it is the one with this hash, and has not ended. It takes the same time whatever differs.
    pub(crate) fn is(&self, hash: &[u8; SHA256_BYTES], now_ms: u64) -> bool {
        let differs =
            self.sha256.iter().zip(hash).fold(0, |differs, (one, other)| differs | (one ^ other));
        std::hint::black_box(differs) == 0 && self.until_ms.is_none_or(|until| now_ms < until)
    }
}

/// The SHA-256 of a token's text.
pub(crate) fn hash_of(token: &str) -> [u8; SHA256_BYTES] {
    let mut hash = [0; SHA256_BYTES];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_until_it_ends() {
        let token = Token { sha256: hash_of("lamp_1"), until_ms: Some(1000) };
        assert!(token.is(&hash_of("lamp_1"), 999));
        assert!(!token.is(&hash_of("lamp_1"), 1000), "it has ended");
        assert!(!token.is(&hash_of("lamp_2"), 999));
        let mut near = hash_of("lamp_1");
        near[SHA256_BYTES - 1] ^= 1;
        assert!(!token.is(&near, 999), "one bit is enough");
        assert!(Token { until_ms: None, ..token }.is(&hash_of("lamp_1"), u64::MAX));
    }
}
