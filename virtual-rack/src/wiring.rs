//! The rack's event loop: the models on one side; ports, processes, socket and clock on the other.

mod bus;
mod lines;
mod play;
mod tell;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::PathBuf;
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
use crate::control::EDGES_KEPT_MAX;
use crate::control::Ended;
use crate::control::Reply;
use crate::control::Request;
use crate::control::WAIT_MAX;
use crate::edges::EdgeLog;
use crate::edges::EdgeLogError;
use crate::edges::EdgeRecord;
use crate::machine::Phase;
use crate::moment::Moment;
use crate::programs::Programs;
use crate::rack::Action;
use crate::rack::Rack;
use crate::script::Script;
use crate::server;
use crate::server::Ask;
use crate::storm::Storm;
use crate::wiring::lines::Lines;
use crate::wiring::lines::Portion;

/// Portions of bytes that wait for the loop. The loop never blocks; more than a few are never there.
const PORTIONS_MAX: usize = 64;
/// Requests that wait for the loop: one per control connection, the script and the storm.
const ASKS_MAX: usize = 66;
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
    /// What the rack file says is wrong from the start can not be.
    #[error("faults: {0}")]
    Faults(String),
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
    lines: Lines,
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
    run_in(config, script, None, announce).await
}

/// [`run`] with faults by chance, from the start of the rack on.
///
/// # Errors
/// As [`run`].
pub async fn run_in(
    config: RackConfig,
    script: Option<Script>,
    storm: Option<Storm>,
    announce: impl FnOnce(&RackConfig) -> std::io::Result<()>,
) -> Result<(), RunError> {
    let ends = Ends::listen()
        .map_err(|source| RunError::Process { what: "could not listen for signals", source })?;
    let path = config.socket.clone();
    let unbound = |source| RunError::Socket { path: path.clone(), source };
    let claim = server::Claim::new(&path).await.map_err(unbound)?;
    let (portions_in, portions) = mpsc::channel(PORTIONS_MAX);
    let mut wiring = Wiring::assemble(config, portions_in).await?;
    let (asks_in, asks) = mpsc::channel(ASKS_MAX);
    let (closing_in, closing) = watch::channel(false);
    wiring.start().await?;
    let (listener, socket_file) = claim.reveal().map_err(unbound)?;
    announce(&wiring.config)
        .map_err(|source| RunError::Process { what: "could not announce the start", source })?;
    let mut server = JoinSet::new();
    server.spawn(server::serve(listener, asks_in.clone(), closing));
    let mut inlets = Inlets { ends, portions, asks, script: JoinSet::new(), script_failure: None };
    if let Some(script) = script {
        let (config, clock) = (wiring.config.clone(), wiring.clock);
        inlets.script.spawn(play::script(script, config, clock, asks_in.clone()));
    }
    if let Some(storm) = storm {
        let (config, clock) = (wiring.config.clone(), wiring.clock);
        inlets.script.spawn(play::storm(storm, config, clock, asks_in));
    }
    let ended = wiring.drive(&mut inlets).await;
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
    async fn assemble(
        config: RackConfig,
        portions: mpsc::Sender<Portion>,
    ) -> Result<Self, RunError> {
        let log = EdgeLog::open(&config.edge_log)?;
        let unplaced =
            |source| RunError::Process { what: "could not make the folder `sys`", source };
        let programs = Programs::prepare(&config.machines).await.map_err(|err| {
            RunError::CommandLog { what: err.to_string(), source: err.into_source() }
        })?;
        let clock = Clock::start();
        let lines = Lines::new(clock, portions, config.sys.as_deref()).map_err(unplaced)?;
        let rack = Rack::assemble(&config);
        let mut wiring = Self {
            config,
            clock,
            rack,
            lines,
            answers_dropped: BTreeMap::new(),
            programs,
            log,
            edges: VecDeque::new(),
            edges_forgotten: false,
            waiters: Vec::new(),
        };
        for (board, place) in wiring.places() {
            let link = place.link.clone();
            let plugged = wiring.lines.plug(&board, place);
            plugged.map_err(|source| RunError::Port { board, link, source })?;
        }
        Ok(wiring)
    }

    /// Starts what runs on machines that are found on, and what is wrong from the start.
    async fn start(&mut self) -> Result<(), RunError> {
        let now = self.clock.now();
        let actions = self.rack.start();
        self.carry_out(actions, now)?;
        for fault in self.config.faults.clone() {
            let failed = self.rack.fail(fault, now);
            let actions = failed.map_err(|refused| RunError::Faults(refused.to_string()))?;
            self.carry_out(actions, now)?;
        }
        self.find_the_bus().await.map_err(RunError::Faults)
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
                    if self.is_pulled(&board) && let Err(err) = self.find_the_bus().await {
                        tracing::error!(err, "a board could not be pulled out");
                    }
                }
                exit = self.programs.ended() => self.programs.note(exit),
                Some(Ask { request, answer }) = inlets.asks.recv() => match request {
                    Request::Quit => return Ok(Some(answer)),
                    request => self.ask(request, answer).await?,
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
                    if !self.lines.send(&board, &bytes) {
                        *self.answers_dropped.entry(board).or_default() += 1;
                    }
                }
                Action::LogEdge { board, channel, machine, power, cause } => {
                    tracing::info!(board, channel, machine, edge = %power, ?cause, "a contact moved");
                    let record = EdgeRecord {
                        at_us: at,
                        wall_us: self.clock.wall_us(at),
                        board,
                        channel,
                        machine,
                        edge: power,
                        cause,
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

    async fn ask(
        &mut self,
        asked: Request,
        answer: oneshot::Sender<Reply>,
    ) -> Result<(), EdgeLogError> {
        let now = self.clock.now();
        match asked {
            Request::State => self.reply(answer, |wiring| Reply::State(wiring.state(now))),
            Request::Edges => self.reply(answer, Self::edges_reply),
            Request::SoftOff { machine } => {
                let done = self.rack.soft_off(&machine, now);
                self.done(done, answer, |wiring| wiring.machine_reply(&machine))?;
            }
            Request::Wait { machine, state, timeout_ms } => {
                let deadline = now + Duration::from_millis(timeout_ms).min(WAIT_MAX);
                self.wait(Waiter { machine, state, deadline, answer });
            }
            Request::Fault { fault } => {
                let done = match self.has_room_for(&fault) {
                    Ok(()) => {
                        self.rack.fail(fault.clone(), now).map_err(|refused| refused.to_string())
                    }
                    Err(taken) => Err(taken),
                };
                if done.is_ok() {
                    tracing::info!(%fault, "a fault begins");
                }
                let bus = self.find_the_bus().await;
                self.done(done, answer, |wiring| wiring.faults_reply(bus))?;
            }
            Request::Heal { place } => {
                let done = self.rack.heal(&place, now);
                let bus = self.find_the_bus().await;
                if done.is_ok() {
                    tracing::info!(place, "healed");
                }
                self.done(done, answer, |wiring| wiring.faults_reply(bus))?;
            }
            Request::ByHand { relay, power } => {
                let done = self.rack.by_hand(&relay, power, now);
                self.done(done, answer, |_| Reply::Done)?;
            }
            Request::Quit => self.reply(answer, |_| Reply::Error("ended already".to_owned())),
        }
        Ok(())
    }

    /// Carries out what the models made of a request, or says why they refused it.
    fn done<E: std::fmt::Display>(
        &mut self,
        done: Result<Vec<Action>, E>,
        answer: oneshot::Sender<Reply>,
        with: impl FnOnce(&mut Self) -> Reply,
    ) -> Result<(), EdgeLogError> {
        match done {
            Ok(actions) => {
                self.carry_out(actions, self.clock.now())?;
                self.reply(answer, with);
            }
            Err(refused) => self.reply(answer, |_| Reply::Error(refused.to_string())),
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

    /// Kills what runs, removes the links, answers those who wait.
    async fn end(mut self) -> Moment {
        for waiter in std::mem::take(&mut self.waiters) {
            waiter.answer.send(Reply::Error("the rack ended meanwhile".to_owned())).err();
        }
        self.programs.end(DEATH_WAIT).await;
        self.lines.end().await;
        self.clock.now()
    }
}
