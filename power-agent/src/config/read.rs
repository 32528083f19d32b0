//! From the text of a rack file to a draft: every value typed, with the places that the rules need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet::arbiter::Limits;
use fleet::arbiter::wear::CYCLES_PER_HOUR_MAX;
use fleet::{
    DeviceName, DriftPolicy, FeedName, MachineName, NameError, PoolName, Resources, Shape, Supply,
};
use toml::de::DeTable;

use super::access::{AccessDraft, read_listen, read_metrics};
use super::feeds::{self, FeedDraft, Figures};
use super::finding::{Finding, Findings, Report};
use super::paths::{self, PathsDraft, SignsDraft};
use super::section::{At, Section, unknown_word};
use super::{
    AgentConfig, Config, MachineConfig, NomadConfig, OutletPath, SOCKET_DEFAULT, STATE_DEFAULT,
    SoftOffConfig, SoftOffWay, SshConfig, placeholder, rules,
};
use crate::drivers::{self, DriverConfig, OUTLETS_MAX, OutletNumber};

/// A poll under 100 ms would keep a slow serial line busy; over an hour it is no observation.
const POLL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const POLL_DEFAULT: Duration = Duration::from_secs(10);
/// A server with much memory tests it for an hour; a day is a mistake.
const BOOT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const BOOT_DEFAULT: Duration = Duration::from_secs(300);
/// Under 100 ms a power supply bridges the gap; over an hour it is an off and not a cycle.
const DWELL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const DWELL_DEFAULT: Duration = Duration::from_secs(10);
/// Over an hour it is no protection of hardware but a policy's business.
const REST: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// Once in five minutes: more often no machine boots, works and goes.
const CYCLES_PER_HOUR_DEFAULT: u32 = 12;
const SETTLE_DEFAULT: Duration = Duration::from_secs(10);
/// A week is what the longest batch work may ask of a drain.
const DRAIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(604_800);
const DRAIN_DEFAULT: Duration = Duration::from_secs(3600);
/// A machine that has not gone down after a day never will.
const SOFT_OFF: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
const SOFT_OFF_DEFAULT: Duration = Duration::from_secs(90);

/// What runs on a machine that is shut down by ssh, if nothing else is said.
const SSH_COMMAND_DEFAULT: &str = "systemctl poweroff";
const SOFT_OFF_EXAMPLE: &str =
    r#"{ ssh = "root@{node}", deadline = "90s" } or { exec = ["COMMAND", "{machine}"] }"#;
const OUTLETS_EXAMPLE: &str = r#"[{ device = "board-a", outlet = 1 }]"#;

/// The file as typed values with their places, before the rules.
pub(crate) struct Draft {
    pub(crate) agent: At<AgentConfig>,
    pub(crate) nomad: Option<NomadConfig>,
    pub(crate) devices: Vec<DeviceDraft>,
    pub(crate) feeds: Vec<FeedDraft>,
    pub(crate) pools: Vec<At<PoolName>>,
    pub(crate) machines: Vec<MachineDraft>,
    pub(crate) access: AccessDraft,
}

/// One device; `config` is `None` where its section has an error of its own.
pub(crate) struct DeviceDraft {
    pub(crate) name: At<DeviceName>,
    pub(crate) config: Option<DriverConfig>,
    pub(crate) port: Range<usize>,
}

/// One machine with the places that the rules compare.
pub(crate) struct MachineDraft {
    pub(crate) config: MachineConfig,
    pub(crate) pool: Range<usize>,
    pub(crate) node: Range<usize>,
    pub(crate) outlets: Vec<At<OutletPath>>,
    pub(crate) supplies: Vec<At<Supply>>,
    pub(super) paths: PathsDraft,
}

impl Draft {
    pub(crate) fn into_config(self) -> Config {
        let devices = self.devices.into_iter();
        let machines = self.machines.into_iter();
        let (network, page, access) = self.access.into_parts();
        Config {
            agent: self.agent.value,
            nomad: self.nomad,
            devices: devices
                .filter_map(|device| Some((device.name.value, device.config?)))
                .collect(),
            feeds: self
                .feeds
                .into_iter()
                .filter_map(|feed| Some((feed.name.value, feed.budget?)))
                .collect(),
            pools: self.pools.into_iter().map(|pool| pool.value).collect(),
            machines: machines
                .map(|machine| (machine.config.name.clone(), machine.config))
                .collect(),
            network,
            page,
            access,
        }
    }
}

