//! Executes one sequence: asks the sequencer what to do, does it, tells it the result. Chooses nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fleet::sequencer::{Action, Input, NODE_POLL, NodeSign, State};
use fleet::{
    Commanded, DeviceName, Fault, FaultClass, Moment, Origin, Phase, PowerState, Quarantine,
    QuarantineCause, Reason, Verb,
};

use crate::agent::{Agent, SET_PATIENCE, fault, left_until, who};
use crate::audit::{self, Event, What, Who};
use crate::clock::{Clock, sleep_until};
use crate::config::MachineConfig;
use crate::device::DeviceHandle;
use crate::machine::{Machine, State as MachineState};
use crate::memory::{Change, Ended, MachineMemory, Operation};
use crate::node::chain;
use crate::soft_off;
use crate::store::StoreError;

/// How long a sequence or its end waits before it tries again to be written down.
const UNWRITTEN_PAUSE: Duration = Duration::from_secs(1);

/// Runs the machine's sequence to its end, or until the agent stops at a place where nothing is lost by stopping.
pub(crate) async fn run(agent: Arc<Agent>, machine: Arc<Machine>) {
    let mut stopping = agent.stop.subscribe();
    // Its first phase is on the disk: it was written when the order was taken, or read from there.
    let mut written = phase(&machine);
    while let Some((action, phase)) = next(&machine) {
        if action == Action::Finished {
            finish(&agent, &machine).await;
            return;
        }
        let mut action = action;
        if written != Some(phase) {
            match agent.journal(&machine).await {
                Ok(()) => written = Some(phase),
                Err(why) if calls_off(&machine, &why) => continue,
                Err(_) => action = shortened(action, Clock.now() + UNWRITTEN_PAUSE),
            }
        }
        agent.publish(&machine.config.name);
        let input = if may_stop(phase) {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                input = act(&agent, &machine, action) => input,
            }
        } else {
            act(&agent, &machine, action).await
        };
        if let (Some(input), Some(live)) = (input, &mut machine.state().live) {
            live.sequencer.handle(input, Clock.now());
        }
    }
}

/// A wait that ends in time for another try.
fn shortened(action: Action, end: Moment) -> Action {
    match action {
        Action::Wait { until } => Action::Wait { until: until.min(end) },
        other => other,
    }
}

fn phase(machine: &Machine) -> Option<Phase> {
    machine.state().live.as_ref().map(|live| live.sequencer.record().phase())
}

/// Tells the sequence that it is not on the disk; whether that takes it elsewhere.
fn calls_off(machine: &Machine, why: &str) -> bool {
    let mut state = machine.state();
    let Some(live) = &mut state.live else { return false };
    let before = live.sequencer.record().state.clone();
    live.sequencer.handle(Input::Unwritten(why.to_owned()), Clock.now());
    live.sequencer.record().state != before
}

/// Where an agent may stop: the next one goes on from the journal, and no outlet is on its way or off for a dwell.
const fn may_stop(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Accepted
            | Phase::Draining
            | Phase::Waiting
            | Phase::SoftOff
            | Phase::Settling
            | Phase::Waking
    )
}

fn next(machine: &Machine) -> Option<(Action, Phase)> {
    let mut state = machine.state();
    let live = state.live.as_mut()?;
    let now = Clock.now();
    if let Some(why) = live.call_off.take() {
        live.sequencer.handle(Input::CalledOff(why), now);
    }
    let action = live.sequencer.poll(now);
    Some((action, live.sequencer.record().phase()))
}

/// Does one action; `None` where nothing came of it but time.
async fn act(agent: &Agent, machine: &Machine, action: Action) -> Option<Input> {
    let node = &machine.config.node;
    let nodes = agent.rack().nodes.clone();
    match action {
        Action::ReadBack { until } => within(until, agent.look(machine)).await.map(Input::Seen),
        Action::Drive { state, until } => {
            let driven = within(until, drive(machine, state)).await;
            if state == PowerState::Off && driven == Some(Ok(())) {
                machine.note_cut(Clock.now());
            }
            Some(Input::Driven(driven.unwrap_or_else(|| {
                Err(Fault { class: FaultClass::Indeterminate, text: "its time is over".to_owned() })
            })))
        }
        Action::OrderDrain { until } => {
            let operation = operation(machine)?;
            let owed = machine.state().owed.clone();
            let drain = nodes.drain(node, &operation, owed.as_ref());
            within(until, drain).await.map(Input::DrainOrdered)
        }
        Action::WatchDrain { until } => {
            sleep_until(until.min(Clock.now() + NODE_POLL)).await;
            match within(until, nodes.left(node)).await? {
                Ok(left) => Some(Input::DrainSeen(left)),
                Err(why) => {
                    tracing::debug!(machine = %machine.config.name, err = why, "drain could not be watched");
                    None
                }
            }
        }
        Action::CancelDrain { until } => {
            let operation = operation(machine)?;
            within(until, nodes.undrain(node, &operation)).await.map(Input::Undrained)
        }
        Action::SoftOff { until } => within(until, ask(machine)).await.map(Input::SoftOffEnded),
        Action::WatchNode { until } => watch_node(agent, machine, until).await,
        Action::AskRoom { to, ask_at, until } => {
            if ask_at <= Clock.now() {
                agent.ask_room(machine, to).await;
            } else {
                // Meanwhile it may be called off.
                sleep_until(ask_at.min(until).min(Clock.now() + NODE_POLL)).await;
            }
            None
        }
        Action::Wake { until } => Some(Input::WakeSent(wake(agent, machine, until).await)),
        Action::LookForLife { until } => {
            within(until, agent.life(machine)).await.map(Input::LifeSeen)
        }
        Action::WatchLife { again_at, until } => {
            watch_life(agent, machine, again_at.min(until)).await
        }
        Action::Wait { until } => {
            // A wait may be called off.
            sleep_until(until.min(Clock.now() + NODE_POLL)).await;
            None
        }
        Action::Finished => None,
    }
}

