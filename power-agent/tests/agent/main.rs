//! The real agent on the lines of a virtual rack. Goal: what is told is what the contacts did, across restarts and
//! kills. Method: orders over the socket; every assertion on movements is on the rack's own edge log.

#![expect(clippy::panic, reason = "helpers of tests fail by panic as the tests do")]

mod bench;
mod claim;
mod feeds;
mod half_done;
mod locks;
mod owed;
mod plan;
mod pools;
mod quarantine;
mod reload;
mod returns;
mod told;
mod wear;

use std::time::Duration;

use agent_api::{Answer, Event, Plan, PlanLine};
use fleet::{
    FenceNumber, OnSoftOffTimeout, Order, Phase, PlanId, PoolName, PowerState, RefusalCode,
    Resources, Shape, Verb,
};
use virtual_rack::relay::Power;

use testkit::bench::{PATIENCE, autoscaler, ended, name, order, person, phase, reading, until};

fn edge(board: &str, channel: u8, to: Power) -> (String, u8, Power) {
    (board.to_owned(), channel, to)
}

fn refused(answer: Answer) -> (RefusalCode, String) {
    match answer {
        Answer::Refused(refusal) => (refusal.code, refusal.text),
        Answer::Accepted { operation, .. } => panic!("accepted: {operation:?}"),
    }
}

#[tokio::test]
async fn on_cycle_and_off_are_driven_once_and_read_back() {
    let bench = bench::start("100ms").await;
    let on = bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    assert_eq!((on.phase, on.changed, on.evidence.as_str()), (Phase::Done, true, "read back on"));
    let again = bench.done(&order("op-2", "read", Verb::On, autoscaler(1))).await;
    assert_eq!((again.phase, again.changed), (Phase::Done, false));
    let cycle = bench.done(&order("op-3", "read", Verb::Cycle, autoscaler(1))).await;
    assert_eq!((cycle.phase, cycle.changed), (Phase::Done, true));
    let off = bench.done(&order("op-4", "read", Verb::Off, autoscaler(1))).await;
    assert_eq!(off.evidence, "read back off");
    let edges = [Power::On, Power::Off, Power::On, Power::Off].map(|to| edge("a", 1, to));
    assert_eq!(bench.moves().await, edges);
    let machine = bench.machine("read").await;
    assert_eq!(reading(&machine), Some(PowerState::Off));
    let commanded = machine.commanded.expect("it was commanded");
    assert_eq!((commanded.state, commanded.origin), (PowerState::Off, autoscaler(1)));
}

#[tokio::test]
async fn both_outlets_of_a_machine_with_two_are_moved() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "twin", Verb::On, person())).await;
    assert_eq!(bench.moves().await, [edge("a", 2, Power::On), edge("a", 3, Power::On)]);
    assert_eq!(reading(&bench.machine("twin").await), Some(PowerState::On));
}

#[tokio::test]
async fn a_silent_board_is_assumed_and_never_read() {
    let bench = bench::start("100ms").await;
    let on = bench.done(&order("op-1", "silent", Verb::On, autoscaler(1))).await;
    assert_eq!(on.evidence, "assumed on: the board can not be read");
    let machine = bench.machine("silent").await;
    assert_eq!((reading(&machine), machine.outlets[0].can_read_back), (None, false));
    assert_eq!(machine.commanded.map(|commanded| commanded.state), Some(PowerState::On));
}

#[tokio::test]
async fn a_restart_with_everything_on_moves_nothing() {
    let mut bench = bench::start("100ms").await;
    for (id, machine) in [("op-1", "read"), ("op-2", "twin"), ("op-3", "silent"), ("op-4", "lamp")]
    {
        bench.done(&order(id, machine, Verb::On, person())).await;
    }
    let before = bench.moves().await;
    bench.stop_agent().await;
    bench.start_agent().await;
    bench.kill_agent().await;
    bench.start_agent().await;
    assert_eq!(reading(&bench.machine("read").await), Some(PowerState::On));
    assert_eq!(reading(&bench.machine("silent").await), None);
    assert_eq!(bench.moves().await, before);
}

#[tokio::test]
async fn a_cycle_whose_agent_is_killed_while_it_is_off_is_finished_by_the_next_one() {
    let mut bench = bench::start("60s").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.accepted(&order("op-2", "read", Verb::Cycle, person())).await;
    until("it dwells", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    bench.kill_agent().await;
    assert_eq!(bench.moves().await.last(), Some(&edge("a", 1, Power::Off)));
    // By its own clock the next one comes at the dwell's end.
    bench.later = Some(Duration::from_secs(60));
    bench.start_agent().await;
    let mut watch = bench.client.watch().await.expect("a watch");
    let cycle = ended(&mut watch, &order("op-2", "read", Verb::Cycle, person()).operation).await;
    assert_eq!((cycle.phase, cycle.evidence.as_str()), (Phase::Done, "read back on"));
    let edges = [Power::On, Power::Off, Power::On].map(|to| edge("a", 1, to));
    assert_eq!(bench.moves().await, edges);
}

#[tokio::test]
async fn an_agent_that_is_asked_to_stop_leaves_no_machine_off_between_off_and_on() {
    let mut bench = bench::start("10s").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.accepted(&order("op-2", "read", Verb::Cycle, person())).await;
    until("it dwells, longer than it takes to look", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    bench.stop_agent().await;
    assert_eq!(bench.moves().await.last(), Some(&edge("a", 1, Power::On)));
}

#[tokio::test]
async fn an_older_fence_is_refused_also_after_a_restart() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(7))).await;
    bench.kill_agent().await;
    bench.start_agent().await;
    let stale = order("op-2", "read", Verb::Off, autoscaler(6));
    let (code, text) = refused(bench.client.set_power(&stale).await.expect("an answer"));
    assert_eq!(code, RefusalCode::StaleFence);
    assert!(text.contains("fence 6 ") && text.contains("and 7 has ordered"), "{text}");
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    assert_eq!(fences.iter().map(|fence| fence.number).collect::<Vec<_>>(), [FenceNumber(7)]);
}

