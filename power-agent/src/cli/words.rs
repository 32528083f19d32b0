//! A machine in words: what the columns, the groups and the lines of a person's answer hold.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_api::{CommandedAge, Hold, HoldEnds, Machine, Operation};
use fleet::arbiter::BEFORE_BOOT;
use fleet::duration::show_duration;
use fleet::lines::Agreement;
use fleet::{
    Commanded, LinesSeen, MachineName, Moment, Observed, Origin, Power, PowerState, Reason,
    hostlist,
};

/// What may be said of a machine's power.
pub(crate) fn observed(machine: &Machine) -> Observed {
    let reading = machine.reading.map(|(state, _age)| (state, Moment::ZERO));
    let commanded = machine.commanded.as_ref().map(commanded_now);
    Power { reading, commanded }.observed()
}

/// Whether every outlet of the machine reads so: a machine is on when one outlet is, which is less.
pub(crate) fn confirms(machine: &Machine, wanted: PowerState) -> bool {
    if machine.paths.wake.is_some() {
        return machine.reading.is_some_and(|(state, _age)| state == wanted);
    }
    let readings = machine.outlets.iter().map(|outlet| outlet.reading.map(|(state, _age)| state));
    let seen = readings.fold(LinesSeen::default(), LinesSeen::and);
    seen.agreement(wanted) == Agreement::Confirmed
}

fn commanded_now(commanded: &CommandedAge) -> Commanded {
    Commanded {
        state: commanded.state,
        at: Moment::ZERO,
        origin: commanded.origin.clone(),
        operation: commanded.operation.clone(),
    }
}

/// By what it is switched beside its outlets, and what was seen of it: a line each.
pub(crate) fn paths(machine: &Machine) -> Vec<String> {
    let paths = &machine.paths;
    let mut lines = Vec::new();
    if let Some(wake) = &paths.wake {
        let (device, mac) = (&wake.device, &wake.mac);
        lines.push(format!("woken by {device} ({mac}): that path can neither cut nor be read"));
    }
    if paths.outlets_stay {
        lines.push("its outlets open only where it does not go down by itself".to_owned());
    }
    if paths.on_only {
        lines.push("nothing can switch it off: it has neither an outlet nor a soft off".to_owned());
    }
    if let Some(life) = &paths.life {
        let age = ago(life.age);
        lines.push(match &life.seen {
            Ok(signs) => format!("alive {age} ago: {signs}"),
            Err(missing) => format!("no sign of life {age} ago, which says nothing: {missing}"),
        });
    }
    lines
}

/// Who gave an order.
pub(crate) fn who(origin: &Origin) -> String {
    match origin {
        Origin::Person(name) => name.clone(),
        Origin::Autoscaler(fence) => format!("autoscaler {}", fence.pool),
        Origin::Agent => "the agent itself".to_owned(),
    }
}

/// An age as a person says it: one unit, rounded down.
pub(crate) fn ago(age: Duration) -> String {
    match age.as_secs() {
        _ if age >= BEFORE_BOOT => "before boot".to_owned(),
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A lock in a few words, its reason last: `reserved ada 5m, 115m left: course`.
pub(crate) fn hold(hold: &Hold) -> String {
    let mut text = format!("{} {} {}", hold.kind.as_str(), hold.by, ago(hold.age));
    text.push_str(&match hold.ends {
        HoldEnds::Released => String::new(),
        HoldEnds::In(left) => format!(", {} left", ago(left)),
        HoldEnds::Expired => ", expired".to_owned(),
        HoldEnds::Lost => ", its span lost by a reboot".to_owned(),
    });
    format!("{text}: {}", hold.reason)
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

/// A span as exact as a person wants it: to the tenth of a second under a minute, finer only where that says nothing.
pub(crate) fn span(span: Duration) -> String {
    if span < Duration::from_millis(100) {
        return format!("{}ms", span.as_millis());
    }
    let tenths = u64::try_from(span.as_millis() / 100).unwrap_or(u64::MAX);
    match tenths {
        0..600 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => show_duration(Duration::from_secs(tenths / 10)),
    }
}

/// A running operation's phase, with what it waits for and for how long at most.
pub(crate) fn running(operation: &Operation) -> String {
    let mut text = format!("{}: {}", operation.verb.as_str(), operation.phase);
    if !operation.progress.is_empty() {
        text.push_str(&format!(", {}", operation.progress));
    }
    if let Some(left) = operation.deadline_in {
        text.push_str(&format!(", at most {} more", span(left)));
    }
    text
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
    fn ages_have_one_unit_and_spans_keep_a_tenth() {
        assert_eq!(ago(Duration::from_secs(119)), "119s");
        assert_eq!(ago(Duration::from_secs(7199)), "119m");
        assert_eq!(ago(Duration::from_secs(90_000)), "25h");
        assert_eq!(ago(Duration::from_secs(800_000)), "9d");
        assert_eq!(ago(BEFORE_BOOT), "before boot");
        assert_eq!(span(Duration::from_millis(3_250)), "3.2s");
        assert_eq!(span(Duration::from_millis(90_400)), "1m30s");
        assert_eq!(span(Duration::from_millis(4)), "4ms");
    }

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
