//! Who may do what, on which machines: a table without a clock, a socket or a file.
//!
//! Who somebody is, [`crate::identity`] says; that is proven by a certificate or by the kernel, never by a message.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fleet::{MachineName, PoolName, hostlist};

use crate::identity::Token;

/// The most names that one rack file may give a role: a person each for a large machine room.
pub const GRANTS_MAX: usize = 1024;

/// What a role may do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks: machines, changes, plans.
    Viewer,
    /// A person: looks, switches with proof that no work is lost, holds and releases.
    Operator,
    /// A program that scales pools: orders under its fence, and keeps plans and shapes; never in a person's name.
    Autoscaler,
    /// Everything, also what loses work.
    BreakGlass,
}

impl Role {
    /// All roles, the least first, by the words of the rack file.
    pub const WORDS: &'static [(&'static str, Role)] = &[
        ("viewer", Role::Viewer),
        ("operator", Role::Operator),
        ("autoscaler", Role::Autoscaler),
        ("break-glass", Role::BreakGlass),
    ];

    /// The word of the rack file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Autoscaler => "autoscaler",
            Role::BreakGlass => "break-glass",
        }
    }

    /// The whole table.
    #[must_use]
    pub const fn may(self, deed: Deed) -> bool {
        match (self, deed) {
            (Role::BreakGlass, _) | (_, Deed::Look) => true,
            (Role::Operator, Deed::Order | Deed::Hold) => true,
            (Role::Autoscaler, Deed::Scale | Deed::Record) => true,
            (Role::Viewer | Role::Operator | Role::Autoscaler, _) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What somebody wants to do, as roles count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Read how machines stand, what was planned and what was done.
    Look,
    /// Switch a machine in a person's name, with proof that its node is empty.
    Order,
    /// Switch a machine without that proof, or pass another person's lock.
    Force,
    /// Hold, reserve, quarantine, or release a machine.
    Hold,
    /// Switch a machine under a pool's fence.
    Scale,
    /// Keep a plan, a shape or a boot time.
    Record,
    /// Forget the highest fence of a pool.
    ResetFence,
    /// A call that no line of [`CALLS`] names: nobody has thought about who may.
    Unlisted,
}

impl Deed {
    /// All deeds.
    pub const ALL: &'static [Deed] = &[
        Deed::Look,
        Deed::Order,
        Deed::Force,
        Deed::Hold,
        Deed::Scale,
        Deed::Record,
        Deed::ResetFence,
        Deed::Unlisted,
    ];

    /// The end of "may not …".
    const fn told(self) -> &'static str {
        match self {
            Deed::Look => "look at machines",
            Deed::Order => "switch machines by hand",
            Deed::Force => "pass another person's lock or the proof that a node is empty (--force)",
            Deed::Hold => "hold or release machines",
            Deed::Scale => "order in an autoscaler's name",
            Deed::Record => "keep plans, shapes and boots",
            Deed::ResetFence => "reset a fence",
            Deed::Unlisted => "make this call",
        }
    }

    fn roles(self) -> String {
        let may = Role::WORDS.iter().filter(|(_, role)| role.may(self));
        may.map(|(word, _)| *word).collect::<Vec<_>>().join(" or ")
    }
}

/// What each call takes at least. Where more decides (the fence, `force`, the machine), the service asks again.
pub const CALLS: &[(&str, Deed)] = &[
    ("Inventory", Deed::Look),
    ("Claim", Deed::Scale),
    ("Watch", Deed::Look),
    ("Plans", Deed::Look),
    ("AuditHead", Deed::Look),
    ("History", Deed::Look),
    // An order's origin says whether it is a person's or an autoscaler's.
    ("SetPower", Deed::Look),
    // A question and no order: what a person may not do, they are told as they would be.
    ("DryRun", Deed::Look),
    ("Pending", Deed::Look),
    ("Release", Deed::Hold),
    ("SetHold", Deed::Hold),
    ("RecordPlan", Deed::Record),
    ("RecordShape", Deed::Record),
    ("RecordBoot", Deed::Record),
    // As an order: the origin says whose word it is.
    ("SetQuarantine", Deed::Look),
    ("ResetFence", Deed::ResetFence),
];

/// What the call of this name takes at least.
#[must_use]
pub fn deed_of(call: &str) -> Deed {
    CALLS.iter().find(|(name, _)| *name == call).map_or(Deed::Unlisted, |(_, deed)| *deed)
}

/// Which machines a role covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// All.
    #[default]
    All,
    /// These, and those of these pools.
    Of {
        /// By name.
        machines: BTreeSet<MachineName>,
        /// By pool.
        pools: BTreeSet<PoolName>,
    },
}

impl Scope {
    /// Whether a machine is covered.
    #[must_use]
    pub fn covers(&self, machine: &MachineName, pool: Option<&PoolName>) -> bool {
        match self {
            Scope::All => true,
            Scope::Of { machines, pools } => {
                machines.contains(machine) || pool.is_some_and(|pool| pools.contains(pool))
            }
        }
    }

