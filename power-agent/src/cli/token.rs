//! `token add`: a secret for the page, shown this once, and the lines of the rack file that know it by its hash.

use std::io::Read;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::certs::{access, role};
use super::exit::Exit;
use super::screen::Screen;
use crate::clock::{Clock, wall_text};
use crate::identity::{NAME_BYTES_MAX, hash_of, is_name};
use crate::roles::Role;

/// The random bytes of a token: nobody guesses 256 bits.
const SECRET_BYTES: usize = 32;

/// What every token begins with, so that one that lies about is known for what it is.
const PREFIX: &str = "lamp_";

/// The longest that a token may be good for, in days: ten years is for ever.
const DAYS_MAX: i64 = 3653;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a person; the rack file keeps its hash and says what the name may
    Add {
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
        /// How many days it is good; without, until its lines are taken out of the rack file
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=DAYS_MAX))]
        expires: Option<u16>,
    },
}

#[derive(Debug, Serialize)]
struct TokenJson<'a> {
    token: &'a str,
    /// What to add to the rack file.
    lines: &'a str,
}

pub(crate) fn token(command: TokenCommand, screen: &mut Screen) -> Result<Exit, Failure> {
    let TokenCommand::Add { name, role, machines, pools, expires } = command;
    if !is_name(&name) {
        return Err(Failure::Usage(format!(
            "{name:?} is no name; names are of up to {NAME_BYTES_MAX} letters, digits, '.', '_' and '-'"
        )));
    }
    let mut lines = access(&name, role, machines.as_deref(), &pools)?;
    let mut random = [0_u8; SECRET_BYTES];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let token = format!("{PREFIX}{}", hex(&random));
    lines.push_str(&format!("token_sha256 = \"{}\"\n", hex(&hash_of(&token))));
    if let Some(days) = expires {
        let day = Duration::from_secs(24 * 3600) * u32::from(days);
        let until = wall_text(Clock.wall_ms() + fleet::moment::millis(day));
        lines.push_str(&format!("token_until = {:?}\n", until.get(..10).unwrap_or_default()));
    }
    if screen.json {
        screen.answer_json(&TokenJson { token: &token, lines: &lines })?;
        return Ok(Exit::Ok);
    }
    screen.answer(&format!(
        "{token}\n\nThis is shown once: give it to {name} alone. Add to the rack file, and reload the agent (SIGHUP):\n\n{}",
        lines.trim_end()
    ))?;
    Ok(Exit::Ok)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
