//! Edge: what agents and Nomad say of a pool's machines, in the words of the decision.

use std::collections::{BTreeMap, BTreeSet};

use agent_api::{Machine, Phase};
use fleet::pending::{GroupKey, Host, HostState, Source};
use fleet::{FedView, FeedRooms, MachineName, PoolName, PowerState, Resources, Shape, Verb};
use nomad_api::{
    AllocationStub, DesiredStatus, DrainStatus, Eligibility, JobType, Node, NodeStatus,
};

use crate::observe::AgentSight;
use crate::pool::{feeds, nomad_side};

/// The machines of a pool, by name; where two agents tell of one machine, the agent that answers is believed, and no work
/// is placed on it but on a node that is ready: the target orders neither of them to light it.
pub(super) fn of_pool(
    pool: &PoolName,
    agents: &[AgentSight],
    nodes: &BTreeMap<String, Node>,
    allocs: &BTreeMap<String, Vec<AllocationStub>>,
) -> Vec<Host> {
    let mut hosts: BTreeMap<MachineName, (bool, Host)> = BTreeMap::new();
    let told_by = told_by(agents);
    for sight in agents {
        let answers = sight.problem.is_none();
        let Some((inventory, _)) = &sight.inventory else { continue };
        for machine in inventory.machines.iter().filter(|m| m.pool.as_ref() == Some(pool)) {
            if hosts.get(&machine.name).is_some_and(|(known, _)| *known || !answers) {
                continue;
            }
            let node = nodes.get(&machine.node);
            let on_node = node.and_then(|node| allocs.get(&node.id)).map_or(&[][..], Vec::as_slice);
            let mut host = host(machine, answers, node, on_node);
            host.fed = feeds::fed(&sight.address, machine);
            let several = told_by.get(&machine.name).filter(|agents| agents.len() > 1);
            if let Some(agents) = several.filter(|_| host.state != HostState::Ready) {
                let agents = agents.join(", ");
                host.state =
                    HostState::NotUsable(format!("in the rack files of several agents ({agents})"));
            }
            hosts.insert(machine.name.clone(), (answers, host));
        }
    }
    hosts.into_values().map(|(_, host)| host).collect()
}

/// How the feeds of all agents are taken, by machines of whichever pool.
pub(super) fn feed_rooms(agents: &[AgentSight]) -> FeedRooms {
    let mut all = FeedRooms::default();
    for sight in agents {
        let Some((inventory, _)) = &sight.inventory else { continue };
        let budgets = inventory.feeds.iter().map(|sum| (&sum.feed, sum.room.budget));
        all.rooms.extend(feeds::rooms(&sight.address, budgets, &inventory.machines).rooms);
    }
    all
}

/// The agents that tell of each machine, whichever pools they say that it is in.
fn told_by(agents: &[AgentSight]) -> BTreeMap<&MachineName, Vec<String>> {
    let mut told: BTreeMap<&MachineName, Vec<String>> = BTreeMap::new();
    for sight in agents {
        for machine in sight.inventory.iter().flat_map(|(inventory, _)| &inventory.machines) {
            told.entry(&machine.name).or_default().push(sight.address.to_string());
        }
    }
    told
}

/// The pools that agents name.
pub(super) fn pools(agents: &[AgentSight]) -> BTreeSet<&PoolName> {
    let inventories = agents.iter().filter_map(|sight| sight.inventory.as_ref());
    inventories
        .flat_map(|(inventory, _)| inventory.machines.iter())
        .filter_map(|m| m.pool.as_ref())
        .collect()
}

fn host(machine: &Machine, answers: bool, node: Option<&Node>, allocs: &[AllocationStub]) -> Host {
    let is_down = node.is_none_or(|node| node.status == NodeStatus::Down);
    let living: Vec<&AllocationStub> =
        allocs.iter().filter(|alloc| !alloc.client_status.is_terminal()).collect();
    // What Nomad has given up on a node that is down ends with the node: it never says so itself.
    let holds = |alloc: &&&AllocationStub| {
        alloc.job_type != JobType::System
            && !(is_down && alloc.desired_status != DesiredStatus::Run)
    };
    let used = living.iter().map(|alloc| takes(alloc));
    Host {
        machine: machine.name.clone(),
        node: machine.node.clone(),
        shape: shape(machine, node),
        class: node.map(|node| node.computed_class.clone()).filter(|class| !class.is_empty()),
        used: used.fold(Resources::default(), |sum, takes| sum.plus(&takes)),
        holds_work: living.iter().any(|alloc| holds(&alloc)),
        state: state(machine, answers, node),
        runs: living.iter().map(|alloc| group(alloc)).collect(),
        fed: FedView::default(),
    }
}

