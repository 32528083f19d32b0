//! The loop without its ears: turns are taken by hand, the record stands in a directory, time is paused.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_api::Machine;
use fleet::{HolderId, NodeCount, PoolName, PowerState};

use super::*;
use crate::host::{Direction, ScalingAction};
use crate::settings::{Records, Settings};
use crate::target::block::Block;

fn pool(folder: &Path, run: u64) -> Pool {
    let nomad = nomad_api::Config::at("http://127.0.0.1:1");
    let settings = Settings {
        nomad: nomad.clone(),
        agents: Vec::new(),
        credentials: None,
        heartbeat: Duration::from_secs(10),
        records: Records::Directory(folder.to_owned()),
        cluster: None,
        metrics: None,
    };
    Pool::new(PoolParts {
        metrics: crate::metrics::Metrics::default(),
        pool: PoolName::new("rack").unwrap(),
        settings: Arc::new(settings),
        nomad: nomad_api::Client::new(&nomad).unwrap(),
        me: HolderId::new("me").unwrap(),
        run,
        own_alloc: None,
    })
}

fn block() -> Block {
    let config = [("pool".to_owned(), "rack".to_owned())].into();
    Block::read(&config, &mut Vec::new()).unwrap()
}

fn dark_machine() -> Machine {
    Machine {
        name: MachineName::new("n1").unwrap(),
        pool: Some(PoolName::new("rack").unwrap()),
        node: "n1".to_owned(),
        outlets: Vec::new(),
        reading: Some((PowerState::Off, Duration::ZERO)),
        commanded: None,
        hold: None,
        operation: None,
        declared: None,
        last_seen: None,
        boot_deadline: Duration::from_secs(60),
        soft_off: true,
        quarantine: None,
        drift: None,
        boots: Vec::new(),
        locks: agent_api::Locks::default(),
        fed: agent_api::Fed::default(),
        paths: agent_api::Paths::default(),
        dwell: None,
    }
}

/// Turns until the record says what it must, and the pool of one dark machine is born.
async fn in_office(pool: &mut Pool) {
    let now = pool.now();
    pool.take_block(&block(), &crate::host::Config::new(), now).unwrap();
    let machine = dark_machine();
    let machines = [(machine.name.clone(), (machine, now))].into();
    let heard = Heard { answers: true, machines, ..Heard::default() };
    pool.heard.insert(AgentAddress::socket("/nowhere/agent.sock"), Some(heard));
    let names = ["n1".to_owned()].into();
    pool.nomad = NomadFacts { answers: true, names, ..NomadFacts::default() };
    pool.turn();
    while !pool.is_saved() {
        let finished = pool.tasks.join_next().await.expect("the record is read or written");
        pool.finished(finished);
        show_fence(pool);
        pool.turn();
    }
}

/// The agent has heard of our fence, as its watch shows once it is told.
fn show_fence(pool: &mut Pool) {
    let fence = pool.fence();
    for heard in pool.heard.values_mut().flatten() {
        heard.fences = fence.iter().cloned().collect();
    }
    let now = pool.now();
    pool.look(now);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_know_our_fence_counts_as_silent_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    assert_eq!(pool.view().agents_heard, 1);
    let fence = pool.fence().unwrap();
    let older = fleet::Fence { number: FenceNumber(fence.number.0 - 1), ..fence.clone() };
    for heard in pool.heard.values_mut().flatten() {
        heard.fences = vec![older.clone()];
    }
    assert_eq!(pool.view().agents_heard, 0, "it may still obey an older lease");
    let now = pool.now();
    let (due, again) = pool.claims.due(&pool.heard, &fence, now);
    assert_eq!(due.len(), 1, "it is told");
    assert_eq!(
        pool.claims.due(&pool.heard, &fence, now),
        (Vec::new(), again),
        "and not at once again"
    );
    assert_eq!(pool.claims.due(&pool.heard, &fence, again.unwrap()).0.len(), 1);
    show_fence(&mut pool);
    assert_eq!(pool.view().agents_heard, 1);
    assert_eq!(pool.claims.due(&pool.heard, &fence, now), (Vec::new(), None));
}

