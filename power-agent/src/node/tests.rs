//! Goal: a drain is marked, taken back as the node was before, and nobody else's drain is touched. Method: a Nomad of one
//! list of nodes on loopback, which keeps what it is told to write.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// The peer, and what it was told: path and body.
struct Peer {
    nodes: Nodes,
    told: Arc<Mutex<Vec<(String, Value)>>>,
    _task: JoinSet<()>,
}

/// A Nomad that knows these nodes, and lets nobody drain the one with the id `stuck`.
async fn peer(known: Value) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = NomadConfig {
        address: format!("http://{}", listener.local_addr().unwrap()),
        token_file: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        region: None,
        tls_server_name: None,
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut task = JoinSet::new();
    let keeps = Arc::clone(&told);
    task.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (asked, body) = read(&mut stream).await;
            let mut words = asked.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let (status, answer) = match method {
                "GET" => ("200 OK", known.to_string()),
                _ if path.contains("stuck") => ("500 No", "no leader".to_owned()),
                _ => ("200 OK", "{}".to_owned()),
            };
            if method != "GET" {
                let body = serde_json::from_str(&body).unwrap();
                keeps.lock().unwrap().push((path.trim_end_matches('?').to_owned(), body));
            }
            let head = format!("HTTP/1.1 {status}\r\nX-Nomad-Index: 7\r\nConnection: close");
            let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Peer { nodes: Nodes::new(Some(&config)).unwrap(), told, _task: task }
}

/// A request's first line and its body.
async fn read(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await.unwrap();
    (head.lines().next().unwrap().to_owned(), String::from_utf8(body).unwrap())
}

fn node(id: &str, status: &str, eligibility: &str, drained_by: Option<(&str, &str)>) -> Value {
    let last = drained_by.map(|(operation, before)| {
        json!({ "Status": "draining", "Meta": { (MARK): operation, (BEFORE): before } })
    });
    let name = "node1";
    json!({
        "ID": id, "Name": name, "Status": status, "SchedulingEligibility": eligibility, "LastDrain": last,
    })
}

fn id(id: &str) -> OperationId {
    OperationId::new(id).unwrap()
}

impl Peer {
    async fn drain(&self, owed: Option<&str>) -> Result<Eligible, String> {
        let owed = owed.map(id);
        self.nodes.drain("node1", &id("ours"), owed.as_ref()).await
    }

    /// What was written last: the node's path, its mark, and how it is to be left or was before.
    fn last(&self, key: &str) -> (String, Value, Value) {
        let told = self.told.lock().unwrap();
        let (path, body) = told.last().expect("something was written").clone();
        let how = if key == BEFORE { &body["Meta"][BEFORE] } else { &body[key] };
        (path, body["Meta"][MARK].clone(), how.clone())
    }

    fn is_untouched(&self) -> bool {
        self.told.lock().unwrap().is_empty()
    }
}

#[tokio::test]
async fn a_node_that_nomad_does_not_know_is_no_proof_and_its_name_is_asked_for() {
    let peer = peer(json!([])).await;
    let Work::NoProof(why) = peer.nodes.work("nodee1").await else { panic!("it is no proof") };
    assert!(why.contains("no node \"nodee1\""), "{why}");
    assert!(why.contains("`node` of the machine"), "{why}");
}

#[tokio::test]
async fn a_drain_says_whose_it_is_and_how_the_node_was_before_any_drain_of_ours() {
    // How the node is, who drained it last and how it was before, what is owed; how it was before our drain.
    for (eligibility, drained_by, owed, before) in [
        ("eligible", None, None, Eligible::Yes),
        ("ineligible", None, None, Eligible::No),
        ("ineligible", Some(("others", "true")), None, Eligible::No),
        // The answer to the first try was lost.
        ("ineligible", Some(("ours", "true")), None, Eligible::Yes),
        ("ineligible", Some(("ours", "false")), None, Eligible::No),
        // An earlier drain has not been taken back.
        ("ineligible", Some(("earlier", "true")), Some("earlier"), Eligible::Yes),
        ("ineligible", Some(("others", "true")), Some("earlier"), Eligible::No),
        ("eligible", Some(("others", "false")), Some("earlier"), Eligible::Yes),
    ] {
        let what = format!("{eligibility} {drained_by:?} {owed:?}");
        let peer = peer(json!([node("n1", "ready", eligibility, drained_by)])).await;
        assert_eq!(peer.drain(owed).await, Ok(before), "{what}");
        let said = json!(if before == Eligible::Yes { "true" } else { "false" });
        let written = ("/v1/node/n1/drain".to_owned(), json!("ours"), said);
        assert_eq!(peer.last(BEFORE), written, "{what}");
    }
}

#[tokio::test]
async fn a_drain_that_fails_is_an_error_but_on_a_registration_that_is_down() {
    let live = node("n1", "ready", "eligible", None);
    let down = peer(json!([node("stuck", "down", "eligible", None), live])).await;
    assert_eq!(down.drain(None).await, Ok(Eligible::Yes));
    assert_eq!(down.last(BEFORE).0, "/v1/node/n1/drain");
    let up = peer(json!([live, node("stuck", "ready", "eligible", None)])).await;
    let why = up.drain(None).await.expect_err("one registration may take work");
    assert!(why.contains("draining node stuck"), "{why}");
}

#[tokio::test]
async fn a_drain_of_ours_is_taken_back_as_the_node_was_and_nobody_elses_is() {
    for (before, eligible) in [("true", true), ("false", false)] {
        let ours = node("n1", "ready", "ineligible", Some(("ours", before)));
        let peer = peer(json!([ours])).await;
        peer.nodes.undrain("node1", &id("ours")).await.unwrap();
        let written = ("/v1/node/n1/drain".to_owned(), json!("ours"), json!(eligible));
        assert_eq!(peer.last("MarkEligible"), written);
    }
    for drained_by in [None, Some(("others", "true"))] {
        let peer = peer(json!([node("n1", "ready", "ineligible", drained_by)])).await;
        peer.nodes.undrain("node1", &id("ours")).await.unwrap();
        assert!(peer.is_untouched(), "{drained_by:?}");
    }
    let stuck = peer(json!([node("stuck", "ready", "ineligible", Some(("ours", "true")))])).await;
    let why = stuck.nodes.undrain("node1", &id("ours")).await.expect_err("it is still owed");
    assert!(why.contains("node stuck"), "{why}");
}

#[tokio::test]
async fn only_a_node_that_takes_no_work_or_is_down_keeps_it_out_and_silence_does_not() {
    for (status, eligibility, keeps) in [
        ("ready", "ineligible", true),
        ("down", "eligible", true),
        ("ready", "eligible", false),
        ("disconnected", "eligible", false),
    ] {
        let known =
            json!([node("n0", "down", "eligible", None), node("n1", status, eligibility, None)]);
        let told = peer(known).await.nodes.keeps_out_work("node1").await;
        assert_eq!(told.is_ok(), keeps, "{status} {eligibility}: {told:?}");
    }
    let silent = peer(json!("no list")).await.nodes.keeps_out_work("node1").await;
    assert!(silent.expect_err("nobody could tell").contains("nobody can tell"));
}
