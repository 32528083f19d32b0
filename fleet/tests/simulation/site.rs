//! What stands where: two racks with an agent each, two pools that both racks have machines of, and their policies.

use fleet::PoolName;
use fleet::drift::DriftPolicy;

/// Which machine hangs on which rack.
pub(crate) const RACKS: [&[&str]; 2] = [&["a1", "a2", "a3", "c1"], &["b1", "b2", "c2"]];

/// What each rack's feed may carry, in milliamperes: all but one machine of the first rack with the start of the last of
/// them, and all of the second, whose board can not be read, so that each counts as on for ever.
pub(crate) const BUDGETS: [u64; 2] = [9000, 9000];
/// What a machine takes once it runs.
pub(crate) const RUNNING: u64 = 2000;
/// What it takes while it starts.
pub(crate) const INRUSH: u64 = 5000;
/// For how long, in seconds.
pub(crate) const INRUSH_FOR: u64 = 6;

/// Machines that are lit again where they go dark by themselves.
const ENFORCED: [&str; 3] = ["a1", "a2", "c1"];

/// One pool.
pub(crate) struct Pool {
    name: &'static str,
    pub(crate) machines: &'static [&'static str],
    /// The names of its policies' demands.
    pub(crate) voices: &'static [&'static str],
    /// What is wanted at the end.
    pub(crate) wanted: u32,
}

/// All of them.
pub(crate) const POOLS: [Pool; 2] = [
    Pool {
        name: "rack",
        machines: &["a1", "a2", "a3", "b1", "b2"],
        voices: &["web", "nightly"],
        wanted: 3,
    },
    Pool { name: "cellar", machines: &["c1", "c2"], voices: &["default"], wanted: 1 },
];

impl Pool {
    pub(crate) fn name(&self) -> PoolName {
        PoolName::new(self.name).unwrap()
    }
}

pub(crate) fn pool_of(name: &str) -> &'static Pool {
    POOLS.iter().find(|pool| pool.machines.contains(&name)).unwrap()
}

pub(crate) fn rack_of(name: &str) -> usize {
    RACKS.iter().position(|names| names.contains(&name)).unwrap()
}

/// All machines.
pub(crate) fn machines() -> impl Iterator<Item = &'static str> {
    RACKS.iter().flat_map(|names| names.iter().copied())
}

pub(crate) fn drift_policy(name: &str) -> DriftPolicy {
    if ENFORCED.contains(&name) { DriftPolicy::Enforce } else { DriftPolicy::Report }
}
