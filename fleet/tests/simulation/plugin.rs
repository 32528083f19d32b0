//! One plugin process without its IO: the shipped lease and reconciler, and the order in which it does things. The
//! record is written before anything is built upon it; orders carry the fence of the moment in which they were sent.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use fleet::demand::{Caller, Direction};
use fleet::lease::{Lease, LeaseRecord, Step};
use fleet::reconciler::{Done, Effect, Reconciler, Standing};
use fleet::{
    ClusterId, Fence, FenceNumber, FleetView, HolderId, Knobs, MachineName, Moment, NodeCount,
    OperationId, WhileStarting,
};

use crate::chance::Chance;
use crate::check::Check;
use crate::clock::plugin_at as at;
use crate::nomad::Nomad;
use crate::policy::{Call, Policies};
use crate::site::{Pool, RACKS};

/// The policy's evaluation interval, in seconds.
pub(crate) const TICK: u64 = 10;
/// The lease's heartbeat.
pub(crate) const BEAT: u64 = 5;
/// Seconds after which a claim that does not show is made again.
const CLAIM_AGAIN: u64 = 2;
/// Polls in a row that may each end something.
const POLLS_MAX: usize = 8;
/// After what time a policy that does not call any more has no say.
pub(crate) const DEMAND_TTL: Duration = Duration::from_secs(240);
/// How old an effect may get before its record is written.
const EFFECT_AGE_MAX: u64 = 5;

/// The pool's record: a variable in Nomad.
#[derive(Clone, Default)]
pub(crate) struct Variable {
    pub(crate) index: u64,
    standing: Standing,
    holder: Option<HolderId>,
    fence: FenceNumber,
}

/// The longest that it waits for nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A call on its way.
pub(crate) struct Flight {
    /// The process that called, and the place of its pool.
    pub(crate) from: (usize, usize),
    pub(crate) due: u64,
    pub(crate) effect: Effect,
    pub(crate) fence: Fence,
    /// The life that waits for the answer.
    pub(crate) life: u64,
    /// What came of it: on its way back.
    pub(crate) done: Option<Done>,
    /// A second copy, whose answer nobody waits for.
    pub(crate) copy: bool,
    /// The only one that arrives, long after: it comes out of a socket whose other end has died meanwhile.
    pub(crate) late: bool,
}

/// What the network does to calls.
#[derive(Clone, Copy, Default)]
pub(crate) struct Network {
    /// One in so many answers is lost; 0: none.
    pub(crate) loses: u64,
    /// One in so many orders arrives a second time, much later; 0: none.
    pub(crate) repeats: u64,
    /// The longest way, in seconds.
    pub(crate) slow: u64,
}

/// What a plugin is shown: its pool, and the highest fence that each agent tells of it; `None`: it is not heard.
pub(crate) type Shown = Rc<(FleetView, Vec<Option<FenceNumber>>)>;

pub(crate) struct Plugin {
    /// The process that it belongs to, and the place of its pool.
    pub(crate) from: (usize, usize),
    pool: &'static Pool,
    name: &'static str,
    pub(crate) life: u64,
    /// Dead until then.
    pub(crate) dead_until: u64,
    /// It is killed with its next order to switch, for so many seconds; the order is on its way then.
    pub(crate) dies_with_order: Option<u64>,
    /// It was killed just so, until then: the rest of its process goes with it.
    pub(crate) died: Option<u64>,
    /// Stopped until then: it wakes up and believes what it believed.
    pub(crate) stopped_until: u64,
    alive: bool,
    lease: Lease,
    record: Variable,
    pub(crate) reconciler: Option<Reconciler>,
    queued: VecDeque<(u64, Effect)>,
    /// When its record was written last, by the simulation's own book.
    beaten: u64,
    watch_at: u64,
    claim_at: u64,
    views: VecDeque<Shown>,
    /// What it has looked at last, and which agents did not show its fence then.
    seen: Option<(Shown, Vec<usize>)>,
    /// Something has happened since it was last asked what to do.
    poked: bool,
    /// It is asked again then though nothing happens.
    wake: Moment,
    /// The highest fence of all records that this life has seen: a restored one carries a lower one.
    highest_seen: FenceNumber,
    /// Seconds that what it sees is old.
    pub(crate) lag: usize,
}

