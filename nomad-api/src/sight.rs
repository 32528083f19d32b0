//! Whether a token sees the work of every namespace. Nomad leaves out of its lists what the token may not
//! read, without a word: a list that looks empty proves nothing before this was asked.

use serde::Deserialize;
use serde_json::Value;

use crate::client::{Ask, Client, QueryOptions, READ_JOB_EVERYWHERE, rule};
use crate::error::Error;

/// A namespace that nobody has: what a token may do there is what its rule for `"*"` grants, and so what it
/// may do in every namespace without a rule of its own.
const NOBODYS: &str = "lamplighter-any-other-namespace";

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "Name")]
    name: String,
}

impl Client {
    /// Asks whether lists of allocations and evaluations of all namespaces leave nothing out. A namespace
    /// that a policy names with `deny`, or without any capability, is hidden from its token altogether and
    /// can not be asked about.
    ///
    /// # Errors
    /// [`Error::Forbidden`] with the rule that is missing, or as every question to Nomad.
    pub async fn sees_all_work(&self) -> Result<(), Error> {
        self.sees_all("allocations", "read-job").await
    }

    /// Asks whether lists of jobs of all namespaces leave nothing out, as [`Client::sees_all_work`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn sees_all_jobs(&self) -> Result<(), Error> {
        self.sees_all("jobs", "list-jobs").await
    }

    async fn sees_all(&self, list: &str, capability: &str) -> Result<(), Error> {
        let everywhere = match capability {
            "read-job" => READ_JOB_EVERYWHERE.to_owned(),
            _ => rule("*", capability),
        };
        self.sees(list, NOBODYS, "every namespace", everywhere).await?;
        let ask = Ask::get(&["namespaces"], "listing the namespaces");
        let (namespaces, _): (Vec<Namespace>, _) = self.query(ask, &QueryOptions::NOW).await?;
        for Namespace { name } in namespaces {
            let what = format!("namespace {name:?}");
            self.sees(list, &name, &what, rule(&name, capability)).await?;
        }
        Ok(())
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
