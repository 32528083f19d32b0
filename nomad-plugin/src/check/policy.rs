//! One policy: what the host or the plugin would refuse of it, and what can never work.

use std::time::Duration;

use fleet::duration::parse_duration;
use fleet::spelling::nearest;
use fleet::{PoolName, WhileStarting};

use super::blocks::{Keys, Names, unknown};
use super::files::{Check, Entry, Origin, Policy, Section};
use super::finding::{Place, Report};
use crate::apm::Query;
use crate::host::Config;
use crate::target::block::{self, Block};

/// The host's source where a check names none.
const SOURCE_DEFAULT: &str = "nomad-apm";

/// Strategies that look at no metric, or take it as it is: they do not ratchet while machines boot.
const COUNTING: &[&str] = &["pass-through", "fixed-value"];

/// A pool's name where the policy's own can not be read: the rest of its block is checked all the same.
const POOL_UNREAD: &str = "unread";

/// A policy of ours that could be read: what it says to the pool that it may share.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) policy: &'a Policy,
    pub(super) target: &'a Section,
    pub(super) config: Config,
    pub(super) block: Block,
}

/// Checks a policy. Returns it where it moves a pool of ours: enabled, with a target block that could be read.
pub(super) fn check<'a>(
    policy: &'a Policy,
    names: &Names,
    report: &mut Report,
) -> Option<Member<'a>> {
    for check in &policy.checks {
        source(check, names, report);
    }
    let (label, target) = policy.target.as_ref()?;
    if !names.targets.contains(label) {
        let near = nearest(label, names.targets.iter().map(String::as_str));
        if let Some(name) = near.filter(|_| target.entries.contains_key("pool")) {
            let found = format!("policy {:?}: target {label:?}", policy.name);
            let expected = "the label of a target block in the autoscaler's configuration";
            report.error(&target.place, found, expected, format!("did you mean {name:?}?"));
        }
        return None;
    }
    let (config, block) = read_target(policy, label, target, report)?;
    own_words(policy, report);
    bounds(policy, report);
    spans(policy, &block, report);
    checks(policy, target, &block, names, report);
    let is_job = policy.origin == Origin::Job;
    let is_enabled = match policy.scaling.text("enabled") {
        Some(text) => text == "true",
        None => is_job || policy.scaling.entries.contains_key("enabled"),
    };
    if !policy.scaling.entries.contains_key("enabled") && !is_job {
        let found =
            format!("policy {:?}: no `enabled`, which is false in a policies' file", policy.name);
        report.warning(&policy.scaling.place, found, "enabled = true", "write `enabled = true`");
    }
    let is_read = block.pool.as_str() != POOL_UNREAD && is_enabled;
    is_read.then_some(Member { policy, target, config, block })
}

fn read_target(
    policy: &Policy,
    label: &str,
    target: &Section,
    report: &mut Report,
) -> Option<(Config, Block)> {
    let name = format!("policy {:?}, target {label:?}", policy.name);
    let keys = Keys { block: &name, section: target, origin: policy.origin };
    let passive = |key: &str| block::PASSIVE_KEYS.contains(&key);
    let mut config = keys.config(block::KEYS, passive, report);
    let is_named = target.entries.contains_key("pool");
    let read = |config: &Config| {
        let mut config = config.clone();
        if is_named {
            config.entry("pool".to_owned()).or_insert(POOL_UNREAD.to_owned());
        }
        Block::read(&config, &mut Vec::new())
    };
    let block = keys.read(&mut config, read, report)?;
    Some((config, block))
}

/// The host's own keys: an old host refuses a file with one that it does not know, and Nomad passes it over.
fn own_words(policy: &Policy, report: &mut Report) {
    let document = ["cooldown", "cooldown_on_scale_up", "evaluation_interval", "on_check_error"];
    let check = ["group", "source", "query", "query_window", "query_window_offset", "on_error"];
    let mut sections: Vec<(&str, &Section, &[&str])> = vec![
        ("scaling", &policy.scaling, &["enabled", "type", "min", "max"]),
        ("policy", &policy.document, &document),
    ];
    sections.extend(policy.checks.iter().map(|one| ("check", &one.section, check.as_slice())));
    for (block, section, known) in sections {
        for (key, entry) in &section.entries {
            if !known.contains(&key.as_str()) {
                let found = format!("policy {:?}, {block}: unknown key `{key}`", policy.name);
                unknown(&entry.place, found, key, known, report);
            } else if entry.text.is_none() && policy.origin == Origin::File {
                let found = format!(
                    "policy {:?}: {key} is an expression, and nobody evaluates it",
                    policy.name
                );
                report.error(
                    &entry.place,
                    found,
                    "a literal value",
                    format!("write the value of {key}"),
                );
            }
        }
    }
}

