//! Goal: a node is made eligible by the write that its drain needs, and never out of somebody else's drain. Method: a
//! Nomad of one node on loopback, which keeps what it is told to write.

use std::sync::{Arc, Mutex};

use fleet::{ClusterId, FenceNumber, PoolName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const NODE: &str = "n1";

/// An executor whose Nomad has this node, the writes that it was told, and the task that is that Nomad.
async fn executor(node: Value) -> (Executor, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&told);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            stream.read_exact(&mut body).await.unwrap();
            let answer = if head.starts_with("get") {
                node.to_string()
            } else {
                let path = head.split(['/', '?', ' ']).nth(5).unwrap_or_default().to_owned();
                keeps.lock().unwrap().push(path);
                json!({ "Index": 9 }).to_string()
            };
            let head = "HTTP/1.1 200 OK\r\nX-Nomad-Index: 9\r\nConnection: close";
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let fence = Fence {
        cluster: ClusterId::new("global").unwrap(),
        pool: PoolName::new("rack").unwrap(),
        number: FenceNumber(1),
    };
    let nomad = Nomad::new(&nomad_api::Config::at(address)).unwrap();
    let agents = BTreeMap::new();
    (Executor { nomad, agents, fence, plan: None, filters: Vec::new() }, told, tasks)
}

#[tokio::test]
async fn a_node_is_made_eligible_by_ending_our_drain_and_never_somebody_elses() {
    let going_on = json!({ "Deadline": 0, "IgnoreSystemJobs": true });
    let by = |who: &str| json!({ "Status": "draining", "Meta": { "drained_by": who } });
    for (strategy, last, writes) in [
        (json!(null), json!(null), &["eligibility"][..]),
        (json!(null), by("ada"), &["eligibility"]),
        (going_on.clone(), by("lamplighter"), &["drain"]),
        (going_on.clone(), by("ada"), &[]),
        (going_on.clone(), json!({ "Status": "draining", "Meta": null }), &[]),
        (going_on, json!(null), &[]),
    ] {
        let what = format!("{strategy} {last}");
        let node = json!({
            "ID": NODE, "Name": "node1", "Status": "ready", "SchedulingEligibility": "ineligible",
            "DrainStrategy": strategy, "LastDrain": last,
        });
        let (executor, told, _tasks) = executor(node).await;
        let effect = Effect::MakeEligible {
            machine: MachineName::new("node1").unwrap(),
            node: NodeId::new(NODE).unwrap(),
        };
        let done = executor.execute(&effect).await;
        assert_eq!(*told.lock().unwrap(), writes, "{what}: {done:?}");
        match writes {
            [] => {
                assert_eq!(done, Done::Failed("somebody else drains its node".to_owned()), "{what}")
            }
            _ => assert_eq!(done, Done::Written { index: 9 }, "{what}"),
        }
    }
}
