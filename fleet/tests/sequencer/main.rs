//! The sequencer, driven by a small executor over a modelled machine. Goal: every order ends, as ordered or with its
//! reason, and no outlet moves that nobody ordered. Method: named stories, then random inputs at random times.

#![expect(clippy::panic, reason = "helpers of tests fail by panic as the tests do")]

#[path = "../orders/mod.rs"]
mod orders;
mod resume;

use std::time::Duration;

use fleet::sequencer::{Action, Eligible, Input, NodeSign, Paths, Room, State, Task};
use fleet::{
    Fault, FaultClass, LinesSeen, Moment, OnSoftOffTimeout, Phase, PowerState, Sequencer, Verb,
};
use orders::task;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

/// More actions than any sequence has: a drain of an hour is asked about each second.
const ACTIONS_MAX: u32 = 10_000;

/// A machine with one outlet, a board that may be silent, and a node.
struct Bench {
    now: Moment,
    line: PowerState,
    readable: bool,
    node: NodeSign,
    soft_off: Result<(), String>,
    /// Faults that the next movements meet.
    faults: Vec<Fault>,
    /// Whether reading meets a fault.
    blind: bool,
    /// What runs on the node, one sentence per look.
    work: Vec<String>,
    edges: Vec<(Moment, PowerState)>,
    /// How the node was left, each time its drain ended.
    left_as: Vec<Eligible>,
    phases: Vec<Phase>,
}

impl Bench {
    fn new(line: PowerState) -> Self {
        Self {
            now: Moment::from_millis(1_000_000),
            line,
            readable: true,
            node: NodeSign::Down,
            soft_off: Ok(()),
            faults: Vec::new(),
            blind: false,
            work: Vec::new(),
            edges: Vec::new(),
            left_as: Vec::new(),
            phases: Vec::new(),
        }
    }

    /// Does one action; `false` when there is none left.
    fn act(&mut self, sequencer: &mut Sequencer) -> bool {
        let phase = sequencer.record().phase();
        if self.phases.last() != Some(&phase) {
            self.phases.push(phase);
        }
        let input = match sequencer.poll(self.now) {
            Action::Finished => return false,
            Action::ReadBack { .. } => Input::Seen(self.seen()),
            Action::Drive { state, .. } => Input::Driven(self.drive(state)),
            Action::OrderDrain { .. } => Input::DrainOrdered(Ok(Eligible::Yes)),
            Action::WatchDrain { .. } => {
                self.now = self.now + Duration::from_secs(1);
                Input::DrainSeen(self.work.pop())
            }
            Action::CancelDrain { .. } => {
                self.left_as.extend(sequencer.record().drained_from);
                Input::Undrained(Ok(()))
            }
            Action::SoftOff { .. } => Input::SoftOffEnded(self.soft_off.clone()),
            Action::WatchNode { until } => {
                let sign = self.node;
                sequencer.handle(Input::NodeSeen(sign), self.now);
                self.now = (self.now + Duration::from_secs(1)).min(until.max(self.now));
                return true;
            }
            Action::AskRoom { .. } => Input::Room(Room::Free),
            Action::Wake { .. } | Action::LookForLife { .. } | Action::WatchLife { .. } => {
                panic!("nothing here is woken: tests/waking.rs")
            }
            Action::Wait { until } => {
                assert!(until > self.now, "a wait that is over already");
                self.now = until;
                return true;
            }
        };
        sequencer.handle(input, self.now);
        true
    }

    fn seen(&self) -> Result<LinesSeen, Fault> {
        if self.blind {
            return Err(fault(FaultClass::Unreachable));
        }
        Ok(LinesSeen::default().and(self.readable.then_some(self.line)))
    }

    fn drive(&mut self, state: PowerState) -> Result<(), Fault> {
        if let Some(fault) = self.faults.pop() {
            return Err(fault);
        }
        if self.line != state {
            self.edges.push((self.now, state));
        }
        self.line = state;
        Ok(())
    }

    fn run(&mut self, sequencer: &mut Sequencer) {
        for _ in 0..ACTIONS_MAX {
            if !self.act(sequencer) {
                return;
            }
        }
        panic!("the sequence does not end: {:?}", sequencer.record());
    }
}

