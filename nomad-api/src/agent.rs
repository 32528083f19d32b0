//! The agent that answers: which region and cluster it belongs to.

use serde_json::Value;

use crate::client::{Ask, Client, QueryOptions};
use crate::error::Error;

/// The agent that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSelf {
    /// The region that it belongs to.
    pub region: String,
    /// Its name.
    pub name: String,
    /// Nomad's version.
    pub version: String,
}

impl Client {
    /// The regions that the cluster knows, its own included; needs no token. With one region, this is the
    /// most that Nomad tells of which cluster it is: its cluster id is not in the HTTP API.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`].
    pub async fn regions(&self) -> Result<Vec<String>, Error> {
        let ask = Ask::get(&["regions"], "listing the regions");
        Ok(self.query(ask, &QueryOptions::NOW).await?.0)
    }

    /// The address of the leader's RPC; empty during an election. Needs no token.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`].
    pub async fn leader(&self) -> Result<String, Error> {
        let ask = Ask::get(&["status", "leader"], "asking for the leader");
        Ok(self.query(ask, &QueryOptions::NOW).await?.0)
    }

    /// The agent that answers.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `agent { policy = "read" }`.
    pub async fn agent_self(&self) -> Result<AgentSelf, Error> {
        let ask = Ask::get(&["agent", "self"], "asking the agent about itself")
            .needs("agent { policy = \"read\" }");
        let (found, _): (Value, _) = self.query(ask, &QueryOptions::NOW).await?;
        let text =
            |path: &str| found.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(AgentSelf {
            region: text("/config/Region"),
            name: text("/member/Name"),
            version: text("/config/Version/Version"),
        })
    }
}