    /// Whether a pool is covered as a whole, as its plans speak of all its machines.
    #[must_use]
    pub fn covers_pool(&self, pool: &PoolName) -> bool {
        match self {
            Scope::All => true,
            Scope::Of { pools, .. } => pools.contains(pool),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope::Of { machines, pools } = self else { return f.write_str("all machines") };
        let mut parts = Vec::new();
        if !machines.is_empty() {
            parts.push(hostlist::compress(machines));
        }
        parts.extend(pools.iter().map(|pool| format!("pool {pool}")));
        f.write_str(&parts.join(" and "))
    }
}

/// What the rack file gives to one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Of which machines.
    pub scope: Scope,
    /// How many orders it may give within a minute.
    pub orders_per_minute: u32,
    /// What proves the name at the page, where no certificate does.
    pub token: Option<Token>,
}

/// Who may what: names of certificates and of local users, and `%group` for local groups, as in sudo's own file.
pub type Access = BTreeMap<String, Grant>;

/// Why somebody may not. Nothing has moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A proven name without a role.
    #[error(
        "{who:?} has no role here; a section [access.{who:?}] in the agent's rack file gives one"
    )]
    Stranger {
        /// The name.
        who: String,
    },
    /// The role does not allow it.
    #[error(
        "{who:?} is {role} here and may not {}: that takes {}; [access.{who:?}] in the agent's rack file says so",
        deed.told(), deed.roles()
    )]
    Role {
        /// The name.
        who: String,
        /// Its role.
        role: Role,
        /// What it wanted.
        deed: Deed,
    },
    /// The role does not cover the machine.
    #[error(
        "{who:?} is {role} of {scope} here, and {what} is none of them; add it to [access.{who:?}] in the agent's rack file"
    )]
    Scope {
        /// The name.
        who: String,
        /// Its role.
        role: Role,
        /// What that covers.
        scope: String,
        /// What it wanted to touch: `machine node7`, `pool rack`.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each role that may: viewer, operator, autoscaler, break-glass.
    const TABLE: &[(Deed, &str)] = &[
        (Deed::Look, "voab"),
        (Deed::Order, "ob"),
        (Deed::Force, "b"),
        (Deed::Hold, "ob"),
        (Deed::Scale, "ab"),
        (Deed::Record, "ab"),
        (Deed::ResetFence, "b"),
        (Deed::Unlisted, "b"),
    ];

    #[test]
    fn each_role_may_what_the_table_says_and_nothing_else() {
        assert_eq!(TABLE.iter().map(|(deed, _)| *deed).collect::<Vec<_>>(), Deed::ALL);
        for (deed, letters) in TABLE {
            for (word, role) in Role::WORDS {
                let expected = letters.contains(&word[..1]);
                assert_eq!(role.may(*deed), expected, "{word} and {deed:?}");
                assert_eq!(role.as_str(), *word);
            }
        }
    }

    #[test]
    fn every_call_of_the_wire_has_its_line() {
        let proto = include_str!("../../agent-api/proto/lamplighter/agent/v1/agent.proto");
        let calls = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
        let calls: BTreeSet<&str> = calls.filter_map(|rest| rest.split('(').next()).collect();
        let listed: BTreeSet<&str> = CALLS.iter().map(|(call, _)| *call).collect();
        assert_eq!(calls, listed, "left: the proto; right: CALLS, which says who may");
    }

    #[test]
    fn a_scope_covers_its_machines_and_pools_and_no_others() {
        let machine = |name: &str| MachineName::new(name).unwrap();
        let pool = |name: &str| PoolName::new(name).unwrap();
        let scope = Scope::Of {
            machines: BTreeSet::from([machine("node1"), machine("node2")]),
            pools: BTreeSet::from([pool("lab")]),
        };
        assert!(scope.covers(&machine("node1"), None));
        assert!(scope.covers(&machine("node1"), Some(&pool("rack"))));
        assert!(scope.covers(&machine("node9"), Some(&pool("lab"))));
        assert!(!scope.covers(&machine("node9"), Some(&pool("rack"))));
        assert!(!scope.covers(&machine("node9"), None));
        assert!(scope.covers_pool(&pool("lab")) && !scope.covers_pool(&pool("rack")));
        assert_eq!(scope.to_string(), "node[1-2] and pool lab");
        assert!(Scope::All.covers(&machine("node9"), None) && Scope::All.covers_pool(&pool("x")));
    }

    #[test]
    fn a_denial_names_who_what_they_are_what_it_takes_and_where_that_is_said() {
        let denied = Denied::Role { who: "eve".to_owned(), role: Role::Viewer, deed: Deed::Force };
        assert_eq!(
            denied.to_string(),
            "\"eve\" is viewer here and may not pass another person's lock or the proof that a node is empty (--force): \
             that takes break-glass; [access.\"eve\"] in the agent's rack file says so"
        );
    }
}
