//! A drain that could not be taken back. Goal: it is owed over the agent's death, told, and taken back as the node was
//! before, once. Method: a Nomad of one node on loopback, which keeps drains and refuses writes when it is told to.

use std::sync::{Arc, Mutex};

use fleet::{Order, Phase, Verb};
use serde_json::{Value, json};
use testkit::bench::{Bench, order, person, phase, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bench;

/// What the Nomad of these tests has of its one node, `read`.
#[derive(Debug)]
struct Node {
    eligibility: &'static str,
    last_drain: Value,
    takes_writes: bool,
    /// What was asked of its drain, in order: whether to begin one, and whether the node is to be eligible after it.
    asked: Vec<(bool, bool)>,
}

struct Peer {
    node: Arc<Mutex<Node>>,
    address: String,
    _task: JoinSet<()>,
}

impl Peer {
    fn takes_writes(&self, takes: bool) {
        self.node.lock().expect("it is whole").takes_writes = takes;
    }

    fn asked(&self) -> Vec<(bool, bool)> {
        self.node.lock().expect("it is whole").asked.clone()
    }
}

async fn peer() -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let node = Arc::new(Mutex::new(Node {
        eligibility: "eligible",
        last_drain: Value::Null,
        takes_writes: true,
        asked: Vec::new(),
    }));
    let known = Arc::clone(&node);
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            // An agent that is killed hangs up in the midst of a question.
            let Some((head, body)) = read(&mut stream).await else { continue };
            let (status, answer) = known.lock().expect("it is whole").answer(&head, &body);
            let head = format!("HTTP/1.1 {status}\r\nX-Nomad-Index: 7\r\nConnection: close");
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    Peer { node, address, _task: task }
}

async fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, serde_json::from_slice(&body).unwrap_or_default()))
}

impl Node {
    fn answer(&mut self, head: &str, body: &Value) -> (&'static str, String) {
        if head.starts_with("get /v1/nodes") {
            let node = json!({
                "ID": "n1", "Name": "read", "Status": "ready",
                "SchedulingEligibility": self.eligibility, "LastDrain": self.last_drain,
            });
            return ("200 OK", json!([node]).to_string());
        }
        if head.starts_with("get /v1/node/n1/allocations") {
            let work = json!({
                "ID": "a1", "Name": "web.front[0]", "NodeID": "n1", "JobID": "web", "Namespace": "default",
                "TaskGroup": "front", "ClientStatus": "running", "DesiredStatus": "run",
            });
            return ("200 OK", json!([work]).to_string());
        }
        if head.starts_with("get") {
            return ("200 OK", "[]".to_owned());
        }
        if !self.takes_writes {
            return ("500 No", "no leader".to_owned());
        }
        let begins = !body["DrainSpec"].is_null();
        let after = body["MarkEligible"] == json!(true);
        self.eligibility = if after { "eligible" } else { "ineligible" };
        self.last_drain = json!({ "Status": "draining", "Meta": body["Meta"] });
        self.asked.push((begins, after));
        ("200 OK", "{}".to_owned())
    }
}

/// What the agent says that it owes.
async fn owed(bench: &Bench) -> bool {
    bench.run(&["plan"]).await.out.contains("is taken back as soon as Nomad takes that")
}

#[tokio::test]
async fn a_drain_that_nomad_does_not_take_back_is_owed_over_the_agents_death_and_taken_back_once() {
    let mut bench = bench::start("100ms").await;
    let peer = peer().await;
    let file = format!("{}\n[nomad]\naddress = \"{}\"\n", bench.agent_file(), peer.address);
    bench::restart_with(&mut bench, &file).await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    let off = Order { force: false, drain: true, ..order("op-2", "read", Verb::Off, person()) };
    bench.accepted(&off).await;
    until("its node drains", async || (peer.asked() == [(true, false)]).then_some(())).await;

    peer.takes_writes(false);
    bench.accepted(&order("op-3", "read", Verb::On, person())).await;
    until("the cut is given up, and the drain stays", async || {
        let machine = bench.machine("read").await;
        let ended = machine.operation.is_some_and(|operation| operation.phase.is_finished());
        (ended && owed(&bench).await).then_some(())
    })
    .await;
    bench.kill_agent().await;
    bench.start_agent().await;
    assert!(owed(&bench).await, "the journal keeps it");
    assert_eq!(peer.asked(), [(true, false)]);

    peer.takes_writes(true);
    until("it is taken back", async || (!owed(&bench).await).then_some(())).await;
    assert_eq!(peer.asked(), [(true, false), (false, true)], "as the node was before, and once");
    assert_eq!(bench.moves().await, [crate::edge("a", 1, virtual_rack::relay::Power::On)]);

    // Another drain is another debt: what was written off is not asked for again.
    let again = Order { operation: fleet::OperationId::new("op-4").expect("an id"), ..off };
    bench.accepted(&again).await;
    until("its node drains again", async || (peer.asked().len() == 3).then_some(())).await;
    assert_eq!(phase(&bench.machine("read").await), Some(Phase::Draining));
    assert!(!owed(&bench).await, "a drain that goes on is nobody's debt");
}
