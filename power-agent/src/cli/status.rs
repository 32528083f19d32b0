//! `status`: a table of the machines, and under it who stands how, as host lists.

use agent_api::story::mended;
use agent_api::{Client, Inventory, Machine};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use fleet::Milliamps;
use fleet::feeds::{FeedSum, number};

use super::exit::Exit;
use super::json::{StatusJson, missed, times};
use super::screen::Screen;
use super::{Failure, hosts, words};

/// A reason longer than this is cut in the table; `--json` has it whole.
const REASON_CHARS_MAX: usize = 40;
/// The columns that are never broken: names, words and ages.
const SHORT_COLUMNS: usize = 4;
/// The same for what an operation says.
const OPERATION_CHARS_MAX: usize = 70;

pub(crate) async fn status(
    client: &Client,
    lists: &[String],
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let machines = hosts::choose(&inventory, lists)?;
    if screen.json {
        screen.answer_json(&StatusJson::new(&inventory, &machines))?;
    } else {
        let mut text = render(&inventory, &machines, screen.width);
        // Who names machines wants to know more of each.
        if !lists.is_empty() {
            text.extend(machines.iter().filter_map(|machine| boots(machine)));
        }
        screen.answer(&text)?;
    }
    Ok(Exit::Ok)
}

/// The whole answer. In a terminal of a given width the long columns are broken within themselves; for pipes each
/// machine stays one line.
pub(crate) fn render(inventory: &Inventory, machines: &[&Machine], width: Option<u16>) -> String {
    if machines.is_empty() {
        return format!("agent {} has no machines", inventory.agent);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["MACHINE", "POWER", "SINCE", "BY", "WHY", "HOLD", "OPERATION"]);
    for machine in machines {
        table.add_row(row(machine));
    }
    if let Some(width) = width {
        // The last column's padding is trimmed, and the first one's.
        table
            .set_width(width.saturating_add(2))
            .set_content_arrangement(ContentArrangement::Dynamic);
        for column in table.column_iter_mut().take(SHORT_COLUMNS) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = lines_of(&table);
    text.push('\n');
    let said = machines.iter().map(|m| (m.observed().to_string(), &m.name));
    for group in words::groups(said) {
        text.push_str(&group);
        text.push('\n');
    }
    for line in machines.iter().flat_map(|machine| [quarantine(machine), drift(machine)]).flatten()
    {
        text.push_str(&line);
        text.push('\n');
    }
    for sum in &inventory.feeds {
        text.push_str(&feed(sum));
        text.push('\n');
    }
    for trouble in troubles(machines) {
        text.push_str(&trouble);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// The table without blanks at either side.
pub(crate) fn lines_of(table: &Table) -> String {
    let lines = table.lines();
    let mut text = String::new();
    for line in lines {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

fn row(machine: &Machine) -> [String; 7] {
    let commanded = machine.commanded.as_ref();
    let operation = machine.operation.as_ref();
    let reason = operation
        .filter(|operation| commanded.is_some_and(|commanded| commanded.operation == operation.id))
        .map(|operation| operation.reason.as_str())
        .unwrap_or_default();
    [
        machine.name.to_string(),
        machine.observed().to_string(),
        commanded.map_or_else(|| "-".to_owned(), |commanded| words::ago(commanded.age)),
        commanded.map_or_else(|| "-".to_owned(), |commanded| words::who(&commanded.origin)),
        dash(words::shortened(reason, REASON_CHARS_MAX)),
        words::locks(machine, REASON_CHARS_MAX).unwrap_or_else(|| "-".to_owned()),
        operation.map_or_else(
            || "-".to_owned(),
            |operation| words::shortened(&words::operation(operation), OPERATION_CHARS_MAX),
        ),
    ]
}

/// Why a machine is out of service, and the way back.
fn quarantine(machine: &Machine) -> Option<String> {
    let quarantine = machine.quarantine.as_ref()?;
    let (name, age) = (&machine.name, words::ago(quarantine.age));
    Some(format!(
        "{name} is in quarantine since {age}: {}; `power-agent release {name}` returns it to service, \
         `power-agent on {name}` tries it",
        quarantine.reason
    ))
}

/// That it reads otherwise than it was ordered, and what is done about it.
fn drift(machine: &Machine) -> Option<String> {
    let found = machine.drift.as_ref()?;
    let (name, age) = (&machine.name, words::ago(found.age));
    let done = mended(machine, found);
    Some(format!("{name} reads {} since {age}, ordered {}: {done}", found.read, found.wanted))
}

/// How a feed is taken.
fn feed(sum: &FeedSum) -> String {
    let (room, taken) = (sum.room, number(sum.room.committed));
    let kept = match room.reserve {
        Milliamps::ZERO => String::new(),
        reserve => format!(", {reserve} more kept for a start"),
    };
    format!(
        "feed {}: {taken} of {} are taken{kept}; {} flow now, as modelled",
        sum.feed, room.budget, sum.current
    )
}

/// How its boots went, as a line of its own.
fn boots(machine: &Machine) -> Option<String> {
    let missed = match missed(machine) {
        0 => String::new(),
        missed => {
            format!("; {missed} missed the deadline of {}", words::span(machine.boot_deadline))
        }
    };
    let name = &machine.name;
    match times(machine) {
        Some(times) => Some(format!(
            "\n{name} boots: last {}, median {}, worst {} of {}{missed}",
            words::span(times.last),
            words::span(times.median),
            words::span(times.worst),
            times.count
        )),
        None if !missed.is_empty() => Some(format!("\n{name} boots: none that was ready{missed}")),
        None => None,
    }
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Devices that did not answer, each once.
fn troubles(machines: &[&Machine]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for outlet in machines.iter().flat_map(|machine| &machine.outlets) {
        if let Some(trouble) = &outlet.trouble {
            let line = format!("device {}: {trouble}", outlet.device);
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agent_api::{Hold, HoldEnds, Locks};
    use fleet::{HoldKind, MachineName, Reason};

    use super::*;

    fn held() -> Inventory {
        let hold = Hold {
            by: "ada".to_owned(),
            reason: Reason::new(&"the fan of the third shelf is broken ".repeat(3)),
            age: Duration::from_secs(60),
            kind: HoldKind::Off,
            ends: HoldEnds::Released,
        };
        let machine = Machine {
            name: MachineName::new("node1").unwrap(),
            pool: None,
            node: "node1".to_owned(),
            outlets: Vec::new(),
            reading: None,
            commanded: None,
            hold: Some(hold.clone()),
            operation: None,
            declared: None,
            last_seen: None,
            boot_deadline: Duration::from_secs(300),
            soft_off: false,
            quarantine: None,
            drift: None,
            boots: Vec::new(),
            locks: Locks { holds: vec![hold], never_off: false },
            fed: agent_api::Fed::default(),
            paths: agent_api::Paths::default(),
            dwell: None,
        };
        Inventory {
            agent: "bench".to_owned(),
            version: String::new(),
            machines: vec![machine],
            fences: Vec::new(),
            host_up: None,
            running: None,
            feeds: Vec::new(),
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_in_a_pipe_a_machine_is_one_line() {
        let inventory = held();
        let machines: Vec<&Machine> = inventory.machines.iter().collect();
        for width in [60, 80, 200] {
            let text = render(&inventory, &machines, Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(widest <= usize::from(width), "{widest} in {width}:\n{text}");
            assert!(text.contains("node1    unknown  -"), "{text}");
        }
        let text = render(&inventory, &machines, None);
        assert_eq!(text.lines().filter(|line| line.contains("fan of")).count(), 1, "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