#[tokio::test]
async fn after_a_person_has_reset_a_fence_a_lower_one_is_obeyed_also_after_a_restart() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(7))).await;
    let rack = PoolName::new("rack").expect("a name");
    let was = bench.client.reset_fence(&rack, None, "ada", "restored").await.expect("a fence");
    assert_eq!(was.number, FenceNumber(7));
    let again = bench.client.reset_fence(&rack, None, "ada", "restored").await;
    let text = again.expect_err("there is none any more").to_string();
    assert!(text.contains("pool rack") && text.contains("known of none"), "{text}");
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)], "a reset moves nothing");
    bench.kill_agent().await;
    bench.start_agent().await;
    bench.done(&order("op-2", "read", Verb::Off, autoscaler(2))).await;
    let fences = bench.client.inventory().await.expect("an inventory").fences;
    assert_eq!(fences.iter().map(|fence| fence.number).collect::<Vec<_>>(), [FenceNumber(2)]);
}

#[tokio::test]
async fn a_repeated_operation_is_answered_as_the_first_time_and_moves_nothing() {
    let mut bench = bench::start("100ms").await;
    let first = bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    bench.done(&order("op-2", "read", Verb::Off, autoscaler(1))).await;
    for _ in 0..2 {
        let again = order("op-1", "read", Verb::On, autoscaler(1));
        let answer = bench.client.set_power(&again).await.expect("an answer");
        let Answer::Accepted { operation, repeated: true } = answer else { panic!("{answer:?}") };
        assert_eq!(
            (operation.phase, operation.evidence, operation.took),
            (first.phase, first.evidence.clone(), first.took)
        );
        bench.kill_agent().await;
        bench.start_agent().await;
    }
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On), edge("a", 1, Power::Off)]);
    let other = order("op-1", "lamp", Verb::Off, person());
    let error = bench.client.set_power(&other).await.expect_err("the id is taken");
    assert!(error.to_string().contains("was given before, to `on read`"), "{error}");
}

#[tokio::test]
async fn a_persons_off_holds_against_the_autoscaler_until_it_is_released() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    bench.done(&order("op-2", "read", Verb::Off, person())).await;
    bench.kill_agent().await;
    bench.start_agent().await;
    let wanted = order("op-3", "read", Verb::On, autoscaler(1));
    let (code, text) = refused(bench.client.set_power(&wanted).await.expect("an answer"));
    assert_eq!(code, RefusalCode::Held);
    assert!(text.ends_with("`power-agent release read` ends the hold"), "{text}");
    let on = bench.done(&order("op-4", "read", Verb::On, person())).await;
    assert!(
        on.evidence.ends_with("hold stays until `power-agent release read`"),
        "{}",
        on.evidence
    );
    let before = bench.moves().await;
    assert_eq!(bench.release("read").await.ended.len(), 1);
    assert_eq!(bench.release("read").await.ended.len(), 0);
    assert_eq!(bench.moves().await, before);
    bench.done(&order("op-5", "read", Verb::Off, autoscaler(1))).await;
}

#[tokio::test]
async fn a_person_without_proof_is_refused_and_one_with_force_or_outside_of_pools_is_not() {
    let bench = bench::start("100ms").await;
    for (id, machine) in [("op-1", "read"), ("op-2", "lamp")] {
        bench.done(&order(id, machine, Verb::On, person())).await;
    }
    let careful = Order { force: false, ..order("op-3", "read", Verb::Off, person()) };
    let (code, text) = refused(bench.client.set_power(&careful).await.expect("an answer"));
    assert_eq!(code, RefusalCode::NotEmpty);
    assert!(text.contains("no [nomad] section"), "{text}");
    assert!(bench.machine("read").await.hold.is_none());
    let outside = Order { force: false, ..order("op-4", "lamp", Verb::Off, person()) };
    assert_eq!(bench.done(&outside).await.phase, Phase::Done);
    let forced = order("op-5", "read", Verb::Off, person());
    assert_eq!(bench.done(&forced).await.phase, Phase::Done);
}