fn fault(class: FaultClass) -> Fault {
    Fault { class, text: "no answer".to_owned() }
}

fn run(bench: &mut Bench, task: Task) -> Sequencer {
    let mut sequencer = Sequencer::begin(task, bench.now);
    bench.run(&mut sequencer);
    sequencer
}

#[test]
fn on_drives_once_and_rests_on_what_was_read() {
    let mut bench = Bench::new(PowerState::Off);
    let done = run(&mut bench, task(Verb::On));
    assert_eq!(done.record().evidence, "read back on");
    assert_eq!(bench.edges.len(), 1);
    assert!(done.record().moved);
    assert_eq!(bench.phases, [Phase::Accepted, Phase::Energizing, Phase::Done]);
}

#[test]
fn what_is_so_already_is_not_driven() {
    for (verb, state) in [(Verb::On, PowerState::On), (Verb::Off, PowerState::Off)] {
        let mut bench = Bench::new(state);
        let done = run(&mut bench, task(verb));
        assert!(!done.record().moved);
        assert_eq!(done.record().state, State::Done);
        assert_eq!(done.record().evidence, format!("read {state} before; nothing was driven"));
        assert_eq!(done.record().reached.map(|(state, _)| state), Some(state));
    }
}

#[test]
fn a_silent_board_is_always_driven_and_only_assumed() {
    let mut bench = Bench { readable: false, ..Bench::new(PowerState::On) };
    let done = run(&mut bench, task(Verb::On));
    assert!(done.record().moved);
    assert_eq!(done.record().evidence, "assumed on: the board can not be read");
}

#[test]
fn what_was_driven_and_never_confirmed_is_on_record_and_not_the_state_before() {
    let mut bench = Bench::new(PowerState::Off);
    let mut sequencer = Sequencer::begin(task(Verb::On), bench.now);
    while !bench.edges.iter().any(|(_, state)| *state == PowerState::On) {
        assert!(bench.act(&mut sequencer));
    }
    bench.blind = true;
    bench.run(&mut sequencer);
    assert_eq!(sequencer.record().state, State::Failed { untouched: false });
    assert_eq!(sequencer.record().reached.map(|(state, _)| state), Some(PowerState::On));
}

#[test]
fn a_machine_that_is_partly_read_is_said_to_be() {
    let mut sequencer = Sequencer::begin(task(Verb::On), Moment::from_millis(1));
    let half = |state| LinesSeen::default().and(Some(state)).and(None);
    let now = Moment::from_millis(2);
    sequencer.handle(Input::Seen(Ok(half(PowerState::Off))), now);
    sequencer.handle(Input::Driven(Ok(())), now);
    sequencer.handle(Input::Seen(Ok(half(PowerState::On))), now);
    let said = "read back on on 1 of 2 outlets, assumed on the rest: their board can not be read";
    assert_eq!(sequencer.record().evidence, said);
}

#[test]
fn a_cycle_whose_cut_is_never_confirmed_does_not_light_again() {
    let mut bench = Bench::new(PowerState::On);
    let mut sequencer = Sequencer::begin(Task { soft_off: None, ..task(Verb::Cycle) }, bench.now);
    while sequencer.poll(bench.now) != Action::Finished {
        bench.act(&mut sequencer);
        // The contact is welded and the board tells so.
        bench.line = PowerState::On;
    }
    assert_eq!(sequencer.record().phase(), Phase::Failed);
    assert!(bench.edges.iter().all(|(_, state)| *state == PowerState::Off), "{:?}", bench.edges);
}

#[test]
fn off_asks_first_waits_for_the_signs_and_then_cuts() {
    let mut bench = Bench::new(PowerState::On);
    let began = bench.now;
    let done = run(&mut bench, task(Verb::Off));
    assert_eq!(done.record().evidence, "shut down; read back off");
    assert_eq!(
        bench.phases,
        [Phase::Accepted, Phase::SoftOff, Phase::Settling, Phase::Cutting, Phase::Done]
    );
    let (cut, _) = bench.edges[0];
    assert!(cut.since(began) >= Duration::from_secs(5), "cut before it was silent for its time");
}

