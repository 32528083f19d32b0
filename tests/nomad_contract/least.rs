//! Goal: the policies of `examples/acl` are enough and the least, and who lacks a capability is told which.
//! Method: every call of a part, with its policy whole, and with one capability less each time.

use std::path::Path;

use nomad_api::{Secret, TokenSource};
use testkit::cluster::Access;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Cluster;
use crate::calls::{AGENT, Call, PLUGIN};

/// One capability less: what stands in the file, what instead, which calls are refused then, and the rule
/// that their errors name.
type Less = (&'static str, &'static str, &'static [&'static str], &'static str);

const NODE_WRITE: &str = "node {\n  policy = \"write\"\n}";

/// Nomad refuses a question about one namespace; lists of all it shortens, which is what `sees_all_work` is for.
const PLUGIN_LESS: &[Less] = &[
    (NODE_WRITE, "", &["nodes", "node", "node_allocations"], "node { policy = \"read\" }"),
    (
        NODE_WRITE,
        "node {\n  policy = \"read\"\n}",
        &["drain_node", "cancel_drain", "set_eligibility", "purge_node"],
        "node { policy = \"write\" }",
    ),
    (
        "namespace \"*\" {\n  capabilities = [\"read-job\", \"list-jobs\"]",
        "namespace \"*\" {\n  capabilities = [\"list-jobs\"]",
        &["sees_all_work"],
        "namespace \"*\" { capabilities = [\"read-job\"] }",
    ),
    (
        "namespace \"*\" {\n  capabilities = [\"read-job\", \"list-jobs\"]",
        "namespace \"*\" {\n  capabilities = [\"read-job\"]",
        &["sees_all_jobs"],
        "namespace \"*\" { capabilities = [\"list-jobs\"] }",
    ),
    (
        "namespace \"default\" {\n  capabilities = [\"read-job\", \"list-jobs\"]",
        "namespace \"default\" {\n  capabilities = [\"list-jobs\"]",
        &["job", "job_summary", "sees_all_work"],
        "namespace \"default\" { capabilities = [\"read-job\"] }",
    ),
    (
        "namespace \"default\" {\n  capabilities = [\"read-job\", \"list-jobs\"]",
        "namespace \"default\" {\n  capabilities = [\"read-job\"]",
        &["sees_all_jobs"],
        "namespace \"default\" { capabilities = [\"list-jobs\"] }",
    ),
    (
        "[\"read\", \"write\"]",
        "[\"write\"]",
        &["variable", "watch_variable"],
        "variables { path \"lamplighter/pools/nobody\" { capabilities = [\"read\"] } }",
    ),
    (
        "[\"read\", \"write\"]",
        "[\"read\"]",
        &["put_variable"],
        "variables { path \"lamplighter/pools/nobody\" { capabilities = [\"write\"] } }",
    ),
];

const AGENT_LESS: &[Less] = &[
    (NODE_WRITE, "", &["nodes", "node_allocations"], "node { policy = \"read\" }"),
    (
        NODE_WRITE,
        "node {\n  policy = \"read\"\n}",
        &["drain_node", "cancel_drain"],
        "node { policy = \"write\" }",
    ),
    (
        "capabilities = [\"read-job\"]",
        "capabilities = [\"list-jobs\"]",
        &["job", "sees_all_work"],
        "{ capabilities = [\"read-job\"] }",
    ),
];

#[tokio::test]
async fn the_plugins_policy_is_enough_and_the_least_and_an_error_names_what_is_missing() {
    proven_least("plugin", PLUGIN, PLUGIN_LESS).await;
}

#[tokio::test]
async fn the_agents_policy_is_enough_and_the_least_and_an_error_names_what_is_missing() {
    proven_least("agent", AGENT, AGENT_LESS).await;
}

async fn proven_least(part: &str, calls: &[Call], less: &[Less]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    let file = root.join(format!("examples/acl/{part}.hcl"));
    let policy = std::fs::read_to_string(&file).unwrap();
    let cluster = Cluster::start_with(Access::Tokens).await;
    assert_eq!(refusals(&cluster, "whole", &policy, calls).await, [], "with {}", file.display());
    for (number, (whole, part, refused, rule)) in less.iter().enumerate() {
        assert_eq!(policy.matches(whole).count(), 1, "{whole:?} stands once in {}", file.display());
        let name = format!("less-{number}");
        let errors = refusals(&cluster, &name, &policy.replacen(whole, part, 1), calls).await;
        let names: Vec<&str> = errors.iter().map(|(name, _)| *name).collect();
        // Without its block nothing is written to a node either, by another rule.
        let named = names.iter().filter(|name| !part.is_empty() || !writes(name));
        let mut found: Vec<&str> = named.copied().collect();
        let mut expected = refused.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "with {part:?} instead of {whole:?}");
        for (name, error) in errors.iter().filter(|(name, _)| refused.contains(name)) {
            assert!(error.contains(rule), "{name} does not name {rule}: {error}");
        }
    }
}

fn writes(name: &str) -> bool {
    ["drain_node", "cancel_drain", "set_eligibility", "purge_node"].contains(&name)
}

