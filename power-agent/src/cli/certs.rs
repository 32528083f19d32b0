//! `certs`: a small authority for the agents of a site, and what to write into their rack files.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde::Serialize;

use super::Failure;
use super::exit::Exit;
use super::screen::Screen;
use super::status::lines_of;
use crate::certs::{Authority, Bearer, CertsError, DAYS_DEFAULT, Held, Made, Standing};
use crate::clock::Clock;
use crate::roles::Role;

#[derive(Debug, Args)]
pub(crate) struct Certs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority in a directory; keep that directory to yourself, and off the agents' hosts
    Init {
        /// The directory; it must hold no authority yet
        dir: PathBuf,
    },
    /// Make a certificate for a person or a program; the rack file says what its name may
    Issue {
        /// The name: letters, digits, '.', '_' and '-'
        name: String,
        /// The role: viewer, operator, autoscaler or break-glass
        #[arg(long, value_parser = role)]
        role: Role,
        /// Only these machines, as a host list like node[1-4]
        #[arg(long, value_name = "HOSTS")]
        machines: Option<String>,
        /// Only the machines of these pools
        #[arg(long, value_name = "POOL", value_delimiter = ',')]
        pools: Vec<String>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        term: Term,
    },
    /// Make a certificate for an agent on the network
    Agent {
        /// What its files are named for
        name: String,
        /// A DNS name or an IP address by which clients call it; may be given again
        #[arg(long = "host", value_name = "HOST", required = true, value_delimiter = ',')]
        hosts: Vec<String>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        term: Term,
    },
    /// Make a new key and certificate for a name that has one; the old one stays good until its end
    Renew {
        /// The name
        name: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        term: Term,
    },
    /// Put a name's certificate on the list of revoked ones; agents that have the list refuse it within seconds
    Revoke {
        /// The name
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// All certificates, and when each ends
    List {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The authority's directory
    #[arg(long, value_name = "DIR", default_value = ".", env = "LAMPLIGHTER_CERTS")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct Term {
    /// How many days it is good
    #[arg(long, default_value_t = DAYS_DEFAULT)]
    days: u32,
}

pub(super) fn role(word: &str) -> Result<Role, String> {
    let found = Role::WORDS.iter().find(|(known, _)| *known == word);
    found.map(|(_, role)| *role).ok_or_else(|| {
        let words: Vec<&str> = Role::WORDS.iter().map(|(word, _)| *word).collect();
        format!("expected {}", words.join(", "))
    })
}

impl From<CertsError> for Failure {
    fn from(error: CertsError) -> Self {
        Failure::Usage(error.to_string())
    }
}

pub(crate) fn certs(certs: Certs, screen: &mut Screen) -> Result<Exit, Failure> {
    let now = Clock.wall();
    match certs.command {
        Command::Init { dir } => told(&Authority::init(&dir, now)?, &after_init(&dir), screen),
        Command::Issue { name, role, machines, pools, place, term } => {
            let access = access(&name, role, machines.as_deref(), &pools)?;
            let made =
                Authority::open(&place.dir)?.issue(&name, &Bearer::Client, term.days, now)?;
            told(&made, &format!("Add to the rack file of each agent:\n\n{access}"), screen)
        }
        Command::Agent { name, hosts, place, term } => {
            let bearer = Bearer::Agent { hosts };
            let made = Authority::open(&place.dir)?.issue(&name, &bearer, term.days, now)?;
            told(&made, &after_agent(&name), screen)
        }
        Command::Renew { name, place, term } => {
            let made = Authority::open(&place.dir)?.renew(&name, term.days, now)?;
            told(
                &made,
                "Put both files in the place of the old ones; nothing needs a restart.",
                screen,
            )
        }
        Command::Revoke { name, place } => {
            let list = Authority::open(&place.dir)?.revoke(&name, now)?;
            let text = format!(
                "{name} is revoked. Give {} to every agent as its `crl_file`; each reads it within seconds.",
                list.display()
            );
            if screen.json {
                screen.answer_json(&RevokedJson { revoked: name, crl_file: list })?;
            } else {
                screen.answer(&text)?;
            }
            Ok(Exit::Ok)
        }
        Command::List { place } => list(&Authority::open(&place.dir)?, now, screen),
    }
}

/// The lines of a rack file that give the role, held against the rules of the rack file itself.
pub(super) fn access(
    name: &str,
    role: Role,
    machines: Option<&str>,
    pools: &[String],
) -> Result<String, Failure> {
    let mut text = format!("[access.{name:?}]\nrole = \"{role}\"\n");
    if let Some(machines) = machines {
        fleet::hostlist::expand(machines)
            .map_err(|error| Failure::Usage(format!("--machines: {error}")))?;
        text.push_str(&format!("machines = {machines:?}\n"));
    }
    if !pools.is_empty() {
        for pool in pools {
            fleet::PoolName::new(pool.as_str())
                .map_err(|error| Failure::Usage(format!("--pools: {error}")))?;
        }
        text.push_str(&format!("pools = {pools:?}\n"));
    }
    Ok(text)
}

fn after_init(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Next:\n  power-agent certs agent rack-a --host rack-a.example --dir {dir}\n  \
         power-agent certs issue autoscaler --role autoscaler --dir {dir}"
    )
}

