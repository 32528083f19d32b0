//! The rack file read again while the agent runs. Goal: all of it or nothing comes into force, nothing moves, and what
//! did not change is not disturbed. Method: SIGHUP to the real agent; edges from the rack, answers from the socket.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use agent_api::Event;
use fleet::{Phase, PowerState, Verb};
use virtual_rack::relay::Power;

use crate::{bench, edge};
use testkit::bench::{PATIENCE, ended, order, person, phase, reading, until};

const FIFTH: &str = "[machines.fifth]\noutlets = [{ device = \"b\", outlet = 2 }]\n";

fn names(inventory: &agent_api::Inventory) -> Vec<&str> {
    inventory.machines.iter().map(|machine| machine.name.as_str()).collect()
}

#[tokio::test]
async fn a_reload_brings_the_new_rack_and_keeps_ports_holds_and_lines_of_the_old() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.done(&order("op-2", "lamp", Verb::On, person())).await;
    bench.done(&order("op-3", "lamp", Verb::Off, person())).await;
    let before = bench.moves().await;
    // Whoever opened the board's port again would not find it.
    std::fs::rename(bench.path("a.tty"), bench.path("moved.tty")).expect("it is there");
    let mut watch = bench.client.watch().await.expect("a watch");
    assert!(matches!(watch.next().await, Ok(Some(Event::Snapshot(_)))));
    let file = format!("{}{FIFTH}", bench.agent_file())
        .replace("settle = \"100ms\"", "settle = \"110ms\"");
    let said = bench.reload(&file).await;
    assert!(said.contains("machines added: fifth; machines changed: read, silent, twin"), "{said}");
    let snapshot = async {
        loop {
            if let Some(Event::Snapshot(inventory)) = watch.next().await.expect("it goes on") {
                return inventory;
            }
        }
    };
    let inventory = tokio::time::timeout(PATIENCE, snapshot).await.expect("a snapshot");
    assert_eq!(names(&inventory), ["fifth", "lamp", "read", "silent", "twin"]);
    assert!(bench.machine("lamp").await.hold.is_some());
    assert_eq!(reading(&bench.machine("read").await), Some(PowerState::On));
    assert_eq!(bench.moves().await, before);
    bench.done(&order("op-4", "fifth", Verb::On, person())).await;
    bench.done(&order("op-5", "read", Verb::Off, person())).await;
}

#[tokio::test]
async fn a_cycle_goes_on_undisturbed_while_another_machine_comes() {
    let bench = bench::start("15s").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    let mut watch = bench.client.watch().await.expect("a watch");
    bench.accepted(&order("op-2", "read", Verb::Cycle, person())).await;
    until("it dwells", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    let said = bench.reload(&format!("{}{FIFTH}", bench.agent_file())).await;
    assert!(said.contains("read again and in force"), "{said}");
    assert_eq!(phase(&bench.machine("read").await), Some(Phase::Dwelling));
    let cycle = ended(&mut watch, &order("op-2", "read", Verb::Cycle, person()).operation).await;
    assert_eq!((cycle.phase, cycle.evidence.as_str()), (Phase::Done, "read back on"));
    let edges = [Power::On, Power::Off, Power::On].map(|to| edge("a", 1, to));
    assert_eq!(bench.moves().await, edges);
}

#[tokio::test]
async fn a_machine_in_the_midst_of_a_sequence_does_not_change_and_nothing_else_does() {
    let bench = bench::start("15s").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.accepted(&order("op-2", "read", Verb::Cycle, person())).await;
    until("it dwells", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    let first = bench.agent_file();
    let without = first.replace("[machines.read]", "[machines.other]") + FIFTH;
    let said = bench.reload(&without).await;
    assert!(said.contains("not taken"), "{said}");
    assert!(
        said.contains("read changes, and its cycle (op-2) is dwelling; reload again"),
        "{said}"
    );
    assert_eq!(names(&bench.client.inventory().await.expect("an inventory")).len(), 4);
    until("it is on again", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Done)).then_some(())
    })
    .await;
    let said = bench.reload(&without).await;
    assert!(said.contains("machines added: fifth, other; machines removed: read"), "{said}");
    // What was remembered of the machine that went is there when it comes back.
    let said = bench.reload(&first).await;
    assert!(said.contains("machines added: read"), "{said}");
    assert_eq!(phase(&bench.machine("read").await), Some(Phase::Done));
    let edges = [Power::On, Power::Off, Power::On].map(|to| edge("a", 1, to));
    assert_eq!(bench.moves().await, edges);
}

#[tokio::test]
async fn a_file_that_is_wrong_or_moves_the_socket_leaves_all_as_it_was() {
    let bench = bench::start("100ms").await;
    let first = bench.agent_file();
    for (file, said_of_it) in [
        (first.replace("driver = \"lcus\"", "driver = \"lcuss\""), "lcuss"),
        (first.replace("agent.sock", "other.sock"), "agent.socket can not change while"),
        ("holds: none".to_owned(), "agent.toml"),
    ] {
        let said = bench.reload(&file).await;
        let log = bench.log();
        assert!(said.contains("not taken") || log.contains("not taken"), "{said}");
        assert!(log.contains(said_of_it), "{log}");
        assert_eq!(names(&bench.client.inventory().await.expect("it answers")).len(), 4);
    }
    let said = bench.reload(&first).await;
    assert!(said.contains("nothing in it has changed"), "{said}");
    assert!(bench.moves().await.is_empty());
}

#[tokio::test]
async fn nobody_who_calls_during_reloads_is_refused_nor_are_orders_for_what_does_not_change() {
    let bench = bench::start("100ms").await;
    let first = bench.agent_file();
    let (calls, given) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    let (client, count) = (bench.client.clone(), Arc::clone(&calls));
    callers.spawn(async move {
        loop {
            let inventory = client.inventory().await.expect("it answers");
            assert!((4..=5).contains(&inventory.machines.len()));
            count.fetch_add(1, Relaxed);
        }
    });
    let (client, count) = (bench.client.clone(), Arc::clone(&given));
    callers.spawn(async move {
        loop {
            let id = format!("given-{}", count.load(Relaxed));
            let answer = client.set_power(&order(&id, "lamp", Verb::On, person())).await;
            let answer = answer.expect("it answers");
            assert!(matches!(answer, agent_api::Answer::Accepted { .. }), "{answer:?}");
            count.fetch_add(1, Relaxed);
        }
    });
    let mut rounds = 0;
    while rounds < 10 || calls.load(Relaxed) <= 10 || given.load(Relaxed) <= 10 {
        let fifth = if rounds % 2 == 0 { FIFTH } else { "" };
        let said = bench.reload(&format!("{first}{fifth}")).await;
        assert!(said.contains("read again and in force"), "{said}");
        let ended = callers.try_join_next();
        assert!(ended.is_none(), "one was refused: {ended:?}");
        rounds += 1;
    }
    callers.shutdown().await;
    until("the lamp has been lit once", async || {
        (bench.moves().await == [edge("a", 4, Power::On)]).then_some(())
    })
    .await;
}
