//! Policies that share a pool: each with a demand of its own, and none against another.

use std::collections::BTreeMap;

use fleet::{Discord, Policies, PoolName, Terms};

use super::files::Policy;
use super::finding::Report;
use super::policy::Member;
use crate::host::Config;
use crate::target::block::{self, Block};

/// Checks the policies of each pool together.
pub(super) fn check(members: &[Member<'_>], report: &mut Report) {
    let mut pools: BTreeMap<&PoolName, Vec<&Member<'_>>> = BTreeMap::new();
    for member in members {
        pools.entry(&member.block.pool).or_default().push(member);
    }
    for (pool, members) in pools {
        voices(pool, &members, report);
        if let [first, others @ ..] = members.as_slice() {
            for other in others {
                knobs(pool, first, other, report);
            }
        }
        let mut policies = Policies::default();
        for member in &members {
            if let Err(discord) = policies.take(&member.block.voice, Terms::default()) {
                let remedy = "give some of them a pool of their own";
                let expected =
                    format!("at most {} policies of one pool", fleet::policies::POLICIES_MAX);
                report.error(
                    member.target.place_of("demand"),
                    format!("pool {pool}: {discord}"),
                    expected,
                    remedy,
                );
            }
        }
    }
}

/// Of several demands of one name only the last ask counts, and they would take turns.
fn voices(pool: &PoolName, members: &[&Member<'_>], report: &mut Report) {
    let mut known: BTreeMap<&str, &Member<'_>> = BTreeMap::new();
    for member in members {
        let voice = member.block.voice.as_str();
        let Some(first) = known.get(voice) else {
            known.insert(voice, member);
            continue;
        };
        let place = member.target.place_of("demand");
        let named = if member.target.entries.contains_key("demand") {
            format!("demand = {voice:?}, as")
        } else {
            "no `demand`, and neither has".to_owned()
        };
        let other = &first.policy;
        let named = match first.target.entries.contains_key("demand")
            == member.target.entries.contains_key("demand")
        {
            true => named,
            false => format!("the demand {voice:?} (so is one called that names none), as"),
        };
        let found = format!(
            "policy {:?}: shares pool {pool} and has {named} policy {:?} ({}): their counts would alternate",
            member.policy.name, other.name, other.scaling.place
        );
        let expected = "a `demand` of its own for each policy of a pool";
        report.error(
            place,
            found,
            expected,
            "write demand = \"NAME\" in both target blocks, with two names",
        );
    }
}

/// What holds of each key where two policies differ in it.
fn knobs(pool: &PoolName, first: &Member<'_>, other: &Member<'_>, report: &mut Report) {
    for key in
        block::KEYS.iter().filter(|key| !matches!(**key, "pool" | "demand" | "while_starting"))
    {
        let (Some(ours), Some(theirs)) = (alone(first, key), alone(other, key)) else { continue };
        if ours == theirs {
            continue;
        }
        let mut both = Policies::default();
        let taken = both.take("", ours).and_then(|_| both.take("other", theirs));
        let discord = taken.err().or_else(|| both.discord());
        let text = |member: &Member<'_>| {
            member.config.get(*key).map_or("no value".to_owned(), |value| format!("{value:?}"))
        };
        let name = |policy: &Policy| format!("policy {:?} ({})", policy.name, policy.scaling.place);
        let found = format!(
            "policy {:?}: {key} = {}, and {} of the same pool {pool} has {}",
            other.policy.name,
            text(other),
            name(first.policy),
            text(first)
        );
        let place = other.target.place_of(key);
        match discord {
            Some(Discord::Contradiction { .. } | Discord::TooMany(_)) => report.error(
                place,
                found,
                format!("the same {key} in all policies of a pool: none of them is obeyed until they agree"),
                format!("write the same {key} in both, or give each its own pool"),
            ),
            None => report.warning(
                place,
                found,
                format!("the same {key} in all policies of a pool: of two values the more careful holds for both"),
                format!("write the same {key} in both"),
            ),
        }
    }
}

/// What one key of a block says, without the others.
fn alone(member: &Member<'_>, key: &str) -> Option<Terms> {
    let pair = |key: &str| Some((key.to_owned(), member.config.get(key)?.clone()));
    let config: Config = [pair("pool"), pair(key)].into_iter().flatten().collect();
    Block::read(&config, &mut Vec::new()).ok().map(|block| block.terms)
}