fn after_agent(name: &str) -> String {
    format!(
        "Give the agent these files, ca.pem and crl.pem, readable by its user alone, and add to its rack file:\n\n\
         [agent]\nlisten = \"0.0.0.0:7420\"\n\n[tls]\nca_file = \"ca.pem\"\ncert_file = \"{name}.pem\"\n\
         key_file = \"{name}.key\"\ncrl_file = \"crl.pem\"\n"
    )
}

#[derive(Debug, Serialize)]
struct MadeJson<'a> {
    cert_file: &'a Path,
    key_file: &'a Path,
    until: &'a str,
}

#[derive(Debug, Serialize)]
struct RevokedJson {
    revoked: String,
    crl_file: PathBuf,
}

fn told(made: &Made, next: &str, screen: &mut Screen) -> Result<Exit, Failure> {
    if screen.json {
        let Made { cert, key, until } = made;
        screen.answer_json(&MadeJson { cert_file: cert, key_file: key, until })?;
        return Ok(Exit::Ok);
    }
    screen.answer(&format!(
        "{} and {}, good until {}\n\n{}",
        made.cert.display(),
        made.key.display(),
        made.until,
        next.trim_end()
    ))?;
    Ok(Exit::Ok)
}

#[derive(Debug, Serialize)]
struct HeldJson<'a> {
    name: &'a str,
    kind: &'static str,
    hosts: &'a [String],
    until: String,
    standing: &'static str,
}

fn list(authority: &Authority, now: SystemTime, screen: &mut Screen) -> Result<Exit, Failure> {
    let all = authority.list(now)?;
    let bad =
        all.iter().any(|(_, standing)| matches!(standing, Standing::Expired | Standing::EndsSoon));
    let exit = if bad { Exit::Partial } else { Exit::Ok };
    if screen.json {
        screen.answer_json(&all.iter().map(held_json).collect::<Vec<_>>())?;
        return Ok(exit);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "KIND", "HOSTS", "UNTIL", "STANDING"]);
    for each in &all {
        let json = held_json(each);
        let hosts = if json.hosts.is_empty() { "-".to_owned() } else { json.hosts.join(" ") };
        table.add_row([json.name, json.kind, &hosts, &json.until, json.standing]);
    }
    screen.answer(&lines_of(&table))?;
    Ok(exit)
}

fn held_json((held, standing): &(Held, Standing)) -> HeldJson<'_> {
    let (kind, hosts) = match &held.bearer {
        Bearer::Client => ("client", &[][..]),
        Bearer::Agent { hosts } => ("agent", hosts.as_slice()),
    };
    HeldJson { name: &held.who, kind, hosts, until: held.last_day(), standing: standing.as_str() }
}
