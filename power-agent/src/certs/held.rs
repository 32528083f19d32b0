//! What a certificate or a list of revoked ones says, read back from its file.

use std::path::Path;
use std::time::{Duration, SystemTime};

use agent_api::credentials::{FileError, Part, certificates, revoked as lists};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::{CertsError, SOON, date};
use crate::identity::NAME_PREFIX;

/// Who holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// A person or a program that calls agents.
    Client,
    /// An agent that is called by these names and addresses.
    Agent {
        /// DNS names and IP addresses.
        hosts: Vec<String>,
    },
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name; of an agent, that of its file.
    pub who: String,
    /// Whose it is.
    pub bearer: Bearer,
    /// From when on it is good.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
    pub(super) serial: Vec<u8>,
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It begins later.
    NotYet,
    /// Good.
    Good,
    /// Good, and to be renewed within [`SOON`].
    EndsSoon,
    /// Over.
    Expired,
    /// On the list.
    Revoked,
}

impl Standing {
    /// In a word or two.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::NotYet => "not yet valid",
            Standing::Good => "good",
            Standing::EndsSoon => "ends soon: renew it",
            Standing::Expired => "expired",
            Standing::Revoked => "revoked",
        }
    }
}

impl Held {
    /// Its last day, as `2027-11-22`.
    #[must_use]
    pub fn last_day(&self) -> String {
        date(self.until)
    }

    pub(super) fn standing(&self, now: SystemTime) -> Standing {
        if now < self.from {
            Standing::NotYet
        } else if now > self.until {
            Standing::Expired
        } else if now + SOON > self.until {
            Standing::EndsSoon
        } else {
            Standing::Good
        }
    }

    pub(super) fn serial_text(&self) -> String {
        self.serial.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads a certificate.
pub(super) fn read(path: &Path, file: &str) -> Result<Held, CertsError> {
    let wrong = |problem: String| CertsError::File { path: path.to_owned(), problem };
    let chain = certificates(Part::Certificate, path).map_err(from_file)?;
    let own = chain.first().ok_or_else(|| wrong("holds no certificate".to_owned()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(own)
        .map_err(|error| wrong(format!("no certificate that can be read: {error}")))?;
    let (name, hosts) = names(&parsed);
    let validity = parsed.validity();
    Ok(Held {
        who: name.clone().unwrap_or_else(|| file.to_owned()),
        bearer: if name.is_some() { Bearer::Client } else { Bearer::Agent { hosts } },
        from: at(validity.not_before.timestamp()),
        until: at(validity.not_after.timestamp()),
        serial: parsed.raw_serial().to_vec(),
    })
}

fn names(parsed: &X509Certificate<'_>) -> (Option<String>, Vec<String>) {
    let (mut client, mut hosts) = (None, Vec::new());
    let names = parsed.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        match name {
            GeneralName::URI(uri) => {
                client = client.or_else(|| uri.strip_prefix(NAME_PREFIX).map(str::to_owned));
            }
            GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
            GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
            _ => {}
        }
    }
    (client, hosts)
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    let sixteen =
        || <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    four.or_else(|_| sixteen()).ok()
}

/// The serial numbers of a list with when each was revoked, and the list's own number.
#[expect(clippy::type_complexity, reason = "a list and its number")]
pub(super) fn revoked(path: &Path) -> Result<(Vec<(Vec<u8>, SystemTime)>, u64), CertsError> {
    let wrong = |problem: String| CertsError::File { path: path.to_owned(), problem };
    let lists = lists(path).map_err(from_file)?;
    let list = lists.first().ok_or_else(|| wrong("holds no list".to_owned()))?;
    let (_, parsed) = x509_parser::parse_x509_crl(list)
        .map_err(|error| wrong(format!("no list that can be read: {error}")))?;
    let serials = parsed.iter_revoked_certificates();
    let serials = serials
        .map(|entry| (entry.raw_serial().to_vec(), at(entry.revocation_date.timestamp())))
        .collect();
    let number = parsed.crl_number().and_then(|number| u64::try_from(number).ok());
    Ok((serials, number.unwrap_or_default()))
}

fn from_file(error: FileError) -> CertsError {
    CertsError::File { path: error.path, problem: error.problem }
}

fn at(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH - span } else { SystemTime::UNIX_EPOCH + span }
}

/// Seconds since 1970.
pub(super) fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
