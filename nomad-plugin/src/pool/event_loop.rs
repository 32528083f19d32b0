//! The loop of one pool: it reads the clock, hears, asks the lease and the reconciler what is to be
//! done, and has it done. Nothing in it blocks: what takes time runs beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use agent_api::{AgentAddress, Client as Agent};
use fleet::arbiter::BEFORE_BOOT;
use fleet::reconciler::{Done, Effect, Reconciler};
use fleet::{ClusterId, FenceNumber, FleetView, MachineName, Moment, OperationId, Shape};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::assemble::{Heard, assemble, heard_members, unheard};
use super::blocks::Blocks;
use super::claims::Claims;
use super::executor::Executor;
use super::namesakes::Namesakes;
use super::nomad_side::NomadFacts;
use super::office::{Circumstances, Office, Returned, Turn};
use super::plans::Teller;
use super::record::Keeper;
use super::shapes::Shapes;
use super::watchers::{News, follow_agent, follow_nomad};
use super::{PoolParts, Request};
use crate::host::Fault;
use crate::metrics::PoolMetrics;

/// News that may wait: each is taken in well under a millisecond.
const NEWS_MAX: usize = 256;

/// The longest that the loop waits for nothing: a pool that nothing happens to is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The shortest time between two turns in which nothing happens: should a deadline ever lie in the past,
/// the loop still leaves the processor to others.
const TURN_GAP: Duration = Duration::from_millis(10);

/// What to do about an agent that does not answer.
const AGENT_HELP: &str = "check that `power-agent serve` runs there and that `agents` in the plugin \
                          block's config names its socket";

/// Where the loop's clock stands when it starts: ages that agents tell reach back before that, those of an
/// earlier boot of their hosts the furthest, and none is to be cut at the clock's origin.
const CLOCK_ORIGIN: Duration = BEFORE_BOOT.saturating_mul(4);

/// How long an effect may wait for the record: a write takes well under a second. What waited longer was
/// asked of a pool that may be another by now, so it is asked anew: a proof that a node is empty ages.
const EFFECT_AGE_MAX: Duration = Duration::from_secs(5);

/// What a task beside the loop brings back.
#[derive(Debug)]
enum Finished {
    Effect(Box<Effect>, Done),
    Record(Returned),
    /// A plan was told, or not: it is told again in its time. Or the pool was taken at an agent.
    Noted,
    /// The pool was not taken at an agent, and why.
    Unclaimed(AgentAddress, String),
    /// A machine's shape was told to its agent, or not.
    Shape(MachineName, Shape, bool),
}

struct Pool {
    parts: PoolParts,
    cluster: Option<ClusterId>,
    started: Instant,
    agents: BTreeMap<AgentAddress, Agent>,
    heard: BTreeMap<AgentAddress, Option<Heard>>,
    attempted: BTreeSet<AgentAddress>,
    nomad: NomadFacts,
    names: watch::Sender<BTreeSet<String>>,
    office: Office,
    reconciler: Option<Reconciler>,
    blocks: Blocks,
    namesakes: Namesakes,
    queued: VecDeque<(Moment, Effect)>,
    claims: Claims,
    /// How the last call about a machine failed, until one succeeds: each way is warned of once.
    failures: BTreeMap<MachineName, String>,
    scales: Vec<oneshot::Sender<Result<(), Fault>>>,
    shapes: Shapes,
    teller: Teller,
    tasks: JoinSet<Finished>,
    nomad_problem: Option<String>,
    /// Why Status was answered not ready last: the host says nothing of it.
    not_ready: Option<String>,
    meter: PoolMetrics,
}