/// Reads the text and applies the rules.
pub(crate) fn parse(file: &Path, source: &str, base: &Path) -> Result<Draft, Findings> {
    let (table, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        let told = errors.iter().map(|error| {
            Finding::error("this is not TOML", error.span().unwrap_or(0..0)).found(error.message())
        });
        return Err(Findings::new(file, source, told.collect()));
    }
    let report = Report::default();
    let mut root = Section::root(table.get_ref(), base, &report);
    let draft = read_root(&mut root);
    root.finish();
    rules::check(&draft, &report);
    let findings = report.into_findings();
    if findings.is_empty() { Ok(draft) } else { Err(Findings::new(file, source, findings)) }
}

fn read_root(root: &mut Section<'_>) -> Draft {
    let (agent, listen) = read_agent(root);
    let nomad = root.section("nomad", "a section [nomad]").and_then(read_nomad);
    let mut devices = Vec::new();
    for (name, section) in root.named("devices") {
        if let Some(name) = named::<DeviceName>(&name, &section) {
            devices.push(read_device(name, section));
        }
    }
    let mut feeds = Vec::new();
    for (name, section) in root.named("feeds") {
        if let Some(name) = named::<FeedName>(&name, &section) {
            feeds.push(feeds::read_feed(name, section));
        }
    }
    let mut pools = Vec::new();
    let mut defaults = BTreeMap::new();
    for (name, mut section) in root.named("pools") {
        if let Some(name) = named::<PoolName>(&name, &section) {
            let signs = SignsDraft::read(&mut section);
            let knobs = Knobs { signs, ..Knobs::read(&mut section) };
            defaults.insert(name.value.clone(), knobs);
            section.finish();
            pools.push(name);
        }
    }
    let mut machines = Vec::new();
    for (name, section) in root.named("machines") {
        if let Some(name) = named::<MachineName>(&name, &section) {
            let mut machine = read_machine(name, section, &defaults);
            paths::with_interface(&mut machine.config, &devices);
            machines.push(machine);
        }
    }
    let access = AccessDraft::read(root, listen);
    Draft { agent, nomad, devices, feeds, pools, machines, access }
}

