//! A whole installation in virtual seconds: two racks with an agent each, a small Nomad, two plugin processes that both
//! believe they may lead, people, and a network that loses, delays and repeats.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::reconciler::{Done, Effect};
use fleet::sequencer::Eligible;
use fleet::{
    Fence, FenceNumber, FleetView, MachineName, MachineView, OnSoftOffTimeout, Order, Origin, Verb,
};

use crate::agent::{self, Agent};
use crate::chance::Chance;
use crate::check::Check;
use crate::hardware::{BOOT, Rack};
use crate::nomad::Nomad;
use crate::orders;
use crate::plugin::{self, Flight, Network, Plugin, Policy, Variable};

/// Which machine hangs on which rack.
pub(crate) const RACKS: [&[&str]; 2] = [&["a1", "a2", "a3"], &["b1", "b2"]];

/// Who the plugin's drains say they are by.
const PLUGIN: &str = "lamplighter";

pub(crate) struct Installation {
    pub(crate) now: u64,
    pub(crate) nomad: Nomad,
    pub(crate) racks: Vec<Rack>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) policy: Policy,
    pub(crate) network: Network,
    pub(crate) check: Check,
    /// Nodes whose heartbeats do not reach Nomad until then.
    pub(crate) parted: BTreeMap<String, u64>,
    drains: BTreeMap<String, (String, Eligible)>,
    variable: Variable,
    flights: Vec<(usize, Flight)>,
    /// Fences on their way: when each arrives, and at which agent.
    claims: Vec<(u64, usize, Fence)>,
    /// When something last moved or was asked for.
    pub(crate) busy_at: u64,
    by_hand: u64,
}

impl Installation {
    /// `on`: the racks are found lit, and the pool has no record.
    pub(crate) fn new(on: bool) -> Self {
        let silent = Rack { readable: false, ..Rack::new(RACKS[1], on) };
        let racks = vec![Rack::new(RACKS[0], on), silent];
        let nomad = Nomad { index: 10, ..Nomad::default() };
        Self {
            now: 1000,
            nomad,
            racks,
            agents: RACKS.iter().map(|names| Agent::of(names)).collect(),
            plugins: vec![Plugin::new("left"), Plugin::new("right")],
            policy: Policy::Pending,
            network: Network { slow: 1, ..Network::default() },
            check: Check::default(),
            parted: BTreeMap::new(),
            drains: BTreeMap::new(),
            variable: Variable::default(),
            flights: Vec::new(),
            claims: Vec::new(),
            busy_at: 0,
            by_hand: 0,
        }
    }

    pub(crate) fn rack_of(name: &str) -> usize {
        RACKS.iter().position(|names| names.contains(&name)).unwrap()
    }

    pub(crate) fn step(&mut self, chance: &mut Chance) {
        self.now += 1;
        let now = self.now;
        let edges = self.check.edges;
        for (rack, agent) in self.racks.iter_mut().zip(&mut self.agents) {
            let Self { nomad, check, drains, .. } = self;
            agent.step(&mut agent::Around { rack, nomad, drains, chance, check, now });
        }
        for rack in &self.racks {
            for name in rack.machines.keys() {
                let parted = self.parted.get(name).is_some_and(|until| *until > now);
                if rack.is_up(name, now) && !parted {
                    self.check.registered.entry(name.clone()).or_insert(now);
                    self.nomad.heartbeat(name, now);
                }
            }
        }
        self.nomad.step(now);
        self.fly(chance);
        let view = self.look();
        let fences: Vec<Option<FenceNumber>> =
            self.agents.iter().map(|agent| agent.is_heard(now).then(|| agent.highest())).collect();
        for (place, plugin) in self.plugins.iter_mut().enumerate() {
            let (mut flights, mut claims) = (Vec::new(), Vec::new());
            plugin.step(
                &view,
                &mut plugin::Around {
                    nomad: &mut self.nomad,
                    variable: &mut self.variable,
                    fences: &fences,
                    claims: &mut claims,
                    flights: &mut flights,
                    network: self.network,
                    chance,
                    policy: self.policy,
                    now,
                },
            );
            if !flights.is_empty() {
                self.busy_at = now;
            }
            self.claims.extend(claims);
            self.flights.extend(flights.into_iter().map(|flight| (place, flight)));
        }
        if self.check.edges != edges || self.agents.iter().any(|agent| !agent.is_idle()) {
            self.busy_at = now;
        }
    }

    fn look(&self) -> FleetView {
        let mut view = FleetView { nomad_answers: !self.nomad.silent, ..FleetView::default() };
        for (rack, agent) in self.racks.iter().zip(&self.agents) {
            if agent.is_heard(self.now) {
                view.agents_heard += 1;
            } else {
                view.agents_missing.push("an agent".to_owned());
            }
            for name in rack.machines.keys() {
                let machine = MachineView {
                    agent: agent.facts(name, rack, self.now),
                    node: self.nomad.view(name).filter(|_| !self.nomad.silent),
                    own: false,
                    set_aside: false,
                    expected: false,
                    boot_deadline: Duration::from_secs(3 * BOOT),
                };
                view.machines.insert(MachineName::new(name.as_str()).unwrap(), machine);
            }
        }
        view
    }

