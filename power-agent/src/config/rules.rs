//! The rules that compare places of a rack file with each other: each finding names both.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;

use super::finding::{Finding, Report};
use super::read::{DeviceDraft, Draft, MachineDraft};
use super::section::{At, listed, unknown_word};
use super::{AgentConfig, OutletPath, feeds, paths, ports};
use crate::descriptors::KEPT_MAX;
use crate::drivers::DriverConfig;

/// The kernel's `sun_path` has 108 bytes and ends with a zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(crate) fn check(draft: &Draft, report: &Report) {
    check_socket(&draft.agent, report);
    ports::check(&draft.devices, report);
    check_kept(&draft.devices, report);
    check_lines(&draft.devices, report);
    check_pools(draft, report);
    check_nodes(&draft.machines, report);
    check_outlets(draft, report);
    feeds::check(draft, report);
    paths::check(draft, report);
    let machines = draft.machines.iter().map(|machine| machine.config.name.as_str()).collect();
    let pools = draft.pools.iter().map(|pool| pool.value.as_str()).collect();
    draft.access.check(&machines, &pools, report);
}

fn check_socket(agent: &At<AgentConfig>, report: &Report) {
    let bytes = agent.value.socket.as_os_str().as_bytes().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        report.tell(
            Finding::error("the socket's path is too long", agent.span.clone())
                .found(format!("{bytes} bytes"))
                .expected(format!(
                    "at most {SOCKET_PATH_BYTES_MAX} bytes: the kernel takes no more"
                ))
                .remedy("name a shorter path, like \"/run/lamplighter/agent.sock\""),
        );
    }
}

/// A descriptor for which systemd has no room is let go with a restart of the service, and lines with it.
fn check_kept(devices: &[DeviceDraft], report: &Report) {
    let gpio = |device: &&DeviceDraft| matches!(device.config, Some(DriverConfig::Gpio(_)));
    if let Some(beyond) = devices.iter().filter(gpio).nth(KEPT_MAX) {
        report.tell(
            Finding::error("too many devices with GPIO lines", beyond.name.span.clone())
                .found(format!("the first beyond {KEPT_MAX}"))
                .expected(format!("at most {KEPT_MAX}: systemd keeps so many over a restart"))
                .remedy("name lines of one chip as one device"),
        );
    }
}

/// One line has one device, also where two drivers name it differently.
fn check_lines(devices: &[DeviceDraft], report: &Report) {
    let mut owners: BTreeMap<String, (&DeviceDraft, Range<usize>)> = BTreeMap::new();
    for device in devices {
        let lines = device.config.as_ref().map(DriverConfig::lines);
        for (line, place) in lines.unwrap_or_default() {
            let Some((owner, first)) = owners.insert(line.clone(), (device, place.clone())) else {
                continue;
            };
            let (one, other) = (&owner.name.value, &device.name.value);
            report.tell(
                Finding::error(
                    format!("{line} is a line of two devices, {one} and {other}"),
                    place,
                )
                .found("the second device on this line")
                .also(first, "the first")
                .expected("one device for each line: cutting one outlet must not cut the other")
                .remedy("correct the line in one of the two places"),
            );
        }
    }
}

fn check_pools(draft: &Draft, report: &Report) {
    let known: Vec<&str> = draft.pools.iter().map(|pool| pool.value.as_str()).collect();
    for machine in &draft.machines {
        let Some(pool) = &machine.config.pool else { continue };
        if known.contains(&pool.as_str()) {
            continue;
        }
        let title = format!("there is no pool {pool}");
        let mut finding = unknown_word(title, machine.pool.clone(), pool.as_str(), &known)
            .found("not declared")
            .expected(listed(&known));
        finding.remedy.get_or_insert_with(|| format!("declare it with a section [pools.{pool}]"));
        report.tell(finding);
    }
}

fn check_nodes(machines: &[MachineDraft], report: &Report) {
    let mut owners: BTreeMap<&str, &MachineDraft> = BTreeMap::new();
    for machine in machines {
        let node = machine.config.node.as_str();
        let Some(owner) = owners.insert(node, machine) else { continue };
        report.tell(
            Finding::error(
                format!(
                    "machines {} and {} have the same node {node}",
                    owner.config.name, machine.config.name
                ),
                machine.node.clone(),
            )
            .found("the second machine with this node")
            .also(owner.node.clone(), "the first")
            .expected("one machine for each node: its work decides whether the machine is cut")
            .remedy("give one of them its own `node`"),
        );
    }
}

fn check_outlets(draft: &Draft, report: &Report) {
    let known: Vec<&str> = draft.devices.iter().map(|device| device.name.value.as_str()).collect();
    let mut owners: BTreeMap<&OutletPath, (&MachineDraft, &At<OutletPath>)> = BTreeMap::new();
    for machine in &draft.machines {
        for outlet in &machine.outlets {
            let name = &outlet.value.device;
            let Some(device) = draft.devices.iter().find(|device| device.name.value == *name)
            else {
                let title = format!("there is no device {name}");
                let mut finding = unknown_word(title, outlet.span.clone(), name.as_str(), &known)
                    .found("not declared")
                    .expected(listed(&known));
                finding
                    .remedy
                    .get_or_insert_with(|| format!("declare it with a section [devices.{name}]"));
                report.tell(finding);
                continue;
            };
            check_number(device, outlet, report);
            let Some((owner, first)) = owners.insert(&outlet.value, (machine, outlet)) else {
                continue;
            };
            report.tell(duplicate_outlet(owner, first, machine, outlet));
        }
    }
}

fn check_number(device: &DeviceDraft, outlet: &At<OutletPath>, report: &Report) {
    let Some(count) = device.config.as_ref().map(DriverConfig::outlet_count) else {
        return;
    };
    let OutletPath { device: name, outlet: number } = &outlet.value;
    if number.get() > count {
        report.tell(
            Finding::error(format!("device {name} has no outlet {number}"), outlet.span.clone())
                .found(format!("outlet {number}"))
                .also(device.name.span.clone(), format!("this device has {count}"))
                .expected(format!("an outlet from 1 to {count}"))
                .remedy(format!(
                    "correct the number, or the number of outlets in [devices.{name}]"
                )),
        );
    }
}

fn duplicate_outlet(
    owner: &MachineDraft,
    first: &At<OutletPath>,
    machine: &MachineDraft,
    outlet: &At<OutletPath>,
) -> Finding {
    let OutletPath { device, outlet: number } = &outlet.value;
    let (one, other) = (&owner.config.name, &machine.config.name);
    Finding::error(format!("outlet {number} of {device} is used twice"), outlet.span.clone())
        .found(format!("used by {other}"))
        .also(first.span.clone(), format!("already used by {one}"))
        .expected("one machine for each outlet: cutting one must not cut the other")
        .remedy("correct the number in one of the two places")
}
