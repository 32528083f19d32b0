//! What is foretold of an order, held against what the real one then does: answers, edges, their order and their times.

use std::time::Duration;

use agent_api::{DryRun, Forecast, Foretold, Plan, PlanLine, RefusalCode, TakeHold};
use fleet::forecast::Doing;
use fleet::{HoldKind, OnSoftOffTimeout, Order, Phase, PlanId, PoolName, PowerState, Reason, Verb};
use serde_json::Value;
use virtual_rack::edges::EdgeRecord;
use virtual_rack::relay::Power;

use testkit::bench::{Bench, autoscaler, name, order, person, phase, until};

use crate::told::ask;
use crate::{bench, refused};

async fn begins(bench: &Bench, order: &Order) -> Forecast {
    match bench.client.dry_run(order).await.expect("an answer").answer {
        Foretold::Begins(forecast) => forecast,
        other => panic!("it would not begin: {other:?}"),
    }
}

/// The movements that are foretold, each with its step.
fn foretold(forecast: &Forecast) -> Vec<(u8, Power, &agent_api::ForecastStep)> {
    let steps = forecast.steps.iter().filter_map(|step| match step.doing {
        Doing::Drive(PowerState::On) => Some((Power::On, step)),
        Doing::Drive(PowerState::Off) => Some((Power::Off, step)),
        _ => None,
    });
    let channel = |number: u32| u8::try_from(number).expect("a channel");
    steps
        .flat_map(|(to, step)| {
            step.outlets.iter().map(move |(_, number)| (channel(*number), to, step))
        })
        .collect()
}

/// Gives the order of which this was foretold, and holds what moves against it.
async fn carried_out(bench: &Bench, order: &Order, forecast: &Forecast) {
    let before = bench.moves().await.len();
    let ended = bench.done(order).await;
    assert_eq!(ended.phase == Phase::Done, forecast.well, "{ended:?}");
    assert_eq!(ended.evidence, forecast.evidence);
    let moved: Vec<EdgeRecord> = bench.edges().await.split_off(before);
    let foretold = foretold(forecast);
    assert_eq!(
        moved.iter().map(|edge| (edge.channel, edge.edge)).collect::<Vec<_>>(),
        foretold.iter().map(|(channel, to, _)| (*channel, *to)).collect::<Vec<_>>(),
        "{forecast:?}"
    );
    // Whatever the first movement waited for, those after it lie as far from it as was foretold.
    let (Some(first), Some((.., opens))) = (moved.first(), foretold.first()) else { return };
    for (edge, (.., step)) in moved.iter().zip(&foretold) {
        let after = edge.at_us.since(first.at_us);
        assert!(after <= step.by + step.lasts - opens.from, "{step:?} after {after:?}");
        if step.doing != opens.doing {
            let dwell = forecast.steps.iter().find(|step| step.doing == Doing::Dwell);
            assert!(after >= dwell.expect("a dwell").lasts, "{step:?} after {after:?}");
        }
    }
}

#[tokio::test]
async fn what_is_foretold_of_on_cycle_and_off_is_what_the_contacts_then_do() {
    let bench = bench::start("700ms").await;
    let mut orders = 0;
    for (machine, verb) in [
        ("twin", Verb::On),
        ("twin", Verb::On),
        ("twin", Verb::Cycle),
        ("read", Verb::Off),
        ("twin", Verb::Off),
        ("read", Verb::Cycle),
        ("read", Verb::Off),
    ] {
        orders += 1;
        let order = order(&format!("op-{orders}"), machine, verb, autoscaler(1));
        let forecast = begins(&bench, &order).await;
        carried_out(&bench, &order, &forecast).await;
    }
    assert_eq!(bench.moves().await.len(), 2 + 4 + 2 + 1 + 1, "what stood so was not moved");
}