/// Which calls are refused to a token with these rules, and how.
async fn refusals(
    cluster: &Cluster,
    name: &str,
    rules: &str,
    calls: &[Call],
) -> Vec<(&'static str, String)> {
    let secret = cluster.server.token_with(name, rules).await.unwrap();
    let api = cluster.server.client_with(TokenSource::Value(Secret::new(secret))).unwrap();
    let mut refused = Vec::new();
    for (name, call) in calls {
        if let Err(error) = call(api.clone()).await {
            refused.push((*name, error.to_string()));
        }
    }
    refused
}

/// What the autoscaler's policies grant, less one each; and what Nomad refuses then of what it asks.
type HostLess = (&'static str, &'static str, &'static [&'static str]);

const AUTOSCALER_LESS: &[HostLess] = &[
    ("", "", &[]),
    ("policy = \"read\"", "policy = \"deny\"", &["GET /v1/nodes", NODE]),
    ("\"list-scaling-policies\", ", "", &["GET /v1/scaling/policies"]),
    ("\"read-scaling-policy\", ", "", &[SCALING_POLICY]),
    (", \"read-job\"", "", &[ALLOCATIONS]),
];

/// The block for the lock's namespace stands in the place of that for "*" there.
const ELECTED_LESS: &[HostLess] = &[
    ("", "", &[]),
    ("policy = \"read\"", "policy = \"deny\"", &["GET /v1/nodes", NODE]),
    (
        "default\" {\n  capabilities = [\"list-scaling-policies\", ",
        "default\" {\n  capabilities = [",
        &["GET /v1/scaling/policies"],
    ),
    ("\"read-job\"]\n\n  variables", "\"list-jobs\"]\n\n  variables", &[ALLOCATIONS]),
    ("[\"write\"]", "[\"read\"]", &[ACQUIRE, ACQUIRE_TWICE]),
    ("nomad-autoscaler/lock", "nomad-autoscaler/other", &[ACQUIRE, ACQUIRE_TWICE]),
];

const NODE: &str = "GET /v1/node/00000000-0000-0000-0000-000000000000";
const SCALING_POLICY: &str = "GET /v1/scaling/policy/00000000-0000-0000-0000-000000000000";

/// Its `nomad-apm` asks for those of one node, which Nomad shortens; these it refuses.
const ALLOCATIONS: &str = "GET /v1/allocations";

/// The host's election: by who has no lock, and by who has one and is told that it is held.
const ACQUIRE: &str = "PUT /v1/var/nomad-autoscaler/lock?lock-acquire";
const ACQUIRE_TWICE: &str = "PUT /v1/var/nomad-autoscaler/lock?lock-acquire=";

const AUTOSCALER: &[&str] =
    &["GET /v1/nodes", NODE, "GET /v1/scaling/policies", SCALING_POLICY, ALLOCATIONS];

#[tokio::test]
async fn the_autoscalers_own_policy_is_enough_and_the_least() {
    proven_least_of_host("autoscaler", AUTOSCALER, AUTOSCALER_LESS).await;
}

#[tokio::test]
async fn the_policy_of_an_autoscaler_that_is_elected_is_enough_and_the_least() {
    let all = [AUTOSCALER, &[ACQUIRE, ACQUIRE_TWICE]].concat();
    proven_least_of_host("autoscaler-ha", &all, ELECTED_LESS).await;
}

async fn proven_least_of_host(part: &str, questions: &[&str], less: &[HostLess]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/acl/{part}.hcl"));
    let policy = std::fs::read_to_string(&file).unwrap();
    let cluster = Cluster::start_with(Access::Tokens).await;
    for (number, (whole, part, refused)) in less.iter().enumerate() {
        assert!(policy.contains(whole), "{whole:?} stands in {}", file.display());
        let rules = policy.replacen(whole, part, 1);
        let token = cluster.server.token_with(&format!("host-{number}"), &rules).await.unwrap();
        for question in questions {
            let answer = answered(&cluster, &token, question).await;
            let expected = refused.contains(question);
            let denied = answer.starts_with("HTTP/1.1 403 ");
            assert_eq!(denied, expected, "{part:?} {question}: {answer}");
            // Nobody but the first, with the policy whole, finds the lock free.
            let code = if number == 0 && *question == ACQUIRE { "200" } else { "409" };
            let elects = question.starts_with("PUT") && !denied;
            assert!(!elects || answer.contains(&format!(" {code} ")), "{question}: {answer}");
        }
    }
}

/// The beginning of Nomad's answer to a plain question, or to one for the host's lock.
async fn answered(cluster: &Cluster, token: &str, question: &str) -> String {
    const LOCK: &str = r#"{"Path":"nomad-autoscaler/lock","Lock":{"TTL":"1h","LockDelay":"1s"}}"#;
    let body = if question.starts_with("PUT") { LOCK } else { "" };
    let address = cluster.server.address();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "{question} HTTP/1.0\r\nX-Nomad-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).replace("HTTP/1.0", "HTTP/1.1")
}
