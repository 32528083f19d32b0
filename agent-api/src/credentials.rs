//! The PEM files of mutual TLS, read anew each time they are needed, so that a renewed certificate needs no restart.
//!
//! It says which file is wrong and why; who may do what is the agent's affair.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The largest PEM file that is read, in bytes: a list of 20,000 revoked certificates is 1 MB, all public authorities
/// together 250 KB.
pub const PEM_BYTES_MAX: u64 = 4 << 20;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Certificates of the authorities that are trusted.
    Authority,
    /// One's own certificate, with its intermediates.
    Certificate,
    /// Its key.
    Key,
    /// The authority's list of revoked certificates.
    Revoked,
}

impl Part {
    /// The key of a configuration that names the file.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Part::Authority => "ca_file",
            Part::Certificate => "cert_file",
            Part::Key => "key_file",
            Part::Revoked => "crl_file",
        }
    }

    /// What such a file holds.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Part::Authority => "one or more authorities: PEM blocks BEGIN CERTIFICATE",
            Part::Certificate => "a certificate, its own first: PEM blocks BEGIN CERTIFICATE",
            Part::Key => "the certificate's key: a PEM block BEGIN PRIVATE KEY",
            Part::Revoked => "a list of revoked certificates: a PEM block BEGIN X509 CRL",
        }
    }
}

/// A file that can not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {}: {problem}", part.key(), path.display())]
pub struct FileError {
    /// What it is for.
    pub part: Part,
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl FileError {
    /// A file that is wrong.
    #[must_use]
    pub fn new(part: Part, path: &Path, problem: impl ToString) -> Self {
        Self { part, path: path.to_owned(), problem: problem.to_string() }
    }
}

/// What a client proves its name with, and by what it knows the agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The authorities that sign the agents' certificates.
    pub ca_file: PathBuf,
    /// The client's own certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// How files looked when they were last read: when they change, so does this.
pub(crate) type Stamp = [Option<(SystemTime, u64)>; 3];

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that can not be used.
    pub fn read(&self) -> Result<ClientConfig, FileError> {
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(Part::Authority, &self.ca_file)? {
            authorities
                .add(certificate)
                .map_err(|error| FileError::new(Part::Authority, &self.ca_file, error))?;
        }
        let own = certificates(Part::Certificate, &self.cert_file)?;
        let key = key(&self.key_file)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| FileError::new(Part::Authority, &self.ca_file, error))?
            .with_root_certificates(authorities)
            .with_client_auth_cert(own, key);
        let mut config =
            config.map_err(|error| FileError::new(Part::Key, &self.key_file, error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        [&self.ca_file, &self.cert_file, &self.key_file].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }
}

/// HTTP/2, which gRPC speaks.
pub const ALPN: &[u8] = b"h2";

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM file; one at least.
///
/// # Errors
/// See [`FileError`].
pub fn certificates(part: Part, path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    blocks(part, path)
}

/// The first key of a PEM file.
///
/// # Errors
/// See [`FileError`].
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let part = Part::Key;
    PrivateKeyDer::from_pem_slice(&bytes(part, path)?)
        .map_err(|error| FileError::new(part, path, format!("no key in PEM: {error}")))
}

/// The lists of a PEM file; one at least.
///
/// # Errors
/// See [`FileError`].
pub fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    blocks(Part::Revoked, path)
}

fn blocks<T: PemObject>(part: Part, path: &Path) -> Result<Vec<T>, FileError> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(&bytes(part, path)?).collect();
    let found = found.map_err(|error| FileError::new(part, path, format!("not PEM: {error}")))?;
    if found.is_empty() {
        return Err(FileError::new(
            part,
            path,
            format!("found none; expected {}", part.expected()),
        ));
    }
    Ok(found)
}

fn bytes(part: Part, path: &Path) -> Result<Vec<u8>, FileError> {
    let wrong = |error: std::io::Error| FileError::new(part, path, error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if u64::try_from(bytes.len()).is_ok_and(|found| found > PEM_BYTES_MAX) {
        return Err(FileError::new(part, path, format!("larger than {PEM_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
