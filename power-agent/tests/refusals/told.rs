//! Whoever is turned away leaves a line in the audit and a count, by why; a flood leaves few lines.

use std::collections::BTreeMap;

use agent_api::{Answer, Release};
use fleet::{Fence, Origin, PoolName, Verb};
use power_agent::audit::AuditLine;
use testkit::bench::{autoscaler, name, order, until};

use super::bench::{Networked, root, unforced, with_bench};
use super::door::without_certificate;

/// Who was refused what, and by which word, as the audit tells it.
fn refused(bench: &Networked) -> Vec<String> {
    let pick = |line: &AuditLine| {
        let code = line.code.clone().unwrap_or_default();
        (line.outcome == "refused").then(|| format!("{} {} {code}", line.by, line.what))
    };
    bench.lines(pick, |_, told| told)
}

fn fence(number: u64) -> Fence {
    let Origin::Autoscaler(fence) = autoscaler(number) else { unreachable!("it is one") };
    fence
}

#[tokio::test]
async fn whoever_is_turned_away_leaves_one_line_and_one_count() {
    with_bench(1, async |bench| {
        without_certificate(bench).await;
        bench.until_told(&["handshake-refused"]).await;
        let on = |id: &str, machine: &str| order(id, machine, Verb::On, root());
        let ada = bench.client("ada");
        let first = ada.set_power(&on("op-1", "lamp1")).await.unwrap();
        assert!(matches!(first, Answer::Accepted { .. }), "{first:?}");
        bench.forbidden("eve", &on("op-2", "lamp1")).await;
        ada.set_power(&on("op-1", "lamp2")).await.unwrap_err();
        let by_hasty = |id: &str| unforced(id, "lamp3", Verb::On, root());
        // There is no such machine, and the second order is one too many.
        let hasty = bench.client("hasty");
        hasty.set_power(&by_hasty("op-3")).await.unwrap_err();
        bench.until_told(&["hasty"]).await;
        hasty.set_power(&by_hasty("op-4")).await.unwrap_err();
        let scaler = bench.client("scaler");
        scaler.claim(&fence(7)).await.unwrap();
        scaler.claim(&fence(6)).await.unwrap_err();
        bench.until_told(&["call", "failed-precondition", "is taken already, with fence 7"]).await;
        let cellar = PoolName::new("cellar").unwrap();
        ada.reset_fence(&cellar, None, "ada", "test").await.unwrap_err();
        let agents_own = order("op-5", "lamp1", Verb::On, Origin::Agent);
        ada.set_power(&agents_own).await.unwrap_err();
        let expected = [
            "nobody handshake-refused handshake-refused",
            "eve denied forbidden",
            "ada on id-taken",
            "hasty on unknown-machine",
            "hasty over-quota over-quota",
            "scaler call failed-precondition",
            "ada call not-found",
            "ada call invalid-argument",
        ];
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let expected = sorted(expected.map(str::to_owned).to_vec());
        until(&format!("all is told: {:#?}", refused(bench)), async || {
            (sorted(refused(bench)) == expected).then_some(())
        })
        .await;
        let counts = [
            ("call-refused", 3),
            ("denied", 1),
            ("handshake-refused", 1),
            ("over-quota", 1),
            ("replayed", 1),
            ("unproven", 0),
        ];
        let counts: BTreeMap<String, u64> =
            counts.iter().map(|(why, count)| ((*why).to_owned(), *count)).collect();
        assert_eq!(bench.turned_away().await, counts);
    })
    .await;
}

#[tokio::test]
async fn a_flood_is_counted_whole_and_does_not_fill_the_audit() {
    with_bench(0, async |bench| {
        let eve = bench.client("eve");
        let machine = name("lamp1");
        let release = Release { machine, by: "eve".to_owned(), kind: None, force: false };
        for _ in 0..200 {
            eve.release(&release).await.unwrap_err();
        }
        for _ in 0..60 {
            without_certificate(bench).await;
        }
        let told = |word: &str| refused(bench).iter().filter(|line| line.contains(word)).count();
        until("both are told", async || (told("eve") >= 30 && told("nobody") >= 30).then_some(()))
            .await;
        assert_eq!((told("eve"), told("nobody")), (30, 30));
        let counted = bench.turned_away().await;
        assert_eq!((counted["denied"], counted["handshake-refused"]), (200, 60));
    })
    .await;
}
