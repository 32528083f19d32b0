//! `lamplighter check`: every mistake in the autoscaler's policies and in the plugin's blocks, before a rack has them.
//!
//! What a block may say is asked of the plugin's own parsers; here are the places, and the rules between blocks.

mod blocks;
mod files;
mod finding;
mod policy;
mod sharing;
mod template;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use blocks::Names;
use files::{Found, Origin, Policy};
use finding::{Finding, Report, Severity};
use policy::Member;

/// Exit code where there is nothing to tell.
const EXIT_OK: u8 = 0;
/// Exit code where there are warnings only.
const EXIT_WARNINGS: u8 = 1;
/// Exit code where there are errors.
const EXIT_ERRORS: u8 = 65;

/// What is checked.
#[derive(Debug, Args)]
pub struct Paths {
    /// Files or folders: the autoscaler's policies and configuration, Nomad jobs with `scaling` blocks (.hcl, .nomad)
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `lamplighter check DIR|FILE…`: 0 nothing to tell, 1 warnings only, 65 errors.
#[must_use]
pub fn run(paths: &Paths) -> ExitCode {
    let mut report = Report::default();
    let found = Found::read(&paths.paths, &mut report);
    let members = judge(&found, &mut report);
    let findings = report.into_findings();
    let exit = match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Error) => EXIT_ERRORS,
        Some(Severity::Warning) => EXIT_WARNINGS,
        None => EXIT_OK,
    };
    // A reader that has gone away (`| head`) wants no more.
    if paths.json {
        writeln!(std::io::stdout(), "{}", as_json(&found, &members, &findings, exit)).ok();
    } else {
        let told: Vec<String> = findings.iter().map(|finding| format!("{finding}\n\n")).collect();
        std::io::stderr().write_all(told.concat().as_bytes()).ok();
        std::io::stdout().write_all(summary(&found, &members, &findings).as_bytes()).ok();
    }
    ExitCode::from(exit)
}

/// All rules. Returns the policies that move a pool.
fn judge<'a>(found: &'a Found, report: &mut Report) -> Vec<Member<'a>> {
    let names = Names::of(&found.plugins);
    blocks::check(&found.plugins, report);
    same_names(&found.policies, report);
    let read = found.policies.iter().filter_map(|policy| policy::check(policy, &names, report));
    let members: Vec<Member<'_>> = read.collect();
    sharing::check(&members, report);
    members
}

/// Of two policies of one name in one file the host keeps the last, and says nothing.
fn same_names(policies: &[Policy], report: &mut Report) {
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    let named =
        |policy: &&Policy| policy.origin != Origin::Job && !policy.name.contains(template::UNKNOWN);
    for policy in policies.iter().filter(named) {
        let place = &policy.scaling.place;
        if let Some(line) = known.insert((&place.file, &policy.name), place.line) {
            let found = format!(
                "policy {:?} stands in this file again, and already in line {line}",
                policy.name
            );
            let remedy = "give one of them another name: the host keeps the last and says nothing";
            report.error(place, found, "each name once in a file", remedy);
        }
    }
}

fn counted(number: usize, what: &str, many: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {many}") }
}

fn summary(found: &Found, members: &[Member<'_>], findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut pools: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for Member { policy, block, .. } in members {
        let line =
            format!("  {} (demand {:?}, {})\n", policy.name, block.voice, policy.scaling.place);
        pools.entry(&block.pool).or_default().push(line);
    }
    for (pool, lines) in pools {
        text.push_str(&format!(
            "pool {pool}: {}\n{}",
            counted(lines.len(), "policy", "policies"),
            lines.concat()
        ));
    }
    for template in found.templates.iter().filter(|template| template.unevaluated > 0) {
        let pieces = counted(template.unevaluated, "piece", "pieces");
        text.push_str(&format!(
            "{}: {pieces} of this template only Nomad evaluates; not checked\n",
            template.place
        ));
    }
    for place in &found.rack_files {
        text.push_str(&format!(
            "{place}: a rack file; `power-agent check` reads the file that Nomad makes of it\n"
        ));
    }
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    text.push_str(&format!(
        "{}: {}, {}\n",
        counted(found.files, "file", "files"),
        counted(of(Severity::Error), "error", "errors"),
        counted(of(Severity::Warning), "warning", "warnings"),
    ));
    text
}

fn as_json(found: &Found, members: &[Member<'_>], findings: &[Finding], exit: u8) -> String {
    let findings = findings.iter().map(|finding| {
        let line = (finding.place.line > 0).then_some(finding.place.line);
        json!({
            "severity": finding.severity.as_str(),
            "file": &*finding.place.file,
            "line": line,
            "column": line.map(|_| finding.place.column),
            "found": finding.found,
            "expected": finding.expected,
            "remedy": finding.remedy,
        })
    });
    let policies = members.iter().map(|Member { policy, block, .. }| {
        json!({
            "name": policy.name,
            "pool": block.pool.as_str(),
            "demand": block.voice,
            "file": &*policy.scaling.place.file,
            "line": policy.scaling.place.line,
        })
    });
    let templates = found.templates.iter().map(|template| {
        json!({
            "file": &*template.place.file,
            "line": template.place.line,
            "unevaluated": template.unevaluated,
        })
    });
    json!({
        "files": found.files,
        "templates": templates.collect::<Vec<_>>(),
        "exit": exit,
        "findings": findings.collect::<Vec<_>>(),
        "policies": policies.collect::<Vec<_>>(),
    })
    .to_string()
}