/// What is around a plugin.
pub(crate) struct Around<'a> {
    pub(crate) nomad: &'a mut Nomad,
    /// Whether Nomad does not answer it.
    pub(crate) silent: bool,
    pub(crate) variable: &'a mut Variable,
    pub(crate) claims: &'a mut Vec<(u64, usize, usize, Fence)>,
    pub(crate) flights: &'a mut Vec<Flight>,
    pub(crate) network: Network,
    pub(crate) chance: &'a mut Chance,
    pub(crate) policies: &'a Policies,
    pub(crate) check: &'a Check,
    pub(crate) now: u64,
}

pub(crate) fn fence(pool: &Pool, number: FenceNumber) -> Fence {
    Fence { cluster: ClusterId::new("global").unwrap(), pool: pool.name(), number }
}

pub(crate) fn knobs() -> Knobs {
    let seconds = Duration::from_secs;
    Knobs {
        scale_in_window: seconds(60),
        idle_time: seconds(90),
        min_on: seconds(30),
        min_off: seconds(20),
        drain_patience: seconds(300),
        drain_retry: seconds(200),
        demand_ttl: DEMAND_TTL,
        ..Knobs::default()
    }
}

fn lease(name: &str, life: u64) -> Lease {
    let me = HolderId::new(format!("{name}.{life}")).unwrap();
    Lease::new(me, Duration::from_secs(BEAT))
}

fn is_same(one: &Shown, other: &Shown) -> bool {
    Rc::ptr_eq(one, other) || one == other
}

impl Plugin {
    pub(crate) fn new(name: &'static str, pool: &'static Pool, from: (usize, usize)) -> Self {
        Self {
            from,
            pool,
            name,
            highest_seen: FenceNumber::default(),
            life: 0,
            dead_until: 0,
            dies_with_order: None,
            died: None,
            stopped_until: 0,
            alive: false,
            lease: lease(name, 0),
            record: Variable::default(),
            reconciler: None,
            queued: VecDeque::new(),
            beaten: 0,
            watch_at: 0,
            claim_at: 0,
            views: VecDeque::new(),
            seen: None,
            poked: false,
            wake: Moment::ZERO,
            lag: 1,
        }
    }

    pub(crate) fn kill(&mut self, back_at: u64) {
        (self.alive, self.dead_until) = (false, back_at);
        (self.reconciler, self.life) = (None, self.life + 1);
        (self.lease, self.record) = (lease(self.name, self.life), Variable::default());
        self.highest_seen = FenceNumber::default();
        self.dies_with_order = None;
        self.queued.clear();
        self.views.clear();
    }

    /// Whether it acts for the pool, by what it believes.
    pub(crate) fn believes_to_lead(&self) -> bool {
        self.alive && self.reconciler.is_some()
    }

    /// Whether it runs now.
    fn runs(&self, now: u64) -> bool {
        self.stopped_until <= now && (self.alive || self.dead_until <= now)
    }

    pub(crate) fn step(&mut self, shown: &Shown, around: &mut Around<'_>) {
        let now = around.now;
        if !self.runs(now) {
            return;
        }
        self.alive = true;
        self.views.push_back(Rc::clone(shown));
        while self.views.len() > self.lag + 1 {
            self.views.pop_front();
        }
        self.keep_office(around);
        self.look(around);
        self.tick(around);
        self.poll(around);
        self.keep_office(around);
        self.dispatch(around);
    }

    /// An agent that does not show our fence yet may still obey an older one: it counts as not heard, and is told.
    fn look(&mut self, around: &mut Around<'_>) {
        let (Some(number), Some(shown)) = (self.lease.fence(), self.views.front()) else { return };
        let Some(reconciler) = &mut self.reconciler else { return };
        let unaware =
            |(_, known): &(usize, &Option<FenceNumber>)| known.is_some_and(|k| k < number);
        let unaware: Vec<usize> =
            shown.1.iter().enumerate().filter(unaware).map(|(place, _)| place).collect();
        if !unaware.is_empty() && self.claim_at <= around.now {
            self.claim_at = around.now + CLAIM_AGAIN;
            for place in &unaware {
                let due = around.now + around.chance.between(1, 1 + around.network.slow);
                around.claims.push((due, self.from.0, *place, fence(self.pool, number)));
            }
        }
        let seen = (Rc::clone(shown), unaware);
        if self.seen.as_ref().is_some_and(|last| last.1 == seen.1 && is_same(&last.0, &seen.0)) {
            return; // no news
        }
        let mut view = seen.0.0.clone();
        for place in &seen.1 {
            view.agents_heard -= 1;
            view.agents_missing.push("an agent".to_owned());
            for name in RACKS[*place] {
                if let Some(machine) = view.machines.get_mut(&MachineName::new(*name).unwrap()) {
                    machine.agent = None;
                }
            }
        }
        self.seen = Some(seen);
        self.poked = true;
        reconciler.observe(view, self.pool.voices[0], at(around.now));
    }

