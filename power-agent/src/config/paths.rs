//! The ways by which a machine is switched beside its outlets, and how it shows that it is on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use fleet::DeviceName;

use super::finding::{Finding, Report};
use super::read::{DeviceDraft, Draft, MachineDraft};
use super::section::{At, Section};
use super::{MachineConfig, WakeConfig};
use crate::drivers::DriverConfig;
use crate::drivers::wol::{MacAddress, Password, WakeCall};
use crate::presence::{PresenceConfig, SignKind};

pub(super) const WAKE_EXAMPLE: &str = r#"{ device = "lan", mac = "52:54:00:12:34:56" }"#;
const PRESENCE_EXAMPLE: &str = r#"{ address = "10.0.0.21", by = ["ping"] }"#;
const POOL_PRESENCE_EXAMPLE: &str = r#"{ by = ["ping"] }"#;
const BY_EXAMPLE: &str = r#"["ping"]"#;
/// A server that has not answered after an hour does not.
const WAKE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// What firmware, a network boot and a slow disk take before the network answers.
const WAKE_DEFAULT: Duration = Duration::from_secs(180);
/// Each costs a socket in each round; nobody needs more ports than these.
const SIGNS_MAX: usize = 8;

/// The words of `cut`.
const CUT: &[(&str, bool)] = &[("after", false), ("last-resort", true)];

/// What a machine's section says of its paths.
pub(super) struct PathsDraft {
    pub(super) wake: Option<At<WakeConfig>>,
    pub(super) last_resort: Option<At<bool>>,
    pub(super) presence: Option<At<PresenceConfig>>,
}

impl PathsDraft {
    /// Of a machine; its pool may say what the signs of life of all its machines are.
    pub(super) fn read(section: &mut Section<'_>, of_pool: Option<&SignsDraft>) -> Self {
        let span = |section: &Section<'_>, key| section.key_span(key);
        let wake = section.section("wake", WAKE_EXAMPLE).and_then(read_wake);
        let presence = section.section("presence", PRESENCE_EXAMPLE);
        let presence = presence.and_then(|section| read_presence(section, of_pool));
        Self {
            wake: wake.map(|value| At { value, span: span(section, "wake") }),
            last_resort: section.choice("cut", CUT),
            presence: presence.map(|value| At { value, span: span(section, "presence") }),
        }
    }
}

fn read_wake(mut section: Section<'_>) -> Option<WakeConfig> {
    for (key, example) in [("device", "\"lan\""), ("mac", "\"52:54:00:12:34:56\"")] {
        if !section.has(key) {
            section.missing(key, example);
        }
    }
    let device = section.parsed::<DeviceName>("device", "\"lan\"");
    let mac = section.text("mac", "\"52:54:00:12:34:56\"").and_then(|text| {
        text.value
            .parse::<MacAddress>()
            .map_err(|error| {
                section.tell(
                    Finding::error("`mac` is not the address of a network card", text.span.clone())
                        .found(format!("found {:?}: {error}", text.value))
                        .expected("six bytes in hexadecimal, like \"52:54:00:12:34:56\"")
                        .remedy("on the machine itself `ip -brief link` shows it"),
                );
            })
            .ok()
    });
    let text = section.text("password", "\"01:02:03:04:05:06\"");
    let mut password = None;
    if let Some(text) = text {
        password = Password::parse(&text.value);
        if password.is_none() {
            section.tell(
                Finding::error("`password` is no SecureOn password", text.span)
                    .found("what was found is not shown")
                    .expected("six bytes like \"01:02:03:04:05:06\", or four like \"1.2.3.4\"")
                    .remedy("`ethtool INTERFACE` shows it on the machine as `SecureOn password`"),
            );
        }
    }
    let deadline = section.duration("deadline", WAKE, "\"3m\"").unwrap_or(WAKE_DEFAULT);
    section.finish();
    let call = WakeCall { mac: mac?, password };
    Some(WakeConfig { device: device?.value, call, deadline })
}

/// What a pool's section says of the signs of life of its machines; each has an address of its own.
#[derive(Debug, Clone)]
pub(super) struct SignsDraft {
    /// None where it was told to be wrong: once is enough.
    by: Option<Vec<SignKind>>,
    interface: Option<String>,
}