fn state_end(machine: &Machine) -> Option<Moment> {
    machine.state().live.as_ref().and_then(|live| live.sequencer.record().state.until())
}

fn operation(machine: &Machine) -> Option<fleet::OperationId> {
    machine.state().live.as_ref().map(|live| live.id.clone())
}

/// Bounded by a moment; `None` when it has come, and the sequencer's own deadline then decides.
async fn within<T>(until: Moment, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(left_until(until), work).await.ok()
}

/// Sets all outlets of the machine, device by device.
async fn drive(machine: &Machine, state: PowerState) -> Result<(), Fault> {
    let mut devices: BTreeMap<&DeviceName, &DeviceHandle> = BTreeMap::new();
    for outlet in &machine.outlets {
        devices.insert(&outlet.path.device, &outlet.device);
    }
    let node = &machine.config.name;
    for (name, device) in devices {
        let ours = machine.outlets.iter().filter(|outlet| outlet.path.device == *name);
        let wanted = ours.map(|outlet| (outlet.path.outlet, state)).collect();
        match device.set(wanted, SET_PATIENCE).await {
            Ok(()) => {
                tracing::info!(%node, device = %name, transition = %state, "outlets driven");
            }
            Err(error) => {
                let err = chain(&error);
                tracing::info!(%node, device = %name, transition = %state, err, "outlets not driven");
                return Err(fault(&error));
            }
        }
    }
    Ok(())
}

/// Looks whether the node is down, and the machine with it; again when a sign may have changed.
async fn watch_node(agent: &Agent, machine: &Machine, until: Moment) -> Option<Input> {
    let asked = Clock.now();
    let nodes = agent.rack().nodes.clone();
    let looks = async { tokio::join!(nodes.sign(&machine.config.node), agent.presence(machine)) };
    let (sign, seen) = within(until, looks).await?;
    // Whatever Nomad has heard of it: who answers is up.
    let sign = if matches!(seen, Some(Ok(_))) { NodeSign::Up } else { sign };
    if let Some(live) = &mut machine.state().live {
        live.sequencer.handle(Input::NodeSeen(sign), Clock.now());
    }
    // The sign may have shortened the wait.
    sleep_until(state_end(machine).unwrap_or(until).min(asked + NODE_POLL)).await;
    None
}

/// Looks for signs of life once, until the next packet is due.
async fn watch_life(agent: &Agent, machine: &Machine, next: Moment) -> Option<Input> {
    let seen = within(next, agent.life(machine)).await?;
    if seen.is_ok() {
        return Some(Input::LifeSeen(seen));
    }
    if let Some(live) = &mut machine.state().live {
        live.sequencer.handle(Input::LifeSeen(seen), Clock.now());
    }
    // Where no packet is due for long, it may be called off meanwhile.
    sleep_until(next.min(Clock.now() + NODE_POLL)).await;
    None
}

/// Sends one wake packet.
async fn wake(agent: &Agent, machine: &Machine, until: Moment) -> Result<(), Fault> {
    let (Some(device), Some(wake)) = (&machine.waker, &machine.config.wake) else {
        let text = "it has no wake path".to_owned();
        return Err(Fault { class: FaultClass::Misconfigured, text });
    };
    let (node, mac) = (&machine.config.name, &wake.call.mac);
    let sent = device.wake(wake.call.clone(), SET_PATIENCE.min(left_until(until))).await;
    agent.store.metrics.woke(device.name().as_str(), sent.is_ok());
    match sent {
        Ok(()) => {
            tracing::debug!(%node, device = %device.name(), %mac, "wake packet sent");
            Ok(())
        }
        Err(error) => {
            let err = chain(&error);
            tracing::info!(%node, device = %device.name(), %mac, err, "wake packet not sent");
            Err(fault(&error))
        }
    }
}

