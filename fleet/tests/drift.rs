//! Goal: drift is told after two readings, and acted on only towards on, only where it was seen to begin, boundedly, and
//! never against a person or a sequence. Method: named stories, then random readings held against these rules.

use std::time::Duration;

use fleet::drift::{DriftPolicy, DriftWatch, REST, STAGGER, Seen, TRIES_MAX, Verdict};
use fleet::{LinesSeen, Moment, OperationId, PowerState};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

const POLL: Duration = Duration::from_secs(10);

/// Readings within which a dead contact is given up: its tries take three minutes, which are 18.
const READINGS_UNTIL_GIVEN_UP_MAX: usize = 50;

struct Bench {
    watch: DriftWatch,
    order: OperationId,
    wanted: PowerState,
    policy: DriftPolicy,
    barred: bool,
    busy: bool,
    last_try: Option<Moment>,
    now: Moment,
}

impl Bench {
    fn new(wanted: PowerState, policy: DriftPolicy) -> Self {
        Self {
            watch: DriftWatch::default(),
            order: OperationId::new("op-1").expect("an id"),
            wanted,
            policy,
            barred: false,
            busy: false,
            last_try: None,
            now: Moment::from_millis(1_000_000),
        }
    }

    fn reads(&mut self, state: PowerState) -> Verdict {
        self.sees(LinesSeen::default().and(Some(state)))
    }

    fn sees(&mut self, lines: LinesSeen) -> Verdict {
        self.now = self.now + POLL;
        let seen = Seen {
            wanted: Some((self.wanted, &self.order)),
            lines,
            busy: self.busy,
            barred: self.barred,
            policy: self.policy,
            last_try: self.last_try,
        };
        self.watch.see(seen, self.now)
    }
}

use DriftPolicy::{Enforce, Report};
use PowerState::{Off, On};

const NEW: Verdict = Verdict::Enforce { is_new: true };

#[test]
fn one_reading_is_no_drift_and_two_are_told_once() {
    let mut bench = Bench::new(On, Report);
    assert_eq!((bench.reads(On), bench.reads(Off)), (Verdict::Nothing, Verdict::Nothing));
    assert_eq!(bench.watch.drift(), None);
    let first = bench.now;
    assert_eq!((bench.reads(Off), bench.reads(Off)), (Verdict::Report, Verdict::Nothing));
    let drift = bench.watch.drift().expect("it is told");
    assert_eq!((drift.since, drift.wanted, drift.read, drift.tries), (first, On, Off, 0));
    assert_eq!((bench.reads(On), bench.watch.drift()), (Verdict::Over, None));
    assert_eq!(bench.reads(Off), Verdict::Nothing, "it begins anew");
}

#[test]
fn where_the_file_says_so_it_is_lit_again_with_rests_and_then_given_up_until_it_reads_right() {
    let mut bench = Bench::new(On, Enforce);
    bench.reads(On);
    bench.reads(Off);
    assert_eq!(bench.reads(Off), NEW);
    bench.watch.tried();
    let mut tries = vec![bench.now];
    let mut gave_up = false;
    for _ in 0..READINGS_UNTIL_GIVEN_UP_MAX {
        match bench.reads(Off) {
            Verdict::Enforce { is_new } => {
                assert!(!is_new);
                bench.watch.tried();
                tries.push(bench.now);
            }
            Verdict::GiveUp => {
                gave_up = true;
                break;
            }
            other => assert_eq!(other, Verdict::Nothing),
        }
    }
    assert!(gave_up, "it never gives up: {tries:?}");
    assert_eq!(tries.len(), usize::try_from(TRIES_MAX).unwrap());
    assert!(tries.windows(2).all(|pair| pair[1].since(pair[0]) >= REST), "{tries:?}");
    assert!(bench.watch.drift().is_some_and(|drift| drift.gave_up));
    for _ in 0..100 {
        assert_eq!(bench.reads(Off), Verdict::Nothing, "a person must look");
    }
    assert_eq!(bench.reads(On), Verdict::Over, "the fault clears itself");
    bench.reads(Off);
    assert_eq!(bench.reads(Off), NEW, "and its tries are whole again");
}

#[test]
fn what_should_be_off_is_never_cut() {
    let mut bench = Bench::new(Off, Enforce);
    bench.reads(Off);
    bench.reads(On);
    assert_eq!(bench.reads(On), Verdict::Report);
    for _ in 0..100 {
        assert_eq!(bench.reads(On), Verdict::Nothing);
    }
}

#[test]
fn what_was_never_seen_as_ordered_is_told_and_not_moved() {
    let mut bench = Bench::new(On, Enforce);
    bench.reads(Off);
    assert_eq!(bench.reads(Off), Verdict::Report, "found so: it may have been so for a week");
    for _ in 0..20 {
        assert_eq!(bench.reads(Off), Verdict::Nothing);
    }
    bench.reads(On);
    bench.order = OperationId::new("op-2").unwrap();
    bench.reads(Off);
    assert_eq!(bench.reads(Off), Verdict::Report, "another order has not been seen obeyed");
}