impl SignsDraft {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let mut section = section.section("presence", POOL_PRESENCE_EXAMPLE)?;
        if !section.has("by") {
            section.missing("by", BY_EXAMPLE);
        }
        let interface = section.text("interface", "\"eth0\"").map(|at| at.value);
        let signs = section.texts("by", BY_EXAMPLE);
        let by = signs.and_then(|signs| read_signs(&section, &signs));
        section.finish();
        Some(Self { by, interface })
    }
}

fn read_presence(mut section: Section<'_>, of_pool: Option<&SignsDraft>) -> Option<PresenceConfig> {
    if !section.has("address") {
        section.missing("address", "\"10.0.0.21\"");
    }
    if !section.has("by") && of_pool.is_none() {
        section.missing("by", BY_EXAMPLE);
    }
    let address = section.text("address", "\"10.0.0.21\"").and_then(|text| {
        text.value
            .parse()
            .map_err(|_| {
                section.tell(
                    Finding::error("`address` is no IP address", text.span.clone())
                        .found(format!("found {:?}", text.value))
                        .expected("an address that is always the machine's own, like \"10.0.0.21\"")
                        .remedy("reserve one for its network card in the DHCP server"),
                );
            })
            .ok()
    });
    let interface = section.text("interface", "\"eth0\"").map(|at| at.value);
    let by = match section.texts("by", BY_EXAMPLE) {
        Some(signs) => read_signs(&section, &signs),
        None => of_pool.filter(|_| !section.has("by")).and_then(|pool| pool.by.clone()),
    };
    let interface = interface.or_else(|| of_pool?.interface.clone());
    section.finish();
    Some(PresenceConfig { address: address?, by: by?, interface })
}

