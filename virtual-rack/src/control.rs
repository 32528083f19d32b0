//! The control socket's words (one JSON line asks, one answers) and the client that speaks them.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::board::Kind;
use crate::edges::EdgeRecord;
use crate::fault::Fault;
use crate::lcus::Counts;
use crate::machine::Phase;
use crate::moment::Moment;
use crate::relay::Power;

/// A request is a verb, a name and a number.
pub const REQUEST_BYTES_MAX: u64 = 4 * 1024;
/// The longest answer is [`EDGES_KEPT_MAX`] edges of at most 250 bytes.
pub const REPLY_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// The rack remembers this many edges for `edges`; the file has all. Twenty a second, the pace of
/// one board, fill it in an hour.
pub const EDGES_KEPT_MAX: usize = 65_536;
/// The longest `wait`; a test that waits longer has hung.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The rack answers at once: its loop never waits. This is for a host that is swamped.
const REPLY_WAIT: Duration = Duration::from_secs(15);
/// Pause between two looks for a socket that is not there yet.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Boards, machines, watts.
    State,
    /// All edges since the rack's start.
    Edges,
    /// Ask a machine to shut down, as `ssh MACHINE poweroff` would.
    SoftOff {
        /// Its name.
        machine: String,
    },
    /// Answer when a machine is in a state.
    Wait {
        /// Its name.
        machine: String,
        /// The state.
        state: Phase,
        /// An error after this many milliseconds.
        timeout_ms: u64,
    },
    /// From now on something is wrong; answered with all that is.
    Fault {
        /// What and where: see [`crate::fault::WORDS`].
        fault: Fault,
    },
    /// From now on nothing is wrong at a place; answered with all that still is elsewhere.
    Heal {
        /// A machine, a board with its relays, `BOARD:CHANNEL`, a feed, or `all`.
        place: String,
    },
    /// Somebody moves a relay past the agent: at the board's button, or with another program.
    ByHand {
        /// `BOARD:CHANNEL`.
        relay: String,
        /// Where to.
        power: Power,
    },
    /// End the rack and everything that it started.
    Quit,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// To `state`.
    State(RackState),
    /// To `edges`.
    Edges(Vec<EdgeRecord>),
    /// To `soft-off` and `wait`: the machine as it is now.
    Machine(MachineState),
    /// To `fault` and `heal`: all that is wrong now.
    Faults(Vec<Fault>),
    /// To `by-hand`.
    Done,
    /// To `quit`: everything is dead and the links are gone.
    Ended(Ended),
    /// To anything that could not be done.
    Error(String),
}

/// What a rack was like when it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When, in microseconds since its start.
    pub at_us: Moment,
}

/// The rack as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RackState {
    /// When, in microseconds since the rack's start.
    pub at_us: Moment,
    /// What all machines draw.
    pub watts: f64,
    /// The boards by name.
    pub boards: BTreeMap<String, BoardState>,
    /// The machines by name.
    pub machines: BTreeMap<String, MachineState>,
    /// The feeds by name, and whether their mains are there.
    pub feeds: BTreeMap<String, Power>,
    /// All that is wrong.
    pub faults: Vec<Fault>,
}

/// A board as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardState {
    /// Which board stands in.
    pub kind: Kind,
    /// The link that an agent opens, as it is named now.
    pub link: PathBuf,
    /// The pseudo-terminal behind it; `None`: the board is not on the bus.
    pub port: Option<PathBuf>,
    /// Whether the board has power.
    pub mains: Power,
    /// The contacts, channel 1 first.
    pub relays: Vec<Power>,
    /// What it has heard.
    pub frames: Counts,
    /// Answers that nobody took: the port was full.
    pub answers_dropped: u64,
}

/// A machine as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineState {
    /// The board that it hangs on.
    pub board: String,
    /// The channel, counted from 1.
    pub channel: u8,
    /// Where it is.
    pub state: Phase,
    /// Since when, in microseconds since the rack's start.
    pub since_us: Moment,
    /// What it draws.
    pub watts: f64,
    /// Whether its programs stand still.
    pub hangs: bool,
    /// Its command.
    pub command: CommandState,
}