fn named<T>(name: &At<String>, section: &Section<'_>) -> Option<At<T>>
where
    T: std::str::FromStr<Err = NameError>,
{
    match name.value.parse() {
        Ok(value) => Some(At { value, span: name.span.clone() }),
        Err(error) => {
            section.bad_name(&error, name.span.clone());
            None
        }
    }
}

fn read_agent(root: &mut Section<'_>) -> (At<AgentConfig>, Option<At<SocketAddr>>) {
    let mut agent = AgentConfig {
        name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        socket: PathBuf::from(SOCKET_DEFAULT),
        state: PathBuf::from(STATE_DEFAULT),
        poll: POLL_DEFAULT,
        metrics: None,
    };
    let Some(mut section) = root.section("agent", "a section [agent]") else {
        return (At { value: agent, span: 0..0 }, None);
    };
    if let Some(name) = section.text("name", "\"rack-a\"") {
        agent.name = name.value;
    }
    let socket = section.path("socket", &format!("{SOCKET_DEFAULT:?}"));
    let span = socket.as_ref().map_or_else(|| section.span(), |socket| socket.span.clone());
    if let Some(socket) = socket {
        agent.socket = socket.value;
    }
    if let Some(state) = section.path("state", &format!("{STATE_DEFAULT:?}")) {
        agent.state = state.value;
    }
    if let Some(poll) = section.duration("poll", POLL, "\"10s\"") {
        agent.poll = poll;
    }
    agent.metrics = read_metrics(&mut section);
    let listen = read_listen(&mut section);
    section.finish();
    (At { value: agent, span }, listen)
}

fn read_nomad(mut section: Section<'_>) -> Option<NomadConfig> {
    let address = section.text("address", "\"http://127.0.0.1:4646\"");
    if !section.has("address") {
        section.missing("address", "\"http://127.0.0.1:4646\"");
    }
    let mut file = |key| section.path(key, "\"/etc/lamplighter/FILE\"").map(|at| at.value);
    let (token_file, ca_file) = (file("token_file"), file("ca_file"));
    let (cert_file, key_file) = (file("cert_file"), file("key_file"));
    let region = section.text("region", "\"global\"").map(|at| at.value);
    let tls_server_name =
        section.text("tls_server_name", "\"server.global.nomad\"").map(|at| at.value);
    if cert_file.is_some() != key_file.is_some() {
        let (there, wanted) =
            if cert_file.is_some() { ("cert_file", "key_file") } else { ("key_file", "cert_file") };
        section.tell(
            Finding::error(format!("`{there}` without `{wanted}`"), section.key_span(there))
                .found("a client certificate is two files")
                .remedy(format!("add `{wanted}`, or leave both out")),
        );
    }
    let address = address.and_then(|address| check_address(&section, address));
    section.finish();
    let address = address?;
    Some(NomadConfig { address, token_file, ca_file, cert_file, key_file, region, tls_server_name })
}

fn check_address(section: &Section<'_>, address: At<String>) -> Option<String> {
    let host = ["http://", "https://", "unix://"]
        .iter()
        .find_map(|scheme| address.value.strip_prefix(scheme));
    if host.is_some_and(|host| !host.is_empty()) {
        return Some(address.value);
    }
    section.tell(
        Finding::error("`address` is no address of a Nomad agent", address.span)
            .found(format!("found {:?}", address.value))
            .expected("http://HOST:PORT, https://HOST:PORT or unix:///PATH")
            .remedy("write it like `address = \"http://127.0.0.1:4646\"`"),
    );
    None
}

fn read_device(name: At<DeviceName>, mut section: Section<'_>) -> DeviceDraft {
    let driver = section.text("driver", "\"lcus\"");
    if !section.has("driver") {
        section.missing("driver", "\"lcus\"");
    }
    let mut config = None;
    if let Some(driver) = driver {
        if drivers::NAMES.contains(&driver.value.as_str()) {
            config = DriverConfig::read(&driver.value, &mut section);
            let port = section.key_span(if section.has("port") { "port" } else { "interface" });
            section.finish();
            return DeviceDraft { name, config, port };
        }
        let title = format!("there is no driver {:?}", driver.value);
        let mut finding = unknown_word(title, driver.span, &driver.value, drivers::NAMES)
            .found("not the name of a driver")
            .expected(super::section::listed(drivers::NAMES));
        if let Some((_, remedy)) = drivers::LEFT_OUT.iter().find(|(name, _)| *name == driver.value)
        {
            finding = finding
                .found("a driver that was left out when this agent was built")
                .remedy(*remedy);
        }
        section.tell(finding);
    }
    DeviceDraft { port: section.span(), name, config }
}

/// The words of `drift`.
const DRIFT: &[(&str, DriftPolicy)] =
    &[("report", DriftPolicy::Report), ("enforce", DriftPolicy::Enforce)];

/// What a machine may say for itself and a pool for its machines.
#[derive(Debug, Clone, Default)]
struct Knobs {
    boot_deadline: Option<Duration>,
    off_dwell: Option<Duration>,
    settle: Option<Duration>,
    drain_deadline: Option<Duration>,
    never_off: Option<bool>,
    min_on: Option<Duration>,
    min_off: Option<Duration>,
    cycles_per_hour: Option<u64>,
    drift: Option<DriftPolicy>,
    soft_off: Option<SoftOffConfig>,
    shape: Option<Shape>,
    figures: Figures,
    /// Of a pool alone: a machine names its address beside them.
    signs: Option<SignsDraft>,
}

impl Knobs {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            boot_deadline: section.duration("boot_deadline", BOOT, "\"5m\""),
            off_dwell: section.duration("off_dwell", DWELL, "\"10s\""),
            settle: section.duration("settle", DWELL, "\"10s\""),
            drain_deadline: section.duration("drain_deadline", DRAIN, "\"1h\""),
            never_off: section.truth("never_off"),
            min_on: section.duration("min_on", REST, "\"10s\""),
            min_off: section.duration("min_off", REST, "\"10s\""),
            cycles_per_hour: section
                .integer("cycles_per_hour", 0..=u64::from(CYCLES_PER_HOUR_MAX), "12")
                .map(|cycles| cycles.value),
            drift: section.choice("drift", DRIFT).map(|drift| drift.value),
            soft_off: section.section("soft_off", SOFT_OFF_EXAMPLE).and_then(read_soft_off),
            shape: section
                .section("shape", "{ cpu = 2000, memory = 1024, disk = 10000 }")
                .and_then(read_shape),
            figures: Figures::read(section),
            signs: None,
        }
    }
}

