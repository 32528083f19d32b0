//! A pool's state in sentences: what is wanted, what is done, and for everything that is not done, why not.

mod inputs;

use crate::marks::Ownership;
use crate::planner::Blocked;
use crate::reconciler::{BootState, Reconciler};
use crate::scale_in::Stage;
use crate::{MachineName, MachineView, Moment, NodeStatus, Verb};

/// One sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The machine that it is about; `None`: the whole pool.
    pub machine: Option<MachineName>,
    /// The sentence.
    pub text: String,
    /// What is ordered of the machine, or will be once it may. `None`: nothing.
    pub verb: Option<Verb>,
}

impl Line {
    /// A sentence about the whole pool.
    #[must_use]
    pub fn pool(text: String) -> Self {
        Self { machine: None, text, verb: None }
    }

    /// A sentence about one machine.
    #[must_use]
    pub fn machine(name: &MachineName, text: String) -> Self {
        Self { machine: Some(name.clone()), text, verb: None }
    }

    /// A sentence about a machine of which something is ordered.
    #[must_use]
    pub fn orders(name: &MachineName, verb: Verb, text: String) -> Self {
        Self { verb: Some(verb), ..Self::machine(name, text) }
    }
}

impl Reconciler {
    /// The pool's state in sentences, the pool's own first, then machine by machine.
    #[must_use]
    pub fn explain(&self, now: Moment) -> Vec<Line> {
        let mut lines = self.explain_pool(now);
        for (name, scale_in) in &self.leaving {
            let verb = goes(&scale_in.stage).then_some(Verb::Off);
            lines.push(Line { verb, ..Line::machine(name, sentence(&scale_in.stage)) });
        }
        for name in &self.last_plan.light {
            lines.push(Line::orders(name, Verb::On, "is being lit".to_owned()));
        }
        for name in self.view.starting(now) {
            lines.push(Line::machine(name, "starts: its node is not ready yet".to_owned()));
        }
        for (name, why) in &self.last_plan.blocked {
            // What is so whatever is wanted is said of its own accord.
            let said =
                matches!(why, Blocked::Quarantined(_) | Blocked::NoBoot | Blocked::NodeSilent);
            if !said && !self.view.contested.contains_key(name) {
                lines.push(Line::machine(name, why.to_string()));
            }
        }
        for (name, agents) in &self.view.contested {
            lines.push(Line::machine(
                name,
                format!(
                    "several agents have a machine of this name ({}), so none of them is ordered to move it; \
                     take it out of all rack files but one, or give each its own name",
                    agents.join(", ")
                ),
            ));
        }
        lines.extend(self.explain_failures(now));
        lines.extend(self.explain_ineligible());
        lines
    }

    /// Whether Nomad answers and has no node of this machine: not one that is cut off, whose node stays listed.
    fn is_unknown(&self, machine: &MachineView) -> bool {
        self.view.nomad_answers && machine.node.is_none()
    }

    fn explain_silence(&self, name: &MachineName, machine: &MachineView) -> String {
        if self.is_unknown(machine) {
            // A client registers again only where the server says that it knows no such node; it says that to
            // nobody whose secret it does not know (hashicorp/nomad#20024).
            return format!(
                "is on, and Nomad does not know its node: either it has never registered, or Nomad was restored from \
                 a snapshot of before it did, and then refuses its client until that is started anew (`systemctl \
                 restart nomad` on the machine, or `power-agent cycle {name} --force`); nothing proves that it is \
                 empty, so it counts and is left as it is"
            );
        }
        format!(
            "is on, and its node is down or not there: it may be cut off from Nomad, or hang; nothing \
             proves that it is empty, so it counts and is left as it is; `power-agent cycle {name}` \
             starts it anew"
        )
    }

    /// Machines that do not do what they were switched for.
    fn explain_failures(&self, now: Moment) -> Vec<Line> {
        let mut lines = Vec::new();
        for (name, machine) in &self.view.machines {
            if let Some(quarantine) = machine.quarantine() {
                lines.push(Line::machine(
                    name,
                    format!(
                        "is in quarantine: {}; `power-agent release {name}` returns it to service, \
                     `power-agent on {name}` tries it",
                        quarantine.reason
                    ),
                ));
            } else if machine.is_silent(now) {
                lines.push(Line::machine(name, self.explain_silence(name, machine)));
            } else if machine.lost_power(now) {
                lines.push(Line::machine(name, "its power went away without an order".to_owned()));
            } else if self.boot(name, now) == BootState::Silent {
                let text =
                    "its node has fallen silent, and its board can not tell whether it is on";
                lines.push(Line::machine(name, text.to_owned()));
            } else if let BootState::Missed(cycle) = self.boot(name, now) {
                let then = if cycle { "its power is cycled once" } else { "it is quarantined" };
                let verb = cycle.then_some(Verb::Cycle);
                let text = format!("did not boot in time: {then}");
                lines.push(Line { verb, ..Line::machine(name, text) });
            }
        }
        lines
    }

