//! Messages that can not be taken: the error names the field, and no bytes make the conversions panic.

use agent_api::{Answer, Event, Inventory, Order, Plan, wire};
use prost::Message;

fn inventory_of(outlet: wire::Outlet) -> wire::InventoryReply {
    let machine = wire::Machine {
        name: "node3".to_owned(),
        outlets: vec![outlet],
        ..wire::Machine::default()
    };
    wire::InventoryReply { machines: vec![machine], ..wire::InventoryReply::default() }
}

#[test]
fn a_bad_name_deep_inside_is_named_by_its_path() {
    let outlet = wire::Outlet { device: "a/b".to_owned(), ..wire::Outlet::default() };
    let error = Inventory::try_from(inventory_of(outlet)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field machines[0].outlets[0].device: device \"a/b\" holds '/'; names are of letters, digits, '.', '_' and '-'"
    );
}

#[test]
fn an_unspecified_state_is_never_taken_for_off() {
    let outlet = wire::Outlet {
        device: "board1".to_owned(),
        reading: Some(wire::Reading::default()),
        ..wire::Outlet::default()
    };
    let error = Inventory::try_from(inventory_of(outlet)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field machines[0].outlets[0].reading.state: found 0, which is no power state; the other side may be newer"
    );
}

#[test]
fn a_drift_without_a_policy_is_refused() {
    let drift = wire::Drift { wanted: 2, read: 1, ..wire::Drift::default() };
    let error = agent_api::Drift::try_from(drift).unwrap_err().to_string();
    let expected = "field policy: found 0, which is no drift policy; the other side may be newer";
    assert_eq!(error, expected);
}

#[test]
fn an_order_without_an_origin_is_refused() {
    let request = wire::SetPowerRequest {
        operation_id: "op-1".to_owned(),
        machine: "node3".to_owned(),
        verb: wire::Verb::Off.into(),
        ..wire::SetPowerRequest::default()
    };
    assert_eq!(Order::try_from(request).unwrap_err().to_string(), "field origin: missing");
    let request = wire::SetPowerRequest {
        operation_id: "op-1".to_owned(),
        machine: "node3".to_owned(),
        verb: wire::Verb::Off.into(),
        origin: Some(wire::Origin { who: None }),
        ..wire::SetPowerRequest::default()
    };
    assert_eq!(Order::try_from(request).unwrap_err().to_string(), "field origin.who: missing");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_conversions_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..256)) {
        let bytes = bytes.as_slice();
        let taken = [
            wire::SetPowerRequest::decode(bytes).is_ok_and(|m| Order::try_from(m).is_ok()),
            wire::SetPowerReply::decode(bytes).is_ok_and(|m| Answer::try_from(m).is_ok()),
            wire::WatchEvent::decode(bytes).is_ok_and(|m| Event::try_from(m).is_ok()),
            wire::Plan::decode(bytes).is_ok_and(|m| Plan::try_from(m).is_ok()),
        ];
        // No event and no order is so short that random bytes could be one.
        proptest::prop_assert!(!taken[0] || bytes.len() > 8);
    }
}
