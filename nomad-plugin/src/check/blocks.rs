//! Our own blocks: read by the plugin's own parsers, whose words are given their places.

use std::collections::BTreeSet;

use fleet::spelling::nearest;

use super::files::{Origin, PluginBlock, Section};
use super::finding::{Place, Report};
use crate::host::{Config, Fault, Kind};
use crate::settings::{self, Settings};

/// What the plugin's file is called in the host's `plugin_dir`, and so the `driver` of its blocks.
pub(super) const DRIVER: &str = "lamplighter";

/// The names under which policies reach the plugin.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) targets: BTreeSet<String>,
    pub(super) apms: BTreeSet<String>,
}

impl Names {
    /// The labels of the blocks whose driver is ours; where none was found, as the documentation writes them.
    pub(super) fn of(plugins: &[PluginBlock]) -> Self {
        let labels = |kind: Kind| {
            let ours = plugins.iter().filter(|plugin| plugin.kind == kind.word());
            let ours = ours.filter(|plugin| plugin.section.text("driver") == Some(DRIVER));
            let labels: BTreeSet<String> = ours.map(|plugin| plugin.label.clone()).collect();
            if labels.is_empty() { BTreeSet::from([DRIVER.to_owned()]) } else { labels }
        };
        Self { targets: labels(Kind::Target), apms: labels(Kind::Apm) }
    }
}

/// One of our blocks while its keys are taken to the plugin's parser.
pub(super) struct Keys<'a> {
    /// What the block is called in findings.
    pub(super) block: &'a str,
    pub(super) section: &'a Section,
    pub(super) origin: Origin,
}

impl Keys<'_> {
    /// The block as the host's map. Keys that nobody reads are told of and left out, and so is what is no literal.
    pub(super) fn config(
        &self,
        known: &[&str],
        passive: impl Fn(&str) -> bool,
        report: &mut Report,
    ) -> Config {
        let mut config = Config::new();
        for (key, entry) in &self.section.entries {
            if !known.contains(&key.as_str()) && !passive(key) {
                let found = format!("{}: unknown key `{key}`, which nothing reads", self.block);
                unknown(&entry.place, found, key, known, report);
                continue;
            }
            match (&entry.text, self.origin) {
                (Some(text), _) => {
                    config.insert(key.clone(), text.clone());
                }
                // Told once for the whole template.
                (None, Origin::Template) => {}
                (None, Origin::Job) => report.warning(
                    &entry.place,
                    format!(
                        "{}: {key} is an expression, which Nomad evaluates; it is not checked",
                        self.block
                    ),
                    "a value in quotes, for all of the check",
                    format!("write the value of {key}, or read it over yourself"),
                ),
                (None, Origin::File) => report.error(
                    &entry.place,
                    format!("{}: {key} is an expression, and nobody evaluates it", self.block),
                    "a value in quotes",
                    format!("write the value of {key}"),
                ),
            }
        }
        config
    }

    /// What the plugin reads in the block. Each value that it refuses is told of at its place, and then left out.
    pub(super) fn read<T>(
        &self,
        config: &mut Config,
        read: impl Fn(&Config) -> Result<T, Fault>,
        report: &mut Report,
    ) -> Option<T> {
        loop {
            let text = match read(config) {
                Ok(value) => return Some(value),
                Err(fault) => fault.to_string(),
            };
            let key =
                config.keys().filter_map(|key| Some((word_at(&text, key)?, key.clone()))).min();
            let place = match &key {
                Some((_, key)) => self.section.place_of(key),
                None => &self.section.place,
            };
            let (found, expected) = match text.split_once("expected ") {
                Some((found, expected)) => (found.trim_end_matches([' ', ':', ';', ',']), expected),
                None => text
                    .rsplit_once("; ")
                    .unwrap_or((&text, "what the table in docs/policies.md says")),
            };
            let remedy = match &key {
                Some((_, key)) if config.len() > 1 => format!("mend {key}, or leave it out"),
                Some((_, key)) => format!("mend {key}"),
                None => "complete the block".to_owned(),
            };
            report.error(place, format!("{}: {found}", self.block), expected, remedy);
            // Without a key that it is about, leaving one out would not help; and each is left out once.
            config.remove(&key?.1);
        }
    }
}