    fn explain_pool(&self, now: Moment) -> Vec<Line> {
        let status = self.status(now);
        let mut lines = Vec::new();
        match status.desired {
            Some(desired) => {
                lines.push(Line::pool(format!("{desired} wanted, {} on or starting", status.count)))
            }
            None => lines.push(Line::pool(format!("{} on or starting", status.count))),
        }
        if let Some(why) = status.not_ready {
            lines.push(Line::pool(format!("Status answers not ready: {why}")));
        }
        for agent in &self.view.agents_missing {
            lines.push(Line::pool(format!("the agent at {agent} does not answer")));
        }
        if let Some(demand) = &self.demand {
            if demand.levels().nth(1).is_some() {
                let asks =
                    demand.levels().map(|(voice, level)| format!("{voice} asks for {level}"));
                let asks: Vec<String> = asks.collect();
                lines.push(Line::pool(format!("{}; the largest is wanted", asks.join(", "))));
            }
            for (voice, level, lapses) in demand.silent(self.knobs.damping(), now) {
                let left = lapses.since(now).as_secs();
                lines.push(Line::pool(format!(
                    "the policy with demand {voice}, which asked for {level}, does not call; its demand lapses in {left} s"
                )));
            }
            for (voice, level, lower) in demand.waiting(self.knobs.scale_in_window) {
                let left = lower.since(now).as_secs();
                lines.push(Line::pool(format!(
                    "{voice} asks for fewer than {level}; that holds in {left} s if nothing asks for more"
                )));
            }
        }
        let silent = self.view.machines.values().filter(|machine| machine.is_silent(now));
        let (unknown, silent): (Vec<_>, Vec<_>) = silent.partition(|it| self.is_unknown(it));
        if !silent.is_empty() {
            lines.push(Line::pool(format!(
                "partition suspected: {} on whose nodes are silent; nothing is moved in their place",
                silent.len()
            )));
        }
        if !unknown.is_empty() {
            lines.push(Line::pool(format!(
                "{} on whose nodes Nomad does not know; nothing is moved in their place",
                unknown.len()
            )));
        }
        if self.last_plan.short > 0 {
            lines.push(Line::pool(format!(
                "{} more wanted than can be lit now",
                self.last_plan.short
            )));
        }
        if self.last_plan.surplus > 0 {
            lines.push(Line::pool(format!(
                "{} more on than wanted, and none of them may be stopped now",
                self.last_plan.surplus
            )));
        }
        lines
    }

    /// Ready nodes that take no work and are none of our doing.
    fn explain_ineligible(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (name, machine) in &self.view.machines {
            let Some(node) = machine.node.as_ref() else { continue };
            if node.eligible || node.status != NodeStatus::Ready || self.leaving.contains_key(name)
            {
                continue;
            }
            let text = match self.marks.get(name).map(|mark| mark.judge(node)) {
                Some(Ownership::Ours) => continue,
                Some(Ownership::Theirs(index)) => format!(
                    "its node takes no work: somebody drained it or made it ineligible at index {index}"
                ),
                Some(Ownership::Lost) => {
                    "its node takes no work, and Nomad's events do not reach back \
                                          far enough to tell whether that is ours; \
                                          `nomad node eligibility -enable` frees it"
                        .to_owned()
                }
                None | Some(Ownership::Void) if self.restored.is_void(name) => {
                    "its node takes no work: we had made it so, but Nomad's state is of before that, as \
                     after a restored snapshot; `nomad node eligibility -enable` frees it"
                        .to_owned()
                }
                Some(Ownership::Void) | None => "its node takes no work, and that is not our doing; \
                         `nomad node eligibility -enable` frees it"
                    .to_owned(),
            };
            lines.push(Line::machine(name, text));
        }
        lines
    }
}

/// Whether its power is to be taken, and that has not ended.
const fn goes(stage: &Stage) -> bool {
    match stage {
        Stage::Chosen
        | Stage::Confirming(_)
        | Stage::Confirmed
        | Stage::Draining(_)
        | Stage::Proving(_)
        | Stage::Proven(_)
        | Stage::Leaving(..) => true,
        Stage::Gone(_)
        | Stage::Purging(_)
        | Stage::Done
        | Stage::Stuck(_)
        | Stage::Cancelling(_)
        | Stage::Kept(_) => false,
    }
}

fn sentence(stage: &Stage) -> String {
    match stage {
        Stage::Chosen => "is to go: its node is made ineligible".to_owned(),
        Stage::Confirming(_) | Stage::Confirmed => {
            "is to go: its work is read once more before the drain".to_owned()
        }
        Stage::Draining(_) => "is to go: its node drains".to_owned(),
        Stage::Proving(_) => "is to go: drained, and read once more".to_owned(),
        Stage::Proven(_) => "is to go: empty, its agent is being told".to_owned(),
        Stage::Leaving(..) => "shuts down".to_owned(),
        Stage::Gone(_) => "is off; its node is not yet known to be down".to_owned(),
        Stage::Purging(_) => "is off; its node is being purged".to_owned(),
        Stage::Done => "is off".to_owned(),
        Stage::Stuck(why) => format!("could not be switched off: {why}"),
        Stage::Cancelling(keep) => format!("stays: {}; its node is made eligible", keep.why),
        Stage::Kept(keep) => format!("stays: {}", keep.why),
    }
}
