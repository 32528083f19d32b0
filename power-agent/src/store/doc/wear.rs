//! How it looks on the disk how a machine was switched lately.

use fleet::arbiter::{Lighting, Wear};
use serde::{Deserialize, Serialize};

use super::Epoch;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct WearDoc {
    cut_ms: Option<u64>,
    lit_ms: Option<u64>,
    /// Each with whether a policy wanted it.
    lightings: Vec<(u64, bool)>,
}

impl WearDoc {
    pub(super) fn of(wear: &Wear) -> Self {
        let lightings = wear.lightings.iter();
        Self {
            cut_ms: wear.cut.map(fleet::Moment::as_millis),
            lit_ms: wear.lit.map(fleet::Moment::as_millis),
            lightings: lightings.map(|lit| (lit.at.as_millis(), lit.by_policy)).collect(),
        }
    }

    /// What an earlier boot did was long ago: see [`Wear`].
    pub(super) fn into_wear(self, epoch: Epoch) -> Wear {
        let lightings = self.lightings.into_iter();
        Wear {
            cut: self.cut_ms.map(|at| epoch.at(at)),
            lit: self.lit_ms.map(|at| epoch.at(at)),
            lightings: lightings
                .map(|(at, by_policy)| Lighting { at: epoch.at(at), by_policy })
                .collect(),
        }
    }
}
