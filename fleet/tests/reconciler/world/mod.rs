//! The simulated world: virtual seconds, views that lag, effects with latency, and a check after each step.
//! Everything that is wrong is asserted in `check.rs`; scenarios only move the world and look at it.

pub(crate) mod agent;
mod check;
pub(crate) mod nomad;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use agent::Rig;
use check::Check;
use fleet::demand::{Caller, Direction};
use fleet::reconciler::{Done, Effect, Reconciler, Standing};
use fleet::{
    Boot, FeedRoom, FleetView, Knobs, MachineName, MachineView, Milliamps, Moment, NodeCount,
    OperationId, PoolName, Verb,
};
use nomad::Nomad;

/// The policy's evaluation interval, in seconds.
pub(crate) const TICK: u64 = 10;
/// Polls in a row that may each end something before the world calls it a loop.
const POLLS_MAX: usize = 8;

/// What the policy asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Policy {
    /// `pending` with pass-through.
    Pending,
    /// Always this.
    Fixed(u32),
    /// Content.
    Silent,
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) nomad: Nomad,
    pub(crate) rigs: BTreeMap<String, Rig>,
    pub(crate) own: Option<String>,
    pub(crate) rec: Reconciler,
    pub(crate) knobs: Knobs,
    pub(crate) policy: Policy,
    /// What the feed of all machines may carry, if it has a budget.
    pub(crate) feed: Option<Milliamps>,
    /// Seconds that an effect takes, and that a view lags.
    pub(crate) latency: u64,
    pub(crate) lag: usize,
    /// Nodes that somebody else touched, and when: nobody can know of it at once.
    pub(crate) touched: BTreeMap<String, u64>,
    /// Nomad's answers are lost for that many writes, though it writes.
    pub(crate) lost_answers: u32,
    /// Every effect that was asked for, with its second.
    pub(crate) log: Vec<(u64, Effect)>,
    views: VecDeque<FleetView>,
    flying: Vec<(u64, Effect, Option<Done>)>,
    check: Check,
    runs: u32,
}

pub(crate) fn knobs() -> Knobs {
    let seconds = Duration::from_secs;
    Knobs {
        scale_in_window: seconds(60),
        idle_time: seconds(120),
        min_on: seconds(30),
        min_off: seconds(20),
        drain_patience: seconds(300),
        drain_retry: seconds(600),
        ..Knobs::default()
    }
}

impl World {
    /// `standing`: the levels of a record, if there is one.
    pub(crate) fn new(rigs: Vec<(&str, Rig)>, level: Option<u32>) -> Self {
        Self::with(rigs, level, knobs())
    }

    pub(crate) fn with(rigs: Vec<(&str, Rig)>, level: Option<u32>, knobs: Knobs) -> Self {
        let levels = level.map(|level| BTreeMap::from([("default".to_owned(), NodeCount(level))]));
        let standing = levels.map(|levels| Standing { levels, marks: BTreeMap::new() });
        let rigs = rigs.into_iter().map(|(name, rig)| (name.to_owned(), rig)).collect();
        let mut nomad = Nomad { index: 10, ..Nomad::default() };
        let rigs: BTreeMap<String, Rig> = rigs;
        for name in rigs.iter().filter(|(_, rig)| rig.is_up(1000)).map(|(name, _)| name) {
            nomad.heartbeat(name, 1000);
        }
        Self {
            now: 1000,
            nomad,
            rigs,
            own: None,
            rec: reconciler(standing, &knobs, 0),
            knobs,
            policy: Policy::Pending,
            feed: None,
            latency: 1,
            lag: 1,
            touched: BTreeMap::new(),
            lost_answers: 0,
            log: Vec::new(),
            views: VecDeque::new(),
            flying: Vec::new(),
            check: Check::default(),
            runs: 0,
        }
    }

    pub(crate) fn at(&self) -> Moment {
        Moment::from_millis(self.now * 1000)
    }

    /// The process dies and another one takes over by the record.
    pub(crate) fn restart(&mut self) {
        self.runs += 1;
        let standing = self.rec.standing();
        let standing = (!standing.levels.is_empty()).then_some(standing);
        self.rec = reconciler(standing, &self.knobs, self.runs);
        for (_, effect, done) in std::mem::take(&mut self.flying) {
            if done.is_none() {
                self.execute(&effect);
            }
        }
        self.views.clear();
        self.check.restarted(self.now);
    }

    pub(crate) fn rig(&mut self, name: &str) -> &mut Rig {
        self.touched.insert(name.to_owned(), self.now);
        self.rigs.get_mut(name).unwrap()
    }

