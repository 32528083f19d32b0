//! The rack's event loop: the models on one side; ports, processes, socket and clock on the other.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::RackConfig;
use crate::control::BoardState;
use crate::control::EDGES_KEPT_MAX;
use crate::control::Ended;
use crate::control::MachineState;
use crate::control::RackState;
use crate::control::Reply;
use crate::control::Request;
use crate::control::WAIT_MAX;
use crate::edges::Cause;
use crate::edges::EdgeLog;
use crate::edges::EdgeLogError;
use crate::edges::EdgeRecord;
use crate::machine::Phase;
use crate::moment::Moment;
use crate::port::Port;
use crate::programs::Programs;
use crate::rack::Action;
use crate::rack::Plugged;
use crate::rack::Rack;
use crate::relay::Relay;
use crate::script::Script;
use crate::server;
use crate::server::Ask;

/// Portions of bytes that wait for the loop. The loop never blocks; more than a few are never there.
const PORTIONS_MAX: usize = 64;
/// Requests that wait for the loop: one per control connection, and the script.
const ASKS_MAX: usize = 65;
/// `wait`s under way: as many as there can be connections, and the script.
const WAITERS_MAX: usize = 65;
/// After a SIGKILL the kernel needs milliseconds; a namespace full of Nomad tasks some more.
const DEATH_WAIT: Duration = Duration::from_secs(10);
/// The server drains its own connections within two seconds.
const SERVER_WAIT: Duration = Duration::from_secs(5);
/// Without a deadline the loop looks up this often; nothing depends on it.
const IDLE_WAIT: Duration = Duration::from_secs(60);

