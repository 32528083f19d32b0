//! The autoscaler's own files, as far as the demo and the tests write them; more is refused by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hcl_edit::expr::{Expression, ObjectKey};
use hcl_edit::structure::{Block, Body};

/// Values by key; all are strings to a plugin.
pub(super) type Config = BTreeMap<String, String>;

/// The largest file that is read: a policy has a few hundred bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Policies of one folder: each has a task of its own.
const POLICIES_MAX: usize = 64;

/// What the host would evaluate by where a policy says nothing.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);

/// What the host would rest for where a policy says nothing.
const COOLDOWN_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// The agent's configuration.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) plugin_dir: PathBuf,
    pub(super) nomad_address: String,
    pub(super) policies: PathBuf,
    pub(super) plugins: Vec<PluginBlock>,
}

/// A block that launches a plugin.
#[derive(Debug, PartialEq)]
pub(super) struct PluginBlock {
    /// `target` or `apm`.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) driver: String,
    pub(super) args: Vec<String>,
    pub(super) config: Config,
}

/// A policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) cooldown: Duration,
    pub(super) interval: Duration,
    pub(super) checks: Vec<Check>,
    pub(super) target: String,
    pub(super) target_config: Config,
}

/// A check of a policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) query: String,
    pub(super) strategy: Strategy,
}

/// The host's own strategies that the stand-in knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// What the query says.
    PassThrough,
    /// This count.
    Fixed(i64),
}

impl Setup {
    /// # Errors
    /// Where the file can not be read, or says what the stand-in does not do.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let body = parsed(file)?;
        let inner = |block: &str, key: &str| {
            let found = body.get_blocks(block).find_map(|block| text(&block.body, key));
            found.with_context(|| format!("{}: no {key} in a block {block}", file.display()))
        };
        let plugin_dir = text(&body, "plugin_dir");
        let plugins = ["target", "apm"].iter().flat_map(|kind| body.get_blocks(kind));
        Ok(Self {
            plugin_dir: plugin_dir.map_or_else(|| "plugins".into(), PathBuf::from),
            nomad_address: inner("nomad", "address")?,
            policies: PathBuf::from(inner("policy", "dir")?),
            plugins: plugins.map(plugin).collect::<Result<_>>()?,
        })
    }
}

/// The policies of a folder's files.
///
/// # Errors
/// Where one can not be read, or says what the stand-in does not do.
pub(super) fn policies(folder: &Path) -> Result<Vec<Policy>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("can not read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "hcl") {
            continue;
        }
        for block in parsed(&path)?.get_blocks("scaling") {
            let policy = policy(block).with_context(|| path.display().to_string())?;
            found.extend(policy);
        }
    }
    if found.len() > POLICIES_MAX {
        bail!("{}: {} policies, at most {POLICIES_MAX} are taken", folder.display(), found.len());
    }
    Ok(found)
}

fn parsed(file: &Path) -> Result<Body> {
    let named = || file.display().to_string();
    let length = std::fs::metadata(file).with_context(named)?.len();
    if length > FILE_BYTES_MAX {
        bail!("{}: {length} bytes, at most {FILE_BYTES_MAX} are read", named());
    }
    std::fs::read_to_string(file)?.parse().with_context(named)
}

fn plugin(block: &Block) -> Result<PluginBlock> {
    let name = label(block)?;
    let of = || format!("{} {name:?}", block.ident.as_str());
    let args = block.body.get_attribute("args").and_then(|args| args.value.as_array());
    let args = args.into_iter().flatten().map(literal).collect::<Option<_>>();
    let object = block.body.get_attribute("config").and_then(|config| config.value.as_object());
    let mut config = Config::new();
    for (key, value) in object.into_iter().flat_map(|object| object.iter()) {
        let key = match key {
            ObjectKey::Ident(ident) => Some(ident.as_str().to_owned()),
            ObjectKey::Expression(key) => literal(key),
        };
        let pair = key.zip(literal(value.expr()));
        config.extend([pair.with_context(|| format!("{}: config is no literal", of()))?]);
    }
    Ok(PluginBlock {
        kind: block.ident.as_str().to_owned(),
        driver: text(&block.body, "driver").with_context(|| format!("{}: no driver", of()))?,
        args: args.with_context(|| format!("{}: args are no literals", of()))?,
        config,
        name,
    })
}

