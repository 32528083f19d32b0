//! Goal: no machine is cut under work by an order that was decided without knowing of it. Method: the arbiter, told what
//! Nomad says.

use fleet::arbiter::{MachineLedger, Question, Verdict, Work, question};
use fleet::{Order, Origin, PowerState, RefusalCode, Verb};

use crate::{ada, fence, hear, machine, order, refused};

#[test]
fn a_person_takes_no_power_from_work_without_saying_so() {
    let runs = Work::Runs("web[0] of job web".to_owned());
    let silent = Work::NoProof("Nomad does not answer".to_owned());
    for verb in [Verb::Off, Verb::Cycle] {
        let plain = order(verb, ada());
        assert_eq!(question(&plain, &machine()), Question::IsEmpty);
        let (code, text) = refused(&plain, &machine(), &runs);
        assert_eq!(code, RefusalCode::NotEmpty);
        assert_eq!(
            text,
            "node3 has work: web[0] of job web; --drain moves it first, --force cuts it"
        );
        assert_eq!(refused(&plain, &machine(), &silent).0, RefusalCode::NotEmpty);
        assert_eq!(refused(&plain, &machine(), &Work::NotAsked).0, RefusalCode::NotEmpty);

        let forced = Order { force: true, ..plain.clone() };
        assert!(matches!(hear(&forced, &machine(), &runs), Verdict::Begin { .. }));
        let drained = Order { drain: true, ..plain.clone() };
        assert!(matches!(hear(&drained, &machine(), &runs), Verdict::Begin { .. }));
        assert_eq!(refused(&drained, &machine(), &silent).0, RefusalCode::NotEmpty);
        assert!(matches!(hear(&plain, &machine(), &Work::Empty), Verdict::Begin { .. }));
    }
}

#[test]
fn no_proof_is_needed_of_what_is_off_in_no_pool_or_only_lit() {
    let off = MachineLedger { reading: Some(PowerState::Off), ..machine() };
    assert_eq!(question(&order(Verb::Off, ada()), &off), Question::None);
    assert_eq!(question(&order(Verb::Off, ada()), &MachineLedger::default()), Question::None);
    assert_eq!(question(&order(Verb::On, ada()), &machine()), Question::None);
    let policy = Origin::Autoscaler(fence(1));
    assert_eq!(question(&order(Verb::Off, policy.clone()), &off), Question::None);
    assert_eq!(question(&order(Verb::On, policy), &machine()), Question::None);
}

#[test]
fn a_policys_order_that_takes_power_is_refused_where_its_node_takes_work_and_silence_is_no_word() {
    for verb in [Verb::Off, Verb::Cycle] {
        let late = order(verb, Origin::Autoscaler(fence(1)));
        assert_eq!(question(&late, &machine()), Question::TakesWork);
        let (code, text) = refused(&late, &machine(), &Work::TakesWork);
        assert_eq!(code, RefusalCode::NotEmpty);
        assert_eq!(
            text,
            "node3's node takes work: somebody has freed it since this was decided, which is to be decided anew"
        );
        let silent = Work::NoProof("Nomad does not answer".to_owned());
        for told in [Work::NotAsked, silent] {
            assert_eq!(hear(&late, &machine(), &told), Verdict::Begin { hold: None });
        }
    }
}
