//! How an order is heard: ask what must be asked, judge, write down, begin. One order at a time.

use std::sync::Arc;
use std::time::Duration;

use agent_api::Answer;
use fleet::arbiter::{Hearing, Hold, Judgment, Question, Verdict, Work, judge, question};
use fleet::sequencer::Task;
use fleet::{Moment, OperationId, Order, Origin, Refusal, RefusalCode, Sequencer};
use tokio::sync::oneshot;

use super::{Agent, NOMAD_PATIENCE, RequestError};
use crate::audit::{self, Event, Who};
use crate::book::{Book, Known};
use crate::clock::Clock;
use crate::machine::{Live, Machine, ended_view};
use crate::memory::{Change, Operation, Outcome};
use crate::node::chain;
use crate::sequence;

/// How long an order waits for the drain that it calls off to be taken back: one call to Nomad, and less than the
/// client waits.
pub(super) const CALL_OFF_PATIENCE: Duration = Duration::from_secs(10);

/// How long work that was placed between the proof of an empty node and its drain has to move, where nobody asked for
/// a drain: as long as a task's usual end takes; then the drain is taken back and the machine stays.
const PROOF_PATIENCE: Duration = Duration::from_secs(30);

/// How often an order may call off what runs: once, and once more if somebody began another drain meanwhile.
const CALL_OFFS_MAX: u32 = 2;

impl Agent {
    /// Hears one order to its answer, also when the one who gave it is gone meanwhile. `who` is whoever brought it.
    ///
    /// # Errors
    /// See [`RequestError`]; a refusal is an answer and no error.
    pub async fn order(self: &Arc<Self>, order: Order, who: Who) -> Result<Answer, RequestError> {
        let (reply, answer) = oneshot::channel();
        let agent = Arc::clone(self);
        let who = Who::of_origin(&order.origin, Some(who));
        self.spawn(async move {
            let heard = agent.hear(&order, &who).await;
            if let Err(error) = &heard {
                let outcome = audit::Outcome::Refused { code: error.code(), text: chain(error) };
                agent.audit(Event::of_order(&order, &who, outcome)).await;
            }
            if reply.send(heard).is_err() {
                tracing::debug!(operation = %order.operation, "nobody waits for the answer any more");
            }
        });
        answer.await.unwrap_or(Err(RequestError::Stopping))
    }

    async fn hear(self: &Arc<Self>, order: &Order, who: &Who) -> Result<Answer, RequestError> {
        let arrived = Clock.now();
        let mut machine = self.machine(&order.machine)?;
        for _ in 0..=CALL_OFFS_MAX {
            let asks = question(order, &machine.ledger(Clock.now()));
            let work = self.work(asks, &machine).await;
            let mut book = self.book.lock().await;
            if *self.stop.borrow() {
                return Err(RequestError::Stopping);
            }
            let now_there = self.machine(&order.machine)?;
            if !Arc::ptr_eq(&now_there, &machine) {
                // The rack file was read again meanwhile.
                machine = now_there;
                continue;
            }
            check_id(&book, order)?;
            let known = book.known(&order.operation).is_some();
            let hearing = Hearing { order, arrived, known, work: &work };
            let now = Clock.now();
            let Judgment { verdict, newer } =
                judge(hearing, &self.ledger_of(&machine, now), &book.fences, now);
            let accepted = Event::of_order(order, who, audit::Outcome::Accepted);
            let change = Change { fence: newer, audit: vec![accepted], ..Change::default() };
            match verdict {
                Verdict::Repeat => return Ok(repeated(&book, &machine, &order.operation, now)),
                Verdict::Begin { hold } => {
                    let task = task(order, &machine, &work);
                    return self.begin(&mut book, change, order, &machine, (task, hold)).await;
                }
                Verdict::Join { hold } => {
                    return self.join(&mut book, change, order, &machine, hold).await;
                }
                Verdict::Refuse(refusal) => {
                    let outcome = audit::Outcome::refused(&refusal);
                    let refused = vec![Event::of_order(order, who, outcome)];
                    let change = Change { audit: refused, ..change };
                    return self.refuse(&mut book, change, order, refusal).await;
                }
                Verdict::CallOff => {
                    drop(book);
                    self.call_off(order, &machine).await;
                }
            }
        }
        let text = format!("{}: the drain that runs is still being taken back", order.machine);
        let refusal = Refusal { code: RefusalCode::Busy, text };
        self.audit(Event::of_order(order, who, audit::Outcome::refused(&refusal))).await;
        Ok(Answer::Refused(refusal))
    }