    /// The highest fence that an agent is seen to know.
    fn highest(&self) -> FenceNumber {
        let seen = self.views.front().into_iter().flat_map(|shown| &shown.1);
        seen.flatten().max().copied().unwrap_or_default()
    }

    fn unsaved(&self) -> Option<Standing> {
        let standing = self.reconciler.as_ref()?.standing();
        (standing != self.record.standing).then_some(standing)
    }

    /// The lease and the record, as the office of the plugin keeps them.
    fn keep_office(&mut self, around: &mut Around<'_>) {
        if around.silent {
            return;
        }
        let now = around.now;
        let step = match self.lease.poll(at(now)) {
            Step::Wait(_) if self.lease.fence().is_some() && self.unsaved().is_some() => {
                Step::Beat { index: self.lease.index() }
            }
            Step::Wait(_) if self.lease.is_watching() && self.watch_at <= now => Step::Read,
            step => step,
        };
        match step {
            Step::Read => {
                self.watch_at = now + BEAT;
                self.record = around.variable.clone();
                let record = LeaseRecord {
                    index: self.record.index,
                    holder: self.record.holder.clone(),
                    fence: self.record.fence,
                };
                self.highest_seen = self.highest_seen.max(record.fence);
                self.lease.read(&record, at(now));
            }
            Step::Wait(_) => {}
            Step::Take { index } => {
                let known = self.record.fence.max(self.highest()).max(self.highest_seen);
                self.write(index, FenceNumber(known.0 + 1), around);
            }
            Step::Beat { index } => {
                let ours = self.lease.fence().unwrap_or_default();
                let next = FenceNumber(self.highest().0 + 1);
                let fence = if self.highest() > ours { next } else { ours };
                self.write(index, fence, around);
            }
        }
    }

    fn write(&mut self, index: u64, fence: FenceNumber, around: &mut Around<'_>) {
        if around.variable.index != index {
            self.lease.lost();
            self.reconciler = None;
            self.life += 1;
            self.queued.clear();
            return;
        }
        let standing = self.unsaved().unwrap_or_else(|| self.record.standing.clone());
        around.nomad.index += 1;
        *around.variable = Variable {
            index: around.nomad.index,
            standing,
            holder: Some(self.lease.me().clone()),
            fence,
        };
        self.record = around.variable.clone();
        self.highest_seen = self.highest_seen.max(fence);
        self.beaten = around.now;
        self.lease.written(self.record.index, fence, at(around.now));
        if self.reconciler.is_none() {
            self.life += 1;
            let prefix =
                OperationId::new(format!("{}{}-{}.{}", self.name, self.from.1, self.life, fence.0));
            let standing = self.record.standing.clone();
            let standing = (!standing.levels.is_empty()).then_some(standing);
            (self.seen, self.wake) = (None, Moment::ZERO);
            self.reconciler =
                Some(Reconciler::new(self.pool.name(), knobs(), standing, prefix.unwrap()));
        }
    }

    /// The policies whose turn it is call.
    fn tick(&mut self, around: &mut Around<'_>) {
        let (moment, nomad) = (at(around.now), &around.nomad);
        let overdue = self.lease.is_overdue(moment);
        let Some(reconciler) = &mut self.reconciler else { return };
        let pending = (!around.silent).then(|| nomad.pending());
        for (voice, call) in around.policies.calls(around.now, pending, around.chance) {
            self.poked = true;
            reconciler.call(voice, moment);
            let status = reconciler.status(moment);
            let tick = Duration::from_secs(TICK);
            let caller = Caller { voice, tick, while_starting: WhileStarting::Ready };
            if !status.ready || overdue {
                reconciler.told_not_ready(caller, moment);
                continue;
            }
            reconciler.told(caller, status.count, moment);
            let Call::Asks(count) = call else { continue };
            let direction = match count.cmp(&status.count.0) {
                std::cmp::Ordering::Less => Direction::Down,
                std::cmp::Ordering::Equal => continue,
                std::cmp::Ordering::Greater => Direction::Up,
            };
            reconciler.ask(voice, NodeCount(count), direction, moment);
        }
        reconciler.take_lapsed();
    }

