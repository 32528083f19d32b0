//! A small authority in a directory: plain PEM files that openssl reads, each named for whom it is.
//!
//! A certificate carries a name and nothing else; what that name may, each agent's rack file says.

mod file;
mod held;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};

use crate::identity::{NAME_PREFIX, is_name};

pub use held::{Bearer, Held, Standing};

/// How long the authority stands: longer than a rack does, because to replace it means to touch every host.
pub const AUTHORITY_DAYS: u32 = 3650;

/// How long a certificate stands if nothing else is said: renewed once a year, with a month to spare.
pub const DAYS_DEFAULT: u32 = 396;

/// The longest that may be asked for: as long as the authority.
pub const DAYS_MAX: u32 = AUTHORITY_DAYS;

/// How far a certificate reaches back: a Pi without a clock of its own may be hours behind when it starts.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// A certificate that ends within this is told as such: a month, in which someone will look.
pub const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The most certificates of one directory: a person or a program for each machine of a large site.
pub const HELD_MAX: usize = 4096;

/// The most host names and addresses of one agent: a few networks with a few names each.
pub const HOSTS_MAX: usize = 32;

/// Names that the authority's own files have.
const RESERVED: &[&str] = &["ca", "crl"];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why the authority did not do as it was asked. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file could not be read or written.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// What would be made is there already.
    #[error("{} is there already; {remedy}", path.display())]
    There {
        /// The file.
        path: PathBuf,
        /// What to do instead.
        remedy: &'static str,
    },
    /// There is no authority in the directory.
    #[error("{} holds no authority; `power-agent certs init {}` makes one, --dir names another", dir.display(), dir.display())]
    NoAuthority {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no certificate of that name.
    #[error("{who} has no certificate in {}; it holds {known}", dir.display())]
    Nobody {
        /// The name.
        who: String,
        /// The directory.
        dir: PathBuf,
        /// Those that there are.
        known: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// An authority.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    until: SystemTime,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The certificate's file.
    pub cert: PathBuf,
    /// Its key's file.
    pub key: PathBuf,
    /// Its last day, as `2027-11-22`.
    pub until: String,
}

impl Authority {
    /// Makes an authority with an empty list of revoked certificates.
    ///
    /// # Errors
    /// Where there is one already, or the directory can not be written.
    pub fn init(dir: &Path, now: SystemTime) -> Result<Made, CertsError> {
        file::directory(dir)?;
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        let remedy = "name another directory; an authority is never overwritten";
        for path in [&cert, &key] {
            file::must_not_exist(path, remedy)?;
        }
        let made = of_file(&cert);
        let mut params = params("Lamplighter authority", now, now + DAY * AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pair = KeyPair::generate().map_err(&made)?;
        let certificate = params.self_signed(&pair).map_err(&made)?;
        file::create(&key, pair.serialize_pem().as_bytes())?;
        file::create(&cert, certificate.pem().as_bytes())?;
        let authority = Self::open(dir)?;
        authority.write_list(Vec::new(), 1, now)?;
        Ok(Made { until: date(authority.until), cert, key })
    }

    /// Opens the authority of a directory.
    ///
    /// # Errors
    /// Where there is none, or its files can not be used.
    pub fn open(dir: &Path) -> Result<Self, CertsError> {
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !cert.exists() {
            return Err(CertsError::NoAuthority { dir: dir.to_owned() });
        }
        let held = held::read(&cert, "ca")?;
        let pem = file::read(&key)?;
        let pair = KeyPair::from_pem(&pem).map_err(of_file(&key))?;
        let issuer = Issuer::from_ca_cert_pem(&file::read(&cert)?, pair).map_err(of_file(&cert))?;
        Ok(Self { dir: dir.to_owned(), issuer, until: held.until })
    }

    /// Makes a key and a certificate for a name that has none.
    ///
    /// # Errors
    /// Where the name can not be one, or has a certificate already.
    pub fn issue(
        &self,
        who: &str,
        bearer: &Bearer,
        days: u32,
        now: SystemTime,
    ) -> Result<Made, CertsError> {
        check_name(who)?;
        let (cert, key) = self.files(who);
        let remedy = "`certs renew` makes a new one, `certs revoke` ends it";
        for path in [&cert, &key] {
            file::must_not_exist(path, remedy)?;
        }
        let (key_pem, cert_pem, until) = self.sign(who, bearer, days, now)?;
        file::create(&key, key_pem.as_bytes())?;
        file::create(&cert, cert_pem.as_bytes())?;
        Ok(Made { cert, key, until })
    }

    /// Makes a new key and certificate for a name that has one; the old one stays good until it ends.
    ///
    /// # Errors
    /// Where the name has none, or it was revoked.
    pub fn renew(&self, who: &str, days: u32, now: SystemTime) -> Result<Made, CertsError> {
        let held = self.held(who)?;
        if self.revoked()?.iter().any(|(serial, _)| *serial == held.serial) {
            let text = format!(
                "{who} was revoked; `certs revoke {who}` again clears its files away, then issue"
            );
            return Err(CertsError::Usage(text));
        }
        let (key_pem, cert_pem, until) = self.sign(who, &held.bearer, days, now)?;
        let (cert, key) = self.files(who);
        file::replace(&key, key_pem.as_bytes())?;
        file::replace(&cert, cert_pem.as_bytes())?;
        Ok(Made { cert, key, until })
    }

    /// Adds a name's certificate to the list of revoked ones, and puts its files aside.
    ///
    /// # Errors
    /// Where the name has none.
    pub fn revoke(&self, who: &str, now: SystemTime) -> Result<PathBuf, CertsError> {
        let held = self.held(who)?;
        let mut revoked = self.revoked()?;
        if !revoked.iter().any(|(serial, _)| *serial == held.serial) {
            revoked.push((held.serial.clone(), now));
            self.write_list(revoked, self.list_number()? + 1, now)?;
        }
        // The list comes first: whoever dies here has revoked, and may do it again.
        let aside = self.dir.join("revoked");
        file::directory(&aside)?;
        let (cert, key) = self.files(who);
        let serial = held.serial_text();
        for (path, ending) in [(&key, "key"), (&cert, "pem")] {
            file::rename(path, &aside.join(format!("{who}-{serial}.{ending}")))?;
        }
        Ok(self.list_file())
    }

    /// All certificates of the directory, by name, with how they stand.
    ///
    /// # Errors
    /// Where a file can not be read.
    pub fn list(&self, now: SystemTime) -> Result<Vec<(Held, Standing)>, CertsError> {
        let revoked = self.revoked()?;
        let mut found = Vec::new();
        for (path, who) in file::certificates(&self.dir)? {
            let held = held::read(&path, &who)?;
            let standing = match revoked.iter().any(|(serial, _)| *serial == held.serial) {
                true => Standing::Revoked,
                false => held.standing(now),
            };
            found.push((held, standing));
        }
        for path in file::certificates(&self.dir.join("revoked"))?.into_keys() {
            found.push((held::read(&path, "revoked")?, Standing::Revoked));
        }
        Ok(found)
    }

    /// The list of revoked certificates, for the `crl_file` of the agents.
    #[must_use]
    pub fn list_file(&self) -> PathBuf {
        self.dir.join("crl.pem")
    }

    fn files(&self, who: &str) -> (PathBuf, PathBuf) {
        (self.dir.join(format!("{who}.pem")), self.dir.join(format!("{who}.key")))
    }

    fn held(&self, who: &str) -> Result<Held, CertsError> {
        check_name(who)?;
        let (cert, _) = self.files(who);
        if cert.exists() {
            return held::read(&cert, who);
        }
        let known: Vec<String> = file::certificates(&self.dir)?.into_values().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(CertsError::Nobody { who: who.to_owned(), dir: self.dir.clone(), known })
    }

    fn sign(
        &self,
        who: &str,
        bearer: &Bearer,
        days: u32,
        now: SystemTime,
    ) -> Result<(String, String, String), CertsError> {
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(CertsError::Usage(format!("{days} days: expected 1 to {DAYS_MAX}")));
        }
        // Nobody believes a certificate longer than its authority.
        let until = (now + DAY * days).min(self.until);
        let mut params = params(who, now, until);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let wrong = |error: rcgen::Error| CertsError::Usage(format!("{who}: {error}"));
        match bearer {
            Bearer::Client => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                let uri = format!("{NAME_PREFIX}{who}").try_into().map_err(wrong)?;
                params.subject_alt_names = vec![SanType::URI(uri)];
            }
            Bearer::Agent { hosts } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = hosts_named(who, hosts)?;
            }
        }
        let pair = KeyPair::generate().map_err(wrong)?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(wrong)?;
        Ok((pair.serialize_pem(), certificate.pem(), date(until)))
    }

    fn revoked(&self) -> Result<Vec<(Vec<u8>, SystemTime)>, CertsError> {
        held::revoked(&self.list_file()).map(|(serials, _)| serials)
    }

    fn list_number(&self) -> Result<u64, CertsError> {
        held::revoked(&self.list_file()).map(|(_, number)| number)
    }

    fn write_list(
        &self,
        revoked: Vec<(Vec<u8>, SystemTime)>,
        number: u64,
        now: SystemTime,
    ) -> Result<(), CertsError> {
        let path = self.list_file();
        let entry = |(serial, at): (Vec<u8>, SystemTime)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: at.into(),
            reason_code: Some(RevocationReason::Unspecified),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (now - BACKDATED).into(),
            // A list that nobody wrote anew must not lock a rack at an edge site.
            next_update: self.until.into(),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).map_err(of_file(&path))?;
        file::replace(&path, list.pem().map_err(of_file(&path))?.as_bytes())
    }
}

