//! The rack file is read again without a restart: all of it comes into force at once, or nothing of it. Moves nothing.
//!
//! A machine whose section and devices are as they were keeps what runs on it; a device keeps its task and open port.
//! A machine that changes or goes must be at rest: in the midst of a sequence the whole reload is refused with its name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fleet::{DeviceName, MachineName};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::agent::{Agent, HalfDone};
use crate::audit::{Event, Outcome, What, Who};
use crate::config::Config;
use crate::descriptors::Descriptors;
use crate::device;
use crate::machine::Machine;
use crate::memory::MachineMemory;
use crate::node::{Nodes, chain};
use crate::rack::{Device, Draft, Rack};
use crate::wiring::poll;

/// Reads the file, brings it into force or leaves all as it was, and tells which in the log.
pub(crate) async fn reload(agent: &Arc<Agent>, file: &Path, owners: &mut JoinSet<()>) {
    let shown = file.display();
    let taken = take(agent, file, owners).await;
    let event = Event::new(What::Reload, Who::agent(), &told(&taken));
    agent
        .audit(match &taken {
            Ok(_) => event,
            Err(why) => {
                event.with(Outcome::Refused { code: "rack-file".to_owned(), text: why.clone() })
            }
        })
        .await;
    match taken {
        Ok(changes) if changes.is_empty() => {
            tracing::info!(file = %shown, "rack file read again; nothing in it has changed");
        }
        Ok(changes) => {
            let changes = changes.join("; ");
            tracing::info!(file = %shown, changes, "rack file read again and in force");
        }
        Err(why) => {
            tracing::error!(file = %shown, err = %why, "rack file not taken; what was in force stays so");
        }
    }
}

/// What a reload has changed, in a sentence.
fn told(taken: &Result<Vec<String>, String>) -> String {
    match taken {
        Ok(changes) if changes.is_empty() => "nothing in the rack file has changed".to_owned(),
        Ok(changes) => changes.join("; "),
        Err(_) => "the rack file was not taken".to_owned(),
    }
}

async fn take(
    agent: &Arc<Agent>,
    file: &Path,
    owners: &mut JoinSet<()>,
) -> Result<Vec<String>, String> {
    let (config, warnings) = Config::load(file)
        .map_err(|findings| findings.render(&annotate_snippets::Renderer::plain()))?;
    if !warnings.is_empty() {
        let warnings = warnings.render(&annotate_snippets::Renderer::plain());
        tracing::info!(%warnings, "read again, with warnings");
    }
    // No order begins and no sequence ends while the one rack gives way to the other.
    let book = agent.book.lock().await;
    let old = agent.rack();
    check_fixed(&old, &config)?;
    check_devices(&old, &config)?;
    let nodes = if config.nomad == old.nomad {
        old.nodes.clone()
    } else {
        Nodes::new(config.nomad.as_ref()).map_err(|error| chain(&error))?
    };
    let mut tasks = Vec::new();
    let devices = devices(&old, &config, &agent.descriptors, &mut tasks);
    let draft = Draft { config: &config, nodes, devices };
    let remembered = remembered(agent, &old, &config).await?;
    let (machines, half_done) = machines(&old, &draft, remembered)?;
    let new = Arc::new(draft.rack(machines));
    let changes = changes(&old, &new);
    agent.take_rack(Arc::clone(&new));
    agent.keeper.take_access(config.access);
    for (handle, task) in tasks {
        owners.spawn(task);
        agent.spawn(poll(Arc::clone(agent), handle));
    }
    drop(book);
    look_at_what_is_new(agent, &old, &new).await;
    for half_done in half_done {
        agent.take_up(half_done).await;
    }
    agent.publish_all();
    Ok(changes)
}

/// What only a restart changes: the journal is one, and callers stand at the doors.
fn check_fixed(old: &Rack, new: &Config) -> Result<(), String> {
    let fixed = [
        ("agent.socket", old.config.socket == new.agent.socket),
        ("agent.state", old.config.state == new.agent.state),
        ("agent.metrics", old.config.metrics == new.agent.metrics),
        ("the network section", old.network == new.network),
        ("[page]", old.page == new.page),
    ];
    let changed: Vec<&str> =
        fixed.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("{} can not change while the agent runs; restart it", changed.join(" and ")))
}

/// Devices that can not change while the agent runs without moving something.
fn check_devices(old: &Rack, new: &Config) -> Result<(), String> {
    for (name, settings) in &new.devices {
        let before = old.devices.get(name).map(|device| &device.settings);
        if let Some(why) = before.and_then(|before| settings.hinders(before)) {
            return Err(format!("[devices.{name}] can not change while the agent runs: {why}"));
        }
    }
    Ok(())
}

