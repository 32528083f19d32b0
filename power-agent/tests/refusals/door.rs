//! At the door: handshakes that do not come about.

use std::sync::Arc;

use agent_api::credentials::{ALPN, Part, certificates, key, provider};
use agent_api::{AgentAddress, Client};
use power_agent::certs::{Authority, Bearer};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use testkit::bench::{PATIENCE, order};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::bench::{Networked, root, wall, with_bench};

/// The hello of a client that speaks TLS 1.1 at most, with suites of its time.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    // P-256 and ECDSA with SHA-256, so that nothing but the version stands against it.
    body.extend([0, 16, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let mut hello = vec![1, 0];
    hello.extend(length(body.len()));
    hello.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(length(hello.len()));
    record.extend(hello);
    record
}

/// What the agent answers to these bytes, to the end of the connection.
async fn answer_to(bench: &Networked, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", bench.port)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it ends"));
    answer
}

/// A TLS client without any certificate: how it ends.
pub(crate) async fn without_certificate(bench: &Networked) -> String {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(Part::Authority, &bench.path("ca/ca.pem")).unwrap() {
        authorities.add(certificate).unwrap();
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", bench.port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    let mut byte = [0];
    match timeout(PATIENCE, stream.read(&mut byte)).await.expect("it ends") {
        Ok(read) => format!("{read} bytes"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn certificates_that_are_not_good_are_shut_out() {
    with_bench(0, async |bench| {
        let said = without_certificate(bench).await;
        assert!(said.contains("CertificateRequired"), "{said}");
        bench.until_told(&["handshake", "peer sent no certificates"]).await;

        let other = bench.path("other");
        Authority::init(&other, wall()).unwrap();
        let authority = Authority::open(&other).unwrap();
        authority.issue("ada", &Bearer::Client, 30, wall()).unwrap();
        bench.authority.revoke("gone", wall()).unwrap();
        let gone = std::fs::read_dir(bench.path("ca/revoked")).unwrap();
        for file in gone.map(|entry| entry.unwrap().path()) {
            let ending = file.extension().unwrap().to_str().unwrap();
            std::fs::copy(&file, bench.path("ca").join(format!("gone.{ending}"))).unwrap();
        }
        bench.until_renewed().await;
        for (dir, who, told) in [
            ("other", "ada", "BadSignature|UnknownIssuer"),
            ("ca", "expired", "certificate expired"),
            ("ca", "early", "not valid yet"),
            ("ca", "gone", "Revoked"),
            // An agent's own certificate is none of a client.
            ("ca", "rack", "extended key usage for client"),
        ] {
            let client = bench.client_at("127.0.0.1", &bench.credentials(dir, who));
            bench.shut_out(&client).await;
            bench.until_told_any("handshake-refused", told).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_ours_without_a_name_is_nobodys() {
    with_bench(0, async |bench| {
        let ca = std::fs::read_to_string(bench.path("ca/ca.pem")).unwrap();
        let pair = KeyPair::from_pem(&std::fs::read_to_string(bench.path("ca/ca.key")).unwrap());
        let issuer = Issuer::from_ca_cert_pem(&ca, pair.unwrap()).unwrap();
        let mut params = CertificateParams::new(vec!["ada".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&own, &issuer).unwrap();
        std::fs::write(bench.path("ca/nameless.pem"), certificate.pem()).unwrap();
        std::fs::write(bench.path("ca/nameless.key"), own.serialize_pem()).unwrap();
        let error = bench.client("nameless").inventory().await.unwrap_err().to_string();
        assert!(error.contains("should be URI:lamplighter://NAME"), "{error}");
        bench.until_told(&["Inventory", "the certificate has no name"]).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_not_the_one_that_was_called_hears_no_order() {
    with_bench(0, async |bench| {
        // The agent's certificate is for 127.0.0.1, and it is called by another name.
        let client = bench.client_at("localhost", &bench.credentials("ca", "ada"));
        let said = bench.shut_out(&client).await;
        assert!(said.contains("NotValidForName") || said.contains("not valid for"), "{said}");
        bench.until_told_any("handshake", "BadCertificate|alert|eof|CertificateUnknown").await;

        // Somebody who has a client's certificate of ours sits in the agent's place.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = certificates(Part::Certificate, &bench.path("ca/bob.pem")).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(own, key(&bench.path("ca/bob.key")).unwrap())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = AgentAddress::Network { host: "127.0.0.1".to_owned(), port };
        let client = Client::connect_lazy_with(&address, Some(&bench.credentials("ca", "ada")));
        let impostor = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut heard = [0; 1];
                    if stream.read(&mut heard).await.is_ok_and(|read| read > 0) {
                        panic!("the impostor was spoken to");
                    }
                }
            }
        };
        let order = order("to-an-impostor", "lamp1", fleet::Verb::On, root());
        tokio::select! {
            answer = client.set_power(&order) => {
                let said = answer.unwrap_err().to_string();
                assert!(said.contains("invalid peer certificate"), "{said}");
            }
            () = impostor => {}
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_tls_of_today_is_shut_out() {
    with_bench(0, async |bench| {
        let answer = answer_to(bench, &hello_of_tls_1_1()).await;
        // A fatal alert, protocol_version.
        assert!(answer.len() == 7 && answer[0] == 21 && answer[5..] == [2, 70], "{answer:?}");
        bench.until_told_any("handshake", "Tls12NotOffered").await;

        let answer =
            answer_to(bench, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        assert!(answer.is_empty() || answer[0] == 21, "no HTTP: {answer:?}");
        bench.until_told_any("handshake", "InvalidContentType|corrupt message").await;

        let plain = AgentAddress::Network { host: "127.0.0.1".to_owned(), port: bench.port };
        let error = Client::connect_lazy_with(&plain, None).inventory().await.unwrap_err();
        assert!(error.to_string().contains("no certificate of our own is named"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    with_bench(0, async |bench| {
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(("127.0.0.1", bench.port)).await.unwrap());
        }
        // More than eight at once from one address are too many; the places come back by the handshake's deadline.
        bench.until_told(&["handshake-refused", "too many handshakes from this address"]).await;
        bench.until_told(&["handshake-refused", "no handshake within"]).await;
        for mut stream in silent {
            let read = timeout(PATIENCE, stream.read(&mut [0])).await;
            assert!(matches!(read.expect("it ends"), Ok(0) | Err(_)));
        }
        bench.client("eve").inventory().await.unwrap();
    })
    .await;
}
