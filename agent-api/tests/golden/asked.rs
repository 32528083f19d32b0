//! What an agent is asked, and its answers.

use std::time::Duration;

use agent_api::{
    Answer, DryRun, Forecast, ForecastStep, Foretold, HoldEnds, OnSoftOffTimeout, Order, Pending,
    Phase, Refusal, RefusalCode, Release, Released, TakeHold, Taken, wire,
};
use fleet::forecast::Doing;
use fleet::{
    DeviceName, HoldKind, MachineName, OperationId, Origin, PlanId, PowerState, Reason, Verb,
};

use prost::Message as _;

use crate::{check, fence, golden, hex, hold, operation};

fn order(origin: Origin) -> Order {
    Order {
        operation: OperationId::new("op-8").unwrap(),
        machine: MachineName::new("node3").unwrap(),
        verb: Verb::Off,
        reason: Reason::new("pool rack wants 2, this is idle for 10 min"),
        origin,
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: OnSoftOffTimeout::Quarantine,
        force: false,
        drain: true,
        plan: None,
    }
}

#[test]
fn an_order_of_the_autoscaler_keeps_its_bytes() {
    check::<Order, wire::SetPowerRequest>(
        "set_power_autoscaler.hex",
        &order(Origin::Autoscaler(fence(5))),
    );
}

#[test]
fn an_order_of_a_plan_keeps_its_bytes() {
    let plan = PlanId::new("plan-12").ok();
    let order = Order { plan, ..order(Origin::Autoscaler(fence(5))) };
    check::<Order, wire::SetPowerRequest>("set_power_of_plan.hex", &order);
}

#[test]
fn an_order_of_a_person_keeps_its_bytes() {
    check::<Order, wire::SetPowerRequest>(
        "set_power_person.hex",
        &order(Origin::Person("ada".to_owned())),
    );
}

#[test]
fn answers_keep_their_bytes() {
    let operation = operation(Phase::Draining);
    check::<Answer, wire::SetPowerReply>(
        "answer_accepted.hex",
        &Answer::Accepted { operation, repeated: true },
    );
    let text = "held off by ada since 1 min: new fan; `power-agent release node3` ends that";
    check::<Answer, wire::SetPowerReply>(
        "answer_refused.hex",
        &Answer::Refused(Refusal { code: RefusalCode::Held, text: text.to_owned() }),
    );
}

#[test]
fn a_refusal_for_want_of_a_role_keeps_its_bytes() {
    let text = "\"eve\" (viewer) may not order machines";
    check::<Answer, wire::SetPowerReply>(
        "answer_forbidden.hex",
        &Answer::Refused(Refusal { code: RefusalCode::Forbidden, text: text.to_owned() }),
    );
}

fn forecast() -> Forecast {
    let step = |doing, from, by| ForecastStep {
        doing,
        from: Duration::from_secs(from),
        by: Duration::from_secs(by),
        lasts: Duration::from_millis(8_500),
        outlets: Vec::new(),
    };
    let outlets = [("board1", 3), ("board2", 1)];
    let outlets = outlets.map(|(device, number)| (DeviceName::new(device).unwrap(), number));
    let (opens, closes) = (Doing::Drive(PowerState::Off), Doing::Drive(PowerState::On));
    Forecast {
        operation: OperationId::new("op-8").unwrap(),
        verb: Verb::Cycle,
        steps: vec![
            step(Doing::Drain, 0, 15),
            step(Doing::Undrain, 0, 15),
            step(Doing::Wait(PowerState::Off), 1, 615),
            step(Doing::SoftOff, 1, 615),
            step(Doing::Settle, 2, 675),
            ForecastStep { outlets: outlets.to_vec(), ..step(opens, 7, 680) },
            step(Doing::Restore, 7, 740),
            step(Doing::Dwell, 7, 770),
            step(Doing::Wait(PowerState::On), 8, 778),
            step(closes, 15, 778),
        ],
        from: Duration::from_secs(15),
        by: Duration::from_secs(838),
        well: true,
        evidence: "read back on".to_owned(),
        on_soft_off_timeout: OnSoftOffTimeout::Cut,
    }
}

