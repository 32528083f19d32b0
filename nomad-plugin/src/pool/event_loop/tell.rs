//! What the pool tells beside orders: the agents the shapes of machines and the plan in sentences, and the log of policies
//! that go by one name.

use fleet::Moment;
use fleet::explain::Line;

use super::{Finished, LOOK_AGAIN, Pool};
use crate::host::{Config, ScalingAction};
use crate::pool::executor::chain;
use crate::pool::nomad_side::shape;
use crate::pool::plans::Telling;

/// Where the host says in an action which policy it is of.
const POLICY_ID: &str = "nomad_policy_id";

impl Pool {
    /// Takes the pool at each agent that does not know our fence yet. Returns when to look again.
    pub(super) fn claim(&mut self, now: Moment) -> Moment {
        let fence = self.fence().filter(|_| self.reconciler.is_some());
        let Some(fence) = fence else { return now + LOOK_AGAIN };
        let (due, again) = self.claims.due(&self.heard, &fence, now);
        for address in due {
            let Some(agent) = self.agents.get(&address).cloned() else { continue };
            let fence = fence.clone();
            self.tasks.spawn(async move {
                match agent.claim(&fence).await {
                    Ok(()) => Finished::Noted,
                    Err(error) => Finished::Unclaimed(address, chain(&error)),
                }
            });
        }
        again.unwrap_or(now + LOOK_AGAIN)
    }

    /// A policy has called Status.
    pub(super) fn meet_caller(&mut self, voice: &str, block: &Config, now: Moment) {
        if self.namesakes.called(voice, block, now) {
            self.warn_of_namesakes(voice);
        }
    }

    /// A policy has asked for a count.
    pub(super) fn meet_asker(&mut self, voice: &str, action: &ScalingAction, now: Moment) {
        let id = action.meta.get(POLICY_ID).and_then(serde_json::Value::as_str);
        if id.is_some_and(|id| self.namesakes.asked(voice, id, now)) {
            self.warn_of_namesakes(voice);
        }
    }

    fn warn_of_namesakes(&self, voice: &str) {
        tracing::warn!(pool = %self.parts.pool, demand = %voice, "{}", namesakes(voice));
    }

    /// Tells each agent the shape in which its machines' nodes are registered, where that is new to it.
    pub(super) fn note_shapes(&mut self, now: Moment) {
        for (address, heard) in &self.heard {
            let Some(heard) = heard.as_ref().filter(|heard| heard.answers) else { continue };
            let Some(agent) = self.agents.get(address) else { continue };
            for (name, (machine, _)) in &heard.machines {
                let node = self.nomad.nodes.get(&machine.node).map(|facts| &facts.node);
                let ready = node.filter(|node| node.status == nomad_api::NodeStatus::Ready);
                let Some(seen) = ready.map(shape) else { continue };
                let known = machine.last_seen.as_ref() == Some(&seen);
                if known || !self.shapes.begin(name, &seen, now) {
                    continue;
                }
                let (agent, name) = (agent.clone(), name.clone());
                self.tasks.spawn(async move {
                    let kept = agent.record_shape(&name, &seen).await;
                    if let Err(error) = &kept {
                        tracing::debug!(machine = %name, err = %chain(error), "a shape was not kept");
                    }
                    Finished::Shape(name, seen, kept.is_ok())
                });
            }
        }
    }

    /// What the pool does and why, in sentences.
    pub(super) fn plan_lines(&self, now: Moment) -> Vec<Line> {
        let mut lines: Vec<Line> =
            self.reconciler.iter().flat_map(|pool| pool.explain(now)).collect();
        if let Some(discord) = self.blocks.discord() {
            lines.push(Line::pool(discord.to_string()));
        }
        let shared = self.namesakes.shared(now).into_iter();
        lines.extend(shared.map(|voice| Line::pool(namesakes(voice))));
        lines
    }

    /// Tells the agents what the pool does and why, where that is new; at once where something is ordered by it. Returns when to look again.
    pub(super) fn tell_plan(&mut self, orders: bool, now: Moment) -> Moment {
        let later = now + LOOK_AGAIN;
        if self.reconciler.is_none() {
            return later;
        }
        let lines = self.plan_lines(now);
        let inputs: Vec<_> = self.reconciler.iter().flat_map(|pool| pool.inputs(now)).collect();
        let on_soft_off_timeout = self.blocks.knobs().on_soft_off_timeout;
        let telling = Telling { lines: &lines, inputs: &inputs, orders, on_soft_off_timeout };
        let plans = self.teller.tell(&self.parts.pool, telling, &self.heard, now);
        for (address, plan) in plans {
            let Some(agent) = self.agents.get(&address).cloned() else { continue };
            self.tasks.spawn(async move {
                if let Err(error) = agent.record_plan(&plan).await {
                    tracing::debug!(agent = %address, err = %chain(&error), "a plan was not kept");
                }
                Finished::Noted
            });
        }
        if self.teller.is_news(&lines) { self.teller.due().unwrap_or(later) } else { later }
    }
}

fn namesakes(voice: &str) -> String {
    format!(
        "several policies go by the demand {voice:?}, so that their counts take turns and the last one holds; write a \
         demand = \"NAME\" of its own in each target block; `lamplighter check` finds them in files"
    )
}