#[tokio::test]
async fn a_second_agent_on_the_same_journal_says_so_and_moves_nothing() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    let second = bench.second_agent().await;
    assert_eq!(second.code, 70, "{second:?}");
    assert!(second.err.contains("another agent has it open; stop that one"), "{second:?}");
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    assert_eq!(reading(&bench.machine("read").await), Some(PowerState::On));
}

#[tokio::test]
async fn a_journal_that_can_not_be_written_stops_all_movement_until_it_can_and_no_longer() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.limit_files(Some(0));
    for id in ["op-2", "op-3"] {
        let refused = bench.client.set_power(&order(id, "read", Verb::Off, person())).await;
        let text = refused.expect_err("nothing can be written").to_string();
        assert!(text.contains("nothing was moved"), "{text}");
        assert!(text.contains("agent.redb: can not be written; look at the disk: I/O"), "{text}");
    }
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    bench.limit_files(None);
    bench.done(&order("op-4", "lamp", Verb::On, person())).await;
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On), edge("a", 4, Power::On)]);
    bench.stop_agent().await;
    bench.start_agent().await;
    let machine = bench.machine("lamp").await;
    assert_eq!((phase(&machine), reading(&machine)), (Some(Phase::Done), Some(PowerState::On)));
    assert_eq!(bench.machine("read").await.hold, None);
}

#[tokio::test]
async fn a_cycle_during_which_the_disk_fills_comes_on_again_and_its_end_is_told_once_it_is_written()
{
    let mut bench = bench::start("10s").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.accepted(&order("op-2", "read", Verb::Cycle, person())).await;
    until("it dwells, longer than it takes to look", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Dwelling)).then_some(())
    })
    .await;
    bench.limit_files(Some(0));
    let edges = [Power::On, Power::Off, Power::On].map(|to| edge("a", 1, to));
    until("it is on again", async || (bench.moves().await == edges).then_some(())).await;
    until("the end is ready", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Energizing)).then_some(())
    })
    .await;
    bench.limit_files(None);
    let ended = until("the end is told", async || {
        let operation = bench.machine("read").await.operation?;
        (operation.phase == Phase::Done).then_some(operation)
    })
    .await;
    assert_eq!((ended.id.as_str(), ended.evidence.as_str()), ("op-2", "read back on"));
    bench.kill_agent().await;
    bench.start_agent().await;
    assert_eq!(phase(&bench.machine("read").await), Some(Phase::Done));
    assert_eq!(bench.moves().await, edges);
}

#[tokio::test]
async fn a_board_that_goes_away_is_unknown_with_its_reason() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.unplug().await;
    let machine = until("the reading is gone", async || {
        let machine = bench.machine("read").await;
        machine.reading.is_none().then_some(machine)
    })
    .await;
    let trouble = machine.outlets[0].trouble.clone().expect("it says why");
    assert!(trouble.contains("a.tty"), "{trouble}");
    assert_eq!(machine.commanded.map(|commanded| commanded.state), Some(PowerState::On));
}

#[tokio::test]
async fn a_watcher_gets_a_snapshot_and_then_what_changes() {
    let bench = bench::start("100ms").await;
    let mut watch = bench.client.watch().await.expect("a watch");
    let first = watch.next().await.expect("an event");
    let Some(Event::Snapshot(inventory)) = first else { panic!("{first:?}") };
    assert_eq!(inventory.machines.len(), 4);
    bench.accepted(&order("op-1", "lamp", Verb::On, person())).await;
    let lit = async {
        loop {
            let event = watch.next().await.expect("an event");
            let Some(Event::Changed(machine)) = event else { continue };
            if machine.name.as_str() == "lamp" && reading(&machine) == Some(PowerState::On) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, lit).await.expect("the change is told");
}

#[tokio::test]
async fn plans_and_shapes_survive_the_agent() {
    let mut bench = bench::start("100ms").await;
    let pool = PoolName::new("rack").expect("a name");
    let line = |text: &str| {
        let verb = Some(Verb::On);
        PlanLine { machine: Some(name("read")), text: text.to_owned(), verb }
    };
    for (id, text) in [("plan-1", "kept off"), ("plan-2", "started: first in line")] {
        let plan = Plan {
            id: PlanId::new(id).expect("an id"),
            pool: pool.clone(),
            author: "target".to_owned(),
            lines: vec![line(text)],
            age: Duration::ZERO,
            inputs: vec![PlanLine { verb: None, ..line("off; no node") }],
            on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
        };
        bench.client.record_plan(&plan).await.expect("kept");
    }
    let resources = Resources { cpu_mhz: 6000, memory_mb: 7820, disk_mb: 29_000 };
    let shape = Shape { resources, ..Shape::default() };
    bench.client.record_shape(&name("read"), &shape).await.expect("kept");
    bench.kill_agent().await;
    bench.start_agent().await;
    let plans = bench.client.plans(&pool).await.expect("plans");
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].lines, [line("started: first in line")]);
    assert_eq!(bench.machine("read").await.last_seen, Some(shape));
    let error = bench.client.record_shape(&name("nobody"), &Shape::default()).await;
    let text = error.expect_err("there is no such machine").to_string();
    assert!(text.contains("no machine nobody; it has lamp, read, silent, twin"), "{text}");
}
