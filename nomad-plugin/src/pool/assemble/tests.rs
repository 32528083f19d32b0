//! Several agents in one view: names that two of them have, and agents that have not been heard.

use agent_api::{Inventory, wire};
use fleet::feeds::FeedSum;
use fleet::{Draw, FeedRoom, Supply};

use super::*;

fn address(name: &str) -> AgentAddress {
    AgentAddress::socket(format!("/run/{name}.sock"))
}

fn dark(name: &str) -> Machine {
    let told = wire::Machine {
        name: name.to_owned(),
        pool: "rack".to_owned(),
        node: name.to_owned(),
        reading: Some(wire::Reading { state: wire::PowerState::Off.into(), age_ms: 0 }),
        ..wire::Machine::default()
    };
    told.try_into().unwrap()
}

fn heard(answers: bool, machines: &[&str]) -> Option<Heard> {
    let told = |name: &&str| {
        let machine = dark(name);
        (machine.name.clone(), (machine, Moment::ZERO))
    };
    let machines = machines.iter().map(told).collect();
    Some(Heard { answers, machines, ..Heard::default() })
}

fn nomad(names: &[&str]) -> NomadFacts {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    NomadFacts { answers: true, names, ..NomadFacts::default() }
}

fn view(agents: &[(&str, Option<Heard>)], members: &Members) -> FleetView {
    let agents = agents.iter().map(|(name, heard)| (address(name), heard.clone())).collect();
    let nomad = nomad(&["node1", "node2", "node3"]);
    assemble(&PoolName::new("rack").unwrap(), &nomad, (&agents, members), &[], None)
}

#[test]
fn a_machine_that_two_agents_have_is_in_the_view_without_facts_and_both_are_named() {
    let agents = [("a", heard(true, &["node1", "node2"])), ("b", heard(false, &["node2"]))];
    let view = view(&agents, &Members::new());
    let facts = |name: &str| view.machines[&MachineName::new(name).unwrap()].agent.is_some();
    assert_eq!((facts("node1"), facts("node2")), (true, false));
    let contested: Vec<_> = view.contested.into_iter().collect();
    let both = vec![address("a").to_string(), address("b").to_string()];
    assert_eq!(contested, [(MachineName::new("node2").unwrap(), both)]);
}

#[test]
fn of_an_agent_that_has_not_been_heard_yet_the_record_knows_the_machines() {
    let pool = PoolName::new("rack").unwrap();
    let before = BTreeMap::from([
        (address("a"), heard(true, &["node1"])),
        (address("b"), heard(true, &["node2", "node3"])),
    ]);
    let members = heard_members(&pool, &before);
    let now = [("a", heard(true, &["node1", "node3"])), ("b", None)];
    let view = view(&now, &members);
    let facts: Vec<_> = view
        .machines
        .iter()
        .map(|(name, machine)| (name.as_str(), machine.agent.is_some()))
        .collect();
    let told = [("node1", true), ("node2", false), ("node3", true)];
    assert_eq!(facts, told, "node3 is another agent's by now");
    assert_eq!((view.agents_heard, view.agents_missing), (1, vec![address("b").to_string()]));
    assert!(view.nomad_answers);
    assert!(unheard(&before, &members).next().is_none(), "all have been heard");
}

#[test]
fn a_feed_is_taken_by_machines_of_every_pool_of_its_agent_and_of_no_other() {
    let fed = |name: &str, pool: &str, counted, starts| {
        let draw = Draw {
            running: Milliamps::new(1000),
            inrush: Milliamps::new(3000),
            inrush_for: Duration::from_secs(1),
        };
        let supplies = vec![Supply { feed: FeedName::new("a").unwrap(), draw }];
        let pool = Some(PoolName::new(pool).unwrap());
        Machine { pool, fed: agent_api::Fed { supplies, counted, starts }, ..dark(name) }
    };
    let inventory = |machines| Inventory {
        agent: "agent".to_owned(),
        version: String::new(),
        machines,
        fences: Vec::new(),
        host_up: None,
        running: None,
        feeds: vec![FeedSum {
            feed: FeedName::new("a").unwrap(),
            room: FeedRoom { budget: Milliamps::new(9000), ..FeedRoom::default() },
            current: Milliamps::ZERO,
        }],
    };
    let mut first = Heard::default();
    let machines = vec![fed("node1", "rack", false, false), fed("node2", "shelf", true, false)];
    first.take(Event::Snapshot(inventory(machines)), Moment::ZERO);
    let mut second = Heard::default();
    second.take(Event::Snapshot(inventory(vec![fed("node3", "rack", true, false)])), Moment::ZERO);
    let room = |first: &Heard, second: &Heard| {
        let view =
            view(&[("a", Some(first.clone())), ("b", Some(second.clone()))], &Members::new());
        let told = view.feeds.rooms.into_iter().map(|(key, room)| {
            assert_eq!(room.budget, Milliamps::new(9000));
            (key.agent, room.committed.get(), room.reserve.get())
        });
        (told.collect::<Vec<_>>(), view.machines[&MachineName::new("node1").unwrap()].fed.clone())
    };
    let (a, b) = (address("a").to_string(), address("b").to_string());
    let (told, fed1) = room(&first, &second);
    assert_eq!(told, [(a.clone(), 1000, 0), (b.clone(), 1000, 0)]);
    assert_eq!((fed1.counted, fed1.draws[0].0.agent.as_str()), (false, a.as_str()));
    // A machine is promised its start: the agent tells of the machine, and not of the sum.
    first.take(Event::Changed(Box::new(fed("node1", "rack", true, true))), Moment::ZERO);
    assert_eq!(room(&first, &second).0, [(a, 2000, 2000), (b, 1000, 0)]);
}