/// How many machines the host lets the policy ask for.
fn bounds(policy: &Policy, report: &mut Report) {
    let name = &policy.name;
    let mut number = |key: &str| -> Option<i64> {
        let text = policy.scaling.text(key)?;
        let number = text.parse().ok().filter(|number| *number >= 0);
        if number.is_none() {
            let found = format!("policy {name:?}: {key} = {text}");
            let remedy = format!("write the number of machines as {key}");
            report.error(policy.scaling.place_of(key), found, "a whole number, 0 or more", remedy);
        }
        number
    };
    let (min, max) = (number("min"), number("max"));
    if !policy.scaling.entries.contains_key("max") {
        let found = format!("policy {name:?}: no `max`");
        report.error(
            &policy.scaling.place,
            found,
            "max = NUMBER",
            "write how many machines the pool has",
        );
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let found = format!("policy {name:?}: min = {min} is above max = {max}");
        let place = policy.scaling.place_of("min");
        report.error(
            place,
            found,
            "min at most max",
            "the host refuses the policy; swap them, or lower min",
        );
    }
    if max == Some(0) {
        let found = format!("policy {name:?}: max = 0, so that no machine is ever lit");
        let remedy = "write how many machines the pool has, or `enabled = false`";
        report.warning(policy.scaling.place_of("max"), found, "max of 1 or more", remedy);
    }
    let of_nodes = policy.checks.iter().find(|check| source_of(check) == Some(SOURCE_DEFAULT));
    if let Some(check) = of_nodes.filter(|_| policy.origin != Origin::Job && min.unwrap_or(0) == 0)
    {
        let found = format!(
            "policy {name:?}: min = 0 does not hold: the host raises it to 1 for checks of nomad-apm"
        );
        let expected = "min = 1, or checks of other sources only";
        let remedy = "write min = 1; to reach 0 and come back from it, let work that waits ask: `pending POOL`";
        report.warning(check.section.place_of("source"), found, expected, remedy);
    }
}

/// A span of the host's: `None` where it is missing, `Some(None)` where it was told of.
fn span(policy: &Policy, key: &str, default: &str, report: &mut Report) -> Option<Duration> {
    let text = policy.document.text(key)?;
    let place = policy.document.place_of(key);
    match parse_duration(text) {
        Ok(Duration::ZERO) => {
            let found = format!(
                "policy {:?}: {key} = {text:?} means the host's default of {default}",
                policy.name
            );
            let remedy = format!("write \"1s\" for the shortest, or leave {key} out");
            report.warning(place, found, "a duration above zero", remedy);
            None
        }
        Ok(span) => Some(span),
        Err(error) => {
            let found = format!("policy {:?}: {key} = {text:?}: {error}", policy.name);
            let remedy = format!("mend {key}, or leave it out for the host's default of {default}");
            report.error(place, found, "a duration such as \"90s\" or \"1h30m\"", remedy);
            None
        }
    }
}

/// A policy that is silent for longer than its demand holds is forgotten again and again.
fn spans(policy: &Policy, block: &Block, report: &mut Report) {
    let ttl = block.terms.knobs.demand_ttl;
    for (key, default) in [
        ("cooldown", "5m"),
        ("evaluation_interval", "10s"),
        ("cooldown_on_scale_up", "the cooldown"),
    ] {
        let Some(span) = span(policy, key, default, report).filter(|span| *span >= ttl) else {
            continue;
        };
        let shown = fleet::duration::show_duration;
        let found = format!(
            "policy {:?}: {key} = {:?} is not below demand_ttl ({}): the policy is silent for so long, and its demand lapses meanwhile",
            policy.name,
            shown(span),
            shown(ttl)
        );
        let remedy = format!("shorten {key}, or write a longer demand_ttl in the target block");
        report.error(
            policy.document.place_of(key),
            found,
            format!("{key} below {}", shown(ttl)),
            remedy,
        );
    }
}