    /// Calls arrive, and answers come back.
    fn fly(&mut self, chance: &mut Chance) {
        for (due, place, fence) in std::mem::take(&mut self.claims) {
            if due > self.now {
                self.claims.push((due, place, fence));
            } else if self.agents[place].is_heard(self.now) {
                self.agents[place].claim(&fence);
            }
        }
        for (place, mut flight) in std::mem::take(&mut self.flights) {
            if flight.due > self.now {
                self.flights.push((place, flight));
                continue;
            }
            if flight.done.is_some() {
                let stopped = self.plugins[place].stopped_until > self.now;
                if stopped {
                    self.flights.push((place, flight)); // it lies in the socket until the process runs again
                } else {
                    self.plugins[place].answered(&flight, self.now);
                }
                continue;
            }
            let lost = Done::Failed("no answer".to_owned());
            let loses = self.network.loses > 0 && chance.once_in(self.network.loses);
            let done = self.execute(&flight, chance);
            flight.done = Some(if loses { lost } else { done });
            flight.due = self.now + chance.between(0, self.network.slow);
            self.flights.push((place, flight));
        }
    }

    fn execute(&mut self, flight: &Flight, chance: &mut Chance) -> Done {
        let name = flight.effect.machine().as_str();
        let (verb, operation, reason) = match &flight.effect {
            Effect::Light { operation, reason, .. } => (Verb::On, operation, reason),
            Effect::PowerOff { operation, reason, .. } => (Verb::Off, operation, reason),
            Effect::Cycle { operation, reason, .. } => (Verb::Cycle, operation, reason),
            Effect::Quarantine { .. }
            | Effect::LiftQuarantine { .. }
            | Effect::RecordBoot { .. } => {
                self.check.tell(self.now, format!("agent is told {:?}", flight.effect));
                let place = Self::rack_of(name);
                let noted = self.agents[place].take_note(&flight.effect, &flight.fence, self.now);
                return noted.unwrap_or_else(|| Done::Failed("connect: timed out".to_owned()));
            }
            effect => return self.tell_nomad(effect),
        };
        let order = Order {
            operation: operation.clone(),
            machine: flight.effect.machine().clone(),
            verb,
            reason: reason.clone(),
            origin: Origin::Autoscaler(flight.fence.clone()),
            valid_for: Duration::from_secs(30),
            on_soft_off_timeout: OnSoftOffTimeout::Cut,
            force: false,
            drain: false,
            plan: None,
        };
        let (name, order) = (name.to_owned(), order);
        let answer = self.order(&name, &order, chance);
        if let Some(Done::Refused(why)) = &answer {
            self.check.stale += u64::from(why.contains("has ordered already"));
        }
        answer.unwrap_or_else(|| Done::Failed("connect: timed out".to_owned()))
    }

    fn order(&mut self, name: &str, order: &Order, chance: &mut Chance) -> Option<Done> {
        let place = Self::rack_of(name);
        let Self { nomad, check, drains, now, .. } = self;
        let (rack, now) = (&mut self.racks[place], *now);
        let mut around = agent::Around { rack, nomad, drains, chance, check, now };
        self.agents[place].order(order, &mut around)
    }

    /// Something goes wrong, or somebody wants something.
    pub(crate) fn note(&mut self, what: String) {
        self.check.faults += 1;
        self.check.tell(self.now, what);
    }

    /// A person types.
    pub(crate) fn person(
        &mut self,
        name: &str,
        verb: Verb,
        how: (bool, bool),
        chance: &mut Chance,
    ) {
        self.by_hand += 1;
        let order = orders::by_hand(format!("hand-{}", self.by_hand), name, verb, how);
        self.order(name, &order, chance);
        self.busy_at = self.now;
    }

    fn tell_nomad(&mut self, effect: &Effect) -> Done {
        if self.nomad.silent {
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
            Effect::MakeEligible { .. } => self.nomad.end_drain(name),
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

    /// The machines that have power, but for those of which nobody can tell: a silent board says nothing, and a machine
    /// that hangs behind it has no node.
    pub(crate) fn lit(&self) -> Vec<&str> {
        let mut lit = Vec::new();
        for rack in &self.racks {
            let told = |name: &str| rack.readable || rack.is_up(name, self.now);
            let names = rack.machines.keys().map(String::as_str);
            lit.extend(names.filter(|name| rack.has_power(name) && told(name)));
        }
        lit
    }

    /// What the one that leads has on record.
    pub(crate) fn standing(&self) -> Option<fleet::reconciler::Standing> {
        let leads = self.plugins.iter().find(|plugin| plugin.believes_to_lead())?;
        leads.reconciler.as_ref().map(fleet::reconciler::Reconciler::standing)
    }

    /// What the one that leads says of the pool.
    pub(crate) fn lines(&self) -> Vec<String> {
        let leads = self.plugins.iter().filter(|plugin| plugin.believes_to_lead());
        leads.flat_map(|plugin| plugin.lines(self.now)).collect()
    }
}
