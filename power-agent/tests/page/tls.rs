//! The page on the network: by TLS alone; a browser's certificate names its owner, and who has none shows a token.

use std::sync::Arc;
use std::time::SystemTime;

use agent_api::credentials::{Part, certificates, key, provider};
use power_agent::audit::AuditLine;
use power_agent::certs::{Authority, Bearer};
use power_agent::config::Config;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use testkit::bench::Bench;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::bench::{OWN, Said, Shelf, ask_over, shelf_on_the_network};

const TLS: &str = r#"
[tls]
ca_file = "ca/ca.pem"
cert_file = "ca/rack.pem"
key_file = "ca/rack.key"
crl_file = "ca/crl.pem"
"#;

#[expect(clippy::disallowed_methods, reason = "certificates are made for the wall clock")]
fn make_authority(bench: &Bench) {
    let (dir, now) = (bench.path("ca"), SystemTime::now());
    Authority::init(&dir, now).expect("an authority");
    let authority = Authority::open(&dir).expect("an authority");
    let hosts = vec!["127.0.0.1".to_owned()];
    authority.issue("rack", &Bearer::Agent { hosts }, 30, now).expect("a certificate");
    for name in ["bob", "stranger", "gone"] {
        authority.issue(name, &Bearer::Client, 30, now).expect("a certificate");
    }
    // Whose certificate is revoked has a copy of it all the same.
    for file in ["pem", "key"] {
        std::fs::copy(dir.join(format!("gone.{file}")), dir.join(format!("kept.{file}")))
            .expect("a copy");
    }
    authority.revoke("gone", now).expect("a list");
}

impl Shelf {
    /// A line by TLS, with the certificate of a name or none.
    async fn line(&self, who: Option<&str>) -> TlsStream<TcpStream> {
        let dir = self.bench.path("ca");
        let mut roots = RootCertStore::empty();
        for certificate in certificates(Part::Authority, &dir.join("ca.pem")).unwrap() {
            roots.add(certificate).unwrap();
        }
        let config = ClientConfig::builder_with_provider(provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match who {
            Some(who) => {
                let chain = dir.join(format!("{who}.pem"));
                let chain = certificates(Part::Certificate, &chain).unwrap();
                let key = key(&dir.join(format!("{who}.key"))).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn ask_tls(
        &self,
        who: Option<&str>,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: &str,
    ) -> Said {
        ask_over(self.line(who).await, method, path, headers, body).await
    }
}

#[tokio::test]
async fn on_the_network_a_certificate_or_a_token_says_who_calls_and_nobody_else_sees_the_rack() {
    let shelf = shelf_on_the_network(TLS, make_authority).await;
    let rack = ("GET", "/api/rack");
    let said = shelf.ask_tls(None, rack, &[OWN], "").await;
    assert_eq!(said.status, 401, "{said:?}");
    let said = shelf.ask_tls(Some("bob"), rack, &[], "").await;
    assert_eq!((said.status, said.json()["who"].as_str()), (200, Some("bob")), "{said:?}");
    let bearer = format!("Bearer {}", shelf.tokens["eve"]);
    let said = shelf.ask_tls(None, rack, &[("authorization", &bearer)], "").await;
    assert_eq!((said.status, said.json()["who"].as_str()), (200, Some("eve")), "{said:?}");
    // A certificate counts before a token, and one without a role opens nothing.
    let bearer = format!("Bearer {}", shelf.tokens["ada"]);
    let said = shelf.ask_tls(Some("stranger"), rack, &[("authorization", &bearer)], "").await;
    assert!(said.status == 403 && said.text().contains("no role here"), "{said:?}");
    let login = json!({"token": shelf.tokens["eve"]}).to_string();
    let said = shelf.ask_tls(None, ("POST", "/login"), &[OWN], &login).await;
    assert!(said.headers["set-cookie"].ends_with("; Secure"), "{said:?}");
    // Another site can not use a certificate that the browser shows by itself.
    let body = json!({"reason": "x", "operation": "forged-1"}).to_string();
    let order = ("POST", "/api/machines/lamp1/on");
    let said = shelf.ask_tls(Some("bob"), order, &[], &body).await;
    assert_eq!(said.json()["code"], "other-site");
    let said = shelf.ask_tls(Some("bob"), order, &[OWN], &body).await;
    assert_eq!(said.status, 202, "{said:?}");
}

#[tokio::test]
async fn without_tls_or_with_a_revoked_certificate_nobody_speaks_with_the_page() {
    let shelf = shelf_on_the_network(TLS, make_authority).await;
    // In TLS 1.3 the client's side of the handshake ends first: the refusal comes in the place of an answer.
    let mut line = shelf.line(Some("kept")).await;
    drop(line.write_all(b"GET /api/rack HTTP/1.1\r\nhost: shelf\r\n\r\n").await);
    let mut said = Vec::new();
    let refused = line.read_to_end(&mut said).await.expect_err("it is refused").to_string();
    assert!(said.is_empty() && refused.contains("evoked"), "{refused}");
    let mut plain = TcpStream::connect(("127.0.0.1", shelf.port)).await.unwrap();
    plain.write_all(b"GET /api/rack HTTP/1.1\r\nhost: shelf\r\n\r\n").await.unwrap();
    drop(plain.read_to_end(&mut said).await);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    let lines = shelf.audit("handshake-refused", 2).await;
    let told = |line: &AuditLine| line.text.as_ref().is_some_and(|text| text.contains("evoked"));
    assert!(lines.iter().any(told), "{lines:?}");
    assert_eq!(shelf.frames().await, 0);
}

#[test]
fn a_page_for_others_without_tls_and_tokens_that_can_not_be_are_refused_with_their_place() {
    let check = |text: &str| {
        let file = std::path::Path::new("rack.toml");
        let findings = Config::parse(file, text, std::path::Path::new("/")).unwrap_err();
        findings.render(&annotate_snippets::Renderer::plain())
    };
    for (text, says) in [
        ("[page]\nlisten = \"0.0.0.0:7480\"\n", "open to the network, and there is no [tls]"),
        ("[page]\nlisten = \"[::]:7480\"\n", "open to the network, and there is no [tls]"),
        ("[page]\nlisten = \"7480\"\n", "`listen` in [page] is no address"),
        ("[page]\n", "[page] has no `listen`"),
        ("[access.ada]\nrole = \"viewer\"\ntoken_sha256 = \"abc\"\n", "is no SHA-256"),
        (
            "[access.ada]\nrole = \"viewer\"\ntoken_until = \"2030-01-01\"\n",
            "`token_until` without `token_sha256`",
        ),
    ] {
        let said = check(text);
        assert!(said.contains(says) && said.contains("rack.toml:"), "{says}: {said}");
    }
    let hash = "0123456789abcdef".repeat(4);
    let of = |name: &str, more: &str| {
        format!("[access.{name:?}]\nrole = \"viewer\"\ntoken_sha256 = \"{hash}\"\n{more}")
    };
    assert!(check(&of("%staff", "")).contains("can not be a group's"));
    assert!(check(&of("ada", "token_until = \"2030-02-30\"\n")).contains("is no day"));
    assert!(check(&(of("ada", "") + &of("bob", ""))).contains("have the same token"));
}