    /// The mains go and come back; `host_too`: also those of the agents' host.
    pub(crate) fn mains(&mut self, host_too: bool) {
        let now = self.now;
        for (name, rig) in &mut self.rigs {
            self.touched.insert(name.clone(), now);
            rig.mains(host_too, now);
        }
    }

    /// Somebody else than us writes to Nomad.
    pub(crate) fn operator(&mut self, name: &str) -> &mut Nomad {
        self.touched.insert(name.to_owned(), self.now);
        &mut self.nomad
    }

    /// From now on nobody but the operator may free its node.
    pub(crate) fn theirs(&mut self, name: &str) {
        self.check.theirs.insert(name.to_owned());
    }

    fn look(&self) -> FleetView {
        let mut view = FleetView { nomad_answers: !self.nomad.silent, ..FleetView::default() };
        for (name, rig) in &self.rigs {
            let agent = rig.facts(self.at());
            match agent {
                Some(_) => view.agents_heard += 1,
                None => view.agents_missing.push(format!("unix:/{name}")),
            }
            let machine = MachineView {
                agent,
                node: self.nomad.view(name).filter(|_| !self.nomad.silent),
                own: self.own.as_deref() == Some(name),
                set_aside: false,
                expected: false,
                boot_deadline: Duration::from_secs(agent::BOOT_DEADLINE),
                fed: rig.fed(),
            };
            view.machines.insert(MachineName::new(name.as_str()).unwrap(), machine);
        }
        view.feeds.rooms.extend(self.feed.map(|budget| (agent::feed(), self.room(budget))));
        view
    }

    /// How the machines stand towards the feed.
    fn room(&self, budget: Milliamps) -> FeedRoom {
        let mut room = FeedRoom { budget, ..FeedRoom::default() };
        for (rig, draw) in self.rigs.values().filter_map(|rig| Some((rig, rig.draw?))) {
            if rig.fed().counted {
                room.committed = room.committed.plus(draw.running);
            }
            if rig.is_to_start() {
                room.reserve = room.reserve.max(draw.extra());
            }
        }
        room
    }

    pub(crate) fn step(&mut self) {
        self.now += 1;
        let now = self.now;
        for (name, rig) in &mut self.rigs {
            let was = rig.offs;
            rig.step(now);
            if rig.offs > was {
                self.check.cut(name, &self.nomad, &self.touched, now);
            }
            if rig.is_up(now) {
                self.nomad.heartbeat(name, now);
            }
        }
        self.nomad.step(now);
        if now.is_multiple_of(TICK) {
            self.tick();
        }
        self.fly();
        self.views.push_back(self.look());
        while self.views.len() > self.lag + 1 {
            self.views.pop_front();
        }
        let view = self.views.front().cloned().unwrap();
        self.rec.observe(view, "default", self.at());
        self.poll();
    }

    fn tick(&mut self) {
        let (at, tick) = (self.at(), Duration::from_secs(TICK));
        let status = self.rec.status(at);
        if !status.ready {
            return;
        }
        let while_starting = self.knobs.while_starting;
        self.rec.told(Caller { voice: "default", tick, while_starting }, status.count, at);
        let count = match self.policy {
            Policy::Pending => self.nomad.pending(),
            Policy::Fixed(count) => count,
            Policy::Silent => return,
        };
        let direction = match count.cmp(&status.count.0) {
            std::cmp::Ordering::Less => Direction::Down,
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => Direction::Up,
        };
        self.rec.ask("default", NodeCount(count), direction, at);
    }

    fn poll(&mut self) {
        for round in 0.. {
            assert!(round < POLLS_MAX, "the reconciler wants to be polled for ever");
            let (effects, wake) = self.rec.poll(self.at());
            let born = self.rec.status(self.at()).desired.is_some();
            assert!(born || effects.is_empty(), "nothing is asked for before birth");
            for effect in effects {
                self.check.asked(
                    &effect,
                    self.views.front().unwrap(),
                    &self.rigs,
                    &self.touched,
                    self.now,
                );
                let busy =
                    self.flying.iter().any(|(_, other, _)| other.machine() == effect.machine());
                assert!(!busy, "two effects under way for {}", effect.machine());
                self.log.push((self.now, effect.clone()));
                self.flying.push((self.now + self.latency, effect, None));
            }
            if wake.is_none_or(|wake| wake > self.at()) {
                break;
            }
        }
        let (again, _) = self.rec.poll(self.at());
        assert_eq!(again, [], "polled again with nothing changed, it asks for nothing");
    }