#[test]
fn a_hold_keeps_it_as_it_is_and_its_end_lets_it_be_lit() {
    let mut bench = Bench::new(On, Enforce);
    bench.reads(On);
    bench.barred = true;
    bench.reads(Off);
    assert_eq!((bench.reads(Off), bench.reads(Off)), (Verdict::Report, Verdict::Nothing));
    bench.barred = false;
    assert_eq!(bench.reads(Off), Verdict::Enforce { is_new: false });
}

#[test]
fn a_running_sequence_and_a_silent_board_are_no_witnesses() {
    let mut bench = Bench::new(On, Enforce);
    bench.reads(On);
    bench.busy = true;
    for _ in 0..5 {
        assert_eq!(bench.reads(Off), Verdict::Nothing);
    }
    bench.busy = false;
    for _ in 0..5 {
        assert_eq!(bench.sees(LinesSeen::default().and(None)), Verdict::Nothing);
    }
    assert_eq!((bench.reads(Off), bench.reads(Off)), (Verdict::Nothing, NEW));
    bench.watch.tried();
    bench.busy = true;
    bench.reads(Off);
    bench.busy = false;
    assert_eq!(
        bench.watch.drift().map(|drift| drift.tries),
        Some(1),
        "its own try is not forgotten"
    );
}

#[test]
fn of_two_outlets_one_that_opened_is_enough() {
    let mut bench = Bench::new(On, Enforce);
    let half = LinesSeen::default().and(Some(On)).and(Some(Off));
    bench.sees(LinesSeen::default().and(Some(On)).and(Some(On)));
    assert_eq!((bench.sees(half), bench.sees(half)), (Verdict::Nothing, NEW));
}

#[test]
fn many_machines_are_not_lit_again_at_once() {
    let mut bench = Bench::new(On, Enforce);
    bench.reads(On);
    bench.reads(Off);
    bench.last_try = Some(bench.now + POLL);
    assert_eq!(bench.reads(Off), Verdict::Report, "another machine was just lit");
    assert!(POLL >= STAGGER);
    assert_eq!(bench.reads(Off), Verdict::Enforce { is_new: false });
}

#[derive(Debug, Clone)]
enum Happens {
    Reads(Option<PowerState>),
    Ordered(PowerState),
    Busy(bool),
    Barred(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    let state = || prop_oneof![Just(On), Just(Off)];
    prop_oneof![
        6 => state().prop_map(|state| Happens::Reads(Some(state))),
        1 => Just(Happens::Reads(None)),
        1 => state().prop_map(Happens::Ordered),
        1 => any::<bool>().prop_map(Happens::Busy),
        1 => any::<bool>().prop_map(Happens::Barred),
    ]
}

proptest! {
    /// Whatever is read, ordered and held in whatever order: the rules of the file's head hold.
    #[test]
    fn no_history_breaks_the_rules(
        enforce in any::<bool>(), history in proptest::collection::vec(happens(), 0..200)
    ) {
        let mut bench = Bench::new(On, if enforce { Enforce } else { Report });
        let (mut agreeing, mut was_so, mut tries) = (0_u32, false, Vec::<Moment>::new());
        for (step, happened) in history.into_iter().enumerate() {
            match happened {
                Happens::Ordered(state) => {
                    bench.wanted = state;
                    bench.order = OperationId::new(format!("op-{step}x")).unwrap();
                    (agreeing, was_so) = (0, false);
                    tries.clear();
                }
                Happens::Busy(busy) => bench.busy = busy,
                Happens::Barred(barred) => bench.barred = barred,
                Happens::Reads(state) => {
                    let verdict = bench.sees(LinesSeen::default().and(state));
                    if !bench.busy && let Some(state) = state {
                        agreeing = if state == bench.wanted { 0 } else { agreeing + 1 };
                        was_so |= state == bench.wanted;
                        if state == bench.wanted { tries.clear(); }
                    }
                    let acts = matches!(verdict, Verdict::Enforce { .. });
                    prop_assert!(!acts || (enforce && agreeing >= 2 && was_so));
                    prop_assert!(!acts || (bench.wanted == On && !bench.busy && !bench.barred));
                    prop_assert_eq!(bench.watch.drift().is_some(), agreeing >= 2);
                    if acts {
                        bench.watch.tried();
                        tries.push(bench.now);
                    }
                    prop_assert!(tries.len() <= usize::try_from(TRIES_MAX).unwrap());
                    prop_assert!(tries.windows(2).all(|pair| pair[1].since(pair[0]) >= REST));
                }
            }
        }
    }
}
