//! A whole installation in virtual seconds: two racks with an agent each, two pools that share them, a small Nomad, two
//! plugin processes that both believe they may lead, people, and a network that loses, delays, repeats and parts.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fleet::arbiter::HoldAsked;
use fleet::reconciler::{Done, Effect};
use fleet::sequencer::Eligible;
use fleet::{
    FedView, Fence, FleetView, HoldKind, MachineName, MachineView, OnSoftOffTimeout, Order, Origin,
    Verb,
};

use crate::agent::{self, Agent};
use crate::chance::Chance;
use crate::check::Check;
use crate::hardware::{BOOT, Rack};
use crate::nomad::Nomad;
use crate::orders;
use crate::plugin::{self, Flight, Network, Plugin, Shown, Variable};
use crate::policy::Policies;
use crate::site::{self, BUDGETS, INRUSH, POOLS, Pool, RACKS, RUNNING, rack_of};
use crate::snapshot::Snapshot;

/// Who the plugin's drains say they are by.
const PLUGIN: &str = "lamplighter";
/// How long after a restored snapshot a person looks whether a fence must be reset, in seconds: no order that was sent
/// before is on its way any more.
const RESET_AFTER: u64 = 200;
/// The names of the plugin processes.
const PROCESSES: [&str; 2] = ["left", "right"];

/// Who can not hear whom, and until when.
#[derive(Default)]
pub(crate) struct Links {
    /// Each agent and Nomad.
    pub(crate) agent_nomad: [u64; 2],
    /// Each plugin process and Nomad.
    pub(crate) plugin_nomad: [u64; 2],
    /// Each plugin process and each agent.
    pub(crate) plugin_agent: [[u64; 2]; 2],
    /// Nodes whose heartbeats do not reach Nomad.
    pub(crate) nodes: BTreeMap<String, u64>,
}

pub(crate) struct Installation {
    pub(crate) now: u64,
    pub(crate) nomad: Nomad,
    pub(crate) racks: Vec<Rack>,
    pub(crate) agents: Vec<Agent>,
    /// Each process's loop of each pool.
    pub(crate) plugins: Vec<Plugin>,
    /// The policies of each pool.
    pub(crate) policies: Vec<Policies>,
    pub(crate) network: Network,
    pub(crate) links: Links,
    pub(crate) check: Check,
    pub(super) drains: BTreeMap<String, (String, Eligible)>,
    pub(super) variables: Vec<Variable>,
    pub(super) snapshot: Option<Snapshot>,
    /// Nomad's next write has at least this index.
    pub(super) next_index: u64,
    pub(super) restored_at: Option<u64>,
    flights: Vec<Flight>,
    /// Fences on their way: when each arrives, from which process, and at which agent.
    claims: Vec<(u64, usize, usize, Fence)>,
    /// When something last moved or was asked for.
    pub(crate) busy_at: u64,
    by_hand: u64,
}