/// Why a rack could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A board's line or link.
    #[error("board {board}: no serial line behind {}", .link.display())]
    Port {
        /// The board's name.
        board: String,
        /// Its link.
        link: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control socket.
    #[error("control socket {}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The edge log: a rack without its evidence is of no use.
    #[error(transparent)]
    EdgeLog(#[from] EdgeLogError),
    /// A command's log.
    #[error("{what}")]
    CommandLog {
        /// Whose and which.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Signals can not be heard, or the start can not be announced.
    #[error("{what}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A script's step failed; the rack stayed up until it was told to end.
    #[error("{0}")]
    Script(String),
}

/// Bytes that arrived at a board.
struct Portion {
    board: String,
    bytes: Vec<u8>,
    at: Moment,
}

/// A `wait` under way.
struct Waiter {
    machine: String,
    state: Phase,
    deadline: Moment,
    answer: oneshot::Sender<Reply>,
}

struct Wiring {
    config: RackConfig,
    clock: Clock,
    rack: Rack,
    ports: BTreeMap<String, Arc<Port>>,
    answers_dropped: BTreeMap<String, u64>,
    programs: Programs,
    log: EdgeLog,
    edges: VecDeque<EdgeRecord>,
    edges_forgotten: bool,
    waiters: Vec<Waiter>,
}

/// Runs a rack until SIGTERM, SIGINT, SIGHUP or `quit`. `announce` is called when all boards exist
/// and the control socket answers, which is the last step of the start.
///
/// It must run on a current-thread runtime on the main thread: commands are tied to the life of the
/// thread that started them.
///
/// # Errors
/// Where something of the start failed, the edge log could not be written, or a script's step failed.
pub async fn run(
    config: RackConfig,
    script: Option<Script>,
    announce: impl FnOnce(&RackConfig) -> std::io::Result<()>,
) -> Result<(), RunError> {
    let ends = Ends::listen()
        .map_err(|source| RunError::Process { what: "could not listen for signals", source })?;
    let path = config.socket.clone();
    let unbound = |source| RunError::Socket { path: path.clone(), source };
    let claim = server::Claim::new(&path).await.map_err(unbound)?;
    let mut wiring = Wiring::assemble(config).await?;
    let (portions_in, portions) = mpsc::channel(PORTIONS_MAX);
    let (asks_in, asks) = mpsc::channel(ASKS_MAX);
    let (closing_in, closing) = watch::channel(false);
    let mut listeners = JoinSet::new();
    for (board, port) in &wiring.ports {
        listeners.spawn(listen(board.clone(), port.clone(), wiring.clock, portions_in.clone()));
    }
    wiring.start()?;
    let (listener, socket_file) = claim.reveal().map_err(unbound)?;
    announce(&wiring.config)
        .map_err(|source| RunError::Process { what: "could not announce the start", source })?;
    let mut server = JoinSet::new();
    server.spawn(server::serve(listener, asks_in.clone(), closing));
    let mut inlets = Inlets { ends, portions, asks, script: JoinSet::new(), script_failure: None };
    if let Some(script) = script {
        inlets.script.spawn(play(script, wiring.clock, asks_in));
    }
    let ended = wiring.drive(&mut inlets).await;
    listeners.shutdown().await;
    inlets.script.shutdown().await;
    let at_us = wiring.end().await;
    drop(socket_file);
    let outcome = ended.map(|quit| {
        quit.map(|answer| answer.send(Reply::Ended(Ended { at_us })));
    });
    let script_failure = inlets.script_failure.take();
    drop(inlets);
    closing_in.send_replace(true);
    if tokio::time::timeout(SERVER_WAIT, server.join_next()).await.is_err() {
        tracing::warn!("the control socket's server did not end");
    }
    outcome?;
    script_failure.map_or(Ok(()), |failure| Err(RunError::Script(failure)))
}

/// The signals that end a rack.
struct Ends {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Ends {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
            _ = self.hup.recv() => {}
        }
    }
}

/// All that reaches the loop from outside.
struct Inlets {
    ends: Ends,
    portions: mpsc::Receiver<Portion>,
    asks: mpsc::Receiver<Ask>,
    script: JoinSet<Result<(), String>>,
    script_failure: Option<String>,
}

impl Wiring {
    async fn assemble(config: RackConfig) -> Result<Self, RunError> {
        let log = EdgeLog::open(&config.edge_log)?;
        let programs = Programs::prepare(&config.machines).await.map_err(|err| {
            RunError::CommandLog { what: err.to_string(), source: err.into_source() }
        })?;
        let mut ports = BTreeMap::new();
        for (board, settings) in &config.boards {
            let port = Port::open(&settings.link).map_err(|source| RunError::Port {
                board: board.clone(),
                link: settings.link.clone(),
                source,
            })?;
            ports.insert(board.clone(), Arc::new(port));
        }
        let rack = Rack::assemble(&config);
        Ok(Self {
            config,
            clock: Clock::start(),
            rack,
            ports,
            answers_dropped: BTreeMap::new(),
            programs,
            log,
            edges: VecDeque::new(),
            edges_forgotten: false,
            waiters: Vec::new(),
        })
    }

    /// Starts what runs on machines that are found on.
    fn start(&mut self) -> Result<(), EdgeLogError> {
        let actions = self.rack.start();
        self.carry_out(actions, self.clock.now())
    }

    /// Runs until the rack is told to end; returns who asked for it over the socket, to be answered
    /// when the end is complete.
    async fn drive(
        &mut self,
        inlets: &mut Inlets,
    ) -> Result<Option<oneshot::Sender<Reply>>, EdgeLogError> {
        loop {
            let deadline = self.clock.instant(self.deadline());
            tokio::select! {
                biased;
                () = inlets.ends.any() => return Ok(None),
                Some(Portion { board, bytes, at }) = inlets.portions.recv() => {
                    let actions = self.rack.receive(&board, &bytes, at);
                    self.carry_out(actions, at)?;
                }
                exit = self.programs.ended() => self.programs.note(exit),
                Some(Ask { request, answer }) = inlets.asks.recv() => match request {
                    Request::Quit => return Ok(Some(answer)),
                    request => self.ask(request, answer)?,
                },
                Some(Ok(Err(failure))) = inlets.script.join_next() => {
                    tracing::error!(failure, "the script ended early; the rack stays up");
                    inlets.script_failure = Some(failure);
                }
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            self.elapse()?;
        }
    }

    fn deadline(&self) -> Moment {
        let waits = self.waiters.iter().map(|waiter| waiter.deadline).min();
        let idle = self.clock.now() + IDLE_WAIT;
        self.rack.deadline().into_iter().chain(waits).min().unwrap_or(idle)
    }

    /// Does what the models say, in their order.
    fn carry_out(&mut self, actions: Vec<Action>, at: Moment) -> Result<(), EdgeLogError> {
        for action in actions {
            match action {
                Action::Command { machine, effect } => self.programs.apply(&machine, effect),
                Action::Answer { board, bytes } => {
                    if !self.ports.get(&board).is_some_and(|port| port.send(&bytes)) {
                        *self.answers_dropped.entry(board).or_default() += 1;
                    }
                }
                Action::LogEdge { board, channel, machine, power } => {
                    tracing::info!(board, channel, machine, edge = %power, "a contact moved");
                    let record = EdgeRecord {
                        at_us: at,
                        wall_us: self.clock.wall_us(at),
                        board,
                        channel,
                        machine,
                        edge: power,
                        cause: Cause::Frame,
                    };
                    self.log.append(&record)?;
                    if self.edges.len() == EDGES_KEPT_MAX {
                        self.edges.pop_front();
                        self.edges_forgotten = true;
                    }
                    self.edges.push_back(record);
                }
            }
        }
        Ok(())
    }

    /// Lets time pass for machines and for those who wait for them.
    fn elapse(&mut self) -> Result<(), EdgeLogError> {
        let now = self.clock.now();
        let actions = self.rack.elapse(now);
        self.carry_out(actions, now)?;
        for waiter in std::mem::take(&mut self.waiters) {
            let found = self.rack.machine(&waiter.machine).map(|machine| machine.phase());
            if found == Some(waiter.state) {
                self.reply(waiter.answer, |wiring| wiring.machine_reply(&waiter.machine));
            } else if now >= waiter.deadline {
                let phase = found.map_or_else(|| "gone".to_owned(), |phase| phase.to_string());
                let Waiter { machine, state, .. } = waiter;
                let what = format!("found machine {machine} {phase}, expected it {state} by now");
                self.reply(waiter.answer, |_| Reply::Error(what));
            } else {
                self.waiters.push(waiter);
            }
        }
        Ok(())
    }

    fn ask(&mut self, asked: Request, answer: oneshot::Sender<Reply>) -> Result<(), EdgeLogError> {
        let now = self.clock.now();
        match asked {
            Request::State => self.reply(answer, |wiring| Reply::State(wiring.state(now))),
            Request::Edges => self.reply(answer, Self::edges_reply),
            Request::SoftOff { machine } => {
                let outcome = self.rack.soft_off(&machine, now);
                match outcome {
                    Ok(actions) => {
                        self.carry_out(actions, now)?;
                        self.reply(answer, |wiring| wiring.machine_reply(&machine));
                    }
                    Err(refused) => self.reply(answer, |_| Reply::Error(refused.to_string())),
                }
            }
            Request::Wait { machine, state, timeout_ms } => {
                let deadline = now + Duration::from_millis(timeout_ms).min(WAIT_MAX);
                self.wait(Waiter { machine, state, deadline, answer });
            }
            Request::Quit => self.reply(answer, |_| Reply::Error("ended already".to_owned())),
        }
        Ok(())
    }

    fn wait(&mut self, waiter: Waiter) {
        if self.rack.machine(&waiter.machine).is_none() {
            self.reply(waiter.answer, |wiring| wiring.machine_reply(&waiter.machine));
        } else if self.waiters.len() >= WAITERS_MAX {
            let what = format!("found {WAITERS_MAX} waits under way, expected fewer; ask later");
            self.reply(waiter.answer, |_| Reply::Error(what));
        } else {
            self.waiters.push(waiter);
        }
    }

    /// Answers. Who asked may have gone: then nothing is worked out, and a send that fails is no loss.
    fn reply(&mut self, answer: oneshot::Sender<Reply>, with: impl FnOnce(&mut Self) -> Reply) {
        if !answer.is_closed() {
            answer.send(with(self)).err();
        }
    }

    fn edges_reply(&mut self) -> Reply {
        if self.edges_forgotten {
            return Reply::Error(format!(
                "more than {EDGES_KEPT_MAX} edges have been; all are in {}",
                self.config.edge_log.display()
            ));
        }
        Reply::Edges(self.edges.iter().cloned().collect())
    }

    fn machine_reply(&mut self, name: &str) -> Reply {
        let found = self.rack.machines().find(|(machine, _)| *machine == name);
        match found {
            Some((_, plugged)) => Reply::Machine(self.machine_state(name, plugged)),
            None => Reply::Error(format!(
                "found no machine {name:?}, expected one of {}",
                self.rack.known_machines()
            )),
        }
    }

    fn machine_state(&self, name: &str, plugged: &Plugged) -> MachineState {
        MachineState {
            board: plugged.board.clone(),
            channel: plugged.channel,
            state: plugged.machine.phase(),
            since_us: plugged.machine.since(),
            watts: plugged.machine.watts(),
            command: self.programs.state(name),
        }
    }

    fn state(&mut self, now: Moment) -> RackState {
        let mut boards = BTreeMap::new();
        for (name, board) in self.rack.boards() {
            let Some(settings) = self.config.boards.get(name) else { continue };
            let Some(port) = self.ports.get(name) else { continue };
            let state = BoardState {
                kind: board.kind(),
                link: settings.link.clone(),
                port: port.path().to_owned(),
                relays: board.relays().iter().map(Relay::contact).collect(),
                frames: board.counts(now),
                answers_dropped: self.answers_dropped.get(name).copied().unwrap_or_default(),
            };
            boards.insert(name.to_owned(), state);
        }
        let machines: BTreeMap<String, MachineState> = self
            .rack
            .machines()
            .map(|(name, plugged)| (name.to_owned(), self.machine_state(name, plugged)))
            .collect();
        let watts = machines.values().map(|machine| machine.watts).sum();
        RackState { at_us: now, watts, boards, machines }
    }

    /// Kills what runs, removes the links, answers those who wait.
    async fn end(self) -> Moment {
        for waiter in self.waiters {
            waiter.answer.send(Reply::Error("the rack ended meanwhile".to_owned())).err();
        }
        self.programs.end(DEATH_WAIT).await;
        drop(self.ports);
        self.clock.now()
    }
}

/// Hands on what an agent writes to a board, with the moment of its arrival.
async fn listen(board: String, port: Arc<Port>, clock: Clock, portions: mpsc::Sender<Portion>) {
    loop {
        match port.read().await {
            Ok(bytes) => {
                let at = clock.now();
                if portions.send(Portion { board: board.clone(), bytes, at }).await.is_err() {
                    return;
                }
            }
            Err(err) => {
                tracing::error!(board, %err, "a board's line can not be read any more");
                return;
            }
        }
    }
}

/// Plays a script through the loop's own door. The first step that fails ends it.
async fn play(script: Script, clock: Clock, asks: mpsc::Sender<Ask>) -> Result<(), String> {
    for step in script.steps {
        tokio::time::sleep_until(clock.instant(step.at).into()).await;
        let (answer, answered) = oneshot::channel();
        if asks.send(Ask { request: step.request, answer }).await.is_err() {
            return Ok(());
        }
        match answered.await {
            Ok(Reply::Error(what)) => {
                return Err(format!("{}:{}: {what}", script.path.display(), step.line));
            }
            Ok(reply) => tracing::info!(line = step.line, ?reply, "a script's step was done"),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
