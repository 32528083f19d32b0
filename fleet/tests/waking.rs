//! Machines that are composed of paths: woken, asked to shut down, cut. Goal: a packet is no evidence and silence is no
//! off; each way ends with what was tried and seen. Method: the sequencer on a modelled machine that sleeps.

#[path = "orders/mod.rs"]
mod orders;

use std::time::Duration;

use fleet::forecast::{Assumed, Doing, OutletNow, foretell};
use fleet::sequencer::{
    Action, Cut, Input, NodeSign, Paths, Room, State, Task, WAKE_BURST, WAKE_GAP, WAKE_PAUSE,
};
use fleet::{Fault, FaultClass, LinesSeen, Moment, Phase, PowerState, Sequencer, Verb};
use proptest::prelude::any;
use proptest::{prop_assert, proptest};

/// More actions than a wait of three minutes has: a packet and a few looks each second.
const ACTIONS_MAX: u32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(180);

/// A machine that starts when it hears a packet, and not because it has power.
struct Sleeper {
    now: Moment,
    outlet: Option<PowerState>,
    /// It gives signs of life from then on.
    awake_at: Option<Moment>,
    boots_in: Duration,
    /// Packets that nobody hears, before one is heard.
    lost: u32,
    soft_off: Result<(), String>,
    node: NodeSign,
    sent: Vec<Moment>,
    edges: Vec<PowerState>,
    faults: Vec<Fault>,
}