fn ask_for_one(pool: &mut Pool) -> oneshot::Receiver<Result<(), Fault>> {
    let (answer, result) = oneshot::channel();
    let (direction, meta) = (Direction::Up, serde_json::Map::new());
    let action = ScalingAction { count: 1, reason: String::new(), error: false, direction, meta };
    let now = pool.now();
    pool.scale((&block(), &crate::host::Config::new()), &action, answer, now);
    pool.turn();
    result
}

fn queued_order(pool: &Pool) -> OperationId {
    match pool.queued.front() {
        Some((_, Effect::Light { operation, .. })) => operation.clone(),
        other => panic!("an order to light waits for the record, not {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn orders_of_two_leases_and_of_two_pools_never_share_an_id() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut first = pool(one.path(), 1);
    in_office(&mut first).await;
    ask_for_one(&mut first);
    let mut ids = vec![queued_order(&first)];
    first.office = Office::new(
        Keeper::new(&first.parts.settings.records, first.parts.nomad.clone(), &first.parts.pool),
        first.parts.me.clone(),
        first.parts.settings.heartbeat,
    );
    first.step_down();
    in_office(&mut first).await;
    ask_for_one(&mut first);
    ids.push(queued_order(&first));
    let mut second = pool(other.path(), 2);
    in_office(&mut second).await;
    ask_for_one(&mut second);
    ids.push(queued_order(&second));
    let distinct: BTreeSet<&OperationId> = ids.iter().collect();
    assert_eq!(distinct.len(), 3, "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_waited_for_the_record_is_asked_anew_and_not_given_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    ask_for_one(&mut pool);
    let order = queued_order(&pool);
    tokio::time::advance(EFFECT_AGE_MAX * 2).await;
    let finished = pool.tasks.join_next().await.unwrap();
    pool.finished(finished);
    let wake = pool.turn();
    assert!(pool.is_saved() && pool.queued.is_empty());
    assert!(pool.tasks.is_empty(), "it was given late");
    assert!(wake <= Instant::now() + TURN_GAP, "it is asked anew at once");
    tokio::time::advance(Duration::from_secs(3)).await;
    pool.turn();
    let finished = pool.tasks.join_next().await.unwrap();
    let again = match finished {
        Ok(Finished::Effect(effect, _)) => *effect,
        other => panic!("{other:?}"),
    };
    assert!(matches!(again, Effect::Light { operation, .. } if operation == order));
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_leaves_nothing_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    pool.tasks.spawn(std::future::pending());
    pool.step_down();
    assert!(pool.tasks.is_empty() && pool.queued.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_scale_whose_record_can_not_be_written_is_answered_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let mut pool = pool(&records, 1);
    in_office(&mut pool).await;
    std::fs::remove_dir_all(&records).unwrap();
    std::fs::write(&records, "no directory").unwrap();
    let mut result = ask_for_one(&mut pool);
    let finished = pool.tasks.join_next().await.unwrap();
    pool.finished(finished);
    let fault = result.try_recv().expect("it is answered").unwrap_err().to_string();
    assert!(fault.contains("rack.json") && fault.contains("not kept"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn by_a_lease_that_others_may_have_taken_nothing_is_done_and_status_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("records");
    let mut pool = pool(&records, 1);
    in_office(&mut pool).await;
    assert!(pool.report(&block(), None, pool.now()).ready);
    std::fs::remove_dir_all(&records).unwrap();
    std::fs::write(&records, "no directory").unwrap();
    tokio::time::advance(pool.parts.settings.heartbeat * fleet::lease::STALE_BEATS).await;
    pool.turn();
    let finished = pool.tasks.join_next().await.unwrap();
    pool.finished(finished);
    let why = pool.report(&block(), None, pool.now()).not_ready.expect("it is not ready");
    assert!(why.contains("heartbeat") && why.contains("rack.json"), "{why}");
    let now = pool.now();
    let (machine, operation) = (MachineName::new("n1").unwrap(), OperationId::new("x").unwrap());
    let reason = fleet::Reason::new("test");
    pool.queued.push_back((now, Effect::Light { machine, operation, reason }));
    assert!(pool.is_saved(), "only the heartbeat is not written");
    pool.turn();
    assert!(pool.tasks.is_empty() && pool.queued.len() == 1);
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_in_the_same_way_is_warned_of_once() {
    let (guard, counted) = counting(tracing::Level::WARN);
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    let machine = MachineName::new("n1").unwrap();
    let operation = OperationId::new("one").unwrap();
    let effect = Effect::Light { machine, operation, reason: fleet::Reason::new("test") };
    let now = pool.now();
    for (why, so_far) in [("refused", 1), ("refused", 1), ("no answer", 2)] {
        pool.done(&effect, Done::Failed(why.to_owned()), now);
        assert_eq!(counted.load(Ordering::Relaxed), so_far, "{why}");
    }
    let address = AgentAddress::socket("/nowhere/agent.sock");
    for heard in pool.heard.values_mut().flatten() {
        heard.fences.clear();
    }
    pool.claims.due(&pool.heard, &pool.fence().unwrap(), now);
    for (why, so_far) in [("no role", 3), ("no role", 3), ("no pool", 4)] {
        pool.finished(Ok(Finished::Unclaimed(address.clone(), why.to_owned())));
        assert_eq!(counted.load(Ordering::Relaxed), so_far, "{why}");
    }
    for _ in 0..3 {
        let source = std::io::Error::other("disk full");
        let error = super::super::RecordError::File { path: folder.path().to_owned(), source };
        pool.office.returned(Returned::Read(Err(error)), now);
        assert_eq!(counted.load(Ordering::Relaxed), 5);
    }
    drop(guard);
    assert_eq!(pool.report(&block(), None, now).count, NodeCount(0));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_counted_for_whom_it_was_made_to() {
    let folder = tempfile::tempdir().unwrap();
    let pool = pool(folder.path(), 1);
    let machine = || MachineName::new("n1").unwrap();
    let node = || fleet::NodeId::new("5f1c9a3e-0d0f-4f6e-9d6d-2c5a3f7b8e11").unwrap();
    let (operation, reason) = (OperationId::new("one").unwrap(), fleet::Reason::new("test"));
    let cycle = Effect::Cycle { machine: machine(), operation, reason: reason.clone() };
    let lift = Effect::LiftQuarantine { machine: machine(), reason };
    let purge = Effect::Purge { machine: machine(), node: node() };
    let written = Done::Written { index: 1 };
    for (effect, done) in [(cycle, Done::Accepted), (lift, Done::Accepted), (purge, written)] {
        pool.count_effect(&effect, &done);
    }
    let text = pool.parts.metrics.text();
    for (to, count) in [("agent", 2), ("nomad", 1)] {
        let line = format!("calls_total{{pool=\"rack\",end=\"done\",to=\"{to}\"}} {count}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

fn named(voice: &str, more: &[(&str, &str)]) -> (Block, crate::host::Config) {
    let base = [("pool", "rack"), ("demand", voice)];
    let pairs = base.iter().chain(more);
    let config: crate::host::Config =
        pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    (Block::read(&config, &mut Vec::new()).unwrap(), config)
}

#[tokio::test(start_paused = true)]
async fn two_policies_share_a_pool_and_neither_is_obeyed_while_they_contradict_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    let (day, night) = (named("day", &[("min_on", "1h")]), named("night", &[("idle_time", "1h")]));
    for (block, raw) in [&day, &night] {
        assert!(pool.status(block, raw, pool.now()).ready);
    }
    let knobs = pool.blocks.knobs();
    assert_eq!(
        (knobs.min_on, knobs.idle_time),
        (Duration::from_secs(3600), Duration::from_secs(3600))
    );

    let other = named("night", &[("node_class", "gpu")]);
    let why = pool.status(&other.0, &other.1, pool.now()).not_ready.unwrap();
    assert!(
        why.contains("\"night\"") && why.contains("\"gpu\"") && why.contains("\"day\""),
        "{why}"
    );
    assert_eq!(
        pool.status(&day.0, &day.1, pool.now()).not_ready,
        Some(why),
        "it can not tell which is meant"
    );
    let mut refused = ask_for_one(&mut pool);
    let fault = refused.try_recv().unwrap().unwrap_err().to_string();
    assert!(fault.contains("contradict"), "{fault}");
    assert!(pool.status(&night.0, &night.1, pool.now()).ready, "they agree again");
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_knows_the_knobs_of_policies_that_have_not_called_yet() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = pool(folder.path(), 1);
    in_office(&mut first).await;
    let (block, raw) = named("night", &[("idle_time", "1h")]);
    first.status(&block, &raw, first.now());
    first.turn();
    while !first.is_saved() {
        let finished = first.tasks.join_next().await.unwrap();
        first.finished(finished);
        first.turn();
    }
    first.release().await;
    let mut second = pool(folder.path(), 2);
    in_office(&mut second).await;
    assert_eq!(second.blocks.knobs().idle_time, Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn why_status_is_not_ready_is_logged_once_and_not_at_every_tick() {
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    pool.heard.values_mut().flatten().for_each(|heard| heard.machines.clear());
    pool.look(pool.now());
    let (guard, counted) = counting(tracing::Level::INFO);
    for _ in 0..3 {
        let (answer, mut report) = oneshot::channel();
        let raw = crate::host::Config::new();
        pool.answer(Request::Status { block: Box::new(block()), raw, answer });
        let why = report.try_recv().unwrap().not_ready.expect("no machine is in the pool");
        assert!(why.contains("pool rack"), "{why}");
    }
    assert_eq!(counted.load(Ordering::Relaxed), 1);
    drop(guard);
}

fn counting(level: tracing::Level) -> (tracing::subscriber::DefaultGuard, Arc<AtomicUsize>) {
    let counted = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(Counter(level, Arc::clone(&counted)));
    (guard, counted)
}

/// Counts what is logged at one level.
struct Counter(tracing::Level, Arc<AtomicUsize>);

impl tracing::Subscriber for Counter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == self.0 && metadata.target().starts_with("nomad_plugin")
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, _event: &tracing::Event<'_>) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn two_policies_by_one_name_are_warned_of_once_and_told_by_why_and_in_the_metrics() {
    let (guard, counted) = counting(tracing::Level::WARN);
    let folder = tempfile::tempdir().unwrap();
    let mut pool = pool(folder.path(), 1);
    in_office(&mut pool).await;
    let (one, other) = (named("work", &[]), named("work", &[("min_on", "1m")]));
    for _ in 0..5 {
        for (block, raw) in [&one, &other] {
            let now = pool.now();
            pool.status(block, raw, now);
            tokio::time::advance(Duration::from_secs(5)).await;
        }
    }
    assert_eq!(counted.load(Ordering::Relaxed), 1);
    pool.measure();
    let text = pool.parts.metrics.text();
    assert!(text.contains("shared_demands{pool=\"rack\"} 1\n"), "{text}");

    // Equal blocks are told apart by the ids in what they ask for.
    let (third, raw) = named("night", &[]);
    for id in ["a", "b", "a", "b", "a", "b"] {
        let meta = [("nomad_policy_id".to_owned(), id.into())].into_iter().collect();
        let direction = Direction::Up;
        let action =
            ScalingAction { count: 1, reason: String::new(), error: false, direction, meta };
        let now = pool.now();
        pool.scale((&third, &raw), &action, oneshot::channel().0, now);
    }
    assert_eq!(counted.load(Ordering::Relaxed), 2);
    let now = pool.now();
    assert_eq!(pool.namesakes.shared(now), ["night", "work"]);
    let told = pool.plan_lines(now);
    assert!(told.iter().any(|line| line.text.contains("go by the demand \"work\"")), "{told:?}");
    drop(guard);
}