#[tokio::test]
async fn a_dwell_is_foretold_as_long_as_it_then_takes_and_what_waits_is_foretold_from_there() {
    let bench = bench::start("60s").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    let (_, said) = ask(&bench, &["why", "read"]).await;
    let last = said.lines().rfind(|line| line.starts_with("  in ")).expect("what is to come");
    assert!(last.contains("may be cut (min_on of ") && !said.contains("may be lit"), "{said}");
    let off = order("op-2", "read", Verb::Off, autoscaler(1));
    let forecast = begins(&bench, &off).await;
    let [wait, open] = forecast.steps.as_slice() else { panic!("{forecast:?}") };
    assert_eq!((wait.doing, wait.from), (Doing::Wait(PowerState::Off), Duration::ZERO));
    assert_eq!((open.doing, open.from), (Doing::Drive(PowerState::Off), wait.lasts));
    assert!(wait.lasts > Duration::from_secs(20), "a minute from its lighting: {wait:?}");
    // A person in a hurry does not wait for min_on; for min_off nobody else does either.
    let cycle = begins(&bench, &order("op-3", "read", Verb::Cycle, person())).await;
    let doings: Vec<Doing> = cycle.steps.iter().map(|step| step.doing).collect();
    let (opens, closes) = (Doing::Drive(PowerState::Off), Doing::Drive(PowerState::On));
    assert_eq!(doings, [opens, Doing::Dwell, closes]);
    assert_eq!(cycle.steps.last().map(|step| step.from), Some(Duration::from_secs(60)));
    bench.accepted(&off).await;
    until("it waits", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Waiting)).then_some(())
    })
    .await;
    let pending = bench.client.pending().await.expect("an answer");
    let [waiting] = pending.as_slice() else { panic!("{pending:?}") };
    let rest = waiting.forecast.as_ref().expect("a sequence runs");
    assert_eq!(rest.operation, off.operation);
    assert_eq!(foretold(rest).len(), 1, "{rest:?}");
    let ran: DryRun = bench
        .client
        .dry_run(&order("op-4", "read", Verb::Cycle, person()))
        .await
        .expect("an answer");
    let called_off = ran.called_off.expect("the policy's order");
    assert!(!called_off.well && called_off.evidence.contains("called off by ada's `cycle`"));
    assert!(matches!(ran.answer, Foretold::Begins(_)), "{:?}", ran.answer);
    assert_eq!(phase(&bench.machine("read").await), Some(Phase::Waiting), "nothing was called off");
}

fn hold(machine: &str, kind: HoldKind, span: Option<Duration>) -> TakeHold {
    let (by, reason) = ("bob".to_owned(), Reason::new("course"));
    TakeHold { machine: name(machine), kind, by, reason, span, force: false }
}

#[tokio::test]
async fn a_refusal_is_foretold_as_it_then_is_and_a_question_leaves_nothing_behind() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-0", "twin", Verb::On, person())).await;
    bench.client.take_hold(&hold("read", HoldKind::Hold, None)).await.expect("an answer");
    let lit = bench.moves().await;
    let (_, before) = ask(&bench, &["--json", "audit", "show"]).await;
    let held = order("op-1", "read", Verb::On, autoscaler(1));
    let careful = Order { force: false, ..order("op-2", "twin", Verb::Cycle, person()) };
    let mut answers = Vec::new();
    for order in [&held, &careful] {
        let run = bench.client.dry_run(order).await.expect("an answer");
        let Foretold::Refused(refusal) = run.answer else { panic!("{run:?}") };
        answers.push((refusal.code, refusal.text));
    }
    let [(held_code, held_text), (work_code, work_text)] = answers.as_slice() else { panic!() };
    assert_eq!(*held_code, RefusalCode::Held);
    assert!(held_text.contains("read is held by bob since"), "{held_text}");
    assert!(held_text.contains("`power-agent release read` ends the hold"), "{held_text}");
    assert_eq!(
        (*work_code, work_text.contains("no [nomad] section")),
        (RefusalCode::NotEmpty, true)
    );
    let forced = bench.client.dry_run(&order("op-3", "twin", Verb::Off, person())).await;
    let forced = forced.expect("an answer");
    assert!(forced.work.is_some_and(|work| work.contains("nobody can tell")), "of lost work");
    assert_eq!(forced.hold.map(|hold| hold.kind), Some(HoldKind::Off));
    let (_, after) = ask(&bench, &["--json", "audit", "show"]).await;
    assert_eq!(after, before, "no line, no order, no lock");
    assert_eq!((bench.moves().await, bench.machine("twin").await.hold), (lit, None));
    let (code, text) = refused(bench.client.set_power(&held).await.expect("an answer"));
    // Who, why and what to do; since when, is another moment.
    let said = |text: &str| text.split_once(" (").map(|(_, rest)| rest.to_owned());
    assert_eq!((code, said(&text)), (*held_code, said(held_text)));
    let nobody = Order { machine: name("nobody"), ..held };
    let error = bench.client.dry_run(&nobody).await.expect_err("there is no such machine");
    assert!(error.to_string().contains("this agent has no machine nobody"), "{error}");
}