impl Installation {
    /// `on`: the racks are found lit, and the pools have no record. `never_off`: whose power is never taken.
    pub(crate) fn new(on: bool, never_off: Option<&'static str>) -> Self {
        let silent = Rack { readable: false, ..Rack::new(RACKS[1], on) };
        let racks = vec![Rack::new(RACKS[0], on), silent];
        let agent = |names: &&'static [&'static str]| Agent::of(names, never_off);
        let places = (0..PROCESSES.len()).flat_map(|p| (0..POOLS.len()).map(move |q| (p, q)));
        Self {
            now: 1000,
            nomad: Nomad { index: 10, ..Nomad::default() },
            racks,
            agents: RACKS.iter().map(agent).collect(),
            plugins: places.map(|at| Plugin::new(PROCESSES[at.0], &POOLS[at.1], at)).collect(),
            policies: POOLS.iter().map(|pool| Policies::of(pool.voices)).collect(),
            network: Network { slow: 1, ..Network::default() },
            links: Links::default(),
            check: Check::of(never_off),
            drains: BTreeMap::new(),
            variables: vec![Variable::default(); POOLS.len()],
            snapshot: None,
            next_index: 0,
            restored_at: None,
            flights: Vec::new(),
            claims: Vec::new(),
            busy_at: 0,
            by_hand: 0,
        }
    }

    /// The loops of one plugin process.
    pub(crate) fn process(&mut self, process: usize) -> impl Iterator<Item = &mut Plugin> {
        self.plugins.iter_mut().filter(move |plugin| plugin.from.0 == process)
    }

    pub(crate) fn step(&mut self, chance: &mut Chance) {
        self.now += 1;
        let now = self.now;
        if !now.is_multiple_of(4) {
            // A restored state is seen as it was before its first write.
            self.nomad.index = self.nomad.index.max(std::mem::take(&mut self.next_index));
        }
        let edges = self.check.edges;
        for place in 0..self.agents.len() {
            let (agent, mut around) = self.around(place, chance);
            agent.step(&mut around);
        }
        for rack in &self.racks {
            for name in rack.machines.keys() {
                let parted = self.links.nodes.get(name).is_some_and(|until| *until > now);
                if rack.is_up(name, now) && !parted {
                    self.check.registered.entry(name.clone()).or_insert(now);
                    self.nomad.heartbeat(name, now);
                }
            }
        }
        self.nomad.step(now);
        self.fly(chance);
        self.plugins_step(chance);
        if self.check.edges != edges || self.agents.iter().any(|agent| !agent.is_idle()) {
            self.busy_at = now;
        }
    }

    fn around<'a>(
        &'a mut self,
        place: usize,
        chance: &'a mut Chance,
    ) -> (&'a mut Agent, agent::Around<'a>) {
        let Self { nomad, check, drains, now, .. } = self;
        let silent = nomad.silent || self.links.agent_nomad[place] > *now;
        let (rack, now) = (&mut self.racks[place], *now);
        let around = agent::Around { rack, nomad, silent, drains, chance, check, now };
        (&mut self.agents[place], around)
    }

    fn plugins_step(&mut self, chance: &mut Chance) {
        let now = self.now;
        let mut shown: Vec<Shown> = Vec::new();
        for place in 0..self.plugins.len() {
            let (process, pool) = self.plugins[place].from;
            let same = process > 0 && self.links.are_alike(now);
            let seen =
                if same { Rc::clone(&shown[pool]) } else { self.look(process, &POOLS[pool]) };
            shown.push(Rc::clone(&seen));
            let (mut flights, mut claims) = (Vec::new(), Vec::new());
            let silent = self.nomad_is_silent(process);
            self.plugins[place].step(
                &seen,
                &mut plugin::Around {
                    nomad: &mut self.nomad,
                    silent,
                    variable: &mut self.variables[pool],
                    claims: &mut claims,
                    flights: &mut flights,
                    network: self.network,
                    chance,
                    policies: &self.policies[pool],
                    check: &self.check,
                    now,
                },
            );
            // What is lit shows by itself; what its feed has no room for is asked for again and again.
            if flights.iter().any(|flight| !matches!(flight.effect, Effect::Light { .. })) {
                self.busy_at = now;
            }
            self.claims.extend(claims);
            self.flights.extend(flights);
        }
        for process in 0..PROCESSES.len() {
            let back_at = self.process(process).find_map(|plugin| plugin.died.take());
            if let Some(back_at) = back_at {
                self.process(process).for_each(|plugin| plugin.kill(back_at));
                self.check.tell(now, format!("plugin {process} dies with its order"));
            }
        }
    }

    fn nomad_is_silent(&self, process: usize) -> bool {
        self.nomad.silent || self.links.plugin_nomad[process] > self.now
    }

    fn reaches(&self, process: usize, agent: usize) -> bool {
        self.links.plugin_agent[process][agent] <= self.now
    }

    /// A pool as a process sees it.
    fn look(&self, process: usize, pool: &Pool) -> Shown {
        let (now, silent) = (self.now, self.nomad_is_silent(process));
        let mut view = FleetView { nomad_answers: !silent, ..FleetView::default() };
        let mut fences = Vec::new();
        for (place, (rack, agent)) in self.racks.iter().zip(&self.agents).enumerate() {
            let heard = agent.is_heard(now) && self.reaches(process, place);
            fences.push(heard.then(|| agent.highest(&pool.name())));
            if heard {
                view.agents_heard += 1;
                view.feeds.rooms.extend(agent.feed_rooms(rack, now));
            } else {
                view.agents_missing.push("an agent".to_owned());
            }
            for name in RACKS[place].iter().filter(|name| pool.machines.contains(name)) {
                let machine = MachineView {
                    agent: heard.then(|| agent.facts(name, rack, now)).flatten(),
                    node: self.nomad.view(name).filter(|_| !silent),
                    boot_deadline: Duration::from_secs(3 * BOOT),
                    fed: if heard { agent.fed(name, rack, now) } else { FedView::default() },
                    ..MachineView::default()
                };
                view.machines.insert(MachineName::new(*name).unwrap(), machine);
            }
        }
        Rc::new((view, fences))
    }

    /// Calls arrive, and answers come back.
    fn fly(&mut self, chance: &mut Chance) {
        for (due, process, place, fence) in std::mem::take(&mut self.claims) {
            if due > self.now {
                self.claims.push((due, process, place, fence));
            } else if self.agents[place].is_heard(self.now) && self.reaches(process, place) {
                self.agents[place].claim(&fence);
            }
        }
        for mut flight in std::mem::take(&mut self.flights) {
            if flight.due > self.now {
                self.flights.push(flight);
                continue;
            }
            let place = self.plugins.iter().position(|plugin| plugin.from == flight.from).unwrap();
            if flight.done.is_some() {
                let stopped = self.plugins[place].stopped_until > self.now;
                if stopped {
                    self.flights.push(flight); // it lies in the socket until the process runs again
                } else {
                    self.plugins[place].answered(&flight, self.now);
                }
                continue;
            }
            if flight.copy && flight.late && self.plugins[place].lives_on(&flight) {
                continue;
            }
            let lost = Done::Failed("no answer".to_owned());
            let loses = self.network.loses > 0 && chance.once_in(self.network.loses);
            let done = self.execute(&flight, chance);
            flight.done = Some(if loses { lost } else { done });
            flight.due = self.now + chance.between(0, self.network.slow);
            self.flights.push(flight);
        }
    }

    fn execute(&mut self, flight: &Flight, chance: &mut Chance) -> Done {
        let process = flight.from.0;
        let place = rack_of(flight.effect.machine().as_str());
        let away = Done::Failed("connect: timed out".to_owned());
        let (verb, operation, reason) = match &flight.effect {
            Effect::Light { operation, reason, .. } => (Verb::On, operation, reason),
            Effect::PowerOff { operation, reason, .. } => (Verb::Off, operation, reason),
            Effect::Cycle { operation, reason, .. } => (Verb::Cycle, operation, reason),
            Effect::Quarantine { .. }
            | Effect::LiftQuarantine { .. }
            | Effect::RecordBoot { .. } => {
                if !self.reaches(process, place) {
                    return away;
                }
                self.check.tell(self.now, format!("agent is told {:?}", flight.effect));
                let (agent, around) = self.around(place, chance);
                return agent.take_note(&flight.effect, &flight.fence, &around).unwrap_or(away);
            }
            effect => return self.tell_nomad(process, effect),
        };
        if !self.reaches(process, place) {
            return away;
        }
        let on_timeout = match &flight.effect {
            Effect::PowerOff { on_timeout, .. } => *on_timeout,
            _ => OnSoftOffTimeout::Cut,
        };
        let order = Order {
            operation: operation.clone(),
            machine: flight.effect.machine().clone(),
            verb,
            reason: reason.clone(),
            origin: Origin::Autoscaler(flight.fence.clone()),
            valid_for: Duration::from_secs(30),
            on_soft_off_timeout: on_timeout,
            force: false,
            drain: false,
            plan: None,
        };
        let answer = self.order(place, &order, chance);
        if let Some(Done::Refused(why)) = &answer {
            self.check.stale += u64::from(why.contains("has ordered already"));
        }
        answer.unwrap_or(away)
    }

    fn order(&mut self, place: usize, order: &Order, chance: &mut Chance) -> Option<Done> {
        let (agent, mut around) = self.around(place, chance);
        agent.order(order, &mut around)
    }

    /// Something goes wrong, or somebody wants something.
    pub(crate) fn note(&mut self, what: String) {
        self.check.faults += 1;
        self.check.tell(self.now, what);
    }

    /// A person types; whether the agent took it.
    pub(crate) fn person(
        &mut self,
        who: (&str, &str),
        verb: Verb,
        how: (bool, bool),
        chance: &mut Chance,
    ) -> bool {
        self.by_hand += 1;
        let order = orders::by_hand(format!("hand-{}", self.by_hand), who, verb, how);
        self.busy_at = self.now;
        self.order(rack_of(who.0), &order, chance) == Some(Done::Accepted)
    }

    /// A person locks a machine.
    pub(crate) fn hold(&mut self, name: &str, asked: HoldAsked, chance: &mut Chance) {
        let (agent, mut around) = self.around(rack_of(name), chance);
        agent.hold(name, asked, &mut around);
    }

    /// A person resets the fences of a pool at all agents in reach, long after a snapshot was restored.
    pub(crate) fn reset_fences(&mut self, pool: &Pool) {
        let now = self.now;
        // After a reset an older lease's order would be obeyed: none may be on its way.
        let on_its_way = self.flights.iter().any(|flight| flight.late);
        if !on_its_way && self.restored_at.is_some_and(|at| at + RESET_AFTER <= now) {
            self.agents.iter_mut().for_each(|agent| agent.reset_fence(&pool.name(), now));
            self.note("fences are reset".to_owned());
        }
    }

    /// An order to light a machine that was decided upon long ago arrives, by whoever holds the lease.
    pub(crate) fn old_order(&mut self, name: &str, chance: &mut Chance) {
        self.by_hand += 1;
        let (place, pool) = (rack_of(name), site::pool_of(name));
        let fence = plugin::fence(pool, self.agents[place].highest(&pool.name()));
        let order = orders::by_policy(format!("old-{}", self.by_hand), name, fence);
        self.busy_at = self.now;
        self.order(place, &order, chance);
    }

    /// A person ends locks.
    pub(crate) fn release(
        &mut self,
        name: &str,
        kind: Option<HoldKind>,
        by: (&str, bool),
        chance: &mut Chance,
    ) {
        let (agent, mut around) = self.around(rack_of(name), chance);
        agent.release(name, kind, by, &mut around);
    }

    fn tell_nomad(&mut self, process: usize, effect: &Effect) -> Done {
        if self.nomad_is_silent(process) {
            return Done::Failed("no cluster leader".to_owned());
        }
        if !matches!(effect, Effect::ReadNode { .. }) {
            self.check.tell(self.now, format!("Nomad is told {effect:?}"));
        }
        let name = effect.machine().as_str();
        let index = match effect {
            Effect::MakeIneligible { .. } => self.nomad.eligibility(name, false),
            Effect::MakeEligible { .. }
                if self.drains.get(name).is_some_and(|(by, _)| by != PLUGIN)
                    && self.nomad.view(name).is_some_and(|node| node.draining) =>
            {
                return Done::Failed("somebody else drains its node".to_owned());
            }
            Effect::MakeEligible { .. } => {
                self.check.freed(name, self.now);
                // The agent looks and asks for the shutdown in one moment; here a second lies between.
                if self.agents[rack_of(name)].obeys_a_person(name) {
                    self.check.touched(name, self.now);
                }
                self.nomad.end_drain(name)
            }
            Effect::Drain { deadline, ignore_system, .. } => {
                let deadline = Nomad::deadline(self.now, *deadline);
                let index = self.nomad.drain(name, deadline, *ignore_system);
                self.drains.insert(name.to_owned(), (PLUGIN.to_owned(), Eligible::No));
                index
            }
            Effect::Purge { .. } => self.nomad.purge(name),
            _ => return Done::Read(self.nomad.view(name).map(Box::new)),
        };
        Done::Written { index }
    }

    /// The machines of a pool that have power, but for those of which nobody can tell: a silent board says nothing, and a
    /// machine that hangs behind it has no node.
    pub(crate) fn lit(&self, pool: &Pool) -> Vec<&'static str> {
        let lit = |name: &&'static str| {
            let rack = &self.racks[rack_of(name)];
            rack.has_power(name) && (rack.readable || rack.is_up(name, self.now))
        };
        pool.machines.iter().copied().filter(lit).collect()
    }

    /// Whether a rack's feed has no room for the start of one more.
    pub(crate) fn feed_is_full(&self, place: usize) -> bool {
        let rack = &self.racks[place];
        let lit = rack.machines.keys().filter(|name| rack.has_power(name)).count();
        u64::try_from(lit).unwrap() * RUNNING + INRUSH > BUDGETS[place]
    }

    /// The one that leads a pool, by what it believes.
    pub(crate) fn leaders(&self, pool: usize) -> impl Iterator<Item = &Plugin> {
        self.plugins.iter().filter(move |p| p.from.1 == pool && p.believes_to_lead())
    }

    /// What the one that leads says of a pool.
    pub(crate) fn lines(&self, pool: usize) -> Vec<String> {
        self.leaders(pool).flat_map(|plugin| plugin.lines(self.now)).collect()
    }
}

impl Links {
    /// Whether both plugin processes hear the same.
    fn are_alike(&self, now: u64) -> bool {
        let whole = |until: &u64| *until <= now;
        self.plugin_nomad.iter().all(whole) && self.plugin_agent.iter().flatten().all(whole)
    }
}
