//! What the reader makes of a Nomad that shows less than there is. The real one is asked in the stories.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers every list with nothing, and questions about one allocation with this status and body.
async fn nomad_without_lists(listener: TcpListener, status: &str, alloc: &str) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.unwrap();
            request.push(byte);
        }
        let asks_one = request.starts_with(b"GET /v1/allocation/");
        let (status, body) = if asks_one { (status, alloc) } else { ("200 OK", "[]") };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    }
}

async fn read(status: &str, alloc: &str) -> Result<NomadFacts, nomad_api::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&nomad_api::Config::at(address)).unwrap();
    let mut reader = NomadReader::new(client, BTreeSet::new(), Some("own".to_owned()));
    tokio::select! {
        facts = reader.read() => facts,
        () = nomad_without_lists(listener, status, alloc) => panic!("it serves for ever"),
    }
}

#[tokio::test]
async fn the_own_node_is_asked_for_where_the_list_does_not_show_the_own_allocation() {
    let facts = read("200 OK", r#"{"ID": "own", "NodeID": "here"}"#).await.unwrap();
    assert_eq!(facts.own_node.as_deref(), Some("here"));
    let facts = read("404 Not Found", "alloc not found").await.unwrap();
    assert_eq!(facts.own_node, None, "it runs in another cluster, or in none");
}

#[tokio::test]
async fn a_token_that_may_not_read_the_own_allocation_is_refused_with_its_remedy() {
    let error = read("403 Forbidden", "Permission denied").await.unwrap_err().to_string();
    assert!(error.contains("allocation own") && error.contains("read-job"), "{error}");
}