    /// Half of the latency is the way there, the rest the way back.
    fn fly(&mut self) {
        for (due, effect, done) in std::mem::take(&mut self.flying) {
            if due > self.now {
                self.flying.push((due, effect, done));
                continue;
            }
            match done {
                None => {
                    let done = self.execute(&effect);
                    self.flying.push((self.now + self.latency, effect, Some(done)));
                }
                Some(done) => self.rec.done(&effect, done, self.at()),
            }
        }
    }

    fn execute(&mut self, effect: &Effect) -> Done {
        let name = effect.machine().as_str();
        match effect {
            Effect::Light { operation, .. } => {
                return self.rigs.get_mut(name).unwrap().order(operation, Verb::On, self.now);
            }
            Effect::Cycle { operation, .. } => {
                let rig = self.rigs.get_mut(name).unwrap();
                let before = rig.cycles.len();
                let done = rig.order(operation, Verb::Cycle, self.now);
                if rig.cycles.len() > before {
                    self.check.cut(name, &self.nomad, &self.touched, self.now);
                }
                return done;
            }
            Effect::Quarantine { .. }
            | Effect::LiftQuarantine { .. }
            | Effect::RecordBoot { .. } => return self.tell_agent(effect),
            Effect::PowerOff { operation, .. } => {
                let rig = self.rigs.get_mut(name).unwrap();
                let before = rig.orders_off.len();
                let done = rig.order(operation, Verb::Off, self.now);
                if rig.orders_off.len() > before {
                    self.check.cut(name, &self.nomad, &self.touched, self.now);
                }
                return done;
            }
            _ if self.nomad.silent => return Done::Failed("no cluster leader".to_owned()),
            _ => {}
        }
        let index = match effect {
            Effect::MakeIneligible { .. } => self.nomad.eligibility(name, false),
            Effect::MakeEligible { .. } => {
                self.check.made_eligible(name);
                self.nomad.end_drain(name)
            }
            Effect::Drain { deadline, ignore_system, .. } => {
                let deadline = Nomad::deadline(self.now, *deadline);
                self.nomad.drain(name, deadline, *ignore_system)
            }
            Effect::Purge { .. } => self.nomad.purge(name),
            _ => return Done::Read(self.nomad.view(name).map(Box::new)),
        };
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Done::Failed("connection reset".to_owned());
        }
        Done::Written { index }
    }

    /// What moves nothing.
    fn tell_agent(&mut self, effect: &Effect) -> Done {
        let (now, at) = (self.now, self.at());
        let rig = self.rigs.get_mut(effect.machine().as_str()).unwrap();
        if !rig.reachable {
            return Done::Failed("connect: timed out".to_owned());
        }
        match effect {
            Effect::Quarantine { cause, reason, .. } => {
                rig.out_of_service(*cause, reason.as_str(), now);
            }
            Effect::LiftQuarantine { .. } => rig.quarantine = None,
            Effect::RecordBoot { operation, end, took, .. } => {
                rig.record(Boot { operation: operation.clone(), end: *end, took: *took, at });
            }
            _ => {}
        }
        if rig.mute > 0 {
            rig.mute -= 1;
            return Done::Failed("no answer".to_owned());
        }
        Done::Accepted
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.step();
        }
    }

    /// Runs until `is` holds, at most `seconds`.
    pub(crate) fn until(&mut self, seconds: u64, is: impl Fn(&Self) -> bool) {
        for _ in 0..seconds {
            if is(self) {
                return;
            }
            self.step();
        }
        assert!(is(self), "not within {seconds} s; the pool says {:#?}", self.lines());
    }

    pub(crate) fn lit(&self) -> BTreeSet<&str> {
        self.rigs.iter().filter(|(_, rig)| rig.relay).map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn edges(&self, name: &str) -> (u32, u32) {
        (self.rigs[name].ons, self.rigs[name].offs)
    }

    pub(crate) fn asked(&self, is: impl Fn(&Effect) -> bool) -> usize {
        self.log.iter().filter(|(_, effect)| is(effect)).count()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.rec.explain(self.at());
        let text = |line: fleet::explain::Line| match line.machine {
            Some(machine) => format!("{machine}: {}", line.text),
            None => line.text,
        };
        lines.into_iter().map(text).collect()
    }
}

fn reconciler(standing: Option<Standing>, knobs: &Knobs, run: u32) -> Reconciler {
    let prefix = OperationId::new(format!("run{run}")).unwrap();
    Reconciler::new(PoolName::new("rack").unwrap(), knobs.clone(), standing, prefix)
}
