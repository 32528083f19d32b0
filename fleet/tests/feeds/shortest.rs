//! The shortest schedule of outlets whose inrush lasts equally long, by looking at all of them: in each round any set is
//! lit that fits. Knows nothing of the ledger.

use std::collections::{BTreeMap, BTreeSet};

/// How many rounds it takes to light all, each (running, inrush) in milliamperes; `None`: it can not be done.
pub(crate) fn rounds(outlets: &[(u64, u64)], budget: u64) -> Option<u64> {
    let mut kinds: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for outlet in outlets {
        *kinds.entry(*outlet).or_default() += 1;
    }
    let kinds: Vec<((u64, u64), usize)> = kinds.into_iter().collect();
    let all: Vec<usize> = kinds.iter().map(|(_, count)| *count).collect();
    let mut reached = BTreeSet::from([vec![0; kinds.len()]]);
    for round in 1..=outlets.len() {
        let mut next = BTreeSet::new();
        for lit in &reached {
            let flows: u64 =
                kinds.iter().zip(lit).map(|(((running, _), _), lit)| running * *lit as u64).sum();
            extend(&kinds, lit, 0, budget.checked_sub(flows)?, &mut lit.clone(), &mut next);
        }
        if next.contains(&all) {
            return u64::try_from(round).ok();
        }
        reached = next;
    }
    None
}

/// All that may be lit beside `lit` in one round, from this kind on.
fn extend(
    kinds: &[((u64, u64), usize)],
    lit: &[usize],
    kind: usize,
    room: u64,
    now: &mut Vec<usize>,
    next: &mut BTreeSet<Vec<usize>>,
) {
    let Some(((_, inrush), count)) = kinds.get(kind) else {
        next.insert(now.clone());
        return;
    };
    let mut room = room;
    loop {
        extend(kinds, lit, kind + 1, room, now, next);
        if now[kind] == *count || *inrush > room {
            break;
        }
        room -= inrush;
        now[kind] += 1;
    }
    now[kind] = lit[kind];
}
