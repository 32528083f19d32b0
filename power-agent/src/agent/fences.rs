//! A fence that a person resets: for a cluster whose fences have begun anew, as after a restored snapshot.

use fleet::{ClusterId, Fence, PoolName, Reason};

use super::{Agent, RequestError};
use crate::audit::{Event, What, Who};
use crate::memory::Change;

impl Agent {
    /// Forgets the highest fence of a pool and returns it. Moves nothing; the next lease may have any number.
    ///
    /// # Errors
    /// [`RequestError::UnknownFence`], [`RequestError::SeveralClusters`] or [`RequestError::Journal`].
    pub async fn reset_fence(
        &self,
        pool: &PoolName,
        cluster: Option<&ClusterId>,
        by: &Who,
        reason: &Reason,
    ) -> Result<Fence, RequestError> {
        let mut book = self.book.lock().await;
        let known: Vec<Fence> = book.fences.iter().collect();
        let fence = chosen(&known, pool, cluster)?;
        let what = format!(
            "fence {} of pool {} and cluster {} is forgotten: {reason}",
            fence.number.0, fence.pool, fence.cluster
        );
        let change = Change {
            forgotten_fence: Some(fence.clone()),
            audit: vec![Event::new(What::FenceReset, by.clone(), &what)],
            ..Change::default()
        };
        let by = &by.name;
        self.store.commit_durably(change).await?;
        book.fences.forget(&fence.cluster, &fence.pool);
        drop(book);
        tracing::warn!(
            pool = %fence.pool, cluster = %fence.cluster, was = fence.number.0, by, reason = %reason,
            "fence reset"
        );
        Ok(fence)
    }
}

fn chosen(
    known: &[Fence],
    pool: &PoolName,
    cluster: Option<&ClusterId>,
) -> Result<Fence, RequestError> {
    let meant: Vec<&Fence> = known
        .iter()
        .filter(|fence| fence.pool == *pool && cluster.is_none_or(|named| fence.cluster == *named))
        .collect();
    match meant.as_slice() {
        [fence] => Ok((*fence).clone()),
        [] => {
            let what = match cluster {
                Some(cluster) => format!("pool {pool} from cluster {cluster}"),
                None => format!("pool {pool}"),
            };
            let names: Vec<String> = known
                .iter()
                .map(|fence| format!("pool {} from cluster {}", fence.pool, fence.cluster))
                .collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(RequestError::UnknownFence { what, known })
        }
        several => {
            let clusters: Vec<&str> = several.iter().map(|fence| fence.cluster.as_str()).collect();
            Err(RequestError::SeveralClusters { pool: pool.clone(), clusters: clusters.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet::FenceNumber;

    use super::*;

    fn fence(cluster: &str, pool: &str) -> Fence {
        Fence {
            cluster: ClusterId::new(cluster).unwrap(),
            pool: PoolName::new(pool).unwrap(),
            number: FenceNumber(7),
        }
    }

    #[test]
    fn a_fence_is_chosen_by_pool_and_where_several_clusters_order_by_cluster() {
        let known = [fence("east", "rack"), fence("west", "rack"), fence("east", "cellar")];
        let (rack, cellar) = (PoolName::new("rack").unwrap(), PoolName::new("cellar").unwrap());
        assert_eq!(chosen(&known, &cellar, None).unwrap(), known[2]);
        let west = ClusterId::new("west").unwrap();
        assert_eq!(chosen(&known, &rack, Some(&west)).unwrap(), known[1]);
        let several = chosen(&known, &rack, None).unwrap_err().to_string();
        assert!(several.contains("east, west") && several.contains("--cluster"), "{several}");
        let unknown = chosen(&known, &cellar, Some(&west)).unwrap_err().to_string();
        assert!(unknown.contains("pool cellar from cluster west"), "{unknown}");
        assert!(unknown.contains("pool rack from cluster east"), "{unknown}");
    }
}
