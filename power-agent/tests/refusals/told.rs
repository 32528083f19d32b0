//! Whoever is turned away leaves a line in the audit and a count, by why; a flood leaves few lines.

use std::collections::BTreeMap;

use agent_api::{Answer, Release};
use fleet::{Fence, FenceNumber, MachineName, Origin, PoolName, Verb};
use power_agent::audit::AuditLine;

use super::door::without_certificate;
use super::rig::{Rig, autoscaler, order, person, until, with_rig};

/// Who was refused what, and by which word, as the audit tells it.
fn refused(rig: &Rig) -> Vec<String> {
    let pick = |line: &AuditLine| {
        let code = line.code.clone().unwrap_or_default();
        (line.outcome == "refused").then(|| format!("{} {} {code}", line.by, line.what))
    };
    rig.lines(pick, |_, told| told)
}

fn fence(number: u64) -> Fence {
    let Origin::Autoscaler(fence) = autoscaler("rack") else { unreachable!("it is one") };
    Fence { number: FenceNumber(number), ..fence }
}

#[tokio::test]
async fn whoever_is_turned_away_leaves_one_line_and_one_count() {
    with_rig(1, async |rig| {
        without_certificate(rig).await;
        rig.until_told(&["handshake-refused"]).await;
        let on = |id: &str, machine: &str| order(id, machine, Verb::On, person(), true);
        let ada = rig.client("ada");
        let first = ada.set_power(&on("op-1", "lamp1")).await.unwrap();
        assert!(matches!(first, Answer::Accepted { .. }), "{first:?}");
        rig.forbidden("eve", &on("op-2", "lamp1")).await;
        ada.set_power(&on("op-1", "lamp2")).await.unwrap_err();
        let by_hasty = |id: &str| order(id, "lamp3", Verb::On, person(), false);
        // There is no such machine, and the second order is one too many.
        let hasty = rig.client("hasty");
        hasty.set_power(&by_hasty("op-3")).await.unwrap_err();
        rig.until_told(&["hasty"]).await;
        hasty.set_power(&by_hasty("op-4")).await.unwrap_err();
        let scaler = rig.client("scaler");
        scaler.claim(&fence(7)).await.unwrap();
        scaler.claim(&fence(6)).await.unwrap_err();
        rig.until_told(&["call", "failed-precondition", "is taken already, with fence 7"]).await;
        let cellar = PoolName::new("cellar").unwrap();
        ada.reset_fence(&cellar, None, "ada", "test").await.unwrap_err();
        let agents_own = order("op-5", "lamp1", Verb::On, Origin::Agent, false);
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
        until(&format!("all is told: {:#?}", refused(rig)), async || {
            (sorted(refused(rig)) == expected).then_some(())
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
        assert_eq!(rig.turned_away().await, counts);
    })
    .await;
}

#[tokio::test]
async fn a_flood_is_counted_whole_and_does_not_fill_the_audit() {
    with_rig(0, async |rig| {
        let eve = rig.client("eve");
        let machine = MachineName::new("lamp1").unwrap();
        let release = Release { machine, by: "eve".to_owned(), kind: None, force: false };
        for _ in 0..200 {
            eve.release(&release).await.unwrap_err();
        }
        for _ in 0..60 {
            without_certificate(rig).await;
        }
        let told = |word: &str| refused(rig).iter().filter(|line| line.contains(word)).count();
        until("both are told", async || (told("eve") >= 30 && told("nobody") >= 30).then_some(()))
            .await;
        assert_eq!((told("eve"), told("nobody")), (30, 30));
        let counted = rig.turned_away().await;
        assert_eq!((counted["denied"], counted["handshake-refused"]), (200, 60));
    })
    .await;
}