    /// What Nomad says of the node's work, where that decides.
    pub(super) async fn work(&self, asks: Question, machine: &Machine) -> Work {
        let nodes = self.rack().nodes.clone();
        let node = &machine.config.node;
        let asked = async {
            match asks {
                Question::None => Work::NotAsked,
                Question::IsEmpty => nodes.work(node).await,
                Question::TakesWork => match nodes.takes_work(node).await {
                    Ok(true) => Work::TakesWork,
                    Ok(false) => Work::NotAsked, // the rest is the plugin's to prove
                    Err(error) => Work::NoProof(chain(&error)),
                },
            }
        };
        tokio::time::timeout(NOMAD_PATIENCE, asked).await.unwrap_or_else(|_elapsed| {
            let seconds = NOMAD_PATIENCE.as_secs();
            Work::NoProof(format!("Nomad did not answer within {seconds} s"))
        })
    }

    async fn begin(
        self: &Arc<Self>,
        book: &mut Book,
        change: Change,
        order: &Order,
        machine: &Arc<Machine>,
        (task, hold): (Task, Option<Hold>),
    ) -> Result<Answer, RequestError> {
        let now = Clock.now();
        let sequencer = Sequencer::begin(task, now);
        let mut memory = machine.memory();
        memory.running = Some(crate::memory::RunningOrder {
            id: order.operation.clone(),
            origin: order.origin.clone(),
            reason: order.reason.clone(),
            outlets: machine.outlet_names(),
            record: sequencer.record().clone(),
        });
        memory.holds.extend(hold.clone());
        let operation = Operation::begun(order, now);
        self.write_order(book, change, (order, memory), operation).await?;
        let live = Live {
            id: order.operation.clone(),
            origin: order.origin.clone(),
            reason: order.reason.clone(),
            sequencer,
            call_off: None,
        };
        let operation = live.view(now);
        {
            let mut state = machine.state();
            state.holds.extend(hold);
            state.live = Some(live);
        }
        tracing::info!(
            machine = %order.machine, operation = %order.operation, verb = order.verb.as_str(),
            origin = %who(&order.origin), reason = %order.reason, "order begun"
        );
        self.publish(&order.machine);
        self.spawn(sequence::run(Arc::clone(self), Arc::clone(machine)));
        Ok(Answer::Accepted { operation, repeated: false })
    }

    async fn join(
        &self,
        book: &mut Book,
        change: Change,
        order: &Order,
        machine: &Machine,
        hold: Option<Hold>,
    ) -> Result<Answer, RequestError> {
        let now = Clock.now();
        let mut memory = machine.memory();
        let running = memory.running.as_ref().map(|running| running.id.clone());
        let outcome = running.map_or(Outcome::Runs, Outcome::Joined);
        memory.holds.extend(hold.clone());
        let operation = Operation { outcome, ..Operation::begun(order, now) };
        self.write_order(book, change, (order, memory), operation).await?;
        machine.state().holds.extend(hold);
        self.publish(&order.machine);
        Ok(repeated_as(book, machine, &order.operation, now, false))
    }

    /// One write: the machine, the operation under its id, and a newer fence. Nothing is believed before it is there.
    async fn write_order(
        &self,
        book: &mut Book,
        change: Change,
        (order, memory): (&Order, crate::memory::MachineMemory),
        operation: Operation,
    ) -> Result<(), RequestError> {
        let (place, forgotten) = book.next_place();
        let fence = change.fence.clone();
        let change = Change {
            machine: Some((order.machine.clone(), memory)),
            operation: Some((place, operation.clone())),
            forgotten,
            ..change
        };
        self.store.commit_durably(change).await?;
        if let Some(fence) = &fence {
            book.fences.remember(fence);
        }
        if let Some(place) = forgotten {
            book.forget(place);
        }
        book.insert(place, operation);
        Ok(())
    }

    async fn refuse(
        &self,
        book: &mut Book,
        change: Change,
        order: &Order,
        refusal: Refusal,
    ) -> Result<Answer, RequestError> {
        if let Some(fence) = change.fence.clone() {
            self.store.commit_durably(change).await?;
            book.fences.remember(&fence);
        } else {
            for refused in change.audit {
                self.audit(refused).await;
            }
        }
        book.remember_refusal(order.operation.clone(), refusal.clone());
        tracing::info!(
            machine = %order.machine, operation = %order.operation, verb = order.verb.as_str(),
            origin = %who(&order.origin), reason = %order.reason, refusal = refusal.text, "order refused"
        );
        Ok(Answer::Refused(refusal))
    }

