//! What the pool tells its agents beside orders: the shapes of machines, and the plan in sentences.

use fleet::Moment;

use super::{Finished, LOOK_AGAIN, Pool};
use crate::pool::executor::chain;
use crate::pool::nomad_side::shape;

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

    /// Tells the agents what the pool does and why, where that is new. Returns when to look again.
    pub(super) fn tell_plan(&mut self, now: Moment) -> Moment {
        let later = now + LOOK_AGAIN;
        let Some(reconciler) = &self.reconciler else { return later };
        let mut lines = reconciler.explain(now);
        if let Some(discord) = self.blocks.discord() {
            lines.push(fleet::explain::Line::pool(discord.to_string()));
        }
        let plans = self.teller.tell(&self.parts.pool, &lines, &self.heard, now);
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