/// A machine's command as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandState {
    /// The machine has none, or is not up.
    None,
    /// It runs.
    Running {
        /// The process that dies with the machine: its death takes all others along.
        pid: u32,
    },
    /// It ended by itself; the machine stays up.
    Exited {
        /// How, as text.
        outcome: String,
    },
    /// It could not be started; the machine stays up.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What can go wrong between a client and the rack.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there, or went away.
    #[error("virtual rack at {}", .socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The rack did not answer in time.
    #[error("virtual rack at {} gave no answer within {waited:?}", .socket.display())]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The answer is no answer.
    #[error("virtual rack at {} answered {found}, expected {expected}", .socket.display())]
    Strange {
        /// The socket.
        socket: PathBuf,
        /// The beginning of what came.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The rack says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks a rack; each request is a connection of its own, so that a client can be shared and a rack
/// can be restarted under it.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the rack behind `socket`. Nothing is opened yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Waits until a rack answers on `socket`: it appears when all boards exist.
    ///
    /// # Errors
    /// The last refusal, once `patience` has passed.
    pub async fn ready(
        socket: impl Into<PathBuf>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let client = Self::new(socket);
        let last = std::sync::Mutex::new(None);
        let tries = async {
            while let Err(err) = UnixStream::connect(&client.socket).await {
                if let Ok(mut last) = last.lock() {
                    *last = Some(err);
                }
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(patience, tries).await;
        match (waited, last.into_inner().ok().flatten()) {
            (Ok(()), _) => Ok(client),
            (Err(_), Some(err)) => Err(client.io(err)),
            (Err(_), None) => Err(client.silent(patience)),
        }
    }

    /// The socket that this client asks.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Boards, machines, watts.
    ///
    /// # Errors
    /// Where the rack is not there.
    pub async fn state(&self) -> Result<RackState, ClientError> {
        match self.ask(&Request::State).await? {
            Reply::State(state) => Ok(state),
            other => Err(self.strange(&other, "the rack's state")),
        }
    }

    /// One machine.
    ///
    /// # Errors
    /// Where the rack is not there or has no such machine.
    pub async fn machine(&self, machine: &str) -> Result<MachineState, ClientError> {
        let mut state = self.state().await?;
        state.machines.remove(machine).ok_or_else(|| {
            let known: Vec<&str> = state.machines.keys().map(String::as_str).collect();
            let known = known.join(", ");
            ClientError::Refused(format!("found no machine {machine:?}, expected one of {known}"))
        })
    }

    /// All edges since the rack's start.
    ///
    /// # Errors
    /// Where the rack is not there, or has forgotten the first edges (the edge log has them).
    pub async fn edges(&self) -> Result<Vec<EdgeRecord>, ClientError> {
        match self.ask(&Request::Edges).await? {
            Reply::Edges(edges) => Ok(edges),
            other => Err(self.strange(&other, "edges")),
        }
    }

    /// Asks a machine to shut down, as `ssh MACHINE poweroff` would. Returns once it took the order.
    ///
    /// # Errors
    /// Where the machine is not up or not known.
    pub async fn soft_off(&self, machine: &str) -> Result<MachineState, ClientError> {
        self.ask_machine(&Request::SoftOff { machine: machine.to_owned() }).await
    }

    /// Returns once a machine is in a state, at once where it is already.
    ///
    /// # Errors
    /// Where it is not within `timeout`, or not known.
    pub async fn wait(
        &self,
        machine: &str,
        state: Phase,
        timeout: Duration,
    ) -> Result<MachineState, ClientError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let machine = machine.to_owned();
        self.ask_machine(&Request::Wait { machine, state, timeout_ms }).await
    }

    /// Makes something wrong, in the words of [`crate::fault::WORDS`]; returns all that is.
    ///
    /// # Errors
    /// Where the words make no sense, or the rack has no such place.
    pub async fn fault(&self, fault: &str) -> Result<Vec<Fault>, ClientError> {
        let fault = fault.parse().map_err(ClientError::Refused)?;
        self.ask_faults(&Request::Fault { fault }).await
    }

    /// Heals a place, or `all`; returns all that is still wrong.
    ///
    /// # Errors
    /// Where the rack has no such place.
    pub async fn heal(&self, place: &str) -> Result<Vec<Fault>, ClientError> {
        self.ask_faults(&Request::Heal { place: place.to_owned() }).await
    }

    /// Moves a relay, `BOARD:CHANNEL`, past the agent.
    ///
    /// # Errors
    /// Where the rack has no such relay.
    pub async fn by_hand(&self, relay: &str, power: Power) -> Result<(), ClientError> {
        match self.ask(&Request::ByHand { relay: relay.to_owned(), power }).await? {
            Reply::Done => Ok(()),
            other => Err(self.strange(&other, "done")),
        }
    }

    async fn ask_faults(&self, request: &Request) -> Result<Vec<Fault>, ClientError> {
        match self.ask(request).await? {
            Reply::Faults(faults) => Ok(faults),
            other => Err(self.strange(&other, "the rack's faults")),
        }
    }

    /// Ends the rack; returns once everything that it started is dead and its links are gone.
    ///
    /// # Errors
    /// Where the rack is not there.
    pub async fn quit(&self) -> Result<(), ClientError> {
        match self.ask(&Request::Quit).await? {
            Reply::Ended(_) => Ok(()),
            other => Err(self.strange(&other, "the rack's end")),
        }
    }

    async fn ask_machine(&self, request: &Request) -> Result<MachineState, ClientError> {
        match self.ask(request).await? {
            Reply::Machine(state) => Ok(state),
            other => Err(self.strange(&other, "a machine's state")),
        }
    }

    /// Asks anything.
    ///
    /// # Errors
    /// Where the rack is not there or says no; a [`Reply`] is never [`Reply::Error`].
    pub async fn ask(&self, request: &Request) -> Result<Reply, ClientError> {
        let patience = match request {
            Request::Wait { timeout_ms, .. } => {
                REPLY_WAIT + Duration::from_millis(*timeout_ms).min(WAIT_MAX)
            }
            Request::State
            | Request::Edges
            | Request::SoftOff { .. }
            | Request::Fault { .. }
            | Request::Heal { .. }
            | Request::ByHand { .. }
            | Request::Quit => REPLY_WAIT,
        };
        let line = tokio::time::timeout(patience, self.exchange(request))
            .await
            .map_err(|_| self.silent(patience))?
            .map_err(|source| self.io(source))?;
        match serde_json::from_slice(&line) {
            Ok(Reply::Error(reason)) => Err(ClientError::Refused(reason)),
            Ok(reply) => Ok(reply),
            Err(err) => Err(self.strange(&err, "one line of JSON")),
        }
    }

    async fn exchange(&self, request: &Request) -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        BufReader::new(stream).take(REPLY_BYTES_MAX).read_until(b'\n', &mut answer).await?;
        if answer.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    }

    fn io(&self, source: std::io::Error) -> ClientError {
        ClientError::Io { socket: self.socket.clone(), source }
    }

    fn silent(&self, waited: Duration) -> ClientError {
        ClientError::Silent { socket: self.socket.clone(), waited }
    }

    fn strange(&self, found: &impl std::fmt::Debug, expected: &'static str) -> ClientError {
        let found: String = format!("{found:?}").chars().take(200).collect();
        ClientError::Strange { socket: self.socket.clone(), found, expected }
    }
}
