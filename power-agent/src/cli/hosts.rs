//! From host lists on the command line to machines that the agent has.

use agent_api::{Inventory, Machine};
use fleet::{MachineName, hostlist};

use super::Failure;

/// The machines that are named, in natural order; all if none is named. A name that the agent does not have is an error
/// before anything is ordered.
pub(crate) fn choose<'a>(
    inventory: &'a Inventory,
    lists: &[String],
) -> Result<Vec<&'a Machine>, Failure> {
    let mut machines: Vec<&Machine> = inventory.machines.iter().collect();
    if !lists.is_empty() {
        let names = expand(lists)?;
        let unknown: Vec<&MachineName> = names
            .iter()
            .filter(|name| !inventory.machines.iter().any(|machine| machine.name == **name))
            .collect();
        if !unknown.is_empty() {
            let known = hostlist::compress(inventory.machines.iter().map(|machine| &machine.name));
            return Err(Failure::Usage(format!(
                "agent {} has no {}; its machines are {}",
                inventory.agent,
                hostlist::compress(unknown),
                if known.is_empty() { "none: its rack file declares no machine" } else { &known },
            )));
        }
        machines.retain(|machine| names.contains(&machine.name));
    }
    machines.sort_by(|one, other| hostlist::natural(one.name.as_str(), other.name.as_str()));
    Ok(machines)
}

fn expand(lists: &[String]) -> Result<Vec<MachineName>, Failure> {
    let mut names = Vec::new();
    for list in lists {
        let more = hostlist::expand(list)
            .map_err(|error| Failure::Usage(format!("host list {list:?}: {error}")))?;
        names.extend(more);
    }
    Ok(names)
}
