//! Which region and cluster the agent that answers belongs to.

use crate::client::{Ask, Client, QueryOptions};
use crate::error::Error;

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
}
