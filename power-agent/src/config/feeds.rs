//! Feeds with their budgets, and what each outlet takes from its feed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use fleet::feeds::MILLIAMPS_MAX;
use fleet::{Draw, FeedName, Milliamps, Supply};

use super::OutletPath;
use super::finding::{Finding, Report};
use super::read::{Draft, MachineDraft};
use super::section::{At, Section, listed, unknown_word};
use crate::drivers::Driver as _;

const BUDGET: RangeInclusive<Milliamps> = Milliamps::new(1)..=Milliamps::new(MILLIAMPS_MAX);
const DRAW: RangeInclusive<Milliamps> = Milliamps::ZERO..=Milliamps::new(MILLIAMPS_MAX);
/// What draws more for longer than a minute does not start, it works: that is what it takes running.
const INRUSH_FOR: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

/// One feed; `budget` is `None` where its section has an error of its own.
pub(crate) struct FeedDraft {
    pub(crate) name: At<FeedName>,
    pub(crate) budget: Option<Milliamps>,
}

/// What an outlet may say of its current, a machine for its outlets, and a pool for its machines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    feed: Option<At<FeedName>>,
    running: Option<At<Milliamps>>,
    inrush: Option<At<Milliamps>>,
    inrush_for: Option<Duration>,
}

/// One `[feeds.NAME]`.
pub(crate) fn read_feed(name: At<FeedName>, mut section: Section<'_>) -> FeedDraft {
    let budget = section.amperes("budget", BUDGET, "\"16A\"").map(|budget| budget.value);
    if !section.has("budget") {
        section.missing("budget", "\"16A\"");
    }
    section.finish();
    FeedDraft { name, budget }
}

impl Figures {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        Self {
            feed: section.parsed("feed", "\"a\""),
            running: section.amperes("running", DRAW, "\"0.6A\""),
            inrush: section.amperes("inrush", DRAW, "\"2A\""),
            inrush_for: section.duration("inrush_for", INRUSH_FOR, "\"500ms\""),
        }
    }

    /// These, and where they are silent the others.
    pub(crate) fn or(self, others: &Figures) -> Figures {
        Figures {
            feed: self.feed.or_else(|| others.feed.clone()),
            running: self.running.or_else(|| others.running.clone()),
            inrush: self.inrush.or_else(|| others.inrush.clone()),
            inrush_for: self.inrush_for.or(others.inrush_for),
        }
    }

    /// What one outlet takes; `None`: it hangs on no feed that is counted, or something is wrong.
    pub(crate) fn supply(&self, section: &Section<'_>) -> Option<At<Supply>> {
        let Some(feed) = &self.feed else {
            if let Some(figure) = self.running.as_ref().or(self.inrush.as_ref()) {
                section.tell(
                    Finding::error("amperes without a feed", figure.span.clone())
                        .found("nothing is said of the feed that carries them")
                        .expected("`feed` beside them, in the outlet, its machine or its pool")
                        .remedy("add `feed = \"NAME\"` and a section [feeds.NAME]"),
                );
            }
            return None;
        };
        let Some(running) = &self.running else {
            section.tell(
                Finding::error(
                    format!("`feed` without `running` in {}", section.name()),
                    feed.span.clone(),
                )
                .found("nothing is said of what it takes")
                .expected("what each outlet takes at most while the machine works")
                .remedy("add a line like `running = \"0.6A\"`, there or for its pool"),
            );
            return None;
        };
        let inrush = self.inrush.as_ref().unwrap_or(running);
        if inrush.value < running.value {
            section.tell(
                Finding::error("`inrush` is less than `running`", inrush.span.clone())
                    .found(format!("{} at the start", inrush.value))
                    .also(running.span.clone(), format!("{} later", running.value))
                    .expected("all that flows at the start, what runs included")
                    .remedy("give the whole current of the start, or leave `inrush` out"),
            );
            return None;
        }
        if inrush.value > running.value && self.inrush_for.is_none() {
            section.tell(
                Finding::error("`inrush` without `inrush_for`", inrush.span.clone())
                    .found("nothing is said of how long it lasts")
                    .remedy("add a line like `inrush_for = \"500ms\"`"),
            );
            return None;
        }
        let draw = Draw {
            running: running.value,
            inrush: inrush.value,
            inrush_for: self.inrush_for.unwrap_or_default(),
        };
        let supply = Supply { feed: feed.value.clone(), draw };
        Some(At { value: supply, span: feed.span.clone() })
    }
}