#[test]
fn what_is_foretold_keeps_its_bytes() {
    let hold = Some(hold(HoldKind::Off, HoldEnds::Released));
    let called_off = Some(Forecast { steps: Vec::new(), well: false, ..forecast() });
    let work = Some("web of job web (running)".to_owned());
    let begins = DryRun { answer: Foretold::Begins(forecast()), called_off, hold, work };
    check::<DryRun, wire::DryRunReply>("dry_run_begins.hex", &begins);
    let on_soft_off_timeout = OnSoftOffTimeout::Quarantine;
    let other = Forecast { on_soft_off_timeout, steps: Vec::new(), ..forecast() };
    let quarantines = DryRun { answer: Foretold::Begins(other), called_off: None, ..begins };
    check::<DryRun, wire::DryRunReply>("dry_run_quarantines.hex", &quarantines);
    let refusal = Refusal { code: RefusalCode::Held, text: "it is ada's".to_owned() };
    check::<DryRun, wire::DryRunReply>("dry_run_refused.hex", &DryRun::refused(refusal.clone()));
    for to in [PowerState::Off, PowerState::On] {
        let step = ForecastStep { doing: Doing::AwaitRoom(to), ..forecast().steps.remove(0) };
        assert_eq!(ForecastStep::try_from(wire::ForecastStep::from(&step)).unwrap(), step);
    }
    for answer in [Foretold::Joins(forecast()), Foretold::Known] {
        let run = DryRun { answer, ..DryRun::refused(refusal.clone()) };
        assert_eq!(DryRun::try_from(wire::DryRunReply::from(&run)).unwrap(), run);
    }
    let pending = Pending {
        machine: MachineName::new("node3").unwrap(),
        forecast: Some(forecast()),
        owed: OperationId::new("op-7").ok(),
        relit_in: Some(Duration::from_secs(5)),
    };
    check::<Pending, wire::PendingMachine>("pending.hex", &pending);
}

#[test]
fn holds_that_are_asked_for_and_released_keep_their_bytes() {
    let machine = || MachineName::new("node3").unwrap();
    let asked = TakeHold {
        machine: machine(),
        kind: HoldKind::Reservation,
        by: "bob".to_owned(),
        reason: Reason::new("course"),
        span: Some(Duration::from_secs(7200)),
        force: true,
    };
    check::<TakeHold, wire::SetHoldRequest>("set_hold.hex", &asked);
    let taken = Taken::Held(hold(HoldKind::Reservation, HoldEnds::Expired));
    check::<Taken, wire::SetHoldReply>("set_hold_taken.hex", &taken);
    let refusal = Refusal { code: RefusalCode::Reserved, text: "it is ada's".to_owned() };
    let refused = Taken::Refused(refusal.clone());
    check::<Taken, wire::SetHoldReply>("set_hold_refused.hex", &refused);
    let asked = Release {
        machine: machine(),
        by: "bob".to_owned(),
        kind: Some(HoldKind::Maintenance),
        force: true,
    };
    check::<Release, wire::ReleaseRequest>("release.hex", &asked);
    let released = Released {
        ended: vec![hold(HoldKind::Off, HoldEnds::Released)],
        was_quarantined: true,
        refused: Some(refusal),
    };
    check::<Released, wire::ReleaseReply>("released.hex", &released);
}

#[test]
fn a_reset_of_a_fence() {
    let request = wire::ResetFenceRequest {
        pool: "rack".to_owned(),
        cluster: "global".to_owned(),
        by: "ada".to_owned(),
        reason: "restored from a snapshot".to_owned(),
    };
    let reply = wire::ResetFenceReply { was: Some((&fence(7)).into()) };
    let messages = [
        ("reset_fence.hex", request.encode_to_vec()),
        ("reset_fence_reply.hex", reply.encode_to_vec()),
    ];
    for (name, encoded) in messages {
        assert_eq!(hex(&encoded), golden(name, &encoded), "{name}");
    }
}