/// Nomad's own word first, then the shape as last seen, then as declared.
fn shape(machine: &Machine, node: Option<&Node>) -> Option<(Shape, Source)> {
    let registered = node.map(nomad_side::shape).filter(|shape| shape.resources.memory_mb > 0);
    let seen = registered.or_else(|| machine.last_seen.clone()).map(|shape| (shape, Source::Seen));
    seen.or_else(|| machine.declared.clone().map(|shape| (shape, Source::Declared)))
}

fn takes(alloc: &AllocationStub) -> Resources {
    let (cpu_mhz, memory_mb, disk_mb) = alloc.resources.total();
    Resources { cpu_mhz, memory_mb, disk_mb }
}

fn group(alloc: &AllocationStub) -> GroupKey {
    GroupKey {
        namespace: alloc.namespace.clone(),
        job: alloc.job_id.clone(),
        group: alloc.task_group.clone(),
    }
}

/// What may be done with a machine. Node status is Nomad's word and stands above what the agent says of
/// power; a machine that was lit counts as starting until its deadline, also while its node is not
/// eligible again yet, so that nothing further is lit for the same work.
fn state(machine: &Machine, answers: bool, node: Option<&Node>) -> HostState {
    let running = machine.operation.as_ref().filter(|op| !op.phase.is_finished());
    let going_off = running.is_some_and(|op| op.verb == Verb::Off);
    let is_ready = node.is_some_and(|node| node.status == NodeStatus::Ready);
    if let Some(node) = node.filter(|_| is_ready)
        && node.eligibility == Eligibility::Eligible
        && node.drain_strategy.is_none()
        && !going_off
    {
        return HostState::Ready;
    }
    if !answers {
        return HostState::NotUsable("not in reach of their agent".to_owned());
    }
    if let Some(hold) = &machine.hold {
        return HostState::NotUsable(format!("held by {}", hold.by));
    }
    if let Some(quarantine) = &machine.quarantine {
        return HostState::NotUsable(format!("in quarantine: {}", quarantine.reason));
    }
    if running.is_some_and(|op| op.phase == Phase::Draining) {
        return HostState::NotUsable("being drained for a person".to_owned());
    }
    if running.is_some() {
        return if going_off { HostState::Dark } else { HostState::Starting };
    }
    let is_registering = node.is_some_and(|node| node.status == NodeStatus::Initializing);
    if is_registering || was_lit_lately(machine) {
        return HostState::Starting;
    }
    if let Some(node) = node.filter(|_| is_ready) {
        return not_eligible(node);
    }
    match machine.reading.map(|(state, _)| state).or(machine.commanded.as_ref().map(|c| c.state)) {
        Some(PowerState::On) => {
            HostState::NotUsable("on without a ready node, beyond the boot deadline".to_owned())
        }
        // Without any evidence too: to light it harms nothing and brings evidence.
        Some(PowerState::Off) | None => HostState::Dark,
    }
}

/// Whether power was given less than a boot deadline ago, and is not known to be gone again.
fn was_lit_lately(machine: &Machine) -> bool {
    let is_off = machine.reading.is_some_and(|(state, _)| state == PowerState::Off);
    let lit = |verb, phase| verb != Verb::Off && phase == Phase::Done;
    let by_operation = machine.operation.as_ref().is_some_and(|op| {
        lit(op.verb, op.phase) && op.age.saturating_sub(op.took) < machine.boot_deadline
    });
    let by_command = machine.commanded.as_ref().is_some_and(|commanded| {
        commanded.state == PowerState::On && commanded.age < machine.boot_deadline
    });
    !is_off && (by_operation || by_command)
}

