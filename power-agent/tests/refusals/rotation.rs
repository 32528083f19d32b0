//! Certificates, authorities and lists that change while the agent runs.

use agent_api::{AgentError, Event};
use power_agent::audit::AuditLine;
use power_agent::certs::{Authority, Bearer};
use testkit::bench::{PATIENCE, until};

use super::bench::{Networked, wall, with_bench};

/// What came of each exchange of certificates, as the audit tells it.
fn rotations(bench: &Networked) -> Vec<String> {
    let outcome =
        |line: &AuditLine| (line.what == "certificates-rotated").then(|| line.outcome.clone());
    bench.lines(outcome, |_, outcome| outcome)
}

#[tokio::test]
async fn a_certificate_that_is_revoked_meanwhile_is_refused_on_the_connection_that_it_has() {
    with_bench(0, async |bench| {
        let eve = bench.client("eve");
        let mut watch = eve.watch().await.unwrap();
        assert!(matches!(watch.next().await, Ok(Some(Event::Snapshot(_)))));
        // The client keeps its files, so that it keeps its connection.
        for ending in ["pem", "key"] {
            let file = |name: &str| bench.path(&format!("ca/{name}.{ending}"));
            std::fs::copy(file("eve"), file("kept")).unwrap();
        }
        let kept = bench.client("kept");
        kept.inventory().await.unwrap();
        bench.authority.revoke("eve", wall()).unwrap();
        let error = until("the revoked is refused", async || kept.inventory().await.err()).await;
        assert!(matches!(error, AgentError::Refused { .. }), "on the open connection: {error:?}");
        assert!(error.to_string().contains("certificate of eve"), "{error}");
        bench.until_told(&["eve", "Inventory", "Revoked"]).await;
        let ended = async {
            loop {
                match watch.next().await {
                    Ok(Some(_)) => {}
                    ended => return ended,
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the watch ends");
        assert!(matches!(ended, Err(AgentError::Refused { .. })), "{ended:?}");
        assert!(bench.client("bob").inventory().await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn certificates_change_without_a_restart_and_without_a_lost_call() {
    with_bench(0, async |bench| {
        let ada = bench.client("ada");
        let mut watch = ada.watch().await.unwrap();
        assert!(matches!(watch.next().await, Ok(Some(Event::Snapshot(_)))));
        bench.authority.renew("rack", 30, wall()).unwrap();
        bench.authority.renew("ada", 30, wall()).unwrap();
        bench.until_renewed().await;
        ada.inventory().await.unwrap();
        assert_eq!(rotations(bench), ["done"; 1]);

        // Another authority altogether: the old client is nobody any more, one of the new authority is.
        Authority::init(&bench.path("new"), wall()).unwrap();
        let new = Authority::open(&bench.path("new")).unwrap();
        new.issue("rack", &Bearer::Agent { hosts: vec!["127.0.0.1".to_owned()] }, 30, wall())
            .unwrap();
        new.issue("ada", &Bearer::Client, 30, wall()).unwrap();
        let before = bench.renewals();
        for file in ["ca.pem", "crl.pem", "rack.pem", "rack.key"] {
            let beside = bench.path(&format!("ca/{file}.beside"));
            std::fs::copy(bench.path("new").join(file), &beside).unwrap();
            std::fs::rename(&beside, bench.path("ca").join(file)).unwrap();
        }
        until("the new authority counts", async || (bench.renewals() > before).then_some(())).await;
        let credentials = bench.credentials("new", "ada");
        let client = bench.client_at("127.0.0.1", &credentials);
        until("the new client is known", async || client.inventory().await.ok()).await;
        assert!(ada.inventory().await.is_err(), "the old one is not");
        assert!(!bench.log().contains("can not be used"), "{}", bench.log());
    })
    .await;
}

#[tokio::test]
async fn files_that_can_not_be_used_change_nothing_but_the_log() {
    with_bench(0, async |bench| {
        std::fs::write(bench.path("ca/rack.key"), "no key").unwrap();
        until("the log tells", async || {
            let log = bench.log();
            let told = log.contains("the old ones stay") && log.contains("rack.key: no key in PEM");
            told.then_some(())
        })
        .await;
        bench.client("bob").inventory().await.unwrap();
        bench.until_told(&["certificates-rotated", "unusable", "no key in PEM"]).await;
        bench.authority.renew("rack", 30, wall()).unwrap();
        bench.until_renewed().await;
        until("it is told", async || (rotations(bench) == ["refused", "done"]).then_some(())).await;
        bench.client("eve").inventory().await.unwrap();
    })
    .await;
}
