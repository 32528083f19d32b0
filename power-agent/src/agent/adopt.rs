//! The agent's start: read everything, move nothing, but finish what was half done and may be finished.

use std::sync::Arc;

use fleet::arbiter::{may_resume, must_be_proven_anew};
use fleet::{MachineName, Sequencer};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Agent, NOMAD_PATIENCE};
use crate::audit::{Event, What, Who};
use crate::clock::Clock;
use crate::machine::{Live, Machine};
use crate::memory::RunningOrder;
use crate::node::chain;
use crate::sequence;

/// A sequence that was running when the agent died.
#[derive(Debug)]
pub(crate) struct HalfDone {
    pub(crate) machine: MachineName,
    pub(crate) running: RunningOrder,
}

impl Agent {
    /// Reads all devices as they are, then takes up what was half done.
    pub(crate) async fn adopt(self: &Arc<Self>, half_done: Vec<HalfDone>) {
        let rack = self.rack();
        let reads = rack.devices.values().map(|device| async {
            let device = &device.handle;
            if let Err(error) = self.read_device(device).await {
                tracing::error!(device = %device.name(), err = chain(&error), "device could not be read");
            }
        });
        join_all(reads).await;
        for half_done in half_done {
            self.take_up(half_done).await;
        }
    }

    /// Finishes what was half done, or reports it.
    pub(crate) async fn take_up(self: &Arc<Self>, HalfDone { machine, running }: HalfDone) {
        let Ok(machine) = self.machine(&machine) else { return };
        let machine = &machine;
        let now = Clock.now();
        let phase = running.record.phase();
        let resumed = self.resumed(machine, &running).await;
        let stopped = resumed.as_ref().err().cloned();
        // What is only reported goes through the same end as everything else.
        let sequencer = resumed.unwrap_or_else(|why| {
            Sequencer::abandoned(
                running.record.clone(),
                &format!("half done ({phase}) when the agent stopped, and not finished: {why}"),
                now,
            )
        });
        match &stopped {
            None => tracing::info!(
                machine = %machine.config.name, operation = %running.id, %phase, "half-done sequence taken up"
            ),
            Some(why) => tracing::error!(
                machine = %machine.config.name, operation = %running.id, %phase, err = why,
                "half-done sequence not finished"
            ),
        }
        let who = Who::of_origin(&running.origin, None);
        let (what, why) = match &stopped {
            None => (What::TakenUp, format!("half done ({phase}), and its deadline still runs")),
            Some(why) => (What::Abandoned, format!("half done ({phase}): {why}")),
        };
        let event = Event::new(what, who, &why).about(&machine.config.name);
        self.audit(Event { operation: Some(running.id.clone()), ..event }).await;
        let age = now.since(running.record.began);
        tracing::debug!(operation = %running.id, age_ms = fleet::moment::millis(age), "age of the sequence");
        let RunningOrder { id, origin, reason, .. } = running;
        machine.state().half_done = None;
        machine.state().live = Some(Live { id, origin, reason, sequencer, call_off: None });
        let (agent, machine) = (Arc::clone(self), Arc::clone(machine));
        if stopped.is_none() {
            self.spawn(sequence::run(agent, machine));
        } else if sequence::try_finish(&agent, &machine).await.is_err() {
            self.spawn(async move { sequence::finish(&agent, &machine).await });
        }
    }

    async fn resumed(
        &self,
        machine: &Machine,
        running: &RunningOrder,
    ) -> Result<Sequencer, String> {
        if running.outlets != machine.outlet_names() {
            return Err(format!(
                "it was begun on {}, and the rack file now says {}",
                running.outlets.join(", "),
                machine.outlet_names().join(", ")
            ));
        }
        let (holds, quarantine) = {
            let state = machine.state();
            (state.holds.clone(), state.quarantine.clone())
        };
        let record = &running.record;
        let place = (record.task.verb, record.phase());
        if must_be_proven_anew(&running.origin, record, Clock.now()) {
            let rack = self.rack();
            let asked = rack.nodes.keeps_out_work(&machine.config.node);
            let told = timeout(NOMAD_PATIENCE, asked).await;
            told.unwrap_or_else(|_elapsed| Err("Nomad did not answer in time".to_owned()))?;
        }
        let fences = &self.book.lock().await.fences;
        let locks = (&holds, quarantine.as_ref());
        may_resume(&running.origin, place, locks, fences, Clock.now())?;
        // The file may have named its feeds since.
        let mut record = running.record.clone();
        record.task.fed = !machine.config.supplies.is_empty();
        Sequencer::resume(record, Clock.now()).ok_or_else(|| "its deadline has passed".to_owned())
    }
}