/// Runs a pool until it is told to stop, or nobody can ask it any more.
pub async fn run(parts: PoolParts, mut requests: mpsc::Receiver<Request>) {
    let (news_sender, mut news) = mpsc::channel(NEWS_MAX);
    let mut ears = JoinSet::new();
    let mut pool = Pool::new(parts);
    let names = pool.names.subscribe();
    let own_alloc = pool.parts.own_alloc.clone();
    ears.spawn(follow_nomad(pool.parts.nomad.clone(), names, own_alloc, news_sender.clone()));
    for (address, agent) in &pool.agents {
        ears.spawn(follow_agent(address.clone(), agent.clone(), news_sender.clone()));
    }
    drop(news_sender);
    loop {
        let began = Instant::now();
        let wake = pool.turn();
        pool.meter.turned(began.elapsed());
        pool.measure();
        tokio::select! {
            heard = news.recv() => match heard {
                Some(heard) => pool.hear(heard),
                None => return,
            },
            request = requests.recv() => match request {
                Some(Request::Stop(done)) => {
                    pool.release().await;
                    // Who asked may have given up waiting.
                    done.send(()).ok();
                    return;
                }
                Some(request) => pool.answer(request),
                None => return,
            },
            Some(finished) = pool.tasks.join_next() => pool.finished(finished),
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

impl Pool {
    fn new(parts: PoolParts) -> Self {
        let settings = &parts.settings;
        let credentials = settings.credentials.as_ref();
        let client = |address| Agent::connect_lazy_with(address, credentials);
        let agents: BTreeMap<AgentAddress, Agent> =
            settings.agents.iter().map(|address| (address.clone(), client(address))).collect();
        let keeper = Keeper::new(&settings.records, parts.nomad.clone(), &parts.pool);
        Self {
            cluster: settings.cluster.clone(),
            started: Instant::now(),
            heard: agents.keys().map(|address| (address.clone(), None)).collect(),
            agents,
            attempted: BTreeSet::new(),
            nomad: NomadFacts::default(),
            names: watch::Sender::new(BTreeSet::new()),
            office: Office::new(keeper, parts.me.clone(), settings.heartbeat),
            reconciler: None,
            blocks: Blocks::default(),
            namesakes: Namesakes::default(),
            queued: VecDeque::new(),
            claims: Claims::default(),
            failures: BTreeMap::new(),
            scales: Vec::new(),
            shapes: Shapes::default(),
            teller: Teller::new(&parts.me, parts.run),
            tasks: JoinSet::new(),
            nomad_problem: None,
            not_ready: None,
            meter: parts.metrics.of_pool(&parts.pool),
            parts,
        }
    }

    fn now(&self) -> Moment {
        Moment::ZERO + CLOCK_ORIGIN + self.started.elapsed()
    }

    fn hear(&mut self, news: News) {
        let now = self.now();
        self.count_news(&news);
        match news {
            News::Nomad(facts) => {
                if !self.nomad.answers {
                    tracing::info!(pool = %self.parts.pool, "Nomad answers");
                }
                self.nomad = *facts;
            }
            News::NomadSilent(why) => {
                // Said once, and again when the reason is another.
                if self.nomad.answers || self.nomad_problem.as_ref() != Some(&why) {
                    tracing::warn!(pool = %self.parts.pool, err = %why, "Nomad can not be read");
                }
                self.nomad.answers = false;
                self.nomad_problem = Some(why);
            }
            News::Agent(address, event) => {
                self.attempted.insert(address.clone());
                let heard = self.heard.entry(address).or_default();
                heard.get_or_insert_default().take(*event, now);
                self.tell_names();
            }
            News::AgentSilent(address, why) => {
                let first = self.attempted.insert(address.clone());
                let known = self.heard.get_mut(&address).and_then(Option::as_mut);
                let answered = known.as_ref().is_some_and(|heard| heard.answers);
                if first || answered {
                    tracing::warn!(
                        agent = %address, err = %why, help = AGENT_HELP, "an agent does not answer"
                    );
                }
                if let Some(heard) = known {
                    heard.answers = false;
                }
            }
        }
        self.look(now);
    }

    /// Tells the ear at Nomad which nodes matter.
    fn tell_names(&self) {
        let machines = self.heard.values().flatten().flat_map(|heard| heard.machines.values());
        let pool = Some(&self.parts.pool);
        let own = machines.filter(|(machine, _)| machine.pool.as_ref() == pool);
        let unheard = unheard(&self.heard, self.office.members()).map(|(_, node)| node.clone());
        let names: BTreeSet<String> =
            own.map(|(machine, _)| machine.node.clone()).chain(unheard).collect();
        self.names.send_if_modified(|known| {
            let changed = *known != names;
            *known = names;
            changed
        });
    }

    fn view(&self) -> FleetView {
        let fence = self.fence().filter(|_| self.reconciler.is_some());
        let (heard, members) = (&self.heard, self.office.members());
        let filters = self.blocks.filters();
        assemble(&self.parts.pool, &self.nomad, (heard, members), &filters, fence.as_ref())
    }

    /// Has the reconciler look at everything as it is now.
    fn look(&mut self, now: Moment) {
        let Some(voice) = self.blocks.caller() else { return };
        let view = self.view();
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.observe(view, voice, now);
        }
        self.note_shapes(now);
    }

    fn finished(&mut self, finished: Result<Finished, JoinError>) {
        let now = self.now();
        match finished {
            Ok(Finished::Effect(effect, done)) => self.done(&effect, done, now),
            Ok(Finished::Record(returned)) => {
                let turn = self.office.returned(returned, now);
                // The record may name machines of agents that have not been heard.
                self.tell_names();
                self.count_record(&turn);
                match turn {
                    Turn::InOffice => self.take_office(now),
                    Turn::Lost => self.step_down(),
                    Turn::Same => self.answer_unkept(),
                }
            }
            Ok(Finished::Noted) => {}
            Ok(Finished::Unclaimed(address, why)) => {
                if self.claims.failed(&address, &why) {
                    tracing::warn!(agent = %address, err = %why, "the pool was not taken at an agent");
                }
            }
            Ok(Finished::Shape(name, shape, kept)) => self.shapes.ended(&name, shape, kept, now),
            Err(error) => {
                tracing::error!(err = %error, "a task of the pool ended badly (a bug of ours)")
            }
        }
    }

    fn done(&mut self, effect: &Effect, done: Done, now: Moment) {
        let name = effect.machine();
        self.count_effect(effect, &done);
        if !matches!(done, Done::Failed(_)) {
            self.failures.remove(name);
        }
        match &done {
            Done::Failed(why) if self.failures.get(name) == Some(why) => {
                tracing::debug!(machine = %name, what = ?effect, "a call failed as the one before");
            }
            Done::Failed(why) => {
                self.failures.insert(name.clone(), why.clone());
                tracing::warn!(machine = %name, what = ?effect, err = %why, "a call failed");
            }
            Done::Refused(why) => {
                tracing::info!(machine = %effect.machine(), reason = %why, "an agent refused");
            }
            Done::Written { .. } | Done::Read(_) | Done::Accepted => {
                tracing::debug!(machine = %effect.machine(), what = ?effect, "done");
            }
        }
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.done(effect, done, now);
        }
    }

    /// Somebody else has written the record: nothing of ours is done any more.
    fn step_down(&mut self) {
        tracing::warn!(pool = %self.parts.pool, "another autoscaler has written the pool's record");
        self.reconciler = None;
        self.queued.clear();
        // What is under way was ordered by a lease that is not ours any more, and its answers would
        // reach a reconciler that has not asked.
        self.tasks = JoinSet::new();
        self.shapes.broken_off();
        for answer in self.scales.drain(..) {
            // The host may have given up waiting; it asks again.
            answer.send(Err(Fault::failed("another autoscaler has taken the pool's lease"))).ok();
        }
    }

    /// The lease is ours: from now on the reconciler acts.
    fn take_office(&mut self, now: Moment) {
        if self.reconciler.is_some() {
            return;
        }
        // An agent answers a repeated id as it did the first time: no two lives may share one.
        let number = self.office.fence().unwrap_or_default().0;
        let (me, run) = (&self.parts.me, self.parts.run);
        let Ok(prefix) = OperationId::new(format!("{me}-{run}.{number}")) else { return };
        let standing = self.office.standing().clone();
        let born = !standing.levels.is_empty();
        self.blocks.inherit(self.office.targets(), |voice| standing.levels.contains_key(voice));
        tracing::info!(pool = %self.parts.pool, fence = ?self.office.fence(), "the pool's lease is ours");
        self.reconciler = Some(Reconciler::new(
            self.parts.pool.clone(),
            self.blocks.knobs(),
            born.then_some(standing),
            prefix,
        ));
        self.look(now);
    }

    /// One turn: what the lease needs, what the reconciler wants, what may now be done. Returns when to
    /// turn again though nothing happens.
    fn turn(&mut self) -> Instant {
        let now = self.now();
        let mut wake = now + LOOK_AGAIN;
        if let Some(reconciler) = &mut self.reconciler {
            let (effects, again) = reconciler.poll(now);
            self.queued.extend(effects.into_iter().map(|effect| (now, effect)));
            wake = wake.min(again.unwrap_or(wake));
        }
        self.forget_lapsed();
        wake = wake.min(self.keep_record(now));
        if self.is_saved() {
            for answer in self.scales.drain(..) {
                // The host may have given up waiting; what it asked for is durable all the same.
                answer.send(Ok(())).ok();
            }
            if self.flush(now) {
                wake = now;
            }
        }
        wake = wake.min(self.claim(now)).min(self.tell_plan(false, now));
        self.started + wake.max(now + TURN_GAP).since(Moment::ZERO + CLOCK_ORIGIN)
    }

    /// Whether the record on disk says what the reconciler must remember.
    fn is_saved(&self) -> bool {
        let reconciler = self.reconciler.as_ref();
        reconciler.is_some_and(|reconciler| reconciler.standing() == *self.office.standing())
    }

    /// Has done to the record what is due. Returns when something is next.
    fn keep_record(&mut self, now: Moment) -> Moment {
        let around = Circumstances {
            standing: self.reconciler.as_ref().map(Reconciler::standing),
            may_take: self.blocks.caller().is_some() && self.all_attempted(),
            highest: self.highest_fence(),
            targets: self.blocks.raw(),
            members: heard_members(&self.parts.pool, &self.heard),
        };
        let (errand, wake) = self.office.poll(around, now, now + LOOK_AGAIN);
        if let Some(errand) = errand {
            self.tasks.spawn(async move { Finished::Record(errand.run().await) });
        }
        wake
    }

    fn all_attempted(&self) -> bool {
        self.agents.keys().all(|address| self.attempted.contains(address))
            && self.cluster_id().is_some()
    }

    /// Does what waits, each beside the loop. Tells whether some has waited for too long and is to be
    /// asked anew.
    fn flush(&mut self, now: Moment) -> bool {
        let Some(fence) = self.fence() else { return false };
        if self.queued.is_empty() || self.office.is_overdue(now) {
            return false;
        }
        let agents = self.switches();
        // What is ordered is part of a plan that is told.
        if self.queued.iter().any(|(_, effect)| effect.is_order()) {
            self.tell_plan(true, now);
        }
        let executor = std::sync::Arc::new(Executor {
            nomad: self.parts.nomad.clone(),
            agents,
            fence,
            plan: self.teller.id(),
            filters: self.blocks.filters(),
        });
        let mut late = Vec::new();
        for (since, effect) in self.queued.drain(..) {
            if now.since(since) > EFFECT_AGE_MAX {
                late.push(effect);
                continue;
            }
            let executor = std::sync::Arc::clone(&executor);
            self.tasks.spawn(async move {
                let done = executor.execute(&effect).await;
                Finished::Effect(Box::new(effect), done)
            });
        }
        for effect in &late {
            let why = "the pool's record could not be written in time";
            self.done(effect, Done::Failed(why.to_owned()), now);
        }
        !late.is_empty()
    }

    /// Gives the lease back.
    async fn release(&mut self) {
        let around = Circumstances {
            standing: self.reconciler.as_ref().map(Reconciler::standing),
            may_take: false,
            highest: FenceNumber::default(),
            targets: self.blocks.raw(),
            members: heard_members(&self.parts.pool, &self.heard),
        };
        if let Some(errand) = self.office.release(around) {
            let now = self.now();
            let returned = errand.run().await;
            self.office.returned(returned, now);
        }
    }
}

mod asked;
mod fences;
mod measure;
mod tell;
#[cfg(test)]
mod tests;
