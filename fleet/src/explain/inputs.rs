//! What a plan was made from, in sentences: kept with it, so that it can be understood when all has changed.

use crate::explain::Line;
use crate::reconciler::Reconciler;
use crate::{MachineView, Moment, NodeStatus};

impl Reconciler {
    /// What the plan of now is made from: who asks for what, who answers, and each machine as it is seen.
    #[must_use]
    pub fn inputs(&self, now: Moment) -> Vec<Line> {
        let view = &self.view;
        let mut lines = Vec::new();
        let levels = self.demand.iter().flat_map(|demand| demand.levels());
        lines.extend(levels.map(|(voice, level)| Line::pool(format!("{voice} asks for {level}"))));
        let nomad = if view.nomad_answers { "Nomad answers" } else { "Nomad does not answer" };
        let (heard, missing) = (view.agents_heard, view.agents_missing.len());
        let count = view.count(now);
        lines.push(Line::pool(format!(
            "{nomad}; {heard} agents answer, {missing} do not; {count} count"
        )));
        lines
            .extend(view.machines.iter().map(|(name, machine)| Line::machine(name, seen(machine))));
        lines
    }
}

/// A machine as it is seen, in one sentence.
fn seen(machine: &MachineView) -> String {
    let power = match &machine.agent {
        Some(agent) => agent.power.observed().to_string(),
        None => "its agent does not answer".to_owned(),
    };
    let node = match &machine.node {
        None => "no node".to_owned(),
        Some(node) => {
            let status = match node.status {
                NodeStatus::Initializing => "initializing",
                NodeStatus::Ready => "ready",
                NodeStatus::Down => "down",
                NodeStatus::Disconnected => "disconnected",
            };
            let takes = if node.eligible { "takes work" } else { "takes no work" };
            let (work, index) = (node.work().count(), node.index);
            format!("node {status}, {takes}, {work} allocations of demand, read at index {index}")
        }
    };
    let held = machine.agent.as_ref().and_then(|agent| agent.held_by.as_ref());
    let held = held.map(|by| format!("; held by {by}")).unwrap_or_default();
    format!("{power}; {node}{held}")
}
