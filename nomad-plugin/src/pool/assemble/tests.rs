//! Several agents in one view: names that two of them have, and agents that have not been heard.

use agent_api::wire;

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
