//! `fence list` and `fence reset`: the tokens by which an agent refuses an autoscaler that has lost its lease.

use agent_api::Client;
use clap::Subcommand;
use fleet::{ClusterId, Fence, PoolName};
use serde::Serialize;

use super::act::user_name;
use super::screen::Screen;
use super::{Exit, Failure};

/// What may be done with fences.
#[derive(Debug, Subcommand)]
pub(crate) enum FenceCommand {
    /// The highest fence of each cluster and pool that has ordered
    List,
    /// Forget the highest fence of a pool; moves nothing. For a cluster that was restored from a snapshot, whose
    /// autoscaler is refused as one that has lost its lease
    Reset {
        /// The pool
        pool: PoolName,
        /// The cluster, where several order about the pool
        #[arg(long, value_name = "NAME")]
        cluster: Option<ClusterId>,
        /// Why: kept in the agent's log
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Serialize)]
struct FenceJson {
    cluster: String,
    pool: String,
    fence: u64,
}

impl From<&Fence> for FenceJson {
    fn from(fence: &Fence) -> Self {
        Self {
            cluster: fence.cluster.to_string(),
            pool: fence.pool.to_string(),
            fence: fence.number.0,
        }
    }
}

pub(crate) async fn fence(
    client: &Client,
    command: FenceCommand,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    match command {
        FenceCommand::List => list(client, screen).await,
        FenceCommand::Reset { pool, cluster, reason } => {
            let was = client.reset_fence(&pool, cluster.as_ref(), &user_name(), &reason).await?;
            if screen.json {
                screen.answer_json(&FenceJson::from(&was))?;
            } else {
                screen.answer(&format!(
                    "fence of cluster {} and pool {} reset; it was {}",
                    was.cluster, was.pool, was.number.0
                ))?;
            }
            Ok(Exit::Ok)
        }
    }
}

async fn list(client: &Client, screen: &mut Screen) -> Result<Exit, Failure> {
    let fences = client.inventory().await?.fences;
    if screen.json {
        screen.answer_json(&fences.iter().map(FenceJson::from).collect::<Vec<_>>())?;
        return Ok(Exit::Ok);
    }
    if fences.is_empty() {
        screen.answer("no autoscaler has ordered yet")?;
    }
    for fence in &fences {
        screen.answer(&format!(
            "cluster {}, pool {}: {}",
            fence.cluster, fence.pool, fence.number.0
        ))?;
    }
    Ok(Exit::Ok)
}
