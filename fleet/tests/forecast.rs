//! Goal: what is foretold of a sequence is what then happens, where nothing fails. Method: the same sequencer is driven
//! by a small executor whose answers come at random within their deadlines; edges, their order and their times are
//! held against the forecast.

use std::time::Duration;

use fleet::forecast::{Assumed, Doing, Forecast, OutletNow, foretell};
use fleet::sequencer::{Action, Eligible, Input, NodeSign, Paths, Room, Task};
use fleet::{LinesSeen, Moment, OnSoftOffTimeout, PowerState, Sequencer, Verb};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, option, prop_assert, prop_assert_eq, proptest};

/// More actions than a sequence has that meets no fault.
const ACTIONS_MAX: usize = 64;

const NOW: Moment = Moment::from_millis(1_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn task(verb: Verb) -> Task {
    Task {
        verb,
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
        drain: Some(seconds(600)),
        soft_off: Some(seconds(60)),
        settle: seconds(5),
        off_dwell: seconds(8),
        may_cut_at: Moment::ZERO,
        may_wake_until: Moment::ZERO,
        may_light_at: Moment::ZERO,
        fed: false,
        paths: Paths::default(),
    }
}

fn outlet(can_read_back: bool, reading: Option<PowerState>) -> OutletNow {
    OutletNow { can_read_back, reading: reading.filter(|_| can_read_back) }
}

fn lit() -> Assumed {
    let outlets = vec![outlet(true, Some(PowerState::On))];
    Assumed { outlets, trouble: None, room_at: None, node: NodeSign::Down, life: None }
}

fn told(forecast: &Forecast) -> Vec<(Doing, u64, u64)> {
    let step = |step: &fleet::forecast::Step| (step.doing, step.from.as_secs(), step.by.as_secs());
    forecast.steps.iter().map(step).collect()
}

#[test]
fn a_cycle_is_told_step_by_step_with_its_earliest_and_its_latest_times() {
    let forecast = foretell(&Sequencer::begin(task(Verb::Cycle), NOW), &lit(), NOW);
    // Looking takes up to 15 s, draining up to 600 s, a shutdown up to 60 s, a movement up to 60 s, Nomad up to 30 s.
    let expected = [
        (Doing::Drain, 0, 14),
        (Doing::SoftOff, 1, 614),
        (Doing::Settle, 1, 674),
        (Doing::Drive(PowerState::Off), 6, 679),
        (Doing::Restore, 6, 739),
        (Doing::Dwell, 6, 769),
        (Doing::Drive(PowerState::On), 14, 777),
    ];
    assert_eq!(told(&forecast), expected);
    assert!(forecast.well, "{forecast:?}");
    assert_eq!((forecast.from.as_secs(), forecast.by.as_secs()), (14, 837));
    let dwell = forecast.steps.iter().find(|step| step.doing == Doing::Dwell);
    assert_eq!(dwell.map(|step| step.lasts), Some(seconds(8)));
}

#[test]
fn what_the_hardware_must_wait_for_is_told_and_is_over_for_whoever_comes_late() {
    let (drain, soft_off) = (None, None);
    let hot = Task { may_cut_at: NOW + seconds(10), drain, soft_off, ..task(Verb::Off) };
    let forecast = foretell(&Sequencer::begin(hot, NOW), &lit(), NOW);
    let expected = [(Doing::Wait(PowerState::Off), 0, 14), (Doing::Drive(PowerState::Off), 10, 14)];
    assert_eq!(told(&forecast), expected);
    let cold = Task { may_light_at: NOW + seconds(90), ..task(Verb::On) };
    let dark = Assumed { outlets: vec![outlet(true, Some(PowerState::Off))], ..lit() };
    let forecast = foretell(&Sequencer::begin(cold, NOW), &dark, NOW);
    let expected = [(Doing::Wait(PowerState::On), 0, 14), (Doing::Drive(PowerState::On), 90, 90)];
    assert_eq!(told(&forecast), expected);
    assert_eq!(forecast.steps.first().map(|step| step.lasts), Some(seconds(90)));
}

#[test]
fn what_waits_for_its_feeds_is_told_with_the_moment_at_which_they_have_room() {
    let dark = vec![outlet(true, Some(PowerState::Off))];
    let crowded = Assumed { outlets: dark, room_at: Some(NOW + seconds(40)), ..lit() };
    let on = Task { fed: true, ..task(Verb::On) };
    let forecast = foretell(&Sequencer::begin(on, NOW), &crowded, NOW);
    let (waits, closes) = (Doing::AwaitRoom(PowerState::On), Doing::Drive(PowerState::On));
    assert_eq!(told(&forecast), [(waits, 0, 14), (closes, 40, 40)]);
}

#[test]
fn a_sequence_that_runs_is_told_from_where_it_is() {
    let mut sequencer = Sequencer::begin(task(Verb::Off), NOW);
    let seen = LinesSeen::default().and(Some(PowerState::On));
    sequencer.handle(Input::Seen(Ok(seen)), NOW);
    sequencer.handle(Input::DrainOrdered(Ok(Eligible::Yes)), NOW);
    let later = NOW + seconds(100);
    let forecast = foretell(&sequencer, &lit(), later);
    assert_eq!(told(&forecast).first(), Some(&(Doing::Drain, 0, 0)));
    assert_eq!(forecast.steps.first().map(|step| step.lasts), Some(seconds(500)));
    sequencer.handle(Input::CalledOff("bob wants it on".to_owned()), later);
    let forecast = foretell(&sequencer, &lit(), later);
    assert_eq!(told(&forecast), [(Doing::Undrain, 0, 0)]);
    assert!(!forecast.well && forecast.evidence.contains("bob wants it on"), "{forecast:?}");
}

#[test]
fn what_can_not_be_read_is_not_moved_and_what_stands_so_moves_no_contact() {
    let silent = Assumed { trouble: Some("no such port".to_owned()), ..lit() };
    let forecast = foretell(&Sequencer::begin(task(Verb::Off), NOW), &silent, NOW);
    assert!(forecast.steps.is_empty() && !forecast.well, "{forecast:?}");
    assert!(forecast.evidence.contains("nothing was done: no such port"), "{forecast:?}");
    let forecast = foretell(&Sequencer::begin(task(Verb::On), NOW), &lit(), NOW);
    assert!(forecast.steps.is_empty() && forecast.well, "it is on: {forecast:?}");
    let half = [Some(PowerState::Off), Some(PowerState::On)].map(|reading| outlet(true, reading));
    let half = Assumed { outlets: half.to_vec(), ..lit() };
    let forecast = foretell(&Sequencer::begin(task(Verb::Cycle), NOW), &half, NOW);
    let moved = forecast.steps.iter().filter(|step| matches!(step.doing, Doing::Drive(_)));
    assert_eq!(moved.map(|step| step.outlets.clone()).collect::<Vec<_>>(), [vec![1], vec![0, 1]]);
}

/// The machine as it really is; a board that tells nothing has a contact all the same.
struct Bench {
    lines: Vec<(bool, PowerState)>,
    node: NodeSign,
    room_at: Option<Moment>,
    now: Moment,
    edges: Vec<(PowerState, usize, Moment)>,
}

impl Bench {
    /// Does one action, and answers after that share of the time that it may take; `false` when there is none left.
    fn act(&mut self, sequencer: &mut Sequencer, share: u8) -> bool {
        let action = sequencer.poll(self.now);
        let (until, least) = match action {
            Action::Wake { .. }
            | Action::LookForLife { .. }
            | Action::WatchLife { .. }
            | Action::Finished => return false,
            Action::Wait { until } => {
                self.now = until;
                return true;
            }
            // The feeds answer at once, of memory.
            Action::AskRoom { ask_at, .. } => {
                self.now = self.now.max(ask_at);
                (self.now, Duration::ZERO)
            }
            Action::WatchDrain { until } => (until, seconds(1)),
            Action::ReadBack { until }
            | Action::Drive { until, .. }
            | Action::OrderDrain { until }
            | Action::CancelDrain { until }
            | Action::SoftOff { until }
            | Action::WatchNode { until } => (until, Duration::ZERO),
        };
        let last = until.ago(Duration::from_millis(1)).max(self.now);
        let span = last.since(self.now) * u32::from(share) / u32::from(u8::MAX);
        self.now = (self.now + span.max(least)).min(last);
        let input = match action {
            Action::ReadBack { .. } => Input::Seen(Ok(self.seen())),
            Action::Drive { state, .. } => {
                self.drive(state);
                Input::Driven(Ok(()))
            }
            Action::OrderDrain { .. } => Input::DrainOrdered(Ok(Eligible::Yes)),
            Action::WatchDrain { .. } => Input::DrainSeen(None),
            Action::CancelDrain { .. } => Input::Undrained(Ok(())),
            Action::SoftOff { .. } => Input::SoftOffEnded(Ok(())),
            Action::AskRoom { .. } => Input::Room(match self.room_at.filter(|at| *at > self.now) {
                Some(ask_at) => Room::Taken { ask_at, why: String::new() },
                None => Room::Free,
            }),
            Action::WatchNode { .. } => Input::NodeSeen(self.node),
            Action::Wake { .. }
            | Action::LookForLife { .. }
            | Action::WatchLife { .. }
            | Action::Wait { .. }
            | Action::Finished => return false,
        };
        sequencer.handle(input, self.now);
        if matches!(action, Action::WatchNode { .. })
            && let fleet::sequencer::State::Settling { until, .. } = sequencer.record().state
        {
            self.now = until;
        }
        true
    }

    fn seen(&self) -> LinesSeen {
        let reading = |(readable, state): &(bool, PowerState)| readable.then_some(*state);
        self.lines.iter().map(reading).fold(LinesSeen::default(), LinesSeen::and)
    }

    fn drive(&mut self, wanted: PowerState) {
        for (index, (readable, state)) in self.lines.iter_mut().enumerate() {
            // Of a contact that nobody can read, every movement that may be is one.
            if !*readable || *state != wanted {
                self.edges.push((wanted, index, self.now));
            }
            *state = wanted;
        }
    }
}

fn power() -> impl Strategy<Value = PowerState> {
    any::<bool>().prop_map(|on| if on { PowerState::On } else { PowerState::Off })
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![Just(Verb::On), Just(Verb::Off), Just(Verb::Cycle)]
}

proptest! {
    #[test]
    fn the_way_that_is_taken_lies_within_what_was_foretold(
        verb in verb(),
        lines in collection::vec((any::<bool>(), power()), 1..4),
        (drain, soft_off) in (option::of(1_u64..900), option::of(1_u64..120)),
        (settle, dwell) in (0_u64..20, 0_u64..20),
        (hot, cold, room) in (0_u64..100, 0_u64..100, 0_u64..100),
        (node, cut, fed) in (any::<bool>(), any::<bool>(), any::<bool>()),
        shares in collection::vec(any::<u8>(), ACTIONS_MAX),
    ) {
        let task = Task {
            verb,
            on_soft_off_timeout: if cut { OnSoftOffTimeout::Cut } else { OnSoftOffTimeout::Quarantine },
            drain: drain.map(seconds),
            soft_off: soft_off.map(seconds),
            settle: seconds(settle),
            off_dwell: seconds(dwell),
            may_cut_at: NOW + seconds(hot),
            may_wake_until: Moment::ZERO,
            may_light_at: NOW + seconds(cold),
            fed,
            paths: Paths::default(),
        };
        let node = if node { NodeSign::Down } else { NodeSign::NotKnown };
        let outlets = lines.iter().map(|(readable, state)| outlet(*readable, Some(*state)));
        let room_at = fed.then_some(NOW + seconds(room));
        let assumed = Assumed { outlets: outlets.collect(), trouble: None, room_at, node, life: None };
        let mut sequencer = Sequencer::begin(task, NOW);
        let forecast = foretell(&sequencer, &assumed, NOW);
        let mut bench = Bench { lines, node, room_at, now: NOW, edges: Vec::new() };
        for share in shares {
            if !bench.act(&mut sequencer, share) {
                break;
            }
        }
        prop_assert_eq!(sequencer.poll(bench.now), Action::Finished);
        let steps = forecast.steps.iter();
        let drives = steps.filter_map(|step| match step.doing {
            Doing::Drive(state) => Some((state, step)),
            _ => None,
        });
        let foretold: Vec<_> = drives
            .flat_map(|(state, step)| step.outlets.iter().map(move |index| (state, *index, step)))
            .collect();
        let order: Vec<_> = foretold.iter().map(|(state, index, _)| (*state, *index)).collect();
        let moved: Vec<_> = bench.edges.iter().map(|(state, index, _)| (*state, *index)).collect();
        prop_assert_eq!(order, moved, "{:?}", forecast);
        for ((_, _, step), (_, _, at)) in foretold.iter().zip(&bench.edges) {
            let at = at.since(NOW);
            // A contact moves within its own step, which may take as long as it says.
            prop_assert!(step.from <= at && at <= step.by + step.lasts, "{:?} at {:?}", step, at);
        }
        let end = bench.now.since(NOW);
        prop_assert!(forecast.from <= end && end <= forecast.by, "{:?} at {:?}", forecast, end);
        prop_assert_eq!(forecast.well, sequencer.record().state == fleet::sequencer::State::Done);
    }
}