    fn poll(&mut self, around: &mut Around<'_>) {
        let now = around.now;
        if self.lease.is_overdue(at(now)) {
            return;
        }
        let Some(reconciler) = &mut self.reconciler else { return };
        if !std::mem::take(&mut self.poked) && self.wake > at(now) {
            return;
        }
        self.wake = at(now) + LOOK_AGAIN;
        for round in 0.. {
            assert!(round < POLLS_MAX, "at {now}: the reconciler wants to be polled for ever");
            let (effects, wake) = reconciler.poll(at(now));
            self.queued.extend(effects.into_iter().map(|effect| (now, effect)));
            self.wake = self.wake.min(wake.unwrap_or(self.wake));
            if wake.is_none_or(|wake| wake > at(now)) {
                break;
            }
        }
        let (again, _) = reconciler.poll(at(now));
        assert_eq!(again, [], "at {now}: polled again with nothing changed, it asks for nothing");
    }

    /// Sends what was asked for, once the record says so.
    fn dispatch(&mut self, around: &mut Around<'_>) {
        let now = around.now;
        let (Some(number), None) = (self.lease.fence(), self.unsaved()) else {
            return self.drop_old(now);
        };
        if self.lease.is_overdue(at(now)) {
            return self.drop_old(now);
        }
        let fence = fence(self.pool, number);
        for (_, effect) in std::mem::take(&mut self.queued) {
            around.check.acts(self.name, &effect, self.beaten, now);
            let Network { repeats, slow, .. } = around.network;
            let order = matches!(
                effect,
                Effect::Light { .. } | Effect::PowerOff { .. } | Effect::Cycle { .. }
            );
            if let Some(dead_for) = self.dies_with_order.take_if(|_| order) {
                let due = now + around.chance.between(1, 60);
                let (from, life) = (self.from, self.life);
                let (copy, late, done) = (true, true, None);
                around.flights.push(Flight { from, due, effect, fence, life, done, copy, late });
                return self.died = Some(now + dead_for);
            }
            let repeats = order && repeats > 0 && around.chance.once_in(repeats);
            let late = repeats && around.chance.once_in(2);
            let mut send = |due, copy: bool| {
                let (effect, fence) = (effect.clone(), fence.clone());
                let (from, life) = (self.from, self.life);
                let lost = (late && !copy).then(|| Done::Failed("no answer".to_owned()));
                let flight = Flight { from, due, effect, fence, life, done: lost, copy, late };
                around.flights.push(flight);
            };
            send(now + around.chance.between(1, 1 + slow), false);
            if repeats {
                send(now + around.chance.between(2, 120), true);
            }
        }
    }

    fn drop_old(&mut self, now: u64) {
        let queued = std::mem::take(&mut self.queued);
        let (old, kept) = queued.into_iter().partition(|(at, _)| at + EFFECT_AGE_MAX <= now);
        self.queued = kept;
        let old: VecDeque<(u64, Effect)> = old;
        for (_, effect) in old {
            let why = "the pool's record could not be written".to_owned();
            self.done(&effect, Done::Failed(why), now);
        }
    }

    /// Whether the life that made this call goes on: then a call that it gave up does not arrive any more.
    pub(crate) fn lives_on(&self, flight: &Flight) -> bool {
        flight.life == self.life && self.alive
    }

    /// An answer came back to the life that asked.
    pub(crate) fn answered(&mut self, flight: &Flight, now: u64) {
        let Some(done) = flight.done.clone().filter(|_| !flight.copy) else { return };
        if self.lives_on(flight) {
            self.done(&flight.effect, done, now);
        }
    }

    fn done(&mut self, effect: &Effect, done: Done, now: u64) {
        self.poked = true;
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.done(effect, done, at(now));
        }
    }

    pub(crate) fn lines(&self, now: u64) -> Vec<String> {
        let lines = self.reconciler.iter().flat_map(|reconciler| reconciler.explain(at(now)));
        let text = |line: fleet::explain::Line| match line.machine {
            Some(machine) => format!("{machine}: {}", line.text),
            None => line.text,
        };
        lines.map(text).collect()
    }
}