/// Where a key stands as a whole word in a sentence.
fn word_at(text: &str, key: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(key).map(|(at, _)| at).find(|at| {
        let before = text.get(..*at).and_then(|before| before.chars().next_back());
        let after = text.get(at + key.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// An error about a word that is not among the known ones.
pub(super) fn unknown(
    place: &Place,
    found: String,
    word: &str,
    known: &[&str],
    report: &mut Report,
) {
    let remedy = match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "delete it".to_owned(),
    };
    report.error(place, found, format!("one of {}", known.join(", ")), remedy);
}

/// Checks the blocks of the autoscaler's own configuration that start the plugin.
pub(super) fn check(plugins: &[PluginBlock], report: &mut Report) {
    let mut agents: Option<(&PluginBlock, Settings)> = None;
    for plugin in plugins.iter().filter(|plugin| plugin.section.text("driver") == Some(DRIVER)) {
        let block = format!("{} {:?}", plugin.kind, plugin.label);
        if !kind_is_right(plugin, &block, report) {
            continue;
        }
        let block = format!("{block}, config");
        let keys = Keys { block: &block, section: &plugin.config, origin: plugin.origin };
        let mut config = keys.config(settings::KEYS, |key| key.starts_with("nomad_"), report);
        // The host adds its own, which another block of its configuration names.
        config.entry("nomad_address".to_owned()).or_insert("http://127.0.0.1:4646".to_owned());
        let mut warnings = Vec::new();
        let read = |config: &Config| Settings::read(config, &mut Vec::new());
        let Some(settings) = keys.read(&mut config, read, report) else { continue };
        if Settings::read(&config, &mut warnings).is_ok() {
            for warning in warnings {
                let key = config.keys().find(|key| word_at(&warning, key).is_some());
                let place = key.map_or(&plugin.config.place, |key| plugin.config.place_of(key));
                let expected = "nothing, where this is what you want";
                report.warning(place, format!("{block}: {warning}"), expected, "see that it is");
            }
        }
        match &agents {
            Some((other, theirs)) if theirs.agents != settings.agents => report.warning(
                plugin.config.place_of("agents"),
                format!("{block}: names other agents than {} {:?} ({})", other.kind, other.label, other.section.place),
                "the same agents in all of the plugin's blocks, so that what waits is counted where machines are lit",
                "write the same `agents` in both",
            ),
            Some(_) => {}
            None => agents = Some((plugin, settings)),
        }
    }
}

/// Whether the block starts the plugin as what the block is; another kind ends the whole autoscaler.
fn kind_is_right(plugin: &PluginBlock, block: &str, report: &mut Report) -> bool {
    let kinds = [Kind::Target, Kind::Apm].map(Kind::word);
    if !kinds.contains(&plugin.kind.as_str()) {
        let expected = format!("a block {}", kinds.join(" or "));
        let remedy = "the host's own strategies go with it: pass-through for `pending POOL`";
        report.error(
            &plugin.section.place,
            format!("{block}: the plugin is no {}", plugin.kind),
            expected,
            remedy,
        );
        return false;
    }
    let expected = [plugin.kind.clone()];
    if plugin.args.as_deref() == Some(expected.as_slice()) {
        return true;
    }
    let found = match &plugin.args {
        Some(args) => format!("{block}: args = {args:?}"),
        None => format!("{block}: no args"),
    };
    let remedy = "the autoscaler ends at once where a plugin is not what its block says";
    report.error(plugin.section.place_of("args"), found, format!("args = {expected:?}"), remedy);
    true
}