#[tokio::test]
async fn the_command_tells_edges_refusals_and_what_is_pending() {
    let bench = bench::start("60s").await;
    let (code, said) = ask(&bench, &["plan"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("nothing is pending"), "{said}");
    let span = Some(Duration::from_secs(7200));
    bench.client.take_hold(&hold("twin", HoldKind::Reservation, span)).await.expect("an answer");
    let (code, said) = ask(&bench, &["plan", "on", "read", "twin"]).await;
    assert_eq!(code, 1, "one begins and one does not: {said}");
    assert!(said.contains("read: on would begin at once\n  +0s"), "{said}");
    assert!(said.contains("relay a/1 closes\n"), "{said}");
    assert!(said.contains("twin: on would be refused (reserved): twin is reserved by bob"));
    assert_eq!(ask(&bench, &["plan", "cycle", "twin"]).await.0, 2);
    let (_, json) = ask(&bench, &["--json", "plan", "cycle", "read", "--force"]).await;
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    let steps = json["machines"][0]["forecast"]["steps"].as_array().expect("steps");
    let doings: Vec<_> = steps.iter().map(|step| step["doing"].as_str().expect("a word")).collect();
    assert_eq!(doings, ["dwell", "close"], "it is dark");
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    bench.accepted(&order("op-2", "read", Verb::Off, autoscaler(1))).await;
    let (code, said) = until("it waits", async || {
        let told = ask(&bench, &["plan"]).await;
        told.1.contains("(min_on)").then_some(told)
    })
    .await;
    assert_eq!(code, 0, "{said}");
    let at = |what: &str| said.find(what).unwrap_or_else(|| panic!("no {what} in {said}"));
    assert!(at("by autoscaler rack (test)") < at("relay a/1 opens"), "{said}");
    assert!(at("relay a/1 opens") < at("twin: the lock reserved of bob ends (course)"), "{said}");
}

#[tokio::test]
async fn a_plan_by_which_was_ordered_is_told_by_its_id_when_there_is_a_newer_one() {
    let bench = bench::start("100ms").await;
    let pool = PoolName::new("rack").expect("a name");
    let id = |id: &str| PlanId::new(id).expect("an id");
    let plan = |id: PlanId| {
        let line = |text: &str, verb| PlanLine {
            machine: Some(name("read")),
            text: text.to_owned(),
            verb,
        };
        Plan {
            id,
            pool: pool.clone(),
            author: "target".to_owned(),
            lines: vec![line("is being lit", Some(Verb::On))],
            age: Duration::ZERO,
            inputs: vec![line("off; no node", None)],
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
        }
    };
    bench.client.record_plan(&plan(id("plan-1"))).await.expect("kept");
    let ordered = Some(id("plan-1"));
    bench.done(&Order { plan: ordered, ..order("op-1", "read", Verb::On, autoscaler(1)) }).await;
    for newer in ["plan-2", "plan-3"] {
        bench.client.record_plan(&plan(id(newer))).await.expect("kept");
    }
    let kept = async |asked| bench.client.plan(&pool, &id(asked)).await.expect("an answer");
    let past = kept("plan-1").await;
    assert_eq!(past.first().map(|past| &past.lines), Some(&plan(id("plan-1")).lines));
    assert_eq!(past.first().map(|past| &past.inputs), Some(&plan(id("plan-1")).inputs));
    assert_eq!(kept("plan-2").await, [], "nothing was ordered by it");
    assert_eq!(kept("plan-3").await.len(), 1);
    assert_eq!(bench.client.plans(&pool).await.expect("an answer").len(), 1);
}