#[test]
fn a_node_that_stays_up_is_cut_at_the_deadline_or_left_as_it_is() {
    let mut bench = Bench { node: NodeSign::Up, ..Bench::new(PowerState::On) };
    let began = bench.now;
    let done = run(&mut bench, task(Verb::Off));
    assert_eq!(bench.edges[0].0.since(began), Duration::from_secs(60));
    assert_eq!(
        done.record().evidence,
        "its node did not go down in time, hence a hard cut; read back off"
    );

    let mut bench = Bench { node: NodeSign::Up, ..Bench::new(PowerState::On) };
    let quarantine = Task { on_soft_off_timeout: OnSoftOffTimeout::Quarantine, ..task(Verb::Off) };
    let left = run(&mut bench, quarantine);
    assert_eq!(left.record().state, State::Failed { untouched: false });
    assert!(bench.edges.is_empty());
}

#[test]
fn a_soft_off_that_reports_an_error_is_believed_only_against_a_node_that_went_down() {
    let error = Err("exit status 255".to_owned());
    let mut bench = Bench { soft_off: error.clone(), ..Bench::new(PowerState::On) };
    let done = run(&mut bench, task(Verb::Off));
    assert!(done.record().evidence.starts_with("its node went down"), "{done:?}");

    let node = NodeSign::NotKnown;
    let mut bench = Bench { soft_off: error, node, ..Bench::new(PowerState::On) };
    let done = run(&mut bench, task(Verb::Off));
    assert!(done.record().evidence.starts_with("the soft off failed: exit status 255"), "{done:?}");
}

#[test]
fn a_cycle_dwells_between_off_and_on() {
    let mut bench = Bench::new(PowerState::On);
    run(&mut bench, task(Verb::Cycle));
    let [(off, PowerState::Off), (on, PowerState::On)] = bench.edges[..] else {
        panic!("{:?}", bench.edges)
    };
    assert_eq!(on.since(off), Duration::from_secs(10));
}

#[test]
fn a_fault_that_may_pass_is_looked_at_and_tried_again() {
    for class in [FaultClass::Unreachable, FaultClass::Indeterminate] {
        let mut bench = Bench::new(PowerState::Off);
        bench.faults = vec![fault(class), fault(class)];
        let done = run(&mut bench, task(Verb::On));
        assert_eq!(done.record().state, State::Done);
        assert_eq!(bench.edges.len(), 1);
    }
}

#[test]
fn a_machine_whose_device_is_gone_is_not_asked_to_shut_down() {
    for verb in [Verb::On, Verb::Off, Verb::Cycle] {
        let mut bench = Bench { blind: true, ..Bench::new(PowerState::On) };
        let failed = run(&mut bench, task(verb));
        assert_eq!(failed.record().evidence, "nothing was done: no answer");
        assert_eq!((&bench.phases[..], bench.edges.len()), (&[Phase::Accepted][..], 0));
        assert!(failed.record().left_untouched());
    }
}

#[test]
fn a_refusal_of_the_device_is_not_tried_again() {
    for class in [FaultClass::Rejected, FaultClass::Misconfigured] {
        let mut bench = Bench::new(PowerState::Off);
        bench.faults = vec![fault(class)];
        let failed = run(&mut bench, task(Verb::On));
        assert_eq!(failed.record().state, State::Failed { untouched: false });
        assert_eq!(failed.record().evidence, "could not be driven on: no answer");
        assert!(bench.edges.is_empty());
    }
}

#[test]
fn a_drain_that_does_not_end_is_taken_back() {
    let mut bench = Bench::new(PowerState::On);
    bench.work = vec!["web[0] runs".to_owned(); 200];
    let drain = Some(Duration::from_secs(100));
    let failed = run(&mut bench, Task { drain, ..task(Verb::Off) });
    assert_eq!(failed.record().state, State::Failed { untouched: true });
    assert_eq!(
        failed.record().evidence,
        "the node did not become empty in time: web[0] runs; the drain was taken back"
    );
    assert!(bench.edges.is_empty());
}