    /// Has the running drain called off, and waits until it is taken back.
    async fn call_off(&self, order: &Order, machine: &Machine) {
        let mut changes = self.changes();
        let running = {
            let mut state = machine.state();
            let Some(live) = &mut state.live else { return };
            live.call_off =
                Some(format!("called off by {}'s `{}`", who(&order.origin), order.verb.as_str()));
            live.id.clone()
        };
        let ended = async {
            while machine.state().live.as_ref().is_some_and(|live| live.id == running) {
                // A lagging or closed channel only makes this look again; the time is bounded below.
                if changes.recv().await.is_err() {
                    tokio::task::yield_now().await;
                }
            }
        };
        if tokio::time::timeout(CALL_OFF_PATIENCE, ended).await.is_err() {
            tracing::debug!(machine = %order.machine, "the drain is still being taken back");
        }
    }
}

/// Who ordered, for a log line.
pub(crate) fn who(origin: &Origin) -> String {
    match origin {
        Origin::Person(name) => name.clone(),
        Origin::Agent => "the agent itself".to_owned(),
        Origin::Autoscaler(fence) => {
            format!("autoscaler of {} with fence {}", fence.cluster, fence.number.0)
        }
    }
}

pub(super) fn task(order: &Order, machine: &Machine, work: &Work) -> Task {
    let config = &machine.config;
    let limits = config.limits;
    let (may_cut_at, may_light_at) = {
        let wear = &machine.state().wear;
        (wear.may_cut_at(limits), wear.may_light_at(limits))
    };
    let in_a_hurry = order.force && matches!(order.origin, Origin::Person(_));
    let may_cut_at = if in_a_hurry { Moment::ZERO } else { may_cut_at };
    // A node that is empty is drained too: else work may be placed there until the cut.
    let drain = match work {
        Work::Runs(_) | Work::Empty if order.drain => Some(config.drain_deadline),
        Work::Empty => Some(PROOF_PATIENCE),
        Work::Runs(_) | Work::NotAsked | Work::TakesWork | Work::NoProof(_) => None,
    };
    Task {
        verb: order.verb,
        on_soft_off_timeout: order.on_soft_off_timeout,
        drain,
        soft_off: config.soft_off.as_ref().map(|soft_off| soft_off.deadline),
        settle: config.settle,
        off_dwell: config.off_dwell.max(limits.min_off),
        may_cut_at,
        // Hurry is no use where nobody is there yet to be asked.
        may_wake_until: machine.may_wake_until().unwrap_or(Moment::ZERO),
        may_light_at,
        fed: !config.supplies.is_empty(),
        paths: config.paths(),
    }
}

/// An id stands for one order.
pub(super) fn check_id(book: &Book, order: &Order) -> Result<(), RequestError> {
    match book.operation(&order.operation) {
        Some(known)
            if known.machine != order.machine
                || known.verb != order.verb
                || !is_same_side(&known.origin, &order.origin) =>
        {
            Err(RequestError::IdTaken {
                id: order.operation.clone(),
                verb: known.verb.as_str(),
                machine: known.machine.clone(),
                by: who(&known.origin),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether two orders are of one person, or of the autoscalers of one pool: a lease may have gone to another meanwhile.
fn is_same_side(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        (Origin::Person(one), Origin::Person(other)) => one == other,
        (Origin::Autoscaler(one), Origin::Autoscaler(other)) => {
            one.cluster == other.cluster && one.pool == other.pool
        }
        (Origin::Agent, Origin::Agent) => true,
        (Origin::Person(_) | Origin::Autoscaler(_) | Origin::Agent, _) => false,
    }
}

fn repeated(book: &Book, machine: &Machine, id: &OperationId, now: Moment) -> Answer {
    repeated_as(book, machine, id, now, true)
}

/// The answer under an id: the operation as it is now, or the refusal.
fn repeated_as(
    book: &Book,
    machine: &Machine,
    id: &OperationId,
    now: Moment,
    repeated: bool,
) -> Answer {
    let operation = match book.known(id) {
        Some(Known::Refused(refusal)) => return Answer::Refused(refusal.clone()),
        Some(Known::Taken(operation)) => operation,
        None => return forgotten(id),
    };
    let state = machine.state();
    let live = state.live.as_ref().filter(|live| live.id == operation.id);
    match live.map(|live| live.view(now)).or_else(|| ended_view(operation, now)) {
        Some(operation) => Answer::Accepted { operation, repeated },
        None => forgotten(id),
    }
}

/// The id is known, and what it led to is not any more.
fn forgotten(id: &OperationId) -> Answer {
    let text = format!(
        "operation {id} was taken, and what became of it is forgotten; look at the machine"
    );
    Answer::Refused(Refusal { code: RefusalCode::Expired, text })
}
