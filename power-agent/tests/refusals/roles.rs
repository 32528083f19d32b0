//! Past the door: who is known, and may not all the same.

use agent_api::{AgentError, Answer, Foretold, RefusalCode, Release};
use fleet::{Fence, Order, Origin, PoolName, Verb};
use testkit::bench::{autoscaler, order, until};

use super::bench::{root, unforced, with_bench};

/// The autoscaler of a pool.
fn of_pool(pool: &str) -> Origin {
    let Origin::Autoscaler(fence) = autoscaler(1) else { panic!("no autoscaler") };
    Origin::Autoscaler(Fence { pool: PoolName::new(pool).unwrap(), ..fence })
}

#[tokio::test]
async fn each_role_is_refused_what_it_may_not() {
    with_bench(0, async |bench| {
        let by_hand =
            |machine: &str, force| Order { force, ..order("x", machine, Verb::On, root()) };
        let scaled = |machine: &str, pool: &str| order("x", machine, Verb::On, of_pool(pool));
        for (who, order, expected) in [
            (
                "eve",
                by_hand("lamp1", false),
                "\"eve\" is viewer here and may not switch machines by hand",
            ),
            ("eve", scaled("lamp1", "rack"), "may not order in an autoscaler's name"),
            (
                "bob",
                by_hand("lamp1", true),
                "the proof that a node is empty (--force): that takes break-glass",
            ),
            (
                "bob",
                by_hand("lamp2", false),
                "operator of lamp1 here, and machine lamp2 is none of them",
            ),
            ("bob", scaled("lamp1", "rack"), "that takes autoscaler or break-glass"),
            (
                "scaler",
                by_hand("lamp1", false),
                "\"scaler\" is autoscaler here and may not switch machines by hand",
            ),
            (
                "scaler",
                scaled("lamp2", "other"),
                "autoscaler of pool rack here, and pool other is none",
            ),
            ("scaler", scaled("lamp2", "rack"), "machine lamp2 is none of them"),
        ] {
            let said = bench.forbidden(who, &order).await;
            assert!(said.contains(expected), "{who}: {said}");
            bench.until_told(&[who, "on lamp"]).await;
        }
        let machine = fleet::MachineName::new("lamp1").unwrap();
        let release = Release { machine, by: "ada".to_owned(), kind: None, force: false };
        for (who, expected) in [
            ("eve", "may not hold or release machines: that takes operator or break-glass"),
            ("scaler", "may not hold or release machines"),
            ("stranger", "\"stranger\" has no role here; a section [access.\"stranger\"]"),
        ] {
            let error = bench.client(who).release(&release).await.unwrap_err();
            assert!(matches!(error, AgentError::Refused { .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{who}: {error}");
            bench.until_told(&[who, "Release"]).await;
        }
        let error = bench.client("stranger").inventory().await.unwrap_err().to_string();
        assert!(error.contains("has no role here"), "{error}");
        assert!(bench.client("stranger").watch().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn who_asks_what_an_order_would_do_is_told_what_they_may_not_as_they_would_be() {
    with_bench(0, async |bench| {
        let before = bench.refusals();
        let by_hand =
            |machine: &str, force| Order { force, ..order("x", machine, Verb::On, root()) };
        for (who, order, expected) in [
            ("eve", by_hand("lamp1", false), "\"eve\" is viewer here"),
            ("bob", by_hand("lamp1", true), "that takes break-glass"),
            ("bob", by_hand("lamp2", false), "operator of lamp1 here, and machine lamp2 is none"),
        ] {
            let run = bench.client(who).dry_run(&order).await.unwrap();
            let Foretold::Refused(refusal) = run.answer else { panic!("{who}: {run:?}") };
            assert_eq!(refusal.code, RefusalCode::Forbidden, "{}", refusal.text);
            assert!(refusal.text.contains(expected), "{who}: {}", refusal.text);
        }
        // What an autoscaler's order would do is a question that whoever may look may ask, of what they may see.
        let scaled = order("x", "lamp1", Verb::On, of_pool("rack"));
        let run = bench.client("eve").dry_run(&scaled).await.unwrap();
        let forbidden = |run: &agent_api::DryRun| {
            matches!(&run.answer, Foretold::Refused(refusal) if refusal.code == RefusalCode::Forbidden)
        };
        assert!(!forbidden(&run), "{run:?}");
        assert!(forbidden(&bench.client("bob").dry_run(&scaled).await.unwrap()), "not his pool");
        assert!(bench.client("stranger").dry_run(&scaled).await.is_err());
        assert!(bench.client("stranger").pending().await.is_err());
        assert_eq!(bench.client("eve").pending().await.unwrap(), []);
        let told = bench.refusals();
        let of_strangers = |line: &&String| !line.contains("stranger");
        assert_eq!(told.iter().filter(of_strangers).count(), before.len(), "{told:#?}");
    })
    .await;
}

#[tokio::test]
async fn who_may_not_touch_a_machine_does_not_see_it() {
    with_bench(0, async |bench| {
        let inventory = bench.client("bob").inventory().await.unwrap();
        let names: Vec<&str> =
            inventory.machines.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!(names, ["lamp1"]);
        let mut watch = bench.client("bob").watch().await.unwrap();
        let Some(agent_api::Event::Snapshot(inventory)) = watch.next().await.unwrap() else {
            panic!("no snapshot")
        };
        assert_eq!(inventory.machines.len(), 1);
        assert_eq!(bench.client("eve").inventory().await.unwrap().machines.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_operation_that_is_replayed_by_another_or_for_another_order_moves_nothing() {
    with_bench(1, async |bench| {
        let first = order("op-1", "lamp1", Verb::On, root());
        let answer = bench.client("ada").set_power(&first).await.unwrap();
        assert!(matches!(answer, Answer::Accepted { repeated: false, .. }), "{answer:?}");
        until("the lamp burns", async || {
            let inventory = bench.client("ada").inventory().await.ok()?;
            let operation = inventory.machines[0].operation.as_ref()?;
            operation.phase.is_finished().then_some(())
        })
        .await;
        for (who, order) in [
            ("bob", unforced("op-1", "lamp1", Verb::On, root())),
            ("scaler", order("op-1", "lamp1", Verb::On, autoscaler(1))),
            ("ada", order("op-1", "lamp2", Verb::On, root())),
            ("ada", order("op-1", "lamp1", Verb::Off, root())),
        ] {
            let error = bench.client(who).set_power(&order).await.unwrap_err().to_string();
            assert!(
                error.contains("operation id op-1 was given before, to `on lamp1` by ada"),
                "{error}"
            );
            bench.until_told(&[who, "op-1 was given before"]).await;
        }
        // The same again is answered as the first time.
        let answer = bench.client("ada").set_power(&first).await.unwrap();
        assert!(matches!(answer, Answer::Accepted { repeated: true, .. }), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn orders_over_the_quota_are_refused_with_the_time_to_come_again() {
    with_bench(0, async |bench| {
        let hasty = bench.client("hasty");
        let nothing = unforced("q-1", "no-such-lamp", Verb::On, root());
        let error = hasty.set_power(&nothing).await.unwrap_err().to_string();
        assert!(error.contains("this agent has no machine"), "{error}");
        for id in ["q-2", "q-3"] {
            let order = unforced(id, "lamp1", Verb::On, root());
            let error = hasty.set_power(&order).await.unwrap_err();
            let AgentError::Refused { source, .. } = &error else { panic!("{error:?}") };
            assert_eq!(source.code(), tonic::Code::ResourceExhausted);
            let hint = source.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
            assert!((1..=60_000).contains(&hint.parse::<u64>().unwrap()), "{hint}");
        }
        bench.until_told(&["hasty", "1 orders within a minute"]).await;
        // Others are not held up by it, and looking is no order.
        assert!(hasty.inventory().await.is_ok());
        // To ask what an order would do is to look.
        let asked = hasty.dry_run(&unforced("q-4", "lamp1", Verb::On, root())).await;
        assert!(asked.is_ok(), "{asked:?}");
    })
    .await;
}

/// Only root can put on another user; CI runs so, and so do the build machines.
#[tokio::test]
async fn on_the_socket_the_kernel_says_who_orders() {
    use std::os::unix::fs::PermissionsExt as _;
    if !rustix::process::getuid().is_root() {
        return;
    }
    with_bench(0, async |bench| {
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bench.path(""), open.clone()).unwrap();
        // Where the build stands, another user may not look.
        let program = bench.path("of-another-user");
        std::fs::copy(env!("CARGO_BIN_EXE_power-agent"), &program).unwrap();
        std::fs::set_permissions(&program, open).unwrap();
        for (gid, expected) in [
            // Of the socket's group, and claims to be another.
            (0, "\"uid 3999999\" is operator here and may not pass another"),
            // Of no group that may open it.
            (3_999_999, "Permission denied"),
        ] {
            let mut command = tokio::process::Command::new(&program);
            command.uid(3_999_999).gid(gid).env("USER", "root").current_dir("/");
            command.args(["--agent", &format!("unix:{}", bench.path("agent.sock").display())]);
            command.args(["off", "lamp1", "--force", "--reason", "test"]);
            let output = command.kill_on_drop(true).output().await.unwrap();
            let said =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(said.contains(expected), "{said}");
        }
        bench.until_told(&["uid 3999999", "off lamp1"]).await;
    })
    .await;
}