fn params(common_name: &str, now: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = until.into();
    params
}

fn hosts_named(who: &str, hosts: &[String]) -> Result<Vec<SanType>, CertsError> {
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        return Err(CertsError::Usage(format!(
            "{who}: {} hosts; expected 1 to {HOSTS_MAX} names or addresses, as clients write them: --host rack-a.example",
            hosts.len()
        )));
    }
    let named = hosts.iter().map(|host| match host.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_no_address) => {
            let valid = rustls::pki_types::DnsName::try_from(host.as_str()).is_ok();
            let name = valid.then(|| host.clone().try_into().ok()).flatten();
            name.map(SanType::DnsName).ok_or_else(|| {
                CertsError::Usage(format!("{host:?} is neither a DNS name nor an IP address"))
            })
        }
    });
    named.collect()
}

fn check_name(who: &str) -> Result<(), CertsError> {
    if is_name(who) && !RESERVED.contains(&who) && !who.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(CertsError::Usage(format!(
        "{who:?} can not be a name here; names are of up to {} letters, digits, '.', '_' and '-', begin with \
         a letter or digit, and are not {}",
        crate::identity::NAME_BYTES_MAX,
        RESERVED.join(" or ")
    )))
}

fn of_file(path: &Path) -> impl Fn(rcgen::Error) -> CertsError + use<> {
    let path = path.to_owned();
    move |error| CertsError::File { path: path.clone(), problem: error.to_string() }
}

/// `2027-11-22`, in UTC.
fn date(at: SystemTime) -> String {
    x509_parser::time::ASN1Time::from_timestamp(held::seconds(at))
        .map_or_else(|_| "?".to_owned(), |time| time.to_datetime().date().to_string())
}
