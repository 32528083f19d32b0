//! A machine in words: what the columns, the groups and the lines of a person's answer hold.

use std::collections::BTreeMap;

pub(crate) use agent_api::words::{ago, hold, running, span, who};
use agent_api::{Machine, Operation};
use fleet::lines::Agreement;
use fleet::{LinesSeen, MachineName, PowerState, Reason, hostlist};

/// Whether every outlet of the machine reads so: a machine is on when one outlet is, which is less.
pub(crate) fn confirms(machine: &Machine, wanted: PowerState) -> bool {
    if machine.paths.wake.is_some() {
        return machine.reading.is_some_and(|(state, _age)| state == wanted);
    }
    let readings = machine.outlets.iter().map(|outlet| outlet.reading.map(|(state, _age)| state));
    let seen = readings.fold(LinesSeen::default(), LinesSeen::and);
    seen.agreement(wanted) == Agreement::Confirmed
}

/// All that a person has locked of a machine, and what its rack file says; `None`: nothing.
pub(crate) fn locks(machine: &Machine, reason_chars_max: usize) -> Option<String> {
    let mut locks = machine.locks.holds.clone();
    for lock in &mut locks {
        lock.reason = Reason::new(&shortened(lock.reason.as_str(), reason_chars_max));
    }
    let mut told: Vec<String> = locks.iter().map(hold).collect();
    if machine.locks.never_off {
        told.push("never off".to_owned());
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// The last operation in a few words.
pub(crate) fn operation(operation: &Operation) -> String {
    use fleet::Phase;
    match operation.phase {
        Phase::Done => format!("{} done in {}", operation.verb.as_str(), span(operation.took)),
        Phase::Failed => format!("{} failed: {}", operation.verb.as_str(), operation.evidence),
        _ => running(operation),
    }
}

/// Lines like powerman's, `on:      node[1-3]`: one for each word, with all machines that it is true of.
pub(crate) fn groups<'a>(said: impl IntoIterator<Item = (String, &'a MachineName)>) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<&MachineName>> = BTreeMap::new();
    for (word, machine) in said {
        groups.entry(word).or_default().push(machine);
    }
    let width = groups.keys().map(|word| word.chars().count() + 1).max().unwrap_or_default().max(8);
    groups
        .into_iter()
        .map(|(word, machines)| {
            let word = format!("{word}:");
            format!("{word:<width$} {}", hostlist::compress(machines))
        })
        .collect()
}

/// A text of at most `chars_max` characters, with a sign where it was cut.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_powerman() {
        let names: Vec<MachineName> = ["node1", "node2", "nas", "node4"]
            .into_iter()
            .map(|name| MachineName::new(name).unwrap())
            .collect();
        let words = ["on", "on", "off (commanded on)", "on"];
        let said = words.into_iter().map(str::to_owned).zip(&names);
        assert_eq!(groups(said), ["off (commanded on): nas", "on:                 node[1-2,4]"]);
        let said = [("on".to_owned(), &names[0])];
        assert_eq!(groups(said), ["on:      node1"]);
    }
}