fn read_machine(
    name: At<MachineName>,
    mut section: Section<'_>,
    defaults: &BTreeMap<PoolName, Knobs>,
) -> MachineDraft {
    let pool = section.parsed::<PoolName>("pool", "\"rack\"");
    let node = section.text("node", &format!("\"{}\"", name.value));
    let own = Knobs::read(&mut section);
    let pool_knobs = pool.as_ref().and_then(|pool| defaults.get(&pool.value)).cloned();
    let of_pool = pool_knobs.unwrap_or_default();
    let figures = own.figures.clone().or(&of_pool.figures);
    let (outlets, supplies) = read_outlets(&mut section, &figures);
    let paths = PathsDraft::read(&mut section, of_pool.signs.as_ref());
    let or =
        |own: Option<Duration>, pool: Option<Duration>, default| own.or(pool).unwrap_or(default);
    let span_of = |key| section.key_span(key);
    let draft = MachineDraft {
        pool: pool.as_ref().map_or(0..0, |pool| pool.span.clone()),
        node: if section.has("node") { span_of("node") } else { name.span.clone() },
        config: MachineConfig {
            node: node.map_or_else(|| name.value.to_string(), |node| node.value),
            pool: pool.map(|pool| pool.value),
            outlets: outlets.iter().map(|outlet| outlet.value.clone()).collect(),
            supplies: feeds::merged(&supplies),
            boot_deadline: or(own.boot_deadline, of_pool.boot_deadline, BOOT_DEFAULT),
            off_dwell: or(own.off_dwell, of_pool.off_dwell, DWELL_DEFAULT),
            settle: or(own.settle, of_pool.settle, SETTLE_DEFAULT),
            drain_deadline: or(own.drain_deadline, of_pool.drain_deadline, DRAIN_DEFAULT),
            limits: limits(&own, &of_pool),
            never_off: own.never_off.or(of_pool.never_off).unwrap_or_default(),
            drift: own.drift.or(of_pool.drift).unwrap_or_default(),
            soft_off: own.soft_off.or(of_pool.soft_off),
            shape: own.shape.or(of_pool.shape),
            wake: paths.wake.as_ref().map(|wake| wake.value.clone()),
            last_resort: paths.last_resort.as_ref().is_some_and(|cut| cut.value),
            presence: paths.presence.as_ref().map(|presence| presence.value.clone()),
            name: name.value,
        },
        outlets,
        supplies,
        paths,
    };
    section.finish();
    draft
}

/// What the power supply needs between off and on, it needs also between an `off` and an `on`.
fn limits(own: &Knobs, of_pool: &Knobs) -> Limits {
    let rest = own.off_dwell.or(of_pool.off_dwell).unwrap_or(DWELL_DEFAULT);
    let cycles = own.cycles_per_hour.or(of_pool.cycles_per_hour);
    let cycles = cycles.and_then(|cycles| u32::try_from(cycles).ok());
    Limits {
        min_on: own.min_on.or(of_pool.min_on).unwrap_or(rest),
        min_off: own.min_off.or(of_pool.min_off).unwrap_or(rest),
        cycles_per_hour: cycles.unwrap_or(CYCLES_PER_HOUR_DEFAULT),
    }
}

/// A machine's outlets, and what each takes of which feed: by its own figures, else by the machine's.
fn read_outlets(
    section: &mut Section<'_>,
    figures: &Figures,
) -> (Vec<At<OutletPath>>, Vec<At<Supply>>) {
    if !section.has("outlets") && section.has("wake") {
        return (Vec::new(), Vec::new());
    }
    if !section.has("outlets") {
        section.missing("outlets", OUTLETS_EXAMPLE);
    }
    let Some(list) = section.list("outlets", OUTLETS_EXAMPLE) else {
        return (Vec::new(), Vec::new());
    };
    if list.value.is_empty() {
        section.tell(
            Finding::error(format!("{} has no outlet", section.name()), list.span)
                .found("this list is empty")
                .expected("at least one outlet: without it nothing can switch the machine")
                .remedy(format!("write it like `outlets = {OUTLETS_EXAMPLE}`")),
        );
    }
    let (mut outlets, mut supplies) = (Vec::new(), Vec::new());
    for mut item in list.value {
        let span = item.span();
        let device = item.parsed::<DeviceName>("device", "\"board-a\"");
        let outlet = item.integer("outlet", 1..=u64::from(OUTLETS_MAX), "1");
        for (key, example) in [("device", "\"board-a\""), ("outlet", "1")] {
            if !item.has(key) {
                item.missing(key, example);
            }
        }
        supplies.extend(Figures::read(&mut item).or(figures).supply(&item));
        item.finish();
        let number = outlet.and_then(|outlet| u16::try_from(outlet.value).ok());
        if let (Some(device), Some(outlet)) = (device, number.and_then(OutletNumber::new)) {
            outlets.push(At { value: OutletPath { device: device.value, outlet }, span });
        }
    }
    (outlets, supplies)
}

