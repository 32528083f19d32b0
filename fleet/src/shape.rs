//! What a machine offers and what work asks for, in Nomad's units.

use std::collections::BTreeMap;

/// An amount of what Nomad places by: CPU in MHz, memory and disk in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// CPU shares, in MHz.
    pub cpu_mhz: u64,
    /// Memory, in MiB.
    pub memory_mb: u64,
    /// Disk, in MiB.
    pub disk_mb: u64,
}

impl Resources {
    /// Whether `ask` fits into this.
    #[must_use]
    pub const fn holds(&self, ask: &Resources) -> bool {
        self.cpu_mhz >= ask.cpu_mhz
            && self.memory_mb >= ask.memory_mb
            && self.disk_mb >= ask.disk_mb
    }

    /// What is left after `used` is taken; never below zero.
    #[must_use]
    pub const fn less(&self, used: &Resources) -> Resources {
        Resources {
            cpu_mhz: self.cpu_mhz.saturating_sub(used.cpu_mhz),
            memory_mb: self.memory_mb.saturating_sub(used.memory_mb),
            disk_mb: self.disk_mb.saturating_sub(used.disk_mb),
        }
    }

    /// Both together, saturating.
    #[must_use]
    pub const fn plus(&self, other: &Resources) -> Resources {
        Resources {
            cpu_mhz: self.cpu_mhz.saturating_add(other.cpu_mhz),
            memory_mb: self.memory_mb.saturating_add(other.memory_mb),
            disk_mb: self.disk_mb.saturating_add(other.disk_mb),
        }
    }
}

/// A machine as the scheduler would see it: declared in the rack file, or as its node last registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// What work can use: the node's total less what it reserves.
    pub resources: Resources,
    /// The node's datacenter; empty where not known.
    pub datacenter: String,
    /// The node's pool in Nomad; empty where not known.
    pub node_pool: String,
    /// The node's class; empty where it has none or it is not known.
    pub node_class: String,
    /// What constraints ask about, by key without `${}`: `attr.kernel.name`, `meta.rack`.
    pub attributes: BTreeMap<String, String>,
}