/// Each feed once, with what all outlets there take together.
pub(crate) fn merged(supplies: &[At<Supply>]) -> Vec<Supply> {
    let mut merged: BTreeMap<FeedName, Draw> = BTreeMap::new();
    for At { value: Supply { feed, draw }, .. } in supplies {
        merged.entry(feed.clone()).and_modify(|sum| *sum = sum.with(*draw)).or_insert(*draw);
    }
    merged.into_iter().map(|(feed, draw)| Supply { feed, draw }).collect()
}

/// Feeds that are not declared, and machines that could never be lit.
pub(crate) fn check(draft: &Draft, report: &Report) {
    let known: Vec<&str> = draft.feeds.iter().map(|feed| feed.name.value.as_str()).collect();
    for machine in &draft.machines {
        for supply in &machine.supplies {
            let name = &supply.value.feed;
            if known.contains(&name.as_str()) {
                continue;
            }
            let title = format!("there is no feed {name}");
            let mut finding = unknown_word(title, supply.span.clone(), name.as_str(), &known)
                .found("not declared")
                .expected(listed(&known));
            finding.remedy.get_or_insert_with(|| {
                format!("declare it with a section [feeds.{name}] and its `budget`")
            });
            report.tell(finding);
        }
        for Supply { feed, draw } in &machine.config.supplies {
            let Some(declared) = draft.feeds.iter().find(|draft| draft.name.value == *feed) else {
                continue;
            };
            let Some(budget) = declared.budget.filter(|budget| draw.inrush > *budget) else {
                continue;
            };
            let ours = machine.supplies.iter().find(|supply| supply.value.feed == *feed);
            let name = &machine.config.name;
            report.tell(
                Finding::error(
                    format!("{name} can never be lit: feed {feed} is too small for it alone"),
                    ours.map_or(0..0, |supply| supply.span.clone()),
                )
                .found(format!("its outlets there take {} at its start", draw.inrush))
                .also(declared.name.span.clone(), format!("carries {budget}"))
                .expected(format!("at most {budget}"))
                .remedy("correct the figures, or give it another feed"),
            );
        }
    }
}

/// Feeds that nothing hangs on: a warning, because machines may come later.
pub(crate) fn unused(draft: &Draft) -> Vec<Finding> {
    let hangs = |feed: &FeedName| {
        let mut all = draft.machines.iter().flat_map(|machine| &machine.config.supplies);
        all.any(|supply| supply.feed == *feed)
    };
    let unused = draft.feeds.iter().filter(|feed| !hangs(&feed.name.value));
    unused
        .map(|feed| {
            Finding::error(
                format!("nothing hangs on feed {}", feed.name.value),
                feed.name.span.clone(),
            )
            .into_warning()
            .found("no machine names it")
            .expected("`feed` in a machine, an outlet or a pool: only then is it counted")
            .remedy(format!("add `feed = \"{}\"` where it belongs", feed.name.value))
        })
        .collect()
}

/// Feeds that can not carry all that hangs on outlets that nobody can read: such a machine has its place in the sum
/// whether it is on or not, so some of them are refused for good.
pub(crate) fn unreadable(draft: &Draft) -> Vec<Finding> {
    let reads = |path: &OutletPath| {
        let mut devices = draft.devices.iter().filter(|device| device.name.value == path.device);
        let config = devices.find_map(|device| device.config.as_ref());
        config.is_none_or(|config| config.driver().capabilities(path.outlet).reads.is_some())
    };
    let blind = |machine: &&MachineDraft| !machine.config.outlets.iter().all(reads);
    let full = draft.feeds.iter().filter_map(|feed| {
        let draws = draft.machines.iter().filter(blind).filter_map(|machine| {
            let mut supplies = machine.config.supplies.iter();
            supplies.find(|supply| supply.feed == feed.name.value).map(|supply| supply.draw)
        });
        let draws: Vec<Draw> = draws.collect();
        let running: Milliamps = draws.iter().map(|draw| draw.running).sum();
        let start = draws.iter().map(|draw| draw.extra()).max().unwrap_or_default();
        let budget = feed.budget.filter(|budget| running.plus(start) > *budget)?;
        let title = format!(
            "feed {} is too small for the machines on it that can not be read",
            feed.name.value
        );
        let finding = Finding::error(title, feed.name.span.clone()).into_warning();
        let found = format!(
            "{} of them, {running} running and {start} more for the largest start",
            draws.len()
        );
        let finding = finding
            .found(found)
            .expected(format!("at most {budget}: what can not be read off counts as on, always"))
            .remedy("some are refused for good: move them to another feed, or to outlets that can be read");
        Some(finding)
    });
    full.collect()
}
