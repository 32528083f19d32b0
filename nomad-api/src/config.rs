//! Where Nomad is and how we show who we are; read once, validated before the first request.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::Error;

/// The address that is used where none is given: Nomad's own default.
const ADDRESS_DEFAULT: &str = "http://127.0.0.1:4646";

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the ACL token comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// No token is sent.
    #[default]
    None,
    /// This token.
    Value(Secret),
    /// The token in this file, without surrounding white space; a rotated file is noticed at the next request.
    File(PathBuf),
}

/// How to reach a Nomad cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH` of the agent or of the Task API.
    pub address: String,
    /// The region that is asked; none is the agent's own.
    pub region: Option<String>,
    /// The namespace of variables and of jobs without one; none is `default`.
    pub namespace: Option<String>,
    /// Where the ACL token comes from.
    pub token: TokenSource,
    /// A PEM file with the certificates of the authorities that are trusted; none is the system's.
    pub ca_file: Option<PathBuf>,
    /// A directory whose PEM files are trusted, used where `ca_file` is not given.
    pub ca_path: Option<PathBuf>,
    /// Our certificate for mutual TLS, PEM; together with `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// Our private key for mutual TLS, PEM.
    pub client_key_file: Option<PathBuf>,
    /// The name that the server's certificate must carry, where it is not the address's host.
    pub tls_server_name: Option<String>,
    /// Takes any certificate of the server: for a laboratory only.
    pub skip_verify: bool,
    /// `USER:PASSWORD` for a proxy that asks for HTTP basic authentication.
    pub http_auth: Option<Secret>,
}

impl Default for Config {
    fn default() -> Self {
        Self::at(ADDRESS_DEFAULT)
    }
}

impl Config {
    /// The settings for an address without TLS files and without a token.
    #[must_use]
    pub fn at(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            region: None,
            namespace: None,
            token: TokenSource::None,
            ca_file: None,
            ca_path: None,
            client_cert_file: None,
            client_key_file: None,
            tls_server_name: None,
            skip_verify: false,
            http_auth: None,
        }
    }

    /// Reads the keys that the autoscaler gives to its plugins (`nomad_address`, `nomad_token`, …), and
    /// our own `nomad_token_file`, which wins over an inherited `nomad_token`. An empty value is none;
    /// other keys belong to others and are left alone.
    ///
    /// # Errors
    /// [`Error::Config`] where `nomad_skip-verify` is no boolean.
    pub fn from_autoscaler_map(map: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = |key: &str| map.get(key).filter(|value| !value.is_empty()).cloned();
        let path = |key: &str| text(key).map(PathBuf::from);
        let token = match (path("nomad_token_file"), text("nomad_token")) {
            (Some(file), _) => TokenSource::File(file),
            (None, Some(value)) => TokenSource::Value(Secret(value)),
            (None, None) => TokenSource::None,
        };
        let skip_verify = match text("nomad_skip-verify").as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(found) => {
                return Err(Error::Config {
                    key: "nomad_skip-verify",
                    found: found.to_owned(),
                    problem: "expected \"true\" or \"false\"".to_owned(),
                });
            }
        };
        Ok(Self {
            address: text("nomad_address").unwrap_or_else(|| ADDRESS_DEFAULT.to_owned()),
            region: text("nomad_region"),
            namespace: text("nomad_namespace"),
            token,
            ca_file: path("nomad_ca-cert"),
            ca_path: path("nomad_ca-path"),
            client_cert_file: path("nomad_client-cert"),
            client_key_file: path("nomad_client-key"),
            tls_server_name: text("nomad_tls-server-name"),
            skip_verify,
            http_auth: text("nomad_http-auth").map(Secret),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_hosts_inherited_keys_are_read_and_empty_ones_are_none() {
        let config = Config::from_autoscaler_map(&map(&[
            ("nomad_address", "https://nomad.example:4646"),
            ("nomad_region", ""),
            ("nomad_token", "s3cret"),
            ("nomad_ca-cert", "/etc/ca.pem"),
            ("nomad_skip-verify", "true"),
            ("pool", "rack"),
        ]))
        .unwrap();
        assert_eq!(config.address, "https://nomad.example:4646");
        assert_eq!(config.region, None);
        assert_eq!(config.token, TokenSource::Value(Secret::new("s3cret")));
        assert_eq!(config.ca_file, Some(PathBuf::from("/etc/ca.pem")));
        assert!(config.skip_verify);
    }

    #[test]
    fn a_token_file_of_ours_wins_over_the_inherited_token() {
        let config = Config::from_autoscaler_map(&map(&[
            ("nomad_token", "inherited"),
            ("nomad_token_file", "/secrets/token"),
        ]))
        .unwrap();
        assert_eq!(config.token, TokenSource::File(PathBuf::from("/secrets/token")));
    }

    #[test]
    fn a_word_for_skip_verify_is_refused_with_what_was_expected() {
        let error =
            Config::from_autoscaler_map(&map(&[("nomad_skip-verify", "maybe")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nomad_skip-verify = \"maybe\": expected \"true\" or \"false\""
        );
    }

    #[test]
    fn a_secret_never_shows_in_debug_output() {
        let mut config = Config::at("http://127.0.0.1:1");
        config.token = TokenSource::Value(Secret::new("s3cret"));
        config.http_auth = Some(Secret::new("user:s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
