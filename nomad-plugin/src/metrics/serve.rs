//! Answers `GET /metrics` on the loopback interface, one question after the other, and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Metrics;

/// How long one question may take, from its first byte to our last: it comes from this host.
const QUESTION_DEADLINE: Duration = Duration::from_secs(2);

/// The longest question that is read: a scraper's is a few hundred bytes.
const QUESTION_BYTES_MAX: usize = 8 * 1024;

/// How long an address that is taken rests, or a listener that failed: a plugin that is replaced leaves it soon.
const REST: Duration = Duration::from_secs(2);

/// Answers at this address for as long as it is polled. An address that can not be taken is warned of once
/// and tried again: metrics are no reason not to scale.
pub async fn serve(address: SocketAddr, metrics: Metrics) {
    let mut warned = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "metrics are served");
                answer_all(&listener, &metrics).await;
            }
            Err(error) if !warned => {
                tracing::warn!(%address, err = %error, "metrics can not be served there; trying on");
                warned = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(REST).await;
    }
}

/// Returns when the listener fails.
async fn answer_all(listener: &TcpListener, metrics: &Metrics) {
    while let Ok((stream, _)) = listener.accept().await {
        // Who is too slow, or goes away, has no answer; the next scrape is another question.
        let answered = tokio::time::timeout(QUESTION_DEADLINE, answer(stream, metrics)).await;
        if let Ok(Err(error)) = answered {
            tracing::debug!(err = %error, "metrics were not taken");
        }
    }
}

async fn answer(mut stream: TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.windows(4).any(|end| end == b"\r\n\r\n") {
        if question.len() >= QUESTION_BYTES_MAX || stream.read_buf(&mut question).await? == 0 {
            break;
        }
    }
    let (status, kind, body) = if question.starts_with(b"GET /metrics ") {
        ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text())
    } else {
        ("404 Not Found", "text/plain", "metrics are at /metrics\n".to_owned())
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(address: SocketAddr, question: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(question).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_answered_and_nothing_else_is() {
        let metrics = Metrics::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asking = async {
            let text = asked(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("# EOF\n"), "{text}");
            let text = asked(address, b"GET / HTTP/1.1\r\n\r\n").await;
            assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
            let endless = vec![b'x'; QUESTION_BYTES_MAX];
            let text = asked(address, &endless).await;
            assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
        };
        tokio::select! {
            () = answer_all(&listener, &metrics) => panic!("it answers for ever"),
            () = asking => {}
        }
    }
}
