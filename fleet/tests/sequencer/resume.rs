//! Goal: what an agent's death leaves is finished or reported, and no cut rests on a proof that may be void. Method: the
//! sequencer as it stood on the disk, and the time that has passed.

use std::time::Duration;

use fleet::arbiter::must_be_proven_anew;
use fleet::sequencer::{MOVE_DEADLINE, RESTART_GRACE, Task};
use fleet::{ClusterId, Fence, FenceNumber, Origin, Phase, PoolName, PowerState, Sequencer, Verb};

use crate::{Bench, task};

#[test]
fn a_cycle_that_died_while_it_was_off_is_finished_and_an_old_one_is_not() {
    let mut bench = Bench::new(PowerState::On);
    let mut sequencer = Sequencer::begin(task(Verb::Cycle), bench.now);
    while sequencer.record().phase() != Phase::Dwelling {
        assert!(bench.act(&mut sequencer));
    }
    let record = sequencer.record().clone();
    let late = bench.now + Duration::from_secs(300);
    bench.now = late;
    let mut resumed = Sequencer::resume(record.clone(), late).expect("its time still runs");
    bench.run(&mut resumed);
    assert_eq!((bench.line, bench.edges.len()), (PowerState::On, 2));
    let too_late = record.deadline() + Duration::from_millis(1);
    assert!(too_late.since(record.began) > RESTART_GRACE);
    assert_eq!(Sequencer::resume(record, too_late), None);
}

#[test]
fn a_policys_cut_goes_on_after_soft_off_while_its_own_time_runs_and_later_wants_a_new_proof() {
    let fence = Fence {
        cluster: ClusterId::new("global").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        number: FenceNumber(1),
    };
    let (policy, person) = (Origin::Autoscaler(fence), Origin::Person("ada".to_owned()));
    let soft_off = Some(Duration::from_secs(10));
    for (verb, soft_off, at_once, later) in [
        (Verb::Off, soft_off, false, true),
        (Verb::Off, None, true, true),
        (Verb::Cycle, None, false, false),
    ] {
        let mut bench = Bench::new(PowerState::On);
        let mut sequencer = Sequencer::begin(Task { soft_off, ..task(verb) }, bench.now);
        while sequencer.record().phase() != Phase::Cutting {
            assert!(bench.act(&mut sequencer));
        }
        let record = sequencer.record();
        let past = bench.now + MOVE_DEADLINE + Duration::from_secs(1);
        assert_eq!(must_be_proven_anew(&policy, record, bench.now), at_once, "{verb:?}");
        assert_eq!(must_be_proven_anew(&policy, record, past), later, "{verb:?}");
        assert!(!must_be_proven_anew(&person, record, past), "it is the person's own word");
    }
    let begun = Sequencer::begin(task(Verb::Cycle), Bench::new(PowerState::On).now);
    assert!(must_be_proven_anew(&policy, begun.record(), Bench::new(PowerState::On).now));
}
