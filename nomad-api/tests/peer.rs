//! How the client meets a server that misbehaves in ways that a real Nomad does not on demand: a peer on
//! loopback answers each connection with the next text of a script.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nomad_api::{Client, Config, Error, QueryOptions, StreamItem, TokenSource, Topic};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One answer: what is done before it is sent, and its bytes; the connection is closed after it.
type Answer = (Box<dyn Fn() + Send>, Vec<u8>);

fn answer(status: &str, body: &str) -> Answer {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    (Box::new(|| {}), text.into_bytes())
}

/// Serves the script and counts the requests.
struct Peer {
    address: String,
    served: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

async fn peer(script: Vec<Answer>) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = Arc::new(AtomicUsize::new(0));
    let mut task = JoinSet::new();
    let count = Arc::clone(&served);
    task.spawn(async move {
        for (before, bytes) in script {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            count.fetch_add(1, Ordering::SeqCst);
            before();
            // The client may have seen enough and be gone.
            drop(socket.write_all(&bytes).await);
            drop(socket.shutdown().await);
        }
        std::future::pending::<()>().await;
    });
    Peer { address, served, _task: task }
}

fn with_token_file(peer: &Peer, file: &Path) -> Client {
    let mut config = Config::at(peer.address.clone());
    config.token = TokenSource::File(file.to_owned());
    Client::new(&config).unwrap()
}

#[tokio::test]
async fn a_token_that_is_rotated_during_a_request_is_tried_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let mut refusal = answer("403 Forbidden", "Permission denied");
    let rotated = file.clone();
    refusal.0 = Box::new(move || std::fs::write(&rotated, "new").unwrap());
    let peer = peer(vec![refusal, answer("200 OK", "\"127.0.0.1:4647\"")]).await;
    assert_eq!(with_token_file(&peer, &file).leader().await.unwrap(), "127.0.0.1:4647");
    assert_eq!(peer.served.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refusal_of_the_same_token_is_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "same").unwrap();
    let script = vec![answer("403 Forbidden", "Permission denied"), answer("200 OK", "\"\"")];
    let peer = peer(script).await;
    let error = with_token_file(&peer, &file).leader().await.unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    assert_eq!(peer.served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_nomads_is_told_with_its_beginning() {
    let peer = peer(vec![answer("200 OK", "<html>Welcome to the proxy</html>")]).await;
    let client = Client::new(&Config::at(peer.address.clone())).unwrap();
    let error = client.nodes(&QueryOptions::NOW).await.unwrap_err();
    let expected = format!(
        "Nomad at {} sent something else than expected while listing the nodes, beginning with \
         \"<html>Welcome to the proxy</html>\"; check that the address is Nomad's HTTP API",
        peer.address
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let error = Client::new(&Config::at(address)).unwrap().leader().await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. } | Error::Unreachable { .. }), "{error}");
}

fn stream(body: &[u8]) -> Answer {
    let mut bytes = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    bytes.extend_from_slice(body);
    (Box::new(|| {}), bytes)
}

#[tokio::test]
async fn a_stream_that_nomad_ends_tells_why_and_then_resumes_after_its_last_index() {
    let first = br#"{}
{"Index":7,"Events":[{"Topic":"Node","Type":"NodeEvent","Key":"n","Index":7,"Payload":{"Node":{"ID":"n"}}}]}
Permission denied"#;
    let peer = peer(vec![stream(first), stream(b"{}\n")]).await;
    let client = Client::new(&Config::at(peer.address.clone())).unwrap();
    let mut events = client.events(&[Topic::Node], 0);
    assert_eq!(events.next().await.unwrap(), StreamItem::Connected);
    let StreamItem::Batch(batch) = events.next().await.unwrap() else {
        unreachable!("a batch follows the heartbeat")
    };
    assert_eq!(batch.index, 7);
    let error = events.next().await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "Permission denied");
    assert_eq!(events.next().await.unwrap(), StreamItem::Connected);
}

#[tokio::test]
async fn a_line_without_an_end_is_not_kept_for_ever() {
    let endless = vec![b'x'; 33 * 1024 * 1024];
    let peer = peer(vec![stream(&endless)]).await;
    let client = Client::new(&Config::at(peer.address.clone())).unwrap();
    let mut events = client.events(&[Topic::Node], 0);
    assert_eq!(events.next().await.unwrap(), StreamItem::Connected);
    let error = events.next().await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}
