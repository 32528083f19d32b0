//! `watch`: every change as it happens, until Ctrl-C; a lost agent is waited for.

use std::collections::BTreeMap;

use agent_api::{Client, Event, HoldEnds, Machine};
use fleet::MachineName;
use tokio::time::Instant;

use super::act::next_event;
use super::exit::Exit;
use super::json::{MachineJson, WatchJson};
use super::screen::Screen;
use super::{Failure, hosts, status, words};

pub(crate) async fn watch(
    client: &Client,
    lists: &[String],
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let inventory = client.inventory().await?;
    let chosen: Vec<MachineName> =
        hosts::choose(&inventory, lists)?.into_iter().map(|machine| machine.name.clone()).collect();
    let began = Instant::now();
    let mut watch = Some(client.watch().await?);
    let mut shown: BTreeMap<MachineName, String> = BTreeMap::new();
    let mut is_first = true;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let was_open = watch.is_some();
        let event = tokio::select! {
            event = next_event(client, &mut watch) => event,
            _ = &mut interrupted => return Ok(Exit::Ok),
        };
        if was_open && watch.is_none() {
            screen.tell("the agent is gone; waiting for it")?;
        }
        let machines: Vec<Machine> = match event {
            Some(Event::Snapshot(inventory)) => {
                if is_first && !screen.json {
                    let machines: Vec<&Machine> = inventory
                        .machines
                        .iter()
                        .filter(|machine| chosen.contains(&machine.name))
                        .collect();
                    screen.answer(&status::render(&inventory, &machines, screen.width))?;
                    screen.answer("")?;
                    shown.extend(machines.iter().map(|m| (m.name.clone(), line(m))));
                }
                inventory.machines
            }
            Some(Event::Changed(machine)) => vec![*machine],
            None => continue,
        };
        let event = if is_first { "snapshot" } else { "changed" };
        is_first = false;
        for machine in machines.iter().filter(|machine| chosen.contains(&machine.name)) {
            if screen.json {
                let machine = &MachineJson::from(machine);
                screen.answer_json(&WatchJson { event, machine })?;
                continue;
            }
            let line = line(machine);
            // Ages alone are no news for a person.
            if shown.get(&machine.name) != Some(&line) {
                let after = words::span(began.elapsed());
                screen.answer(&format!("+{after:<8} {}: {line}", machine.name))?;
                shown.insert(machine.name.clone(), line);
            }
        }
    }
}

/// What a person would call a change.
fn line(machine: &Machine) -> String {
    let mut text = machine.observed().to_string();
    if let Some(operation) = &machine.operation {
        let by = words::who(&operation.origin);
        let verb = operation.verb.as_str();
        if operation.phase.is_finished() {
            text.push_str(&format!("; {verb} by {by} {}: {}", operation.phase, operation.evidence));
        } else {
            text.push_str(&format!("; {verb} by {by}: {}", operation.phase));
            if !operation.progress.is_empty() {
                text.push_str(&format!(", {}", operation.progress));
            }
        }
    }
    for hold in &machine.locks.holds {
        let expired = if hold.ends == HoldEnds::Expired { ", expired" } else { "" };
        let (kind, by) = (hold.kind.as_str(), &hold.by);
        text.push_str(&format!("; {kind} by {by}{expired}: {}", hold.reason));
    }
    for outlet in &machine.outlets {
        if let Some(trouble) = &outlet.trouble {
            text.push_str(&format!("; device {}: {trouble}", outlet.device));
        }
    }
    text
}
