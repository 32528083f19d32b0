//! Tokens, certificates and the Unix socket.

use std::path::Path;

use nomad_api::{Client, Config, Eligibility, Error, QueryOptions, Secret, TokenSource};
use testkit::cluster::Access;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinSet;

use crate::{Cluster, map};

#[tokio::test]
async fn a_missing_capability_is_named_by_the_rule_that_grants_it() {
    let cluster = Cluster::start_with(Access::Tokens).await;
    let rules = "node { policy = \"read\" }";
    let secret = cluster.server.token_with("reader", rules).await.unwrap();
    let api = cluster.server.client_with(TokenSource::Value(Secret::new(secret.clone()))).unwrap();
    api.nodes(&QueryOptions::NOW).await.expect("what the policy grants is granted");

    let id = "00000000-0000-0000-0000-000000000000";
    let error = api.set_eligibility(id, &Eligibility::Eligible).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("node { policy = \"write\" }"), "{text}");
    assert!(!text.contains(&secret), "a token in a message");

    let error = api.put_variable("a/b", &map(&[("k", "v")]), 0).await.unwrap_err().to_string();
    let rule =
        "namespace \"default\" { variables { path \"a/b\" { capabilities = [\"write\"] } } }";
    assert!(error.contains(rule), "{error}");

    let mut stream = api.events(&[nomad_api::Topic::Allocation], 0);
    let error = stream.next().await.unwrap_err().to_string();
    assert!(error.contains("namespace \"*\" { capabilities = [\"read-job\"] }"), "{error}");
}

#[tokio::test]
async fn the_rule_that_an_error_names_is_enough() {
    let cluster = Cluster::start_with(Access::Tokens).await;
    // A block for one namespace replaces that for all of them there, so that both grant read-job.
    let rules = r#"
        node { policy = "write" }
        namespace "*" { capabilities = ["read-job"] }
        namespace "default" {
          capabilities = ["read-job"]
          variables { path "a/b" { capabilities = ["read", "write"] } }
        }"#;
    let secret = cluster.server.token_with("plugin", rules).await.unwrap();
    let api = cluster.server.client_with(TokenSource::Value(Secret::new(secret))).unwrap();
    let id = "00000000-0000-0000-0000-000000000000";
    assert!(api.set_eligibility(id, &Eligibility::Eligible).await.unwrap_err().is_not_found());
    api.put_variable("a/b", &map(&[("k", "v")]), 0).await.unwrap();
    api.blocked_evaluations(&QueryOptions::NOW).await.unwrap();
    api.allocations(Some("ClientStatus == \"running\""), &QueryOptions::NOW).await.unwrap();
    let topics = [nomad_api::Topic::Node, nomad_api::Topic::Allocation];
    api.events(&topics, 0).next().await.unwrap();
    // Needs no rule, and so works for every token.
    assert_eq!(api.regions().await.unwrap(), ["global"]);
}

#[tokio::test]
async fn a_rotated_token_file_is_used_from_the_next_question_on() {
    let cluster = Cluster::start_with(Access::Tokens).await;
    let file = cluster.dir.path().join("token");
    let missing = cluster.server.client_with(TokenSource::File(file.clone())).unwrap();
    let error = missing.nodes(&QueryOptions::NOW).await.unwrap_err();
    assert!(error.to_string().contains(&format!("can not read {}", file.display())), "{error}");

    std::fs::write(&file, "11111111-2222-3333-4444-555555555555\n").unwrap();
    let api = cluster.server.client_with(TokenSource::File(file.clone())).unwrap();
    let error = api.nodes(&QueryOptions::NOW).await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    std::fs::write(&file, cluster.server.token().unwrap()).unwrap();
    api.nodes(&QueryOptions::NOW).await.unwrap();
}

#[tokio::test]
async fn mutual_tls_is_spoken_and_the_servers_name_is_checked() {
    let cluster = Cluster::start_with(Access::MutualTls).await;
    // The kit's own client: our certificate, their authority, the name server.global.nomad.
    cluster.server.api().nodes(&QueryOptions::NOW).await.unwrap();

    let config = cluster.server.config();
    let mut wrong_name = config.clone();
    wrong_name.tls_server_name = Some("client.global.nomad".to_owned());
    let mut no_certificate = config.clone();
    no_certificate.client_cert_file = None;
    no_certificate.client_key_file = None;
    let mut no_authority = config.clone();
    no_authority.ca_file = None;
    for bad in [wrong_name, no_certificate, no_authority] {
        let error = Client::new(&bad).unwrap().leader().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{bad:?}: {error}");
    }

    let mut half = config;
    half.client_key_file = None;
    let error = Client::new(&half).unwrap_err().to_string();
    assert!(error.contains("needs both nomad_client-cert and nomad_client-key"), "{error}");
}

/// Stands in for the Task API: the real server behind a Unix socket.
async fn behind_socket(path: &Path, address: String) -> JoinSet<()> {
    let listener = UnixListener::bind(path).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut relays = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(&address).await.unwrap();
            relays.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    tasks
}

#[tokio::test]
async fn a_unix_socket_is_an_address_like_any_other() {
    let cluster = Cluster::start().await;
    let socket = cluster.dir.path().join("api.sock");
    let address = cluster.server.address().trim_start_matches("http://").to_owned();
    let _relay = behind_socket(&socket, address).await;
    let api = Client::new(&Config::at(format!("unix://{}", socket.display()))).unwrap();
    assert_eq!(api.regions().await.unwrap(), ["global"]);
    let mut stream = api.events(&[nomad_api::Topic::Node], 0);
    assert_eq!(stream.next().await.unwrap(), nomad_api::StreamItem::Connected);

    let nobody = Config::at(format!("unix://{}/nobody.sock", cluster.dir.path().display()));
    let error = Client::new(&nobody).unwrap().leader().await.unwrap_err();
    assert!(error.to_string().contains("nobody.sock while asking for the leader"), "{error}");
}
