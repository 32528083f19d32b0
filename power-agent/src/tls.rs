//! Mutual TLS of the agent: its own certificate, the authority and its list of revoked ones; read again when they change.

pub(crate) mod door;
pub(crate) mod link;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use agent_api::credentials::{ALPN, FileError, Part, certificates, key, provider, revoked};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::config::TlsConfig;

/// What browsers speak with the page.
const PAGE_ALPN: &[u8] = b"http/1.1";

/// How files looked: when one changes, so does this.
type Stamp = Vec<Option<(SystemTime, u64, u64)>>;

/// Whom the agent believes on the network, and how it proves itself, as the files were when they were last good.
#[derive(Debug)]
pub struct Trust {
    files: TlsConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    /// The files as they were when they could not be used, if they are so still.
    bad: Option<Stamp>,
    loaded: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    server: Arc<ServerConfig>,
    /// For browsers, which may come without a certificate.
    page: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// What a second look at the files brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// They are as they were.
    Same,
    /// They have changed, and the new ones are used from now on.
    Renewed,
    /// They have changed, and can not be used; the old ones stay. Told once, and not before a second look, because
    /// who renews writes certificate and key one after the other.
    Refused(FileError),
}

impl Trust {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that can not be used.
    pub fn load(files: &TlsConfig) -> Result<Self, FileError> {
        let stamp = stamp(files);
        let loaded = Arc::new(Loaded::read(files)?);
        Ok(Self { files: files.clone(), state: Mutex::new(State { stamp, bad: None, loaded }) })
    }

    /// Looks at the files again.
    pub fn look_again(&self) -> Again {
        let stamp = stamp(&self.files);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamp == stamp {
            return Again::Same;
        }
        match Loaded::read(&self.files) {
            Ok(loaded) => {
                *state = State { stamp, bad: None, loaded: Arc::new(loaded) };
                Again::Renewed
            }
            Err(error) if state.bad.as_ref() == Some(&stamp) => {
                // From now on this is what is known of the files; the next change is looked at again.
                state.stamp = stamp;
                state.bad = None;
                Again::Refused(error)
            }
            Err(_perhaps_half_written) => {
                state.bad = Some(stamp);
                Again::Same
            }
        }
    }

    /// Whether a chain that was good at its handshake is good still.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let (own, others) = chain.split_first().ok_or_else(|| "there is none".to_owned())?;
        let verifier = Arc::clone(&self.loaded().verifier);
        let verified = verifier.verify_client_cert(own, others, UnixTime::now());
        verified.map(|_| ()).map_err(|error| error.to_string())
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded().server)
    }

    /// For the page: a certificate is checked where one is shown.
    pub(crate) fn page(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded().page)
    }

    fn loaded(&self) -> Arc<Loaded> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.loaded)
    }
}

impl Loaded {
    fn read(files: &TlsConfig) -> Result<Self, FileError> {
        let of_ca = |problem: &dyn ToString| {
            FileError::new(Part::Authority, &files.ca_file, problem.to_string())
        };
        let mut authorities = RootCertStore::empty();
        for certificate in certificates(Part::Authority, &files.ca_file)? {
            authorities.add(certificate).map_err(|error| of_ca(&error))?;
        }
        let own = certificates(Part::Certificate, &files.cert_file)?;
        let key = key(&files.key_file)?;
        let lists = match &files.crl_file {
            Some(file) => revoked(file)?,
            None => Vec::new(),
        };
        let authorities = Arc::new(authorities);
        // A list says who is revoked; that it is old is no reason to lock everybody out of a rack at an edge site.
        let checking = || {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities), provider())
                .with_crls(lists.clone())
                .only_check_end_entity_revocation()
        };
        let of_lists = |error: VerifierBuilderError| {
            let (part, path): (_, &Path) = match &files.crl_file {
                Some(file) => (Part::Revoked, file),
                None => (Part::Authority, &files.ca_file),
            };
            FileError::new(part, path, error)
        };
        let verifier = checking().build().map_err(of_lists)?;
        let lenient = checking().allow_unauthenticated().build().map_err(of_lists)?;
        let of_key = |error| FileError::new(Part::Key, &files.key_file, error);
        let proven = |verifier, alpn: &[u8]| {
            let mut server = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13, &TLS12])
                .map_err(|error| of_ca(&error))?
                .with_client_cert_verifier(verifier)
                .with_single_cert(own.clone(), key.clone_key())
                .map_err(of_key)?;
            server.alpn_protocols = vec![alpn.to_vec()];
            // A resumed session would skip the certificate; connections are few and long.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
            Ok::<_, FileError>(Arc::new(server))
        };
        let server = proven(Arc::clone(&verifier), ALPN)?;
        let page = proven(lenient, PAGE_ALPN)?;
        Ok(Self { server, page, verifier })
    }
}

fn stamp(files: &TlsConfig) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let TlsConfig { ca_file, cert_file, key_file, crl_file } = files;
    let all = [Some(ca_file), Some(cert_file), Some(key_file), crl_file.as_ref()];
    let look = |path: Option<&std::path::PathBuf>| {
        let found = std::fs::metadata(path?).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    };
    all.into_iter().map(look).collect()
}
