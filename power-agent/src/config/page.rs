//! Where the page for the shelf is served, and the tokens by which a browser proves a name there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::TlsConfig;
use super::finding::{Finding, Report};
use super::section::{At, Section};
use crate::clock::end_of_day_ms;
use crate::identity::{SHA256_BYTES, Token};
use crate::roles::Grant;

/// An address of the page, as a remedy shows it.
const EXAMPLE: &str = "\"127.0.0.1:7480\"";

/// Where the page is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// The agent's own files of TLS, where others than this host may reach the page.
    pub tls: Option<TlsConfig>,
}

/// Reads `[page]`.
pub(crate) fn read(mut section: Section<'_>) -> Option<At<SocketAddr>> {
    if !section.has("listen") {
        section.missing("listen", EXAMPLE);
    }
    let listen = section.text("listen", EXAMPLE).and_then(|At { value, span }| {
        if let Ok(value) = value.parse() {
            return Some(At { value, span });
        }
        section.tell(
            Finding::error("`listen` in [page] is no address", span)
                .found(format!("found {value:?}"))
                .expected("an IP address of this host and a port; 0.0.0.0 is all of them")
                .remedy(format!("write it like `listen = {EXAMPLE}`")),
        );
        None
    });
    section.finish();
    listen
}

/// A page that others than this host may reach is served by TLS alone.
pub(crate) fn without_tls(page: &At<SocketAddr>) -> Finding {
    Finding::error(
        "`listen` in [page] is open to the network, and there is no [tls]",
        page.span.clone(),
    )
    .found("a token or an order would cross the network for everybody to read")
    .expected(
        "a section [tls] with ca_file, cert_file and key_file, or an address of this host alone",
    )
    .remedy(format!(
        "write `listen = {EXAMPLE}`; a tunnel reaches it: `ssh -L 7480:127.0.0.1:7480 HOST`"
    ))
}

/// Reads the token of an `[access.NAME]`.
pub(crate) fn read_token(section: &mut Section<'_>, name: &str) -> Option<Token> {
    let hash = section.text("token_sha256", "\"64 hexadecimal digits\"");
    let until = section.text("token_until", "\"2027-12-31\"");
    let remedy = format!("`power-agent token add {name}` makes a token and prints its lines");
    if let Some(At { span, .. }) = until.as_ref().filter(|_| hash.is_none()) {
        section.tell(
            Finding::error("`token_until` without `token_sha256`", span.clone())
                .found("there is no token that could end")
                .remedy(remedy.clone()),
        );
    }
    let At { value, span } = hash?;
    let mut until_ms = None;
    if let Some(At { value, span }) = until {
        until_ms = end_of_day_ms(&value);
        if until_ms.is_none() {
            section.tell(
                Finding::error(format!("`token_until` in {} is no day", section.name()), span)
                    .found(format!("found {value:?}"))
                    .expected("the last day on which the token is good, in UTC")
                    .remedy("write it like `token_until = \"2027-12-31\"`"),
            );
            return None;
        }
    }
    let sha256 = bytes_of(&value);
    let own = !name.starts_with('%');
    let Some(sha256) = sha256.filter(|_| own) else {
        let (title, expected) = if own {
            ("is no SHA-256", "64 hexadecimal digits")
        } else {
            (
                "can not be a group's",
                "a token in the section of one name: it proves who somebody is",
            )
        };
        section.tell(
            Finding::error(format!("`token_sha256` in {} {title}", section.name()), span)
                .found(format!("found {value:?}"))
                .expected(expected)
                .remedy(remedy),
        );
        return None;
    };
    Some(Token { sha256, until_ms })
}

/// One token for two names would prove neither.
pub(crate) fn check_tokens<'a>(
    grants: impl Iterator<Item = (&'a String, &'a Grant)>,
    report: &Report,
) {
    let mut owners: BTreeMap<[u8; SHA256_BYTES], &str> = BTreeMap::new();
    for (name, grant) in grants {
        let Some(token) = &grant.token else { continue };
        if let Some(other) = owners.insert(token.sha256, name) {
            report.tell(
                Finding::error(format!("{other} and {name} have the same token"), 0..0)
                    .found("`token_sha256` is the same in both sections of [access]")
                    .expected("a token for each name")
                    .remedy(format!("`power-agent token add {name}` makes one of its own")),
            );
        }
    }
}

fn bytes_of(hex: &str) -> Option<[u8; SHA256_BYTES]> {
    let mut bytes = [0; SHA256_BYTES];
    if hex.len() != 2 * SHA256_BYTES || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