async fn ask(machine: &Machine) -> Result<(), String> {
    let config = &machine.config;
    let Some(soft_off) = &config.soft_off else { return Ok(()) };
    match soft_off::ask(soft_off, &config.name, &config.node).await {
        Ok(taken) => {
            tracing::info!(node = %config.name, evidence = taken.evidence, "soft off taken");
            Ok(())
        }
        Err(error) => {
            let text = chain(&error);
            tracing::info!(node = %config.name, err = text, "soft off not taken");
            Err(text)
        }
    }
}

/// Writes the end down, and only then lets it be seen: a watcher may look at the machine at any time. Tries until it is
/// written or the agent stops; the next one then finishes the sequence anew from what it finds.
pub(crate) async fn finish(agent: &Agent, machine: &Machine) {
    let mut stopping = agent.stop.subscribe();
    while let Err(error) = try_finish(agent, machine).await {
        let name = &machine.config.name;
        tracing::error!(node = %name, err = chain(&error), "end could not be written down, and is not told");
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(UNWRITTEN_PAUSE) => {}
        }
    }
}

/// As [`finish`], once.
///
/// # Errors
/// Why it is not on the disk.
pub(crate) async fn try_finish(agent: &Agent, machine: &Machine) -> Result<(), StoreError> {
    let mut book = agent.book.lock().await;
    let now = Clock.now();
    let name = &machine.config.name;
    let mut memory = machine.memory();
    let Some((id, ended)) = close(&machine.state(), &mut memory, &machine.config, now) else {
        return Ok(());
    };
    let operation = book.ended(&id, ended.clone());
    if let Some((_, operation)) = &operation {
        memory.last = Some(operation.clone());
    }
    let change = Change {
        machine: Some((name.clone(), memory.clone())),
        operation: operation.clone(),
        audit: operation.iter().map(|(_, operation)| told(operation, &ended)).collect(),
        ..Change::default()
    };
    agent.store.commit_durably(change).await?;
    if let Some((place, operation)) = operation {
        tracing::info!(
            node = %name, operation = %id, verb = operation.verb.as_str(), origin = %who(&operation.origin),
            reason = %operation.reason, well = ended.well, changed = ended.changed, evidence = ended.evidence,
            elapsed_ms = fleet::moment::millis(now.since(operation.ordered)), "order ended"
        );
        book.insert(place, operation);
    }
    machine.settle(memory);
    drop(book);
    agent.publish(name);
    Ok(())
}

/// The end of an operation, as the audit has it.
fn told(operation: &Operation, ended: &Ended) -> Event {
    let outcome = audit::Outcome::Ended {
        well: ended.well,
        changed: ended.changed,
        evidence: ended.evidence.clone(),
        took: ended.at.since(operation.ordered),
    };
    let who = Who::of_origin(&operation.origin, None);
    let event = Event::new(What::Order(operation.verb), who, operation.reason.as_str());
    let (id, plan) = (Some(operation.id.clone()), operation.plan.clone());
    Event { operation: id, plan, ..event.about(&operation.machine) }.with(outcome)
}

/// Takes the ended sequence out of what is remembered of the machine, with all that follows from it.
fn close(
    state: &MachineState,
    memory: &mut MachineMemory,
    config: &MachineConfig,
    now: Moment,
) -> Option<(fleet::OperationId, Ended)> {
    let live = state.live.as_ref()?;
    let record = live.sequencer.record();
    memory.running = None;
    if record.drained_from.is_some() {
        memory.owed = Some(live.id.clone());
    }
    // The agent's own order says a former one again: whose wish it is stays.
    if let (Some((reached, at)), false) = (record.reached, live.origin == Origin::Agent) {
        memory.commanded = Some(Commanded {
            state: reached,
            at,
            origin: live.origin.clone(),
            operation: live.id.clone(),
        });
    }
    if record.stays_up {
        memory.quarantine.get_or_insert_with(|| Quarantine {
            cause: QuarantineCause::NoShutdown,
            reason: Reason::new(&record.evidence),
            since: now,
            by: live.origin.clone(),
        });
    }
    let by_policy = matches!(live.origin, Origin::Autoscaler(_));
    memory.wear.note(record, by_policy, config.limits);
    if record.left_untouched() {
        memory.holds.drop_with(&live.id);
    }
    let mut evidence = record.evidence.clone();
    let lit = record.task.verb != Verb::Off && matches!(live.origin, Origin::Person(_));
    if let (true, Some(hold)) = (lit, memory.holds.foremost(now)) {
        let (by, machine) = (&hold.by, &config.name);
        evidence.push_str(&format!("; {by}'s hold stays until `power-agent release {machine}`"));
    }
    let well = record.state == State::Done;
    Some((live.id.clone(), Ended { well, changed: record.moved, evidence, at: now }))
}
