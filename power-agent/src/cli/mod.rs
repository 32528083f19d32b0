//! The command line: one word for each thing a person may want, and one table of exit codes.

mod act;
mod audit;
mod certs;
mod check;
mod credentials;
mod doctor;
mod exit;
mod fence;
mod follow;
mod history;
mod hold;
mod hosts;
mod init;
mod json;
mod plan;
mod screen;
mod serve;
mod status;
mod token;
mod watch;
pub(crate) mod why;
pub(crate) mod words;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use agent_api::{AgentAddress, AgentError, Client};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use fleet::duration::parse_duration;
use fleet::{HoldKind, Verb};

use crate::config::SOCKET_DEFAULT;

use credentials::CredentialArgs;
pub use exit::{Exit, TABLE};
use screen::Screen;

/// Where the agent is, if nothing else is said.
const RACK_FILE_DEFAULT: &str = "/etc/lamplighter/rack.toml";

/// Switches the machines of a rack, and tells how they stand.
#[derive(Debug, Parser)]
#[command(name = "power-agent", version, max_term_width = 100, after_help = TABLE)]
struct Cli {
    /// Where the agent listens: unix:/PATH or https://HOST:7420 [default: unix:/run/lamplighter/agent.sock]
    #[arg(
        long,
        global = true,
        env = "POWER_AGENT",
        value_name = "ADDRESS",
        hide_env_values = true
    )]
    agent: Option<AgentAddress>,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Answer for a program: one JSON document, or one JSON object per line from `watch`
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a rack file: tell every mistake with its place and remedy, or what is in it
    Check {
        /// The rack file
        #[arg(value_name = "FILE", default_value = RACK_FILE_DEFAULT)]
        file: PathBuf,
    },
    /// Look for what stands in the agent's way on this host, each with its remedy; opens no port, moves nothing
    Doctor {
        /// The rack file
        #[arg(long, value_name = "FILE", default_value = RACK_FILE_DEFAULT)]
        config: PathBuf,
    },
    /// Write a commented rack file from the ports, GPIO chips and neighbours that this host has; opens no port, moves nothing
    Init {
        /// Where to, if it is not there yet [default: the screen]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Serve a rack: own its devices, hear orders, until SIGTERM or Ctrl-C
    Serve {
        /// The rack file
        #[arg(long, value_name = "FILE", default_value = RACK_FILE_DEFAULT)]
        config: PathBuf,
    },
    /// How the machines stand: what was read, what was only commanded, who did it and why
    #[command(visible_alias = "query")]
    Status {
        /// Host lists like node[1-3,5]; all machines if none is named
        hosts: Vec<String>,
    },
    /// Switch machines on
    On(OnArgs),
    /// Shut machines down, then cut their power; a hold keeps them off until `release`
    Off(DownArgs),
    /// Shut down, cut, wait, switch on again: one sequence that is never split
    Cycle(DownArgs),
    /// What `on`, `off` or `cycle` would do, as ordered edges with their times and reasons; without an order, what is
    /// pending now. Writes nothing, moves nothing
    #[command(args_conflicts_with_subcommands = true)]
    Plan {
        #[command(subcommand)]
        order: Option<plan::Asked>,
    },
    /// Keep machines as they are: no policy moves them until `release`; moves nothing
    Hold(HoldArgs),
    /// Make machines yours: no policy moves them, and no other person without --force; moves nothing
    Reserve {
        #[command(flatten)]
        hold: HoldArgs,
        /// How long, like 2h; afterwards the machines are the policies' again [default: until `release`]
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        span: Option<Duration>,
        /// Take the place of another person's reservation
        #[arg(long)]
        force: bool,
    },
    /// Take machines out of the policies' hands while they are worked on, or give them back; moves nothing
    Maintenance {
        #[arg(value_enum)]
        state: Maintenance,
        #[command(flatten)]
        hold: HoldArgs,
    },
    /// End holds, maintenance and reservations of yours; moves nothing
    Release {
        /// Host lists like node[1-3,5]
        #[arg(required = true)]
        hosts: Vec<String>,
        /// End another person's reservation too
        #[arg(long)]
        force: bool,
    },
    /// The fences of autoscalers: list them, or reset one after a cluster was restored
    #[command(subcommand)]
    Fence(fence::FenceCommand),
    /// What was ordered, by whom, why, and what came of it, the newest last
    History(history::HistoryArgs),
    /// All that is known of how a machine stands, and why
    Why {
        /// A machine, or a host list
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Who ordered what, when, why, by what right, and what came of it
    #[command(subcommand)]
    Audit(audit::Question),
    /// Make and revoke the certificates by which agents and clients know each other on the network
    Certs(certs::Certs),
    /// Make the tokens by which people prove their names at the page
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Tell every change as it happens, until Ctrl-C
    Watch {
        /// Host lists like node[1-3,5]; all machines if none is named
        hosts: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct OnArgs {
    /// Host lists like node[1-3,5]
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Why: kept with the order and shown in `status`
    #[arg(long, default_value = "switched on by hand")]
    reason: String,
    /// Also a machine that another person has reserved
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

/// What takes a machine's power.
#[derive(Debug, Args)]
struct DownArgs {
    /// Host lists like node[1-3,5]
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Why: kept with the order or the hold, and shown in `status`; asked for in a terminal
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
struct HoldArgs {
    /// Host lists like node[1-3,5]
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Why: kept with the hold and shown in `status`; asked for in a terminal
    #[arg(long)]
    reason: Option<String>,
}

/// Whether a machine is being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Maintenance {
    On,
    Off,
}

/// What is done about work on the machine's node.
#[derive(Debug, Args)]
struct Work {
    /// Drain the node first: its work moves or ends, then the machine goes
    #[arg(long, conflicts_with = "force")]
    drain: bool,
    /// Do not ask whether the node has work: what runs there is lost; also of a machine that is reserved or never off
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Wait {
    /// Wait for the end no longer than this, like 90s [default: the operation's own deadlines]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

impl OnArgs {
    fn orders(self) -> act::Orders {
        act::Orders {
            verb: Verb::On,
            hosts: self.hosts,
            reason: Some(self.reason),
            drain: false,
            force: self.force,
            timeout: self.wait.timeout,
        }
    }
}

impl DownArgs {
    fn orders(self, verb: Verb) -> act::Orders {
        act::Orders {
            verb,
            hosts: self.hosts,
            reason: self.reason,
            drain: self.work.drain,
            force: self.work.force,
            timeout: self.wait.timeout,
        }
    }
}

impl HoldArgs {
    fn holding(self, kind: HoldKind, span: Option<Duration>, force: bool) -> hold::Holding {
        hold::Holding { kind, hosts: self.hosts, reason: self.reason, span, force }
    }
}

/// The command line as it stands, for its manual and its completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> Exit {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return told_by_clap(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return told_by_clap(&error),
    };
    let mut screen = Screen::new(cli.json);
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli, &mut screen)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(exit) => exit,
        Err(Failure::Screen(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(failure) => {
            let exit = failure.exit();
            // Where even stderr is gone, the code alone must say it.
            match screen.tell(&format!("error: {}", chain(&failure))) {
                Ok(()) | Err(_) => exit,
            }
        }
    }
}

fn told_by_clap(error: &clap::Error) -> Exit {
    let asked_for = !error.use_stderr();
    match error.print() {
        Ok(()) | Err(_) if asked_for => Exit::Ok,
        Ok(()) | Err(_) => Exit::Usage,
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The agent was asked and did not answer as it should.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The command line makes no sense here.
    #[error("{0}")]
    Usage(String),
    /// The outputs are gone.
    #[error("can not write: {0}")]
    Screen(#[from] io::Error),
    /// The daemon could not start or had to stop.
    #[error("{0:#}")]
    Serve(anyhow::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Failure::Agent(AgentError::Refused { .. }) => Exit::Refused,
            Failure::Agent(AgentError::Unreachable { .. }) => Exit::Unreachable,
            Failure::Agent(AgentError::Malformed { .. }) | Failure::Screen(_) => Exit::Internal,
            Failure::Usage(_) => Exit::Usage,
            Failure::Serve(_) => Exit::Internal,
        }
    }
}

fn chain(failure: &Failure) -> String {
    match failure {
        Failure::Agent(error @ AgentError::Unreachable { who, .. }) if who.is_network() => format!(
            "{error}\nhelp: does the agent listen there (`listen` in its rack file), and does it take our certificate? \
             `power-agent certs list` tells how that stands, the agent's log why it turned somebody away"
        ),
        Failure::Agent(error @ AgentError::Unreachable { who, .. }) => format!(
            "{error}\nhelp: is the agent running (power-agent serve --config FILE), and is {who} its socket? \
             --agent unix:/PATH or POWER_AGENT name another"
        ),
        other => other.to_string(),
    }
}

async fn run(cli: Cli, screen: &mut Screen) -> Result<Exit, Failure> {
    let address = cli.agent.unwrap_or_else(|| AgentAddress::socket(SOCKET_DEFAULT));
    let credentials = match &cli.command {
        // These ask no agent.
        Command::Init { .. } => None,
        Command::Check { .. } | Command::Serve { .. } | Command::Certs(_) | Command::Token(_) => {
            None
        }
        _ => cli.credentials.for_agent(&address)?,
    };
    let client = Client::connect_lazy_with(&address, credentials.as_ref());
    match cli.command {
        Command::Check { file } => check::check(&file, screen),
        Command::Certs(command) => certs::certs(command, screen),
        Command::Token(command) => token::token(command, screen),
        Command::Init { output } => init::init(output.as_deref(), screen),
        Command::Doctor { config } => doctor::doctor(&config, screen).await,
        Command::Serve { config } => serve::serve(&config, screen).await,
        Command::Status { hosts } => status::status(&client, &hosts, screen).await,
        Command::On(args) => act::act(&client, args.orders(), screen).await,
        Command::Off(args) => act::act(&client, args.orders(Verb::Off), screen).await,
        Command::Cycle(args) => act::act(&client, args.orders(Verb::Cycle), screen).await,
        Command::Plan { order } => plan::plan(&client, order, screen).await,
        Command::Hold(args) => {
            hold::take(&client, args.holding(HoldKind::Hold, None, false), screen).await
        }
        Command::Reserve { hold, span, force } => {
            let holding = hold.holding(HoldKind::Reservation, span, force);
            hold::take(&client, holding, screen).await
        }
        Command::Maintenance { state: Maintenance::On, hold } => {
            hold::take(&client, hold.holding(HoldKind::Maintenance, None, false), screen).await
        }
        Command::Maintenance { state: Maintenance::Off, hold: HoldArgs { hosts, .. } } => {
            let kind = Some(HoldKind::Maintenance);
            let releasing = hold::Releasing { hosts, kind, force: false };
            hold::release(&client, releasing, screen).await
        }
        Command::Release { hosts, force } => {
            let releasing = hold::Releasing { hosts, kind: None, force };
            hold::release(&client, releasing, screen).await
        }
        Command::Fence(command) => fence::fence(&client, command, screen).await,
        Command::History(args) => history::history(&client, args, screen).await,
        Command::Why { node } => why::why(&client, &node, screen).await,
        Command::Audit(question) => audit::audit(&client, question, screen).await,
        Command::Watch { hosts } => watch::watch(&client, &hosts, screen).await,
    }
}
