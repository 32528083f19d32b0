//! What a token sees and may do. Nomad leaves out of its lists what the token may not read, without a word: a
//! list that looks empty proves nothing before this was asked.

use serde::Deserialize;
use serde_json::Value;

use crate::client::{Ask, Client, QueryOptions, READ_JOB_EVERYWHERE, rule};
use crate::error::Error;
use crate::nodes::Eligibility;

/// A namespace that nobody has: what a token may do there is what its rule for `"*"` grants, and so what it
/// may do in every namespace without a rule of its own.
const NOBODYS: &str = "lamplighter-any-other-namespace";

/// The id of a node that nobody has: Nomad judges the token before it looks for the node.
const NO_NODE: &str = "00000000-0000-0000-0000-000000000000";

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "Name")]
    name: String,
}

impl Client {
    /// Asks whether the token may drain nodes, by a change to a node that nobody has: nothing is changed.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the rule that is missing, or as every question to Nomad.
    pub async fn may_write_nodes(&self) -> Result<(), Error> {
        match self.set_eligibility(NO_NODE, &Eligibility::Ineligible).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Asks whether lists of allocations and evaluations of all namespaces leave nothing out. A namespace
    /// that a policy names with `deny`, or without any capability, is hidden from its token altogether and
    /// can not be asked about.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the rule that is missing, or as every question to Nomad.
    pub async fn sees_all_work(&self) -> Result<(), Error> {
        first(self.work_unseen().await?)
    }

    /// All rules that [`Client::sees_all_work`] misses, each as [`Error::Forbidden`]. Where that for every namespace
    /// is missing, those of single ones are not asked for: it may grant them.
    ///
    /// # Errors
    /// As every question to Nomad.
    pub async fn work_unseen(&self) -> Result<Vec<Error>, Error> {
        self.unseen("allocations", "read-job").await
    }

    /// Asks whether lists of jobs of all namespaces leave nothing out, as [`Client::sees_all_work`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn sees_all_jobs(&self) -> Result<(), Error> {
        first(self.unseen("jobs", "list-jobs").await?)
    }

    async fn unseen(&self, list: &str, capability: &str) -> Result<Vec<Error>, Error> {
        let everywhere = match capability {
            "read-job" => READ_JOB_EVERYWHERE.to_owned(),
            _ => rule("*", capability),
        };
        match self.sees(list, NOBODYS, "every namespace", everywhere).await {
            Err(error @ Error::Forbidden { .. }) => return Ok(vec![error]),
            answer => answer?,
        }
        let ask = Ask::get(&["namespaces"], "listing the namespaces");
        let (namespaces, _): (Vec<Namespace>, _) = self.query(ask, &QueryOptions::NOW).await?;
        let mut refused = Vec::new();
        for Namespace { name } in namespaces {
            let what = format!("namespace {name:?}");
            match self.sees(list, &name, &what, rule(&name, capability)).await {
                Err(error @ Error::Forbidden { .. }) => refused.push(error),
                answer => answer?,
            }
        }
        Ok(refused)
    }

    /// Asks for one line of a list of one namespace: there Nomad refuses what it else leaves out.
    async fn sees(&self, list: &str, name: &str, what: &str, needs: String) -> Result<(), Error> {
        let ask = Ask::get(&[list], format!("listing the {list} of {what}"))
            .needs(needs)
            .with("namespace", name)
            .with("per_page", "1");
        let (_, _): (Vec<Value>, _) = self.query(ask, &QueryOptions::NOW).await?;
        Ok(())
    }
}

fn first(refused: Vec<Error>) -> Result<(), Error> {
    refused.into_iter().next().map_or(Ok(()), Err)
}