/// `None`: an expression, which only who evaluates it can know.
fn source_of(check: &Check) -> Option<&str> {
    match check.section.entries.get("source") {
        Some(entry) => entry.text.as_deref(),
        None => Some(SOURCE_DEFAULT),
    }
}

/// What a check asks our apm, also for a target that is not ours.
fn source(check: &Check, names: &Names, report: &mut Report) {
    let Some(source) = source_of(check) else { return };
    let place = check.section.place_of("source");
    if !names.apms.contains(source) {
        let query = check.section.text("query").unwrap_or_default();
        let near = nearest(source, names.apms.iter().map(String::as_str));
        let is_ours = query.split_whitespace().next() == Some("pending");
        if near.is_some() || is_ours {
            let name = near.or(names.apms.first().map(String::as_str)).unwrap_or_default();
            let expected = "the label of an apm block in the autoscaler's configuration";
            report.error(
                place,
                format!("source = {source:?} for query = {query:?}"),
                expected,
                format!("did you mean {name:?}?"),
            );
        }
        return;
    }
    let Some(query) = check.section.text("query") else {
        // The one strategy for which the host asks no source.
        let is_fixed = check.strategy.as_deref() == Some("fixed-value");
        if !check.section.entries.contains_key("query") && !is_fixed {
            report.error(
                &check.section.place,
                "a check of the plugin without a query",
                "query = \"pending POOL\"",
                "write the query",
            );
        }
        return;
    };
    if let Err(error) = Query::parse(query) {
        let remedy = "write query = \"pending POOL\" with the pool's name as in the rack file";
        report.error(
            check.section.place_of("query"),
            error.to_string(),
            "\"pending POOL\"",
            remedy,
        );
    }
}

/// What the checks are together with the target.
fn checks(policy: &Policy, target: &Section, block: &Block, names: &Names, report: &mut Report) {
    let name = &policy.name;
    if policy.checks.is_empty() {
        let found = format!("policy {name:?}: no check, so that it never asks for anything");
        report.warning(
            &policy.document.place,
            found,
            "a check",
            "write one, as in docs/policies.md",
        );
    }
    for check in &policy.checks {
        pool_agrees(policy, check, block, names, report);
    }
    let is_known = |(_, entry): (_, &Entry)| entry.text.is_some();
    let waits = block.terms.knobs.while_starting == WhileStarting::Wait
        || !target.entries.get_key_value("while_starting").is_none_or(is_known);
    let ratchets = |check: &&Check| {
        let counts = check.strategy.as_deref().is_some_and(|name| COUNTING.contains(&name));
        !counts && source_of(check).is_some_and(|source| !names.apms.contains(source))
    };
    if let Some(check) = policy.checks.iter().find(ratchets).filter(|_| !waits) {
        let found = format!(
            "policy {name:?}: scales by utilisation (source {:?}), and while_starting is \"ready\": while machines boot \
             the metric stays high and the host asks for more at each tick",
            source_of(check).unwrap_or_default()
        );
        let place = if target.entries.contains_key("while_starting") {
            target.place_of("while_starting")
        } else {
            &target.place
        };
        report.warning(
            place,
            found,
            "while_starting = \"wait\"",
            "write while_starting = \"wait\" in the target block",
        );
    }
}

/// A query about another pool than the one that is scaled counts work that the machines do not run.
fn pool_agrees(policy: &Policy, check: &Check, block: &Block, names: &Names, report: &mut Report) {
    let query = check
        .section
        .text("query")
        .filter(|_| source_of(check).is_some_and(|source| names.apms.contains(source)));
    let Some(Ok(Query::Pending(asked))) = query.map(Query::parse) else { return };
    let own: &PoolName = &block.pool;
    if asked != *own && own.as_str() != POOL_UNREAD {
        let found = format!(
            "policy {:?}: asks for the work of pool {asked} and scales pool {own}",
            policy.name
        );
        let place: &Place = check.section.place_of("query");
        report.warning(
            place,
            found,
            format!("query = \"pending {own}\""),
            "name the same pool in both",
        );
    }
}
