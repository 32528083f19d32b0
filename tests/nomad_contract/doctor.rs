//! `power-agent doctor` names every rule that the agent's token lacks, and those are enough.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use testkit::cluster::Access;
use testkit::said::said;

use crate::Cluster;

const POLICY: &str = include_str!("../../examples/acl/agent.hcl");

const NODE: &str = "node { policy = \"write\" }";
const WORK: &str = "namespace \"*\" { capabilities = [\"read-job\"] }";
const DEFAULT: &str = "namespace \"default\" { capabilities = [\"read-job\"] }";

/// A block for one namespace replaces that for all of them there.
const BLIND: &str = "\nnamespace \"default\" { capabilities = [\"list-jobs\"] }\n";

/// What doctor says of Nomad and of its token to an agent with this token: the grade, and what was found.
async fn told(cluster: &Cluster, secret: &str) -> Vec<(String, String)> {
    let dir = cluster.dir.path();
    let token = dir.join("agent.token");
    std::fs::write(&token, secret).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = dir.join("agent.toml");
    let rack = format!(
        "[agent]\nstate = {dir:?}\nsocket = \"{0}/no.sock\"\n[nomad]\naddress = {1:?}\ntoken_file = {token:?}\n\
         [devices.a]\ndriver = \"lcus\"\nport = \"{0}/no.tty\"\nchannels = 2\nstatus = \"ascii\"\n\
         [machines.node1]\noutlets = [{{ device = \"a\", outlet = 1 }}]\n",
        dir.display(),
        cluster.server.address(),
    );
    std::fs::write(&file, rack).unwrap();
    let said = said("power-agent", &["--json", "doctor", "--config", file.to_str().unwrap()])
        .await
        .unwrap();
    let told: Value = serde_json::from_str(&said.out).expect(&said.err);
    let looked = told["looked"].as_array().unwrap().iter();
    let of_nomad = looked.filter(|one| one["what"].as_str().unwrap().contains("Nomad"));
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let line = |one: &Value| (text(one, "grade"), text(one, "found") + &text(one, "remedy"));
    of_nomad.map(line).collect()
}

#[tokio::test]
async fn doctor_names_each_rule_that_the_agents_token_lacks_and_they_are_enough() {
    let cluster = Cluster::start_with(Access::Tokens).await;
    let read_only = POLICY.replace("policy = \"write\"", "policy = \"read\"");
    let no_work = POLICY.replace("\"read-job\"", "\"list-jobs\"");
    assert!(read_only != POLICY && no_work != POLICY, "the policy has both rules");
    let cases: [(String, &[&str]); 6] = [
        (POLICY.to_owned(), &[]),
        (read_only.clone(), &[NODE]),
        (no_work, &[WORK]),
        (format!("{POLICY}{BLIND}"), &[DEFAULT]),
        (format!("{read_only}{BLIND}"), &[NODE, DEFAULT]),
        ("node { policy = \"read\" }".to_owned(), &[NODE, WORK]),
    ];
    for (number, (policy, rules)) in cases.iter().enumerate() {
        let secret = cluster.server.token_with(&format!("less-{number}"), policy).await.unwrap();
        let told = told(&cluster, &secret).await;
        assert_eq!(told[0].0, "ok", "Nomad answers: {told:?}");
        assert_eq!(told[0].1.contains("may do all"), rules.is_empty(), "{told:?}");
        assert_eq!(told.len() - 1, rules.len(), "{policy}: {told:?}");
        for ((grade, found), rule) in told[1..].iter().zip(*rules) {
            assert_eq!(grade, "fail");
            assert!(found.contains(rule), "{rule} is missing, and it says {found}");
            assert!(found.contains("examples/acl/agent.hcl"), "{found}");
        }
    }
    let secret = cluster.server.token_with("named", &format!("{NODE}\n{WORK}")).await.unwrap();
    assert_eq!(told(&cluster, &secret).await.len(), 1, "what it named is enough");
}

#[tokio::test]
async fn doctor_asks_of_a_token_that_nomad_does_not_know_whether_nomad_knows_it() {
    let cluster = Cluster::start_with(Access::Tokens).await;
    let told = told(&cluster, "11111111-2222-3333-4444-555555555555").await;
    assert!(told[0].1.contains("is it one that Nomad knows?"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
}
