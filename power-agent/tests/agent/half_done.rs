//! What an agent's death leaves of a policy's cut, and of a refusal; and a policy's cut that comes late. Goal: no cut
//! under work that came meanwhile, and no order carried out that nobody gives now. Method: `kill -9` in the midst, a Nomad of one node on loopback; edges from
//! the rack.

use std::sync::{Arc, Mutex};

use fleet::{Phase, RefusalCode, Verb};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use virtual_rack::relay::Power;

use testkit::bench::{Bench, autoscaler, order, person, phase, until};

use crate::{bench, edge, refused};

/// A Nomad that knows the node `read` and whether it takes work; `None`: it says nothing.
struct Peer {
    address: String,
    eligible: Arc<Mutex<Option<bool>>>,
    _task: JoinSet<()>,
}

async fn peer() -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let eligible = Arc::new(Mutex::new(Some(false)));
    let says = Arc::clone(&eligible);
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            let Some(eligible) = *says.lock().expect("it is whole") else { continue };
            let word = if eligible { "eligible" } else { "ineligible" };
            let nodes = json!([{
                "ID": "n1", "Name": "read", "Status": "ready", "SchedulingEligibility": word,
            }]);
            let body = nodes.to_string();
            let head = "HTTP/1.1 200 OK\r\nX-Nomad-Index: 7\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("it is heard");
        }
    });
    Peer { address, eligible, _task: task }
}

/// An agent with that Nomad; the machine `read` has the lines of `section` in its file.
async fn with_nomad(section: &str) -> (Bench, Peer) {
    let mut bench = bench::start("100ms").await;
    let peer = peer().await;
    let file =
        bench.agent_file().replace("[machines.read]", &format!("[machines.read]\n{section}"));
    bench::restart_with(&mut bench, &format!("{file}\n[nomad]\naddress = \"{}\"\n", peer.address))
        .await;
    (bench, peer)
}

/// A policy's `off` of a machine that is on, killed while its board hears the cut and does not move; the board is well
/// again when the next agent comes.
async fn killed_in_the_cut(soft_off: &str, eligible: Option<bool>) -> (Bench, Peer) {
    let (mut bench, peer) = with_nomad(soft_off).await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    bench.rack.fault("a ignores-frames").await.expect("the board is there");
    bench.accepted(&order("op-2", "read", Verb::Off, autoscaler(1))).await;
    until("it cuts", async || {
        (phase(&bench.machine("read").await) == Some(Phase::Cutting)).then_some(())
    })
    .await;
    bench.kill_agent().await;
    bench.rack.heal("a").await.expect("the board is there");
    *peer.eligible.lock().expect("it is whole") = eligible;
    bench.start_agent().await;
    (bench, peer)
}

async fn ended(bench: &Bench) -> (Phase, String) {
    until("it has ended", async || {
        let operation = bench.machine("read").await.operation?;
        let over = operation.phase.is_finished() && operation.id.as_str() == "op-2";
        over.then_some((operation.phase, operation.evidence))
    })
    .await
}

#[tokio::test]
async fn a_cut_without_soft_off_is_finished_only_where_the_node_still_takes_no_work() {
    for (eligible, why) in
        [(Some(true), "its node takes work again"), (None, "nobody can tell whether its node")]
    {
        let (bench, _peer) = killed_in_the_cut("", eligible).await;
        let (phase, evidence) = ended(&bench).await;
        assert_eq!(phase, Phase::Failed, "{evidence}");
        assert!(evidence.contains(why), "{evidence}");
        assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    }
    let (bench, _peer) = killed_in_the_cut("", Some(false)).await;
    assert_eq!(ended(&bench).await.0, Phase::Done);
    assert_eq!(bench.moves().await, [Power::On, Power::Off].map(|to| edge("a", 1, to)));
}

#[tokio::test]
async fn a_cut_after_soft_off_is_finished_because_there_is_no_way_back() {
    let soft_off = "soft_off = { exec = [\"/bin/true\"], deadline = \"1s\" }";
    let (bench, _peer) = killed_in_the_cut(soft_off, Some(true)).await;
    let (phase, evidence) = ended(&bench).await;
    assert_eq!(phase, Phase::Done, "{evidence}");
    assert_eq!(bench.moves().await, [Power::On, Power::Off].map(|to| edge("a", 1, to)));
}

#[tokio::test]
async fn a_policys_cut_that_comes_late_is_refused_where_the_node_was_freed_and_obeyed_where_nobody_can_tell()
 {
    let (bench, peer) = with_nomad("").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    *peer.eligible.lock().expect("it is whole") = Some(true);
    for (id, verb) in [("op-2", Verb::Off), ("op-3", Verb::Cycle)] {
        let late = order(id, "read", verb, autoscaler(1));
        let (code, why) = refused(bench.client.set_power(&late).await.expect("an answer"));
        assert_eq!(code, RefusalCode::NotEmpty);
        assert!(why.contains("somebody has freed it since"), "{why}");
    }
    assert_eq!(bench.moves().await, [edge("a", 1, Power::On)]);
    *peer.eligible.lock().expect("it is whole") = None;
    bench.done(&order("op-4", "read", Verb::Off, autoscaler(1))).await;
    assert_eq!(bench.moves().await, [Power::On, Power::Off].map(|to| edge("a", 1, to)));
}

#[tokio::test]
async fn a_refused_order_that_is_given_again_after_a_restart_is_judged_anew_and_not_by_itself() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "lamp", Verb::On, person())).await;
    bench.done(&order("op-2", "read", Verb::Off, person())).await;
    let again = order("op-3", "read", Verb::On, autoscaler(2));
    let refusal =
        async |bench: &Bench| refused(bench.client.set_power(&again).await.expect("an answer")).0;
    assert_eq!(refusal(&bench).await, RefusalCode::Held);
    bench.kill_agent().await;
    bench.start_agent().await;
    assert_eq!(refusal(&bench).await, RefusalCode::Held, "what stood against it is on the disk");
    bench.release("read").await;
    assert_eq!(refusal(&bench).await, RefusalCode::Held, "one agent gives one answer");
    let before = bench.moves().await;
    bench.kill_agent().await;
    bench.start_agent().await;
    bench.done(&order("op-4", "lamp", Verb::Off, person())).await;
    let lamp = [&before[..], &[edge("a", 4, Power::Off)]].concat();
    assert_eq!(bench.moves().await, lamp, "nothing of a refused order is taken up");
    bench.done(&again).await;
    assert_eq!(bench.moves().await, [&lamp[..], &[edge("a", 1, Power::On)]].concat());
}
