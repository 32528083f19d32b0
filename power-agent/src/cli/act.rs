//! `on`, `off`, `cycle`: every machine is ordered and followed for itself, so that a sick one stalls no other.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use agent_api::{AgentError, Answer, Client, Event, Machine, Watch};
use fleet::{MachineName, OnSoftOffTimeout, OperationId, Order, Origin, Reason, Verb};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::exit::Exit;
use super::follow::{Followed, Then};
use super::json::OutcomesJson;
use super::screen::Screen;
use super::{Failure, hosts, words};

/// Orders that are given at once: each may make the agent ask Nomad.
const ORDERS_AT_ONCE_MAX: usize = 32;
/// An order that did not arrive is repeated this often, under the same id: an agent that restarts is back within seconds.
const ORDER_TRIES_MAX: u32 = 4;
/// How long an order stays valid: one that arrives later than the person would expect is void.
const ORDER_VALID: Duration = Duration::from_secs(60);
/// The wait between two tries, and before a lost watch is opened again.
const RETRY_WAIT: Duration = Duration::from_millis(500);
/// How often the live progress is painted and deadlines are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Lines of live progress: a small terminal has 24.
const PAINTED_LINES_MAX: usize = 12;

/// What is ordered.
pub(crate) struct Orders {
    pub(crate) verb: Verb,
    pub(crate) hosts: Vec<String>,
    /// `None`: not said.
    pub(crate) reason: Option<String>,
    pub(crate) drain: bool,
    pub(crate) force: bool,
    pub(crate) timeout: Option<Duration>,
}

/// The answer to one order, on its way back.
struct Answered {
    machine: MachineName,
    answer: Result<Answer, AgentError>,
}

/// All ordered machines, and the ways to hear of them.
struct Following<'a> {
    client: &'a Client,
    orders: Vec<Order>,
    followed: Vec<Followed>,
    answers: JoinSet<Answered>,
    at_once: Arc<Semaphore>,
}

pub(crate) async fn act(
    client: &Client,
    orders: Orders,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let reason = reason(orders.reason.clone(), orders.verb.as_str(), screen)?;
    let inventory = client.inventory().await?;
    let machines = hosts::choose(&inventory, &orders.hosts)?;
    let mut following = Following::new(client, &orders, &reason, &machines)?;
    // Opened before the first order, so that no phase is missed.
    let watch = client.watch().await?;
    following.give_all();
    let deadline = orders.timeout.map(|timeout| Instant::now() + timeout);
    following.until_the_end(watch, deadline, screen).await?;
    following.read_the_rest().await;
    screen.paint(&[])?;
    answer(orders.verb, &following.followed, screen)
}

impl<'a> Following<'a> {
    fn new(
        client: &'a Client,
        orders: &Orders,
        reason: &str,
        machines: &[&Machine],
    ) -> Result<Self, Failure> {
        let given = given(orders, reason, machines)?;
        let followed = given
            .iter()
            .map(|order| Followed::new(order.machine.clone(), order.operation.clone(), order.verb))
            .collect();
        let at_once = Arc::new(Semaphore::new(ORDERS_AT_ONCE_MAX));
        Ok(Self { client, orders: given, followed, answers: JoinSet::new(), at_once })
    }

    fn give_all(&mut self) {
        for order in self.orders.clone() {
            self.give(order);
        }
    }

    fn give(&mut self, order: Order) {
        let (client, at_once) = (self.client.clone(), self.at_once.clone());
        self.answers.spawn(async move {
            // The semaphore is never closed; without it an order would only be given sooner.
            let _permit = at_once.acquire().await.ok();
            let answer = give(&client, &order).await;
            Answered { machine: order.machine, answer }
        });
    }

    /// Returns when every machine has come to its end, or nobody waits any longer.
    async fn until_the_end(
        &mut self,
        watch: Watch,
        deadline: Option<Instant>,
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        let mut watch = Some(watch);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        while self.followed.iter().any(|followed| !followed.is_ended()) {
            tokio::select! {
                Some(answered) = self.answers.join_next() => {
                    if let Ok(Answered { machine, answer }) = answered {
                        let now = Instant::now();
                        self.hear(&machine, screen, |followed| followed.answered(answer, now))?;
                    }
                }
                event = next_event(self.client, &mut watch) => match event {
                    Some(Event::Snapshot(inventory)) => {
                        for machine in &inventory.machines {
                            self.saw(machine, screen)?;
                        }
                    }
                    Some(Event::Changed(machine)) => self.saw(&machine, screen)?,
                    None => {}
                },
                _ = &mut interrupted => self.give_up(|_| true, "you stopped waiting"),
                now = ticks.tick() => {
                    if deadline.is_some_and(|deadline| now > deadline) {
                        self.give_up(|_| true, "the --timeout passed");
                    }
                    self.give_up(|followed| followed.is_overdue(now), "its own deadline passed");
                    screen.paint(&self.painted(now))?;
                }
            }
        }
        Ok(())
    }

    fn saw(&mut self, machine: &Machine, screen: &mut Screen) -> Result<(), Failure> {
        let now = Instant::now();
        self.hear(&machine.name, screen, |followed| followed.saw(machine, now))
    }