#[test]
fn a_drained_machine_is_cut_and_its_node_made_eligible_for_its_return() {
    for verb in [Verb::Off, Verb::Cycle] {
        let mut bench = Bench::new(PowerState::On);
        bench.work = vec!["web[0] runs".to_owned(); 3];
        let drain = Some(Duration::from_secs(100));
        let done = run(&mut bench, Task { drain, ..task(verb) });
        assert_eq!(done.record().state, State::Done);
        assert!(done.record().evidence.starts_with("node drained; shut down; read back off"));
        assert_eq!((bench.line, &bench.left_as[..]), (verb.leaves(), &[Eligible::Yes][..]));
    }
}

#[test]
fn a_person_can_call_a_drain_off_but_no_shutdown() {
    let mut bench = Bench::new(PowerState::On);
    bench.work = vec!["web[0] runs".to_owned(); 20];
    let drain = Some(Duration::from_secs(100));
    let mut sequencer = Sequencer::begin(Task { drain, ..task(Verb::Off) }, bench.now);
    while sequencer.record().phase() != Phase::Draining || bench.work.len() > 15 {
        assert!(bench.act(&mut sequencer));
    }
    sequencer.handle(Input::CalledOff("called off by ada".to_owned()), bench.now);
    bench.run(&mut sequencer);
    assert_eq!(sequencer.record().evidence, "called off by ada; the drain was taken back");

    let mut sequencer = Sequencer::begin(task(Verb::Off), bench.now);
    while sequencer.record().phase() != Phase::SoftOff {
        assert!(bench.act(&mut sequencer));
    }
    sequencer.handle(Input::CalledOff("called off by ada".to_owned()), bench.now);
    assert_eq!(sequencer.record().phase(), Phase::SoftOff);
}

#[test]
fn what_was_switched_a_short_while_ago_waits_before_it_is_asked_and_may_be_called_off() {
    let mut bench = Bench::new(PowerState::On);
    let may = bench.now + Duration::from_secs(30);
    let begun = Task { may_cut_at: may, ..task(Verb::Cycle) };
    let done = run(&mut bench, begun.clone());
    assert_eq!(bench.phases[..2], [Phase::Accepted, Phase::Waiting]);
    assert!(bench.edges[0].0 >= may);
    assert_eq!(
        (done.record().cut, done.record().lit),
        (Some(bench.edges[0].0), Some(bench.edges[1].0))
    );

    let mut bench = Bench::new(PowerState::Off);
    let may = bench.now + Duration::from_secs(30);
    let on = Task { may_light_at: may, ..task(Verb::On) };
    run(&mut bench, on.clone());
    assert_eq!(bench.edges, [(may, PowerState::On)]);

    for (task, state) in [(begun, PowerState::On), (on, PowerState::Off)] {
        let mut bench = Bench::new(state);
        let mut sequencer = Sequencer::begin(task, bench.now);
        while sequencer.record().phase() != Phase::Waiting {
            assert!(bench.act(&mut sequencer));
        }
        assert!(sequencer.record().progress().contains("too short ago"));
        sequencer.handle(Input::CalledOff("called off by ada".to_owned()), bench.now);
        bench.run(&mut sequencer);
        assert!(sequencer.record().left_untouched() && bench.edges.is_empty());
    }
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(FaultClass::Unreachable),
        Just(FaultClass::Indeterminate),
        Just(FaultClass::Rejected),
        Just(FaultClass::Misconfigured),
    ]
    .prop_map(fault)
}

