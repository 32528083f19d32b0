//! What wakes machines, and how they are seen to be awake: the interface, its link, and what this user may. Sends nothing.

use std::collections::BTreeMap;

use super::{Grade, Looked};
use crate::config::Config;
use crate::drivers::wol;
use crate::presence;

pub(super) fn device(name: &str, config: &wol::Config) -> Vec<Looked> {
    let what = format!("wake packets of {name}");
    let looked = |found| match found {
        Ok(found) => Looked::ok(&what, found),
        Err(wol::Hindrance { grave, found, remedy }) => {
            let grade = if grave { Grade::Fail } else { Grade::Warn };
            Looked::bad(grade, &what, found, remedy)
        }
    };
    wol::look_at(config).into_iter().map(looked).collect()
}

/// Whether the machines' signs of life can be looked for, each kind once.
pub(super) fn signs(config: &Config) -> Vec<Looked> {
    let mut kinds: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for presence in config.machines.values().filter_map(|machine| machine.presence.as_ref()) {
        for kind in &presence.by {
            let family = if presence.address.is_ipv4() { "" } else { " by IPv6" };
            if let Some(allowed) = presence::allowed(presence, *kind) {
                kinds.insert(format!("sign of life {kind}{family}"), allowed);
            }
        }
    }
    let looked = |(what, allowed)| match allowed {
        Ok(()) => Looked::ok(what, "this user may look for it"),
        Err(why) => Looked::bad(
            Grade::Fail,
            what,
            why,
            "run doctor as the agent's user; without this right no machine is ever seen by it",
        ),
    };
    kinds.into_iter().map(looked).collect()
}
