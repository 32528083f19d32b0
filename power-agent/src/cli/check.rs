//! `check`: every mistake of a rack file, or what is in it.

use std::io::IsTerminal;
use std::path::Path;

use annotate_snippets::Renderer;
use comfy_table::{Table, presets};
use fleet::{FeedName, Milliamps, hostlist};
use serde::Serialize;

use super::Failure;
use super::exit::Exit;
use super::screen::Screen;
use super::status::lines_of;
use crate::config::{Config, Findings, MachineConfig, Severity, SoftOffWay, show_duration};

pub(crate) fn check(file: &Path, screen: &mut Screen) -> Result<Exit, Failure> {
    let (config, findings) = match Config::load(file) {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(errors) => (None, errors),
    };
    let exit = match (&config, findings.is_empty()) {
        (None, _) => Exit::RackFile,
        (Some(_), true) => Exit::Ok,
        (Some(_), false) => Exit::Partial,
    };
    if screen.json {
        screen.answer_json(&CheckJson::new(&findings, exit))?;
        return Ok(exit);
    }
    if !findings.is_empty() {
        screen.tell(&rendered(&findings))?;
    }
    match config {
        Some(config) => screen.answer(&summary(&config))?,
        None => screen.tell(&format!("\n{} has {}", file.display(), counted(&findings)))?,
    }
    Ok(exit)
}

/// The config for `serve`, its warnings told; `None`: its errors told.
pub(crate) fn load(file: &Path, screen: &mut Screen) -> Result<Option<Config>, Failure> {
    let (config, findings) = match Config::load(file) {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(errors) => (None, errors),
    };
    if !findings.is_empty() {
        screen.tell(&rendered(&findings))?;
    }
    Ok(config)
}

fn rendered(findings: &Findings) -> String {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    findings.render(&if colour { Renderer::styled() } else { Renderer::plain() })
}

fn counted(findings: &Findings) -> String {
    match findings.all().len() {
        1 => "1 error".to_owned(),
        many => format!("{many} errors"),
    }
}

fn summary(config: &Config) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["MACHINE", "POOL", "NODE", "OUTLETS", "SOFT OFF", "BOOT", "SHAPE"]);
    for machine in config.machines.values() {
        table.add_row(row(machine));
    }
    let mut text = format!(
        "agent {}: {} and {}, listening on {}\n",
        config.agent.name,
        count(config.devices.len(), "device"),
        count(config.machines.len(), "machine"),
        config.agent.socket.display(),
    );
    text.push_str(match &config.nomad {
        Some(_) => "",
        None => {
            "no [nomad]: off and cycle by hand need --force, because no node can be proven empty\n"
        }
    });
    if !config.machines.is_empty() {
        text.push('\n');
        text.push_str(&lines_of(&table));
        text.push('\n');
    }
    for (name, device) in &config.devices {
        let names: Vec<_> = config.machines_on(name).map(|(_, machine)| machine).collect();
        let free = usize::from(device.outlet_count()).saturating_sub(names.len());
        let list = if names.is_empty() { "-".to_owned() } else { hostlist::compress(names) };
        text.push_str(&format!("{name}: {}, {free} free, {list}\n", device.name()));
    }
    for (name, budget) in &config.feeds {
        text.push_str(&feed(config, name, *budget));
    }
    text.trim_end().to_owned()
}

/// What all machines of a feed take together; more than it carries is no mistake, only not all run at once then.
fn feed(config: &Config, name: &FeedName, budget: Milliamps) -> String {
    let supplies = config.machines.values().flat_map(|machine| &machine.supplies);
    let draws: Vec<_> =
        supplies.filter(|supply| supply.feed == *name).map(|supply| supply.draw).collect();
    let running: Milliamps = draws.iter().map(|draw| draw.running).sum();
    let start = draws.iter().map(|draw| draw.extra()).max().unwrap_or_default();
    let said = if running.plus(start) > budget { ": not all of them run at once" } else { "" };
    format!(
        "feed {name}: {}, {running} running and {start} more for the largest start, of {budget}{said}\n",
        count(draws.len(), "machine")
    )
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn row(machine: &MachineConfig) -> [String; 7] {
    let mut outlets: Vec<String> =
        machine.outlets.iter().map(|path| format!("{}/{}", path.device, path.outlet)).collect();
    outlets.extend(machine.wake.as_ref().map(|wake| format!("woken by {}", wake.device)));
    let soft_off = machine.soft_off.as_ref().map(|soft_off| {
        let way = match &soft_off.way {
            SoftOffWay::Exec { .. } => "exec",
            SoftOffWay::Ssh(_) => "ssh",
        };
        format!("{way}, {}", show_duration(soft_off.deadline))
    });
    let shape = machine
        .shape
        .as_ref()
        .map(|shape| format!("{} MHz, {} MiB", shape.resources.cpu_mhz, shape.resources.memory_mb));
    let dash = || "-".to_owned();
    [
        machine.name.to_string(),
        machine.pool.as_ref().map_or_else(dash, ToString::to_string),
        machine.node.clone(),
        outlets.join(" "),
        soft_off.unwrap_or_else(|| {
            let nothing = if machine.is_on_only() { "none: on only" } else { "none: cut at once" };
            nothing.to_owned()
        }),
        show_duration(machine.boot_deadline),
        shape.unwrap_or_else(|| "as last seen".to_owned()),
    ]
}

#[derive(Debug, Serialize)]
struct CheckJson {
    file: String,
    exit: u8,
    findings: Vec<FindingJson>,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    severity: &'static str,
    line: Option<usize>,
    column: Option<usize>,
    title: String,
    found: String,
    expected: Option<String>,
    remedy: Option<String>,
}

impl CheckJson {
    fn new(findings: &Findings, exit: Exit) -> Self {
        let told = findings.all().iter().map(|finding| {
            let place = findings.place(finding);
            FindingJson {
                severity: match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                title: finding.title.clone(),
                found: finding.found.clone(),
                expected: finding.expected.clone(),
                remedy: finding.remedy.clone(),
            }
        });
        let file = findings.file().display().to_string();
        Self { file, exit: exit.code(), findings: told.collect() }
    }
}