impl Sleeper {
    fn new(outlet: Option<PowerState>) -> Self {
        Self {
            now: Moment::from_millis(1_000_000),
            outlet,
            awake_at: None,
            boots_in: Duration::from_secs(20),
            lost: 0,
            soft_off: Ok(()),
            node: NodeSign::NotKnown,
            sent: Vec::new(),
            edges: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn awake(outlet: Option<PowerState>) -> Self {
        Self { awake_at: Some(Moment::ZERO), ..Self::new(outlet) }
    }

    fn is_awake(&self) -> bool {
        self.awake_at.is_some_and(|at| at <= self.now) && self.outlet != Some(PowerState::Off)
    }

    fn act(&mut self, sequencer: &mut Sequencer) -> bool {
        let input = match sequencer.poll(self.now) {
            Action::Finished => return false,
            Action::ReadBack { .. } => {
                let seen = LinesSeen::default();
                Input::Seen(Ok(self.outlet.map_or(seen, |line| seen.and(Some(line)))))
            }
            Action::Drive { state, .. } => {
                assert!(self.outlet.is_some(), "there is nothing to drive");
                if state == PowerState::Off {
                    self.awake_at = None;
                }
                self.outlet = Some(state);
                self.edges.push(state);
                Input::Driven(Ok(()))
            }
            Action::Wake { .. } => Input::WakeSent(self.wake()),
            Action::LookForLife { .. } => Input::LifeSeen(self.life()),
            Action::WatchLife { again_at, .. } => {
                sequencer.handle(Input::LifeSeen(self.life()), self.now);
                let soon = self.now + Duration::from_secs(1);
                self.now = again_at.min(soon).max(self.now);
                return true;
            }
            Action::SoftOff { .. } => {
                if self.soft_off.is_ok() {
                    self.awake_at = None;
                }
                Input::SoftOffEnded(self.soft_off.clone())
            }
            Action::WatchNode { .. } => {
                let sign = if self.is_awake() { NodeSign::Up } else { self.node };
                sequencer.handle(Input::NodeSeen(sign), self.now);
                self.now = self.now + Duration::from_secs(1);
                return true;
            }
            Action::AskRoom { .. } => Input::Room(Room::Free),
            Action::Wait { until } => {
                self.now = until;
                return true;
            }
            other => unreachable!("nobody drains here: {other:?}"),
        };
        sequencer.handle(input, self.now);
        true
    }

    fn wake(&mut self) -> Result<(), Fault> {
        if let Some(fault) = self.faults.pop() {
            return Err(fault);
        }
        self.sent.push(self.now);
        if self.lost > 0 {
            self.lost -= 1;
        } else if self.outlet != Some(PowerState::Off) {
            self.awake_at.get_or_insert(self.now + self.boots_in);
        }
        Ok(())
    }

    fn life(&self) -> Result<String, String> {
        if self.is_awake() { Ok("ping".to_owned()) } else { Err("no answer to ping".to_owned()) }
    }

    fn run(&mut self, task: Task) -> Sequencer {
        let mut sequencer = Sequencer::begin(task, self.now);
        self.finish(&mut sequencer);
        sequencer
    }

    fn finish(&mut self, sequencer: &mut Sequencer) {
        let mut left = ACTIONS_MAX;
        while self.act(sequencer) {
            left -= 1;
            assert!(left > 0, "it does not end: {:?}", sequencer.record());
        }
    }
}

fn task(verb: Verb, cut: Cut) -> Task {
    Task { paths: Paths { cut, wake: Some(PATIENCE) }, ..orders::task(verb) }
}

fn fault(class: FaultClass) -> Fault {
    Fault { class, text: "eth9 is not there".to_owned() }
}

#[test]
fn on_wakes_it_with_a_burst_and_then_each_second_until_it_gives_a_sign_of_life() {
    let mut machine = Sleeper { lost: 5, ..Sleeper::new(None) };
    let done = machine.run(task(Verb::On, Cut::Never));
    assert_eq!(done.record().state, State::Done);
    let gaps: Vec<Duration> = machine.sent.windows(2).map(|two| two[1].since(two[0])).collect();
    let burst = usize::try_from(WAKE_BURST).unwrap() - 1;
    assert_eq!(gaps[..burst], [WAKE_GAP, WAKE_GAP]);
    assert!(gaps[burst..].iter().all(|gap| *gap == WAKE_PAUSE), "{gaps:?}");
    let said = format!("awake after {} wake packets: ping", machine.sent.len());
    assert_eq!(done.record().evidence, said);
    assert!(done.record().moved);
}

#[test]
fn one_that_is_awake_is_not_sent_anything() {
    let mut machine = Sleeper::awake(None);
    let done = machine.run(task(Verb::On, Cut::Never));
    assert_eq!(done.record().evidence, "awake before: ping; nothing was sent");
    assert!(machine.sent.is_empty());
    assert!(!done.record().moved);
    assert_eq!(done.record().lit, None);
}

#[test]
fn one_that_does_not_wake_fails_with_what_was_tried_and_seen() {
    let mut machine = Sleeper { lost: u32::MAX, ..Sleeper::new(None) };
    let began = machine.now;
    let failed = machine.run(task(Verb::On, Cut::Never));
    assert_eq!(failed.record().state, State::Failed { untouched: false });
    assert_eq!(machine.now.since(began).as_secs(), PATIENCE.as_secs());
    let said = format!(
        "it did not wake in time; {} wake packets were sent; no answer to ping",
        machine.sent.len()
    );
    assert_eq!(failed.record().evidence, said);
}

#[test]
fn one_that_is_called_off_gets_no_more_packets_and_says_that_it_may_wake() {
    let mut machine = Sleeper { lost: u32::MAX, ..Sleeper::new(None) };
    let mut sequencer = Sequencer::begin(task(Verb::On, Cut::Never), machine.now);
    while machine.sent.len() < 5 {
        assert!(machine.act(&mut sequencer));
    }
    sequencer.handle(Input::CalledOff("called off by ada's `off`".to_owned()), machine.now);
    machine.finish(&mut sequencer);
    assert_eq!(machine.sent.len(), 5);
    let record = sequencer.record();
    assert_eq!(record.state, State::Failed { untouched: false });
    let said = "called off by ada's `off`; 5 wake packets were sent, and it may wake by them";
    assert_eq!(record.evidence, said);

    let mut sequencer = Sequencer::begin(task(Verb::On, Cut::Never), machine.now);
    while sequencer.record().phase() != Phase::Waking {
        assert!(machine.act(&mut sequencer));
    }
    sequencer.handle(Input::CalledOff("called off by ada's `off`".to_owned()), machine.now);
    let record = sequencer.record();
    assert_eq!(record.state, State::Failed { untouched: true }, "before the first packet");
    assert_eq!(record.evidence, "called off by ada's `off`");
}

#[test]
fn a_packet_that_can_not_be_sent_is_tried_again_only_where_that_may_help() {
    let passing = vec![fault(FaultClass::Unreachable); 3];
    let mut machine = Sleeper { faults: passing, ..Sleeper::new(None) };
    assert_eq!(machine.run(task(Verb::On, Cut::Never)).record().state, State::Done);

    let mut machine =
        Sleeper { faults: vec![fault(FaultClass::Misconfigured)], ..Sleeper::new(None) };
    let failed = machine.run(task(Verb::On, Cut::Never));
    assert_eq!(failed.record().state, State::Failed { untouched: true });
    assert_eq!(failed.record().evidence, "no wake packet could be sent: eth9 is not there");
}

#[test]
fn its_outlet_closes_first_and_closed_is_not_awake() {
    for (outlet, edges) in [(PowerState::Off, vec![PowerState::On]), (PowerState::On, Vec::new())] {
        let mut machine = Sleeper::new(Some(outlet));
        let mut sequencer = Sequencer::begin(task(Verb::On, Cut::After), machine.now);
        while sequencer.record().phase() != Phase::Waking {
            assert!(machine.sent.is_empty());
            assert!(machine.act(&mut sequencer), "power alone is not the end");
        }
        machine.finish(&mut sequencer);
        assert_eq!(sequencer.record().state, State::Done);
        assert_eq!(machine.edges, edges);
        assert!(!machine.sent.is_empty());
    }
}

#[test]
fn off_without_an_outlet_ends_with_the_signs_that_it_is_down() {
    let mut machine = Sleeper::awake(None);
    let done = machine.run(task(Verb::Off, Cut::Never));
    assert_eq!(done.record().state, State::Done);
    assert_eq!(done.record().evidence, "shut down; nothing cuts its power");
    assert_eq!(done.record().reached.map(|(state, _)| state), Some(PowerState::Off));
}

#[test]
fn a_last_resort_cuts_only_what_did_not_go_down() {
    let mut machine = Sleeper::awake(Some(PowerState::On));
    let done = machine.run(task(Verb::Off, Cut::LastResort));
    assert_eq!(done.record().evidence, "shut down; its outlets stay closed");
    assert_eq!(machine.edges, []);

    let deaf = Err("no route to host".to_owned());
    let mut machine = Sleeper { soft_off: deaf, ..Sleeper::awake(Some(PowerState::On)) };
    let done = machine.run(task(Verb::Off, Cut::LastResort));
    assert_eq!(done.record().state, State::Done);
    assert_eq!(machine.edges, [PowerState::Off]);
}

#[test]
fn an_off_that_waits_for_packets_that_were_sent_begins_once_the_machine_answers() {
    let ended = |machine: &mut Sleeper, min_on| {
        let began = machine.now;
        let (may_cut_at, may_wake_until) = (began + min_on, began + PATIENCE);
        let done = machine.run(Task { may_cut_at, may_wake_until, ..task(Verb::Off, Cut::Never) });
        assert_eq!(done.record().evidence, "shut down; nothing cuts its power");
        machine.now.since(began)
    };
    let waking = || {
        let machine = Sleeper::new(None);
        Sleeper { awake_at: Some(machine.now + machine.boots_in), ..machine }
    };
    let (boot, settle) = (Duration::from_secs(20), Duration::from_secs(5));
    let took = ended(&mut waking(), Duration::ZERO);
    assert!((boot + settle..boot + settle * 3).contains(&took), "{took:?}");
    let took = ended(&mut waking(), boot * 3);
    assert!(took >= boot * 3 + settle, "it keeps its min_on: {took:?}");
    let took = ended(&mut Sleeper::new(None), Duration::ZERO);
    assert!(
        took >= PATIENCE,
        "one that is silent is asked when it can not wake any longer: {took:?}"
    );
}

#[test]
fn silence_after_a_soft_off_that_failed_is_no_off() {
    let deaf = Err("no route to host".to_owned());
    let mut up = Sleeper { soft_off: deaf.clone(), ..Sleeper::awake(None) };
    let failed = up.run(task(Verb::Off, Cut::Never));
    assert_eq!(failed.record().state, State::Failed { untouched: false });
    assert!(failed.record().stays_up, "what is known to be up is put aside");
    assert_eq!(failed.record().reached, None);

    let mut silent = Sleeper { soft_off: deaf, ..Sleeper::new(None) };
    let failed = silent.run(task(Verb::Off, Cut::Never));
    assert_eq!(failed.record().state, State::Failed { untouched: false });
    assert!(!failed.record().stays_up, "it may be off already");
    assert_eq!(failed.record().reached, None, "and nobody says that it is");
}

#[test]
fn a_machine_that_nothing_shuts_down_and_nothing_cuts_is_left_alone() {
    let mut machine = Sleeper::awake(None);
    for verb in [Verb::Off, Verb::Cycle] {
        let failed = machine.run(Task { soft_off: None, ..task(verb, Cut::Never) });
        assert_eq!(failed.record().state, State::Failed { untouched: true });
    }
    assert!(machine.is_awake());
}

#[test]
fn a_cycle_shuts_down_rests_and_wakes() {
    for cut in [Cut::Never, Cut::LastResort, Cut::After] {
        let outlet = (cut != Cut::Never).then_some(PowerState::On);
        let mut machine = Sleeper::awake(outlet);
        let began = machine.now;
        let done = machine.run(task(Verb::Cycle, cut));
        assert_eq!(done.record().state, State::Done, "{cut:?}: {}", done.record().evidence);
        let edges: &[PowerState] =
            if cut == Cut::After { &[PowerState::Off, PowerState::On] } else { &[] };
        assert_eq!(machine.edges, edges, "{cut:?}");
        assert!(machine.sent[0].since(began) >= Duration::from_secs(15), "settle and dwell");
        assert!(machine.is_awake());
    }
}

#[test]
fn an_agent_that_comes_back_sends_again() {
    let mut machine = Sleeper { lost: 1, ..Sleeper::new(None) };
    let mut sequencer = Sequencer::begin(task(Verb::On, Cut::Never), machine.now);
    while machine.sent.is_empty() {
        machine.act(&mut sequencer);
    }
    machine.now = machine.now + Duration::from_secs(7);
    let mut again = Sequencer::resume(sequencer.record().clone(), machine.now).unwrap();
    assert!(matches!(again.poll(machine.now), Action::Wake { .. }));
    machine.finish(&mut again);
    assert_eq!(again.record().state, State::Done);
}

#[test]
fn a_journal_that_takes_nothing_ends_it_before_the_first_packet_and_not_after() {
    let mut machine = Sleeper { lost: u32::MAX, ..Sleeper::new(None) };
    let mut sequencer = Sequencer::begin(task(Verb::On, Cut::Never), machine.now);
    while sequencer.record().phase() != Phase::Waking {
        machine.act(&mut sequencer);
    }
    let mut ended = sequencer.clone();
    ended.handle(Input::Unwritten("the disk is full".to_owned()), machine.now);
    assert_eq!(ended.record().state, State::Failed { untouched: true });
    while machine.sent.is_empty() {
        machine.act(&mut sequencer);
    }
    sequencer.handle(Input::Unwritten("the disk is full".to_owned()), machine.now);
    assert_eq!(sequencer.record().phase(), Phase::Waking);
}

#[test]
fn a_dry_run_tells_of_the_waking_and_how_long_it_may_take() {
    let now = Moment::from_millis(1_000_000);
    let line = OutletNow { can_read_back: true, reading: Some(PowerState::Off) };
    let asleep = Assumed {
        outlets: vec![line],
        trouble: None,
        room_at: None,
        node: NodeSign::NotKnown,
        life: None,
    };
    let sequencer = Sequencer::begin(task(Verb::On, Cut::After), now);
    let told = foretell(&sequencer, &asleep, now);
    let doings: Vec<Doing> = told.steps.iter().map(|step| step.doing).collect();
    assert_eq!(doings, [Doing::Drive(PowerState::On), Doing::Wake]);
    assert!(told.well);
    assert!(told.by >= PATIENCE - Duration::from_secs(1), "{told:?}");

    let awake = Assumed { life: Some("ping".to_owned()), outlets: Vec::new(), ..asleep };
    let sequencer = Sequencer::begin(task(Verb::On, Cut::Never), now);
    assert_eq!(foretell(&sequencer, &awake, now).steps, []);
}

proptest! {
    /// Whatever is lost and however slow it boots, it ends in time; done only with a sign of life.
    #[test]
    fn waking_ends_in_time_and_well_only_with_a_sign_of_life(
        lost in 0u32..300, boots_in in 0u64..300, outlet in any::<bool>(), stops_at in 1usize..200,
    ) {
        let outlet = outlet.then_some(PowerState::Off);
        let boots_in = Duration::from_secs(boots_in);
        let mut machine = Sleeper { lost, boots_in, ..Sleeper::new(outlet) };
        let cut = if outlet.is_some() { Cut::After } else { Cut::Never };
        let mut sequencer = Sequencer::begin(task(Verb::On, cut), machine.now);
        let deadline = sequencer.record().deadline();
        for _ in 0..stops_at {
            machine.act(&mut sequencer);
        }
        if !sequencer.record().phase().is_finished() {
            sequencer = Sequencer::resume(sequencer.record().clone(), machine.now).unwrap();
        }
        machine.finish(&mut sequencer);
        prop_assert!(machine.now < deadline);
        let (done, evidence) = (sequencer.record().state == State::Done, &sequencer.record().evidence);
        prop_assert!(!done || machine.is_awake(), "{evidence}");
        // What wakes between the last look and the end is not seen any more.
        let in_time = machine.is_awake() && machine.awake_at.is_some_and(|at| at + WAKE_PAUSE < machine.now);
        prop_assert!(done || !in_time, "{evidence}");
    }
}