/// A policy; none where it is not enabled.
fn policy(block: &Block) -> Result<Option<Policy>> {
    let name = label(block)?;
    let document = block.body.get_blocks("policy").next();
    let document = &document.with_context(|| format!("scaling {name:?}: no policy"))?.body;
    let target = document.get_blocks("target").next();
    let target = target.with_context(|| format!("scaling {name:?}: no target"))?;
    let bound = |key: &str| -> Result<i64> {
        let text = text(&block.body, key);
        let number = text.as_deref().and_then(|text| text.parse().ok());
        number.with_context(|| format!("scaling {name:?}: {key} = {text:?}, expected a number"))
    };
    let span = |key: &str, default: Duration| -> Result<Duration> {
        let map: Config =
            text(document, key).map(|text| (key.to_owned(), text)).into_iter().collect();
        let span = nomad_plugin::settings::duration(&map, key);
        // A fault's words are its text.
        Ok(span.map_err(|fault| anyhow::anyhow!("scaling {name:?}: {fault}"))?.unwrap_or(default))
    };
    let checks = document.get_blocks("check").map(check).collect::<Result<_>>()?;
    let read = Policy {
        min: bound("min")?,
        max: bound("max")?,
        cooldown: span("cooldown", COOLDOWN_DEFAULT)?,
        interval: span("evaluation_interval", INTERVAL_DEFAULT)?,
        checks,
        target: label(target)?,
        target_config: literals(&target.body)?,
        name,
    };
    Ok((text(&block.body, "enabled").as_deref() == Some("true")).then_some(read))
}

fn check(block: &Block) -> Result<Check> {
    let name = label(block)?;
    let strategy = block.body.get_blocks("strategy").next();
    let strategy = strategy.with_context(|| format!("check {name:?}: no strategy"))?;
    let value = text(&strategy.body, "value").and_then(|value| value.parse().ok());
    let strategy = match (label(strategy)?.as_str(), value) {
        ("pass-through", _) => Strategy::PassThrough,
        ("fixed-value", Some(value)) => Strategy::Fixed(value),
        (other, _) => bail!(
            "check {name:?}: the stand-in knows the strategies pass-through and fixed-value (with a \
             value), found {other:?}; the real autoscaler knows more"
        ),
    };
    let source = text(&block.body, "source").unwrap_or_default();
    let query = text(&block.body, "query").unwrap_or_default();
    Ok(Check { name, source, query, strategy })
}

fn label(block: &Block) -> Result<String> {
    let label = block.labels.first().map(|label| label.as_str().to_owned());
    label.with_context(|| format!("a block {} without a name", block.ident.as_str()))
}

fn text(body: &Body, key: &str) -> Option<String> {
    literal(&body.get_attribute(key)?.value)
}

fn literals(body: &Body) -> Result<Config> {
    let pair = |attribute: &hcl_edit::structure::Attribute| {
        let key = attribute.key.as_str().to_owned();
        let value = literal(&attribute.value);
        let value = value.with_context(|| format!("{key} is no literal"))?;
        Ok((key, value))
    };
    body.attributes().map(pair).collect()
}

fn literal(value: &Expression) -> Option<String> {
    match value {
        Expression::String(text) => Some(text.as_str().to_owned()),
        Expression::Bool(truth) => Some(truth.value().to_string()),
        Expression::Number(number) => Some(number.value().to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"scaling "rack" {
        enabled = true
        min = 0
        max = 4
        policy {
            cooldown = "1s"
            evaluation_interval = "2s"
            check "waiting" {
                source = "lamplighter"
                query = "pending rack"
                strategy "pass-through" {}
            }
            target "lamplighter" {
                pool = "rack"
                idle_time = "3s"
            }
        }
    }"#;

    fn read(text: &str) -> Result<Vec<Policy>> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("rack.hcl"), text)?;
        policies(dir.path())
    }

    #[test]
    fn a_policy_is_read_with_what_its_target_gets() {
        let policies = read(POLICY).unwrap();
        let [policy] = policies.as_slice() else { panic!("{policies:?}") };
        assert_eq!((policy.min, policy.max, policy.interval.as_secs()), (0, 4, 2));
        assert_eq!(
            (policy.checks[0].strategy, policy.target.as_str()),
            (Strategy::PassThrough, "lamplighter")
        );
        assert_eq!(policy.target_config.get("idle_time").map(String::as_str), Some("3s"));
        assert!(read(&POLICY.replace("enabled = true", "enabled = false")).unwrap().is_empty());
    }

    #[test]
    fn what_the_stand_in_does_not_do_is_refused_by_name() {
        for (part, instead, named) in [
            ("pass-through", "target-value", "target-value"),
            ("max = 4", "max = \"many\"", "many"),
            ("\"2s\"", "\"soon\"", "soon"),
            ("target \"lamplighter\"", "other \"lamplighter\"", "no target"),
        ] {
            let error = format!("{:#}", read(&POLICY.replacen(part, instead, 1)).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