/// A ready node that takes no work: emptied by us, it can be had back; by a person, it can not.
fn not_eligible(node: &Node) -> HostState {
    let ours = node.last_drain.as_ref().is_some_and(|drain| {
        drain.meta.get("drained_by").is_some_and(|by| by == "lamplighter")
            && drain.status != DrainStatus::Canceled
    });
    if ours {
        HostState::Starting
    } else {
        HostState::NotUsable("not eligible in Nomad".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agent_api::{AgentAddress, CommandedAge, Hold, HoldEnds, Inventory, Locks, Operation};
    use fleet::{HoldKind, Moment, OperationId, Origin, Reason};
    use nomad_api::LastDrain;

    use super::*;

    const BOOT: Duration = Duration::from_secs(100);

    fn machine() -> Machine {
        Machine {
            name: MachineName::new("node1").unwrap(),
            pool: Some(PoolName::new("rack").unwrap()),
            node: "node1".to_owned(),
            outlets: Vec::new(),
            reading: None,
            commanded: None,
            hold: None,
            operation: None,
            declared: None,
            last_seen: None,
            boot_deadline: BOOT,
            soft_off: false,
            quarantine: None,
            drift: None,
            boots: Vec::new(),
            locks: Locks::default(),
            fed: agent_api::Fed::default(),
            paths: agent_api::Paths::default(),
            dwell: None,
        }
    }

    fn hold_of_ada() -> Hold {
        let (kind, ends) = (HoldKind::Off, HoldEnds::Released);
        Hold { by: "ada".into(), reason: Reason::default(), age: BOOT, kind, ends }
    }

    fn read(state: PowerState) -> Machine {
        Machine { reading: Some((state, Duration::ZERO)), ..machine() }
    }

    fn ordered(verb: Verb, phase: Phase, age: Duration) -> Machine {
        let operation = Operation {
            id: OperationId::new("op").unwrap(),
            verb,
            origin: Origin::Person("ada".to_owned()),
            reason: Reason::default(),
            phase,
            age,
            deadline_in: None,
            changed: true,
            evidence: String::new(),
            took: Duration::ZERO,
            progress: String::new(),
        };
        Machine { operation: Some(operation), ..machine() }
    }

    fn commanded(state: PowerState, age: Duration) -> Machine {
        let origin = Origin::Person("ada".to_owned());
        let operation = OperationId::new("op").unwrap();
        Machine { commanded: Some(CommandedAge { state, age, origin, operation }), ..machine() }
    }

    fn node(status: NodeStatus, eligibility: Eligibility) -> Node {
        Node { status, eligibility, ..Node::default() }
    }

    #[test]
    fn a_ready_and_eligible_node_takes_work_whatever_the_agent_says() {
        let node = node(NodeStatus::Ready, Eligibility::Eligible);
        let hold = hold_of_ada();
        for (machine, answers) in [
            (read(PowerState::Off), true),
            (Machine { hold: Some(hold), ..machine() }, true),
            (machine(), false),
        ] {
            assert_eq!(state(&machine, answers, Some(&node)), HostState::Ready);
        }
        let leaving = ordered(Verb::Off, Phase::SoftOff, Duration::ZERO);
        assert_eq!(state(&leaving, true, Some(&node)), HostState::Dark, "it goes off now");
    }

    #[test]
    fn a_machine_that_was_lit_is_starting_until_its_deadline_also_while_not_eligible_again() {
        let back = node(NodeStatus::Ready, Eligibility::Ineligible);
        for lit in [
            ordered(Verb::On, Phase::Energizing, Duration::ZERO),
            ordered(Verb::On, Phase::Done, BOOT / 2),
            ordered(Verb::Cycle, Phase::Dwelling, Duration::ZERO),
            commanded(PowerState::On, BOOT / 2),
        ] {
            assert_eq!(state(&lit, true, None), HostState::Starting);
            assert_eq!(state(&lit, true, Some(&back)), HostState::Starting);
        }
        for late in [ordered(Verb::On, Phase::Done, BOOT), commanded(PowerState::On, BOOT)] {
            let late = Machine { reading: Some((PowerState::On, Duration::ZERO)), ..late };
            assert!(matches!(state(&late, true, None), HostState::NotUsable(_)));
        }
        let cut = Machine {
            reading: Some((PowerState::Off, Duration::ZERO)),
            ..commanded(PowerState::On, BOOT / 2)
        };
        assert_eq!(state(&cut, true, None), HostState::Dark, "the reading is believed");
    }

    #[test]
    fn a_machine_that_is_off_or_of_which_nothing_is_known_may_be_lit_unless_held_or_out_of_reach() {
        let down = node(NodeStatus::Down, Eligibility::Ineligible);
        for dark in [read(PowerState::Off), machine(), commanded(PowerState::Off, BOOT)] {
            assert_eq!(state(&dark, true, None), HostState::Dark);
            assert_eq!(state(&dark, true, Some(&down)), HostState::Dark);
            assert!(matches!(state(&dark, false, None), HostState::NotUsable(_)));
            let hold = hold_of_ada();
            let held = Machine { hold: Some(hold), ..dark };
            assert_eq!(state(&held, true, None), HostState::NotUsable("held by ada".into()));
        }
    }

    #[test]
    fn a_machine_that_is_drained_before_its_cycle_is_no_room_for_the_work_that_leaves_it() {
        let drained = node(NodeStatus::Ready, Eligibility::Ineligible);
        let cycle = ordered(Verb::Cycle, Phase::Draining, Duration::ZERO);
        assert!(matches!(state(&cycle, true, Some(&drained)), HostState::NotUsable(_)));
    }

    #[test]
    fn a_node_that_we_emptied_can_be_had_back_and_one_that_a_person_emptied_can_not() {
        let drained = |by: &str| Node {
            last_drain: Some(LastDrain {
                status: DrainStatus::Complete,
                meta: [("drained_by".to_owned(), by.to_owned())].into(),
                ..LastDrain::default()
            }),
            ..node(NodeStatus::Ready, Eligibility::Ineligible)
        };
        let on = read(PowerState::On);
        assert_eq!(state(&on, true, Some(&drained("lamplighter"))), HostState::Starting);
        assert!(matches!(state(&on, true, Some(&drained("ada"))), HostState::NotUsable(_)));
    }

    #[test]
    fn no_work_is_placed_on_a_machine_of_several_agents_but_on_its_ready_node() {
        let sight = |name: &str, pool: &str, problem: Option<&str>| {
            let machines =
                vec![Machine { pool: Some(PoolName::new(pool).unwrap()), ..read(PowerState::Off) }];
            let inventory = Inventory {
                agent: name.to_owned(),
                version: String::new(),
                machines,
                fences: Vec::new(),
                host_up: None,
                running: None,
                feeds: Vec::new(),
            };
            AgentSight {
                address: AgentAddress::socket(format!("/run/{name}.sock")),
                inventory: Some((inventory, Moment::ZERO)),
                problem: problem.map(str::to_owned),
            }
        };
        let rack = PoolName::new("rack").unwrap();
        let state = |agents: &[AgentSight], nodes: &BTreeMap<String, Node>| {
            let hosts = of_pool(&rack, agents, nodes, &BTreeMap::new());
            assert_eq!(hosts.len(), 1);
            hosts[0].state.clone()
        };
        let none = BTreeMap::new();
        assert_eq!(state(&[sight("a", "rack", None)], &none), HostState::Dark);
        for other in
            [sight("b", "rack", None), sight("b", "rack", Some("gone")), sight("b", "shelf", None)]
        {
            let agents = [sight("a", "rack", None), other];
            let HostState::NotUsable(why) = state(&agents, &none) else {
                panic!("it would be lit")
            };
            assert!(why.contains("a.sock") && why.contains("b.sock"), "{why}");
            let ready =
                [("node1".to_owned(), node(NodeStatus::Ready, Eligibility::Eligible))].into();
            assert_eq!(state(&agents, &ready), HostState::Ready, "it takes work by itself");
        }
    }

    #[test]
    fn work_holds_a_machine_and_system_jobs_and_what_ended_do_not() {
        let alloc = |job_type, client_status, desired_status| AllocationStub {
            job_type,
            client_status,
            desired_status,
            ..AllocationStub::default()
        };
        use nomad_api::ClientStatus::{Complete, Running, Unknown};
        let up = node(NodeStatus::Ready, Eligibility::Eligible);
        let down = node(NodeStatus::Down, Eligibility::Eligible);
        for (node, found, wanted) in [
            (&up, alloc(JobType::Service, Running, DesiredStatus::Run), true),
            (&up, alloc(JobType::Batch, Running, DesiredStatus::Stop), true),
            (&up, alloc(JobType::Sysbatch, Running, DesiredStatus::Run), true),
            (&up, alloc(JobType::System, Running, DesiredStatus::Run), false),
            (&up, alloc(JobType::Service, Complete, DesiredStatus::Run), false),
            (&down, alloc(JobType::Service, Unknown, DesiredStatus::Run), true),
            (&down, alloc(JobType::Service, Running, DesiredStatus::Stop), false),
        ] {
            let host = host(&machine(), true, Some(node), std::slice::from_ref(&found));
            assert_eq!(host.holds_work, wanted, "{found:?}");
        }
    }
}