fn inputs() -> impl Strategy<Value = Input> {
    let seen = (0..2_u32, 0..2_u32, 0..2_u32).prop_map(|(on, off, untold)| LinesSeen {
        on,
        off,
        untold,
        ..LinesSeen::default()
    });
    let text = || Just("why".to_owned());
    prop_oneof![
        4 => seen.prop_map(|seen| Input::Seen(Ok(seen))),
        1 => faults().prop_map(|fault| Input::Seen(Err(fault))),
        4 => Just(Input::Driven(Ok(()))),
        1 => faults().prop_map(|fault| Input::Driven(Err(fault))),
        1 => Just(Input::DrainOrdered(Ok(Eligible::Yes))),
        1 => text().prop_map(|text| Input::DrainOrdered(Err(text))),
        1 => Just(Input::DrainSeen(None)),
        1 => text().prop_map(|text| Input::DrainSeen(Some(text))),
        1 => Just(Input::Undrained(Ok(()))),
        1 => Just(Input::SoftOffEnded(Ok(()))),
        1 => text().prop_map(|text| Input::SoftOffEnded(Err(text))),
        1 => prop_oneof![
            Just(NodeSign::Down), Just(NodeSign::Up), Just(NodeSign::NotKnown), Just(NodeSign::Silent)
        ].prop_map(Input::NodeSeen),
        1 => Just(Input::Room(Room::Free)),
        1 => text().prop_map(Input::CalledOff),
        1 => text().prop_map(Input::Unwritten),
    ]
}

fn tasks() -> impl Strategy<Value = Task> {
    let verb = prop_oneof![Just(Verb::On), Just(Verb::Off), Just(Verb::Cycle)];
    let span = |max: u64| (0..max).prop_map(Duration::from_millis);
    let may = || 4_990_000..5_030_000_u64;
    let spans = (span(20_000), span(20_000), may(), may());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (verb, flags, spans).prop_map(
        |(verb, (cut, drain, soft_off, fed), (settle, off_dwell, may_cut_at, may_light_at))| Task {
            verb,
            on_soft_off_timeout: if cut {
                OnSoftOffTimeout::Cut
            } else {
                OnSoftOffTimeout::Quarantine
            },
            drain: drain.then(|| Duration::from_secs(50)),
            soft_off: soft_off.then(|| Duration::from_secs(20)),
            settle,
            off_dwell,
            may_cut_at: Moment::from_millis(may_cut_at),
            may_wake_until: Moment::ZERO,
            may_light_at: Moment::from_millis(may_light_at),
            fed,
            paths: Paths::default(),
        },
    )
}

proptest! {
    /// Anything may be told at any time: outlets move only as ordered, and a cycle is cut before it is lit.
    #[test]
    fn random_inputs_never_move_what_nobody_ordered(
        task in tasks(),
        told in proptest::collection::vec((inputs(), 0..8_000_u64), 0..80),
    ) {
        let verb = task.verb;
        let mut now = Moment::from_millis(5_000_000);
        let mut sequencer = Sequencer::begin(task, now);
        let mut was_cut = false;
        for (input, millis) in told {
            was_cut |= matches!(sequencer.record().reached, Some((PowerState::Off, _)));
            match sequencer.poll(now) {
                Action::Drive { state: PowerState::On, .. } => {
                    prop_assert!(verb != Verb::Off);
                    prop_assert!(now >= sequencer.record().task.may_light_at, "lit too soon");
                    let was_off = sequencer.record().evidence.starts_with("was off already");
                    prop_assert!(verb == Verb::On || was_cut || was_off);
                }
                Action::Drive { state: PowerState::Off, .. } => {
                    prop_assert!(verb != Verb::On);
                    prop_assert!(now >= sequencer.record().task.may_cut_at, "cut too soon");
                }
                Action::Finished => prop_assert!(sequencer.record().phase().is_finished()),
                Action::ReadBack { until } | Action::OrderDrain { until } | Action::WatchDrain { until }
                | Action::CancelDrain { until, .. } | Action::SoftOff { until } | Action::WatchNode { until }
                | Action::AskRoom { until, .. } | Action::Wait { until } | Action::Wake { until }
                | Action::LookForLife { until } | Action::WatchLife { until, .. } => prop_assert!(until > now, "a wait without an end ahead"),
            }
            sequencer.handle(input, now);
            now = now + Duration::from_millis(millis);
        }
    }

    /// With nobody answering at all, deadlines alone bring every sequence to its end, before its own deadline.
    #[test]
    fn silence_ends_every_sequence_within_its_deadline(task in tasks()) {
        let mut now = Moment::from_millis(5_000_000);
        let mut sequencer = Sequencer::begin(task, now);
        for _ in 0..32 {
            match sequencer.record().state.until() {
                None => break,
                Some(until) => {
                    prop_assert!(until >= now);
                    now = until;
                }
            }
            sequencer.poll(now);
        }
        prop_assert!(sequencer.record().phase().is_finished());
        prop_assert!(now <= sequencer.record().deadline());
        prop_assert_eq!(sequencer.record().phase(), Phase::Failed);
    }

    /// A machine that obeys ends as ordered, also when the agent is killed after any action.
    #[test]
    fn a_killed_agent_finishes_what_it_began(task in tasks(), lit in any::<bool>(), readable in any::<bool>(), kill_after in 0..12_u32) {
        let verb = task.verb;
        let line = if lit { PowerState::On } else { PowerState::Off };
        let mut bench = Bench { readable, ..Bench::new(line) };
        let mut sequencer = Sequencer::begin(task, bench.now);
        for _ in 0..kill_after {
            bench.act(&mut sequencer);
        }
        let mut sequencer = Sequencer::resume(sequencer.record().clone(), bench.now).unwrap();
        bench.run(&mut sequencer);
        prop_assert_eq!(&sequencer.record().state, &State::Done);
        prop_assert_eq!(bench.line, verb.leaves());
        let wrong = bench.edges.iter().filter(|(_, state)| *state != verb.leaves()).count();
        prop_assert_eq!(wrong, usize::from(verb == Verb::Cycle && lit));
    }
}

