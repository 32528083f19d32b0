//! `status`: a table of the machines, and under it who stands how, as host lists.

use agent_api::{Client, Inventory, Machine};
use comfy_table::{Table, presets};

use super::exit::Exit;
use super::json::StatusJson;
use super::screen::Screen;
use super::{Failure, hosts, words};

/// A reason longer than this is cut in the table; `--json` has it whole.
const REASON_CHARS_MAX: usize = 40;
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
        screen.answer(&render(&inventory, &machines))?;
    }
    Ok(Exit::Ok)
}

pub(crate) fn render(inventory: &Inventory, machines: &[&Machine]) -> String {
    if machines.is_empty() {
        return format!("agent {} has no machines", inventory.agent);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["MACHINE", "POWER", "SINCE", "BY", "WHY", "HOLD", "OPERATION"]);
    for machine in machines {
        table.add_row(row(machine));
    }
    let mut text = lines_of(&table);
    text.push('\n');
    let said = machines.iter().map(|m| (words::observed(m).to_string(), &m.name));
    for group in words::groups(said) {
        text.push_str(&group);
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
        words::observed(machine).to_string(),
        commanded.map_or_else(|| "-".to_owned(), |commanded| words::ago(commanded.age)),
        commanded.map_or_else(|| "-".to_owned(), |commanded| words::who(&commanded.origin)),
        dash(words::shortened(reason, REASON_CHARS_MAX)),
        machine.hold.as_ref().map_or_else(
            || "-".to_owned(),
            |hold| {
                let why = words::shortened(hold.reason.as_str(), REASON_CHARS_MAX);
                format!("{} {}: {why}", hold.by, words::ago(hold.age))
            },
        ),
        operation.map_or_else(
            || "-".to_owned(),
            |operation| words::shortened(&words::operation(operation), OPERATION_CHARS_MAX),
        ),
    ]
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
