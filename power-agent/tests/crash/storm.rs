//! Restarts and reloads with everything on: nothing moves.

use fleet::{PowerState, Verb};
use testkit::bench::{Bench, until};

use crate::bench::{self, Dice, boards, number};
use crate::ledger::Ledger;

/// How many restarts a test run has where `LAMPLIGHTER_RUNS` says nothing; a fifth as many reloads.
const RESTARTS: u64 = 20;

const BOARDS: usize = 3;

const CHANGED: &str = "[machines.other]\noutlets = [{ device = \"b1\", outlet = 4 }]\n";

/// Lights every machine.
async fn all_on(bench: &Bench, ledger: &mut Ledger) {
    let inventory = bench.client.inventory().await.expect("it answers");
    for machine in &inventory.machines {
        ledger.order(&machine.name, Verb::On);
    }
    for order in ledger.unanswered() {
        bench.client.set_power(&order).await.expect("an answer");
    }
    until("all are on", async || {
        for machine in bench.client.inventory().await.ok()?.machines {
            machine.operation.as_ref().map(|operation| ledger.told(&machine.name, operation));
        }
        ledger.at_rest().then_some(())
    })
    .await;
}

/// Has the rack file read again, which must be taken.
async fn reload(bench: &Bench, file: &str) {
    let said = bench.reload(file).await;
    assert!(!bench.log().contains("not taken"), "{said}: {}", bench.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_and_reloads_with_everything_on_move_nothing() {
    let restarts = number("LAMPLIGHTER_RUNS", RESTARTS);
    let seed = number("LAMPLIGHTER_SEED", 4);
    let reloads = restarts / 5;
    let mut dice = Dice(seed);
    let names = boards(BOARDS);
    let mut bench = bench::start(&names).await;
    let mut ledger = Ledger::new(&names, seed);
    bench.start_agent().await;
    all_on(&bench, &mut ledger).await;
    let lit = bench.edges().await;
    ledger.check(&bench, "all on").await;
    let file = bench.agent_file();
    let without = file
        .replace("[machines.b1m4]\npool = \"rack\"", CHANGED.split('\n').next().expect("a line"));
    assert_ne!(file, without, "a machine has another name");
    let (mut killed, mut stopped) = (0, 0);
    for restart in 0..restarts {
        if restart % 5 == 0 {
            reload(&bench, if restart % 10 == 0 { &without } else { &file }).await;
        }
        if dice.below(2) == 0 {
            bench.kill_agent().await;
            killed += 1;
        } else {
            bench.stop_agent().await;
            stopped += 1;
        }
        bench.start_agent().await;
    }
    assert_eq!(bench.edges().await, lit, "nothing moved");
    let inventory = bench.client.inventory().await.expect("it answers");
    let read =
        inventory.machines.iter().filter(|machine| machine.outlets.iter().all(|o| o.can_read_back));
    assert!(read.clone().count() > 0);
    for machine in read {
        assert_eq!(
            machine.reading.map(|(state, _)| state),
            Some(PowerState::On),
            "{}",
            machine.name
        );
    }
    println!(
        "restarts with everything on: seed {seed}, {restarts} restarts ({killed} by SIGKILL, {stopped} by SIGTERM) and {reloads} \
         reloads by SIGHUP, {} machines on: 0 edges",
        lit.len()
    );
    bench.kill_agent().await;
}