    fn hear(
        &mut self,
        machine: &MachineName,
        screen: &mut Screen,
        how: impl FnOnce(&mut Followed) -> Then,
    ) -> Result<(), Failure> {
        let ordered = self.followed.iter_mut().zip(&self.orders);
        let Some((followed, order)) =
            ordered.into_iter().find(|(followed, _)| followed.machine == *machine)
        else {
            return Ok(());
        };
        match how(followed) {
            Then::Nothing => {}
            Then::Tell(line) if screen.is_live() || screen.json => drop(line),
            Then::Tell(line) => screen.tell(&line)?,
            Then::AskAgain => {
                let order = order.clone();
                self.give(order);
            }
        }
        Ok(())
    }

    fn give_up(&mut self, whom: impl Fn(&Followed) -> bool, why: &str) {
        for followed in self.followed.iter_mut().filter(|followed| whom(followed)) {
            followed.give_up(why);
        }
    }

    /// `cutting: node[1-3]  at most 12s more`, one line for each stage.
    fn painted(&self, now: Instant) -> Vec<String> {
        let said = self.followed.iter().map(|followed| (followed.stage(), &followed.machine));
        let left = self.followed.iter().filter_map(|followed| followed.left(now)).max();
        let mut lines = words::groups(said);
        lines.truncate(PAINTED_LINES_MAX);
        if let Some(left) = left {
            lines.push(format!(
                "at most {} more in these phases; Ctrl-C stops only this wait",
                words::span(left)
            ));
        }
        lines
    }

    /// A machine whose order ended at once was in no event: how it stands, the inventory says.
    async fn read_the_rest(&mut self) {
        if !self.followed.iter().any(Followed::wants_reading) {
            return;
        }
        let Ok(inventory) = self.client.inventory().await else { return };
        for followed in self.followed.iter_mut().filter(|followed| followed.wants_reading()) {
            let found = inventory.machines.iter().find(|machine| machine.name == followed.machine);
            if let Some(machine) = found {
                followed.observed(machine);
            }
        }
    }
}

/// The orders for these machines, each with an id of its own.
pub(crate) fn given(
    orders: &Orders,
    reason: &str,
    machines: &[&Machine],
) -> Result<Vec<Order>, Failure> {
    let order = |machine: &&Machine| {
        Ok(Order {
            operation: operation_id()?,
            machine: machine.name.clone(),
            verb: orders.verb,
            reason: Reason::new(reason),
            origin: Origin::Person(user_name()),
            valid_for: ORDER_VALID,
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            force: orders.force,
            drain: orders.drain,
            plan: None,
        })
    };
    machines.iter().map(order).collect()
}

/// Gives one order; the same id makes it safe to repeat one whose answer was lost.
async fn give(client: &Client, order: &Order) -> Result<Answer, AgentError> {
    let mut tries = 1;
    loop {
        match client.set_power(order).await {
            Err(AgentError::Unreachable { .. }) if tries < ORDER_TRIES_MAX => {
                tries += 1;
                sleep(RETRY_WAIT).await;
            }
            answer => return answer,
        }
    }
}

/// The next event; a lost watch is opened again after a moment. `None`: nothing yet, call again.
pub(crate) async fn next_event(client: &Client, watch: &mut Option<Watch>) -> Option<Event> {
    let Some(open) = watch else {
        sleep(RETRY_WAIT).await;
        *watch = client.watch().await.ok();
        return None;
    };
    match open.next().await {
        Ok(Some(event)) => Some(event),
        Ok(None) | Err(_) => {
            *watch = None;
            None
        }
    }
}

fn answer(verb: Verb, followed: &[Followed], screen: &mut Screen) -> Result<Exit, Failure> {
    let exit = Exit::of_all(followed.iter().map(|followed| followed.outcome().0.exit()));
    if screen.json {
        let machines = followed.iter().map(Followed::json).collect();
        let outcomes = OutcomesJson { verb: verb.as_str(), exit: exit.code(), machines };
        screen.answer_json(&outcomes)?;
        return Ok(exit);
    }
    for followed in followed {
        screen.answer(&followed.line())?;
    }
    if followed.len() > 1 {
        let said = followed
            .iter()
            .map(|followed| (followed.outcome().0.as_str().to_owned(), &followed.machine));
        screen.answer("")?;
        for group in words::groups(said) {
            screen.answer(&group)?;
        }
    }
    Ok(exit)
}

/// Why a person wants it: as said, or as asked for in a terminal.
pub(crate) fn reason(
    said: Option<String>,
    what: &str,
    screen: &mut Screen,
) -> Result<String, Failure> {
    let (reason, wrong) = match said {
        Some(reason) => (reason, "--reason is empty"),
        None => {
            let asked = screen.ask(&format!("Why {what}? "))?;
            (asked.unwrap_or_default(), "--reason is missing")
        }
    };
    if reason.trim().is_empty() {
        let text =
            format!("{wrong}; say why, like --reason \"new fan\": others will read it in `status`");
        return Err(Failure::Usage(text));
    }
    Ok(reason)
}

/// A hint only: the agent asks its socket who is at the other end.
pub(crate) fn user_name() -> String {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// An id that nobody else gives: 16 random bytes.
fn operation_id() -> Result<OperationId, Failure> {
    let mut random = [0_u8; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    OperationId::new(format!("cli-{digits}")).map_err(|error| Failure::Usage(error.to_string()))
}