/// A task whose next steps can not be written down from a phase on.
fn unwritten_from(task: Task, line: PowerState, phase: Phase) -> (Bench, Sequencer) {
    let mut bench = Bench::new(line);
    let mut sequencer = Sequencer::begin(task, bench.now);
    for _ in 0..ACTIONS_MAX {
        sequencer.poll(bench.now);
        if sequencer.record().phase() == phase {
            sequencer.handle(Input::Unwritten("no space left".to_owned()), bench.now);
            break;
        }
        bench.act(&mut sequencer);
    }
    bench.run(&mut sequencer);
    (bench, sequencer)
}

#[test]
fn what_can_not_be_written_down_before_the_machine_was_touched_is_not_done() {
    let drained = Task { drain: Some(Duration::from_secs(60)), ..task(Verb::Off) };
    let hard = |verb| Task { soft_off: None, ..task(verb) };
    for (task, line, phase) in [
        (hard(Verb::On), PowerState::Off, Phase::Energizing),
        (hard(Verb::Off), PowerState::On, Phase::Cutting),
        (hard(Verb::Cycle), PowerState::On, Phase::Cutting),
        (hard(Verb::Cycle), PowerState::Off, Phase::Dwelling),
        (drained.clone(), PowerState::On, Phase::Draining),
        (drained, PowerState::On, Phase::SoftOff),
    ] {
        let drains = task.drain.is_some() && phase == Phase::SoftOff;
        let (bench, sequencer) = unwritten_from(task, line, phase);
        assert!(bench.edges.is_empty(), "{phase}: {:?}", bench.edges);
        assert!(sequencer.record().left_untouched(), "{phase}");
        let moved = (sequencer.record().cut, sequencer.record().lit);
        assert_eq!(moved, (None, None), "{phase}: what did not move does not wear");
        let evidence = &sequencer.record().evidence;
        assert!(evidence.contains("nothing was moved: no space left"), "{evidence}");
        assert_eq!(bench.left_as, if drains { vec![Eligible::Yes] } else { Vec::new() }, "{phase}");
    }
}

#[test]
fn a_machine_that_was_asked_to_shut_down_is_cut_also_where_nothing_can_be_written() {
    let (bench, sequencer) = unwritten_from(task(Verb::Off), PowerState::On, Phase::Cutting);
    assert_eq!(sequencer.record().state, State::Done, "there is no way back");
    assert_eq!(bench.line, PowerState::Off);
}

#[test]
fn a_cycle_that_has_cut_comes_on_again_also_where_nothing_can_be_written() {
    for phase in [Phase::Dwelling, Phase::Energizing] {
        let (bench, sequencer) = unwritten_from(task(Verb::Cycle), PowerState::On, phase);
        assert_eq!(sequencer.record().state, State::Done, "{phase}");
        assert_eq!(bench.line, PowerState::On);
        assert_eq!(bench.edges.len(), 2);
    }
}
