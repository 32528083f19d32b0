//! What a reading is of, byte by byte.

use agent_api::{Machine, Outlet, wire};
use fleet::ReadSource;

use super::{check, machine};

#[test]
fn what_a_reading_is_of_keeps_its_bytes() {
    let mut machine = machine();
    let [first, second] = machine.outlets.as_mut_slice() else { panic!("two outlets") };
    (first.source, second.source) = (ReadSource::Pin, ReadSource::Written);
    check::<Machine, wire::Machine>("machine_read_sources.hex", &machine);
    for source in [ReadSource::Device, ReadSource::Pin, ReadSource::Unsaid, ReadSource::Written] {
        let outlet = Outlet { source, ..machine.outlets[0].clone() };
        assert_eq!(Outlet::try_from(wire::Outlet::from(&outlet)).unwrap(), outlet);
    }
}
