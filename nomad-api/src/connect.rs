//! From settings to a connection pool: TLS files, the expected server name, a Unix socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder, Identity, Url};

use crate::config::Config;
use crate::error::Error;

/// How long a connection may take: a LAN answers in milliseconds, and a switched-off host never does.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Idle connections are kept for this long: longer than the pace of the autoscaler's ticks.
const IDLE_KEPT: Duration = Duration::from_secs(90);

/// The largest PEM file that is read: a bundle of all public authorities is about 250 KiB.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// The most files of a directory of authorities that are read: /etc/ssl/certs holds about 300.
const PEM_FILES_MAX: usize = 1000;

/// A connection pool and the URL that its requests begin with.
pub(crate) struct Connection {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
}

/// Checks the settings, reads the TLS files and prepares the connections; sends nothing yet.
///
/// # Errors
/// [`Error::Config`] or [`Error::File`], each with the setting that is wrong.
pub(crate) fn connect(config: &Config) -> Result<Connection, Error> {
    // Another part of the process may have chosen its provider already: that one is then used.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder()
        .user_agent(concat!("lamplighter/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_DEADLINE)
        .pool_idle_timeout(IDLE_KEPT)
        .redirect(reqwest::redirect::Policy::none());
    let (builder, base) = match config.address.strip_prefix("unix://") {
        Some(path) => over_unix_socket(builder, path)?,
        None => over_tcp(builder, config)?,
    };
    let http = builder.build().map_err(|source| Error::Unreachable {
        what: "preparing the connection".to_owned(),
        address: config.address.clone(),
        source: source.into(),
    })?;
    Ok(Connection { http, base })
}

fn bad_address(found: &str, problem: &str) -> Error {
    Error::Config { key: "nomad_address", found: found.to_owned(), problem: problem.to_owned() }
}

fn over_unix_socket(builder: ClientBuilder, path: &str) -> Result<(ClientBuilder, Url), Error> {
    if !path.starts_with('/') {
        let found = format!("unix://{path}");
        return Err(bad_address(&found, "expected unix:// and an absolute path"));
    }
    let base = Url::parse("http://localhost/").expect("a constant URL is valid");
    Ok((builder.unix_socket(PathBuf::from(path)).no_proxy().tls_certs_only([]), base))
}

fn over_tcp(mut builder: ClientBuilder, config: &Config) -> Result<(ClientBuilder, Url), Error> {
    const EXPECTED: &str = "expected http://HOST:PORT, https://HOST:PORT or unix:///PATH";
    let mut base = Url::parse(&config.address)
        .map_err(|error| bad_address(&config.address, &format!("{error}; {EXPECTED}")))?;
    if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
        return Err(bad_address(&config.address, EXPECTED));
    }
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    let loopback = base.host_str().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    });
    if loopback {
        builder = builder.no_proxy();
    }
    if base.scheme() == "https" {
        builder = with_tls(builder, config)?;
        if let Some(name) = config.tls_server_name.as_deref() {
            builder = builder.dns_resolver(std::sync::Arc::new(Elsewhere::of(&base)));
            base.set_host(Some(name)).map_err(|error| Error::Config {
                key: "nomad_tls-server-name",
                found: name.to_owned(),
                problem: format!("{error}; expected a host name such as server.global.nomad"),
            })?;
        }
    } else {
        builder = builder.tls_certs_only([]);
    }
    Ok((builder, base))
}

fn with_tls(mut builder: ClientBuilder, config: &Config) -> Result<ClientBuilder, Error> {
    let authorities = match (&config.ca_file, &config.ca_path) {
        (Some(file), _) => Some(certificates("nomad_ca-cert", file)?),
        (None, Some(directory)) => Some(certificates_in("nomad_ca-path", directory)?),
        (None, None) => None,
    };
    if let Some(authorities) = authorities {
        builder = builder.tls_certs_only(authorities);
    }
    match (&config.client_cert_file, &config.client_key_file) {
        (Some(certificate), Some(key)) => {
            let mut pem = read_pem("nomad_client-cert", certificate)?;
            pem.push(b'\n');
            pem.extend(read_pem("nomad_client-key", key)?);
            let identity = Identity::from_pem(&pem).map_err(|error| Error::Config {
                key: "nomad_client-cert",
                found: certificate.display().to_string(),
                problem: format!("no certificate with its private key in PEM: {error}"),
            })?;
            builder = builder.identity(identity);
        }
        (None, None) => {}
        (Some(path), None) | (None, Some(path)) => {
            return Err(Error::Config {
                key: "nomad_client-cert",
                found: path.display().to_string(),
                problem: "mutual TLS needs both nomad_client-cert and nomad_client-key".to_owned(),
            });
        }
    }
    Ok(builder.tls_danger_accept_invalid_certs(config.skip_verify))
}

fn read_pem(key: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::File { key, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, PEM_BYTES_MAX), &mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<Certificate>, Error> {
    let refused =
        |problem: String| Error::Config { key, found: path.display().to_string(), problem };
    let found = Certificate::from_pem_bundle(&read_pem(key, path)?)
        .map_err(|error| refused(format!("not a PEM file of certificates: {error}")))?;
    if found.is_empty() {
        return Err(refused("expected at least one PEM certificate".to_owned()));
    }
    Ok(found)
}

fn certificates_in(key: &'static str, directory: &Path) -> Result<Vec<Certificate>, Error> {
    let unreadable = |source| Error::File { key, path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)?.take(PEM_FILES_MAX) {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end == "pem" || end == "crt") {
            found.extend(certificates(key, &path)?);
        }
    }
    if found.is_empty() {
        return Err(Error::Config {
            key,
            found: directory.display().to_string(),
            problem: "expected a directory with .pem or .crt files".to_owned(),
        });
    }
    Ok(found)
}

/// Answers every name with the address's own host: the URL then carries the name that the certificate
/// must have, while the connection goes where the address says.
struct Elsewhere {
    host: String,
}

impl Elsewhere {
    fn of(base: &Url) -> Self {
        Self { host: base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned() }
    }
}

impl Resolve for Elsewhere {
    fn resolve(&self, _name: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // Port 0 stands for the URL's own port.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
