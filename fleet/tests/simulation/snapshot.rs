//! Nomad's state as a snapshot has it, with the pools' records in it; restored, all of it is as it was then.

use std::collections::BTreeMap;

use fleet::sequencer::Eligible;

use crate::installation::Installation;
use crate::nomad::Nomad;
use crate::plugin::Variable;

/// One snapshot.
pub(crate) struct Snapshot {
    nomad: Nomad,
    variables: Vec<Variable>,
    drains: BTreeMap<String, (String, Eligible)>,
    /// Nodes that somebody had taken out of scheduling.
    theirs: BTreeMap<String, u64>,
}

impl Installation {
    pub(crate) fn save(&mut self) {
        let (nomad, variables) = (self.nomad.clone(), self.variables.clone());
        let (drains, theirs) = (self.drains.clone(), self.check.theirs.clone());
        self.snapshot = Some(Snapshot { nomad, variables, drains, theirs });
    }

    /// Restores the snapshot, if there is one. `in_place`: the servers live on, and their next write is at an index above
    /// all that was; else they are new ones, and count on from the snapshot.
    pub(crate) fn restore(&mut self, in_place: bool) {
        let Some(Snapshot { nomad, variables, drains, theirs }) = self.snapshot.take() else {
            return;
        };
        let now = self.now;
        let was = std::mem::replace(&mut self.nomad, nomad);
        let nomad = &mut self.nomad;
        nomad.silent = was.silent;
        nomad.placed = nomad.placed.max(was.placed);
        for node in nomad.nodes.values_mut() {
            node.heard = now;
        }
        if in_place {
            self.next_index = was.index + 1;
        }
        (self.variables, self.drains) = (variables, drains);
        self.restored_at = Some(now);
        self.check.restored += 1;
        self.check.theirs = theirs;
        self.check.registered.retain(|name, _| self.nomad.nodes.contains_key(name));
        for name in crate::site::machines() {
            // What stands there now, nobody has done; and nobody can know of it at once.
            self.check.touched(name, now);
        }
    }
}