/// What is on the disk of machines that the file has only now: of one that was removed, its hold above all.
async fn remembered(
    agent: &Agent,
    old: &Rack,
    config: &Config,
) -> Result<BTreeMap<MachineName, MachineMemory>, String> {
    if config.machines.keys().all(|name| old.machines.contains_key(name)) {
        return Ok(BTreeMap::new());
    }
    let store = Arc::clone(&agent.store);
    let loaded = tokio::task::spawn_blocking(move || store.load()).await;
    let loaded = loaded.map_err(|error| chain(&error))?.map_err(|error| chain(&error))?;
    Ok(loaded.machines)
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Devices whose section is as it was stay; the others get a task of their own.
fn devices(
    old: &Rack,
    config: &Config,
    descriptors: &Descriptors,
    tasks: &mut Vec<(device::DeviceHandle, Task)>,
) -> BTreeMap<DeviceName, Device> {
    let mut devices = BTreeMap::new();
    for (name, settings) in &config.devices {
        let kept = old.devices.get(name).filter(|device| device.settings == *settings).cloned();
        let device = kept.unwrap_or_else(|| {
            let (handle, task) = device::own(name.clone(), settings, descriptors);
            tasks.push((handle.clone(), Box::pin(task)));
            Device { settings: settings.clone(), handle }
        });
        devices.insert(name.clone(), device);
    }
    devices
}

type Machines = BTreeMap<MachineName, Arc<Machine>>;

fn machines(
    old: &Rack,
    draft: &Draft<'_>,
    mut remembered: BTreeMap<MachineName, MachineMemory>,
) -> Result<(Machines, Vec<HalfDone>), String> {
    let mut machines = BTreeMap::new();
    let mut half_done = Vec::new();
    for (name, config) in &draft.config.machines {
        let machine = match old.machines.get(name) {
            Some(machine) if is_same(machine, draft) => Arc::clone(machine),
            Some(machine) => {
                let (outlets, waker) = (draft.outlets(config), draft.waker(config));
                Arc::new(machine.succeeded(config.clone(), outlets, waker))
            }
            None => {
                let memory = remembered.remove(name).unwrap_or_default();
                let running = memory.running.clone();
                half_done
                    .extend(running.map(|running| HalfDone { machine: name.clone(), running }));
                draft.machine(config, memory)
            }
        };
        machines.insert(name.clone(), machine);
    }
    let kept = |name, machine| machines.get(name).is_some_and(|new| Arc::ptr_eq(new, machine));
    let gone = old.machines.iter().filter(|(name, machine)| !kept(*name, *machine));
    let busy: Vec<String> = gone.filter_map(|(name, machine)| busy(name, machine)).collect();
    if busy.is_empty() {
        return Ok((machines, half_done));
    }
    Err(format!("{}; reload again when that has ended", busy.join("; ")))
}

/// Its section, and those of its devices.
fn is_same(machine: &Machine, draft: &Draft<'_>) -> bool {
    let outlets = &machine.outlets;
    let waker = draft.waker(&machine.config);
    let same_waker = match (&machine.waker, &waker) {
        (Some(one), Some(other)) => one.is_same(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    same_waker
        && draft.config.machines.get(&machine.config.name) == Some(&machine.config)
        && outlets.iter().all(|outlet| {
            let device = draft.devices.get(&outlet.path.device);
            device.is_some_and(|device| device.handle.is_same(&outlet.device))
        })
}

fn busy(name: &MachineName, machine: &Machine) -> Option<String> {
    let state = machine.state();
    let live = state.live.as_ref()?;
    let record = live.sequencer.record();
    let (verb, id) = (record.task.verb.as_str(), &live.id);
    Some(format!("{name} changes, and its {verb} ({id}) is {}", record.phase()))
}

/// What was read of a device that stays is kept; the others are read before anybody is told of them.
async fn look_at_what_is_new(agent: &Agent, old: &Rack, new: &Rack) {
    let fresh = new.machines.values().filter(|machine| {
        let before = old.machines.get(&machine.config.name);
        !before.is_some_and(|before| Arc::ptr_eq(before, machine))
    });
    let outlets = fresh.flat_map(|machine| &machine.outlets);
    let devices: BTreeMap<&DeviceName, &device::DeviceHandle> =
        outlets.map(|outlet| (&outlet.path.device, &outlet.device)).collect();
    join_all(devices.values().map(|device| async {
        if let Err(error) = agent.read_device(device).await {
            tracing::error!(device = %device.name(), err = chain(&error), "device could not be read");
        }
    }))
    .await;
}

/// What is not as it was, for the log.
fn changes(old: &Rack, new: &Rack) -> Vec<String> {
    let mut told = Vec::new();
    let machine = |one: &Arc<Machine>, other: &Arc<Machine>| Arc::ptr_eq(one, other);
    differences("machines", &old.machines, &new.machines, machine, &mut told);
    let device = |one: &Device, other: &Device| one.settings == other.settings;
    differences("devices", &old.devices, &new.devices, device, &mut told);
    differences("feeds", &old.feeds, &new.feeds, |one, other| one == other, &mut told);
    if old.nomad != new.nomad {
        told.push("[nomad] changed".to_owned());
    }
    if old.config != new.config {
        told.push("[agent] changed".to_owned());
    }
    told
}

fn differences<K: Ord + std::fmt::Display, V>(
    what: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
    told: &mut Vec<String>,
) {
    let names =
        |names: Vec<&K>| names.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let added: Vec<&K> = new.keys().filter(|name| !old.contains_key(name)).collect();
    let removed: Vec<&K> = old.keys().filter(|name| !new.contains_key(name)).collect();
    let changed = |(name, old): (_, &V)| new.get(name).is_some_and(|new| !same(old, new));
    let changed: Vec<&K> =
        old.iter().filter(|(name, value)| changed((*name, *value))).map(|(name, _)| name).collect();
    for (how, which) in [("added", added), ("removed", removed), ("changed", changed)] {
        if !which.is_empty() {
            told.push(format!("{what} {how}: {}", names(which)));
        }
    }
}