fn read_soft_off(mut section: Section<'_>) -> Option<SoftOffConfig> {
    let exec = section.texts("exec", r#"["COMMAND", "{machine}"]"#);
    let ssh = section.text("ssh", "\"root@{node}\"");
    let deadline = section.duration("deadline", SOFT_OFF, "\"90s\"");
    let way = match (section.has("exec"), section.has("ssh")) {
        (true, false) => exec.and_then(|argv| read_argv(&section, argv)),
        (false, true) => {
            let config = read_ssh(&mut section, ssh);
            config.map(SoftOffWay::Ssh)
        }
        (both, _) => {
            let found = if both { "both are there" } else { "neither is there" };
            section.tell(
                Finding::error(
                    format!("{} needs either `exec` or `ssh`", section.name()),
                    section.span(),
                )
                .found(found)
                .remedy(format!("write it like `soft_off = {SOFT_OFF_EXAMPLE}`")),
            );
            return None;
        }
    };
    section.finish();
    Some(SoftOffConfig { way: way?, deadline: deadline.unwrap_or(SOFT_OFF_DEFAULT) })
}

fn read_argv(section: &Section<'_>, argv: At<Vec<At<String>>>) -> Option<SoftOffWay> {
    if argv.value.first().is_none_or(|program| program.value.trim().is_empty()) {
        section.tell(
            Finding::error(format!("`exec` in {} names no program", section.name()), argv.span)
                .found("nothing to run")
                .expected("the program, then each of its arguments; no shell reads them")
                .remedy(r#"write it like `exec = ["/usr/local/bin/shut-down", "{machine}"]`"#),
        );
        return None;
    }
    for argument in &argv.value {
        check_placeholders(section, argument);
    }
    Some(SoftOffWay::Exec { argv: argv.value.into_iter().map(|word| word.value).collect() })
}

fn read_ssh(section: &mut Section<'_>, target: Option<At<String>>) -> Option<SshConfig> {
    let port = section.integer("port", 1..=65_535, "22");
    let identity = section.path("identity_file", "\"/etc/lamplighter/id_ed25519\"");
    let known_hosts = section.path("known_hosts", "\"/etc/lamplighter/known_hosts\"");
    let command = section.text("command", &format!("{SSH_COMMAND_DEFAULT:?}"));
    let target = target?;
    for text in [Some(&target), command.as_ref()].into_iter().flatten() {
        check_placeholders(section, text);
    }
    if target.value.starts_with('-') || target.value.contains(char::is_whitespace) {
        section.tell(
            Finding::error("`ssh` is no host", target.span)
                .found(format!("found {:?}", target.value))
                .expected("USER@HOST; options have keys of their own")
                .remedy("write it like `ssh = \"root@{node}\"`"),
        );
        return None;
    }
    Some(SshConfig {
        target: target.value,
        port: port.and_then(|port| u16::try_from(port.value).ok()),
        identity_file: identity.map(|at| at.value),
        known_hosts: known_hosts.map(|at| at.value),
        command: command.map_or_else(|| SSH_COMMAND_DEFAULT.to_owned(), |at| at.value),
    })
}

fn check_placeholders(section: &Section<'_>, text: &At<String>) {
    if let Some(word) = placeholder::unknown(&text.value) {
        let title = format!("{{{word}}} stands for nothing");
        section.tell(
            unknown_word(title, text.span.clone(), word, placeholder::KNOWN)
                .found(format!("found {{{word}}}"))
                .expected("{machine} for the machine's name, {node} for its node's"),
        );
    }
}

fn read_shape(mut section: Section<'_>) -> Option<Shape> {
    // A rack of the largest machines sold: 1,000 cores of 10 GHz, 1 PiB of memory or disk.
    let cpu = section.integer("cpu", 1..=10_000_000, "2000");
    let memory = section.integer("memory", 1..=1 << 30, "1024");
    let disk = section.integer("disk", 0..=1 << 30, "10000");
    for (key, example) in [("cpu", "2000"), ("memory", "1024")] {
        if !section.has(key) {
            section.missing(key, example);
        }
    }
    let mut text = |key, example| section.text(key, example).map(|at| at.value);
    let datacenter = text("datacenter", "\"dc1\"").unwrap_or_else(|| "dc1".to_owned());
    let node_pool = text("node_pool", "\"default\"").unwrap_or_else(|| "default".to_owned());
    let node_class = text("node_class", "\"rack\"").unwrap_or_default();
    let attributes = section.free_texts("attributes").into_iter().collect();
    section.finish();
    Some(Shape {
        resources: Resources {
            cpu_mhz: cpu?.value,
            memory_mb: memory?.value,
            disk_mb: disk.map_or(0, |disk| disk.value),
        },
        datacenter,
        node_pool,
        node_class,
        attributes,
    })
}
