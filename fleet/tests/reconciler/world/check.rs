//! What must hold in every step of every script.

use std::collections::{BTreeMap, BTreeSet};

use fleet::FleetView;
use fleet::reconciler::Effect;

use super::agent::Rig;
use super::nomad::Nomad;

/// Seconds for which nobody can know what somebody else has just done, or a dead process had under way.
const UNKNOWN: u64 = 40;

#[derive(Default)]
pub(crate) struct Check {
    restarted: Option<u64>,
    /// Nodes that nobody but the operator may free.
    pub(crate) theirs: BTreeSet<String>,
    /// Machines whose second try began before Nomad had ever heard of their nodes: one that registers in
    /// these seconds takes work at once, and nobody can forbid it that.
    unheard: BTreeSet<String>,
}

impl Check {
    pub(crate) fn restarted(&mut self, now: u64) {
        self.restarted = Some(now);
    }

    /// A machine begins to go down, or its relay opens.
    pub(crate) fn cut(&self, name: &str, nomad: &Nomad, touched: &BTreeMap<String, u64>, now: u64) {
        let unheard = self.unheard.contains(name);
        if unheard || touched.get(name).is_some_and(|at| now < at + UNKNOWN) {
            return;
        }
        let against = nomad.speaks_against(name);
        assert_eq!(against, None, "at {now}: {name} is cut though");
    }

    pub(crate) fn made_eligible(&self, name: &str) {
        assert!(!self.theirs.contains(name), "{name} was made ineligible by somebody else");
    }

    pub(crate) fn asked(
        &mut self,
        effect: &Effect,
        view: &FleetView,
        rigs: &BTreeMap<String, Rig>,
        touched: &BTreeMap<String, u64>,
        now: u64,
    ) {
        let name = effect.machine();
        // A machine that no agent names any more has only its node made eligible again.
        let Some(machine) = view.machines.get(name) else { return };
        let goes = matches!(
            effect,
            Effect::MakeIneligible { .. } | Effect::Drain { .. } | Effect::PowerOff { .. }
        );
        assert!(!(goes && machine.own), "the autoscaler's own {name} goes");
        assert!(!goes || view.nomad_answers, "{name} goes though Nomad is silent");
        let switches =
            matches!(effect, Effect::Light { .. } | Effect::PowerOff { .. } | Effect::Cycle { .. });
        assert!(!(switches && machine.is_held()), "{name} is held and ordered about");
        let out = machine.quarantine().is_some();
        assert!(!(switches && out), "at {now}: {name} is in quarantine and ordered about");
        self.unheard.remove(name.as_str());
        if let Effect::Cycle { .. } = effect {
            if machine.node.is_none() {
                self.unheard.insert(name.to_string());
            }
            let booted = machine.node.as_ref().is_some_and(fleet::NodeView::vouches);
            assert!(!booted, "at {now}: {name} is cycled though its node is there");
            assert!(view.nomad_answers, "at {now}: {name} is cycled though Nomad is silent");
        }
        let Effect::Light { operation, .. } = effect else { return };
        let rig = &rigs[name.as_str()];
        let lately = |at: &u64| now < at + UNKNOWN;
        let excused = touched.get(name.as_str()).is_some_and(lately)
            || self.restarted.is_some_and(|at| lately(&at));
        let same = rig.orders_on.last() == Some(operation);
        // Without any evidence, to order it on harms nothing and brings evidence; a boot that missed its deadline is none.
        let silent = rig.cut_off || rig.boots_at.is_none() || rig.boots_late();
        let unknown = machine.read().is_none() && silent;
        let twice = rig.starts_or_runs() && !same && !excused && !unknown && !rig.board_gone;
        assert!(!twice, "at {now}: {name} runs or starts, and is ordered on again as {operation}");
    }
}
