//! The client against nobody, and against somebody who does not speak our wire.

use std::time::Duration;

use agent_api::{AgentAddress, AgentError, Client};
use tokio::net::UnixListener;

/// Far above what a swamped host needs.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn an_agent_that_is_not_there_is_named_with_the_cause() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("agent.sock");
    let client = Client::connect_lazy(&AgentAddress::socket(&socket));
    let error = client.inventory().await.unwrap_err();
    assert!(matches!(error, AgentError::Unreachable { .. }), "{error:?}");
    let expected = format!(
        "inventory: agent unix:{} can not be reached: No such file or directory (os error 2)",
        socket.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn somebody_who_hangs_up_is_no_agent_and_no_hang() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let hangs_up = async {
        loop {
            drop(listener.accept().await.unwrap());
        }
    };
    let client = Client::connect_lazy(&AgentAddress::socket(&socket));
    let asked = tokio::time::timeout(PATIENCE, client.inventory());
    tokio::select! {
        answer = asked => {
            let error = answer.expect("it ends in time").unwrap_err();
            assert!(matches!(error, AgentError::Unreachable { .. }), "{error:?}");
        }
        () = hangs_up => {}
    }
}