fn read_signs(section: &Section<'_>, signs: &At<Vec<At<String>>>) -> Option<Vec<SignKind>> {
    let wrong = |title: &str, found: String, span| {
        section.tell(
            Finding::error(title, span)
                .found(found)
                .expected(r#"some of "ping", "arp", "tcp:PORT" and "link""#)
                .remedy(r#"write it like `by = ["ping", "tcp:22"]`"#),
        );
        None
    };
    if signs.value.is_empty() || signs.value.len() > SIGNS_MAX {
        let found =
            format!("found {} of them, and at most {SIGNS_MAX} are looked for", signs.value.len());
        return wrong("`by` names no sign, or too many", found, signs.span.clone());
    }
    let mut kinds = Vec::new();
    for sign in &signs.value {
        match SignKind::parse(&sign.value) {
            Some(kind) => kinds.push(kind),
            None => {
                return wrong(
                    "this is no sign of life",
                    format!("found {:?}", sign.value),
                    sign.span.clone(),
                );
            }
        }
    }
    Some(kinds)
}

/// The rules that hold the paths of a machine together, and its wake path with its device.
pub(super) fn check(draft: &Draft, report: &Report) {
    let mut cards: BTreeMap<MacAddress, (&MachineDraft, &At<WakeConfig>)> = BTreeMap::new();
    for machine in &draft.machines {
        check_machine(draft, machine, report);
        let Some(wake) = &machine.paths.wake else { continue };
        check_device(&draft.devices, wake, report);
        let Some((owner, first)) = cards.insert(wake.value.call.mac, (machine, wake)) else {
            continue;
        };
        let (one, other) = (&owner.config.name, &machine.config.name);
        report.tell(
            Finding::error(
                format!("{one} and {other} have the same MAC address"),
                wake.span.clone(),
            )
            .found(format!("the second with {}", wake.value.call.mac))
            .also(first.span.clone(), "the first")
            .expected("one card for each machine: waking one must not wake the other")
            .remedy("correct one of the two"),
        );
    }
}

fn check_device(devices: &[DeviceDraft], wake: &At<WakeConfig>, report: &Report) {
    let name = &wake.value.device;
    let Some(device) = devices.iter().find(|device| device.name.value == *name) else {
        report.tell(
            Finding::error(format!("there is no device {name}"), wake.span.clone())
                .found("not declared")
                .remedy(format!(
                    "declare it with a section [devices.{name}] and `driver = \"wol\"`"
                )),
        );
        return;
    };
    if matches!(&device.config, Some(config) if !matches!(config, DriverConfig::Wol(_))) {
        report.tell(
            Finding::error(format!("device {name} wakes nothing"), wake.span.clone())
                .found("a device with outlets")
                .also(device.name.span.clone(), "this device")
                .expected("a device with `driver = \"wol\"`"),
        );
    }
}

fn check_machine(draft: &Draft, machine: &MachineDraft, report: &Report) {
    let config = &machine.config;
    let name = &config.name;
    let tell = |title: String, span: &std::ops::Range<usize>, expected: &str, remedy: &str| {
        let found = "as it stands";
        report.tell(
            Finding::error(title, span.clone()).found(found).expected(expected).remedy(remedy),
        );
    };
    if let (Some(cut), true) = (&machine.paths.last_resort, config.last_resort) {
        let whole =
            config.wake.is_some() && config.soft_off.is_some() && !config.outlets.is_empty();
        if !whole {
            tell(
                format!("`cut = \"last-resort\"` leaves {name} with closed outlets"),
                &cut.span,
                "outlets, a `soft_off` that leaves them closed, and a `wake` path that lights it again",
                "add what is missing, or leave `cut` out",
            );
        }
    }
    if let Some(presence) = &machine.paths.presence {
        let has = |kind| presence.value.by.contains(&kind);
        if config.wake.is_some() && has(SignKind::Link) {
            tell(
                format!("\"link\" is no sign that {name} is on"),
                &presence.span,
                "a sign that a sleeping machine does not give: a card that can be woken holds its link",
                "use \"ping\", \"arp\" or \"tcp:PORT\"",
            );
        }
        let interface = config.presence.as_ref().and_then(|presence| presence.interface.as_ref());
        if (has(SignKind::Arp) || has(SignKind::Link)) && interface.is_none() {
            tell(
                format!("`presence` of {name} names no interface"),
                &presence.span,
                "for \"arp\" and \"link\" the interface of this host at which the machine is",
                "add `interface = \"eth0\"` to it",
            );
        }
    } else if let (Some(wake), None) = (&machine.paths.wake, &draft.nomad) {
        tell(
            format!("nothing tells that {name} is awake"),
            &wake.span,
            "a sign of life: a packet that was sent is none",
            &format!("add `presence = {PRESENCE_EXAMPLE}`, or a section [nomad]"),
        );
    }
}

/// What an agent can live with, and a person should know.
pub(super) fn look(draft: &Draft) -> Vec<Finding> {
    let mut findings = Vec::new();
    for machine in draft.machines.iter().filter(|machine| machine.config.is_on_only()) {
        let span = machine.paths.wake.as_ref().map_or(0..0, |wake| wake.span.clone());
        findings.push(
            Finding::error(format!("nothing can switch {} off", machine.config.name), span)
                .into_warning()
                .found("a wake path alone")
                .expected("a `soft_off`, or outlets that cut its power")
                .remedy(
                    "add one; until then `off` and `cycle` are refused, and no policy stops it",
                ),
        );
    }
    for device in &draft.devices {
        let Some(DriverConfig::Wol(config)) = &device.config else { continue };
        let name = config.interface();
        let there = interfaces();
        if !there.is_empty() && !there.iter().any(|one| one == name) {
            findings.push(
                Finding::error(format!("interface {name} does not exist"), device.port.clone())
                    .into_warning()
                    .found(format!("there are {}", there.join(", ")))
                    .expected("the interface on the machines' network; until it appears the device is unreachable"),
            );
        }
    }
    findings
}

/// The interfaces of this host, as its sockets see them; none where the kernel does not tell.
fn interfaces() -> Vec<String> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let names: BTreeSet<String> = found.map(|one| one.interface_name).collect();
    names.into_iter().collect()
}

/// The device's interface stands in for one that `presence` does not name.
pub(super) fn with_interface(config: &mut MachineConfig, devices: &[DeviceDraft]) {
    let Some(wake) = &config.wake else { return };
    let Some(presence) = config.presence.as_mut().filter(|presence| presence.interface.is_none())
    else {
        return;
    };
    let device = devices.iter().find(|device| device.name.value == wake.device);
    if let Some(DriverConfig::Wol(device)) = device.and_then(|device| device.config.as_ref()) {
        presence.interface = Some(device.interface().to_owned());
    }
}
