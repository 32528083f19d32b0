//! Nomad variables: small records that are written by compare-and-set.

use std::collections::BTreeMap;

use serde_json::json;

use crate::client::{Ask, Client, QueryMeta, QueryOptions};
use crate::error::Error;
use crate::wire::from_nomad;

/// The largest variable that Nomad takes: its keys and values together, in bytes.
pub const VARIABLE_BYTES_MAX: usize = 65_536;

from_nomad! {
    /// A variable as it stands.
    pub struct Variable {
        /// Where it is: names joined by `/`.
        pub path: String = "Path",
        /// Its namespace.
        pub namespace: String = "Namespace",
        /// What it holds; empty in a conflict where the token may not read it.
        pub items: BTreeMap<String, String> = "Items",
        /// The index of its creation.
        pub create_index: u64 = "CreateIndex",
        /// The index of its last write: what the next compare-and-set names; 0 where it does not exist.
        pub modify_index: u64 = "ModifyIndex",
    }
}

/// What came of a compare-and-set.
#[derive(Debug, Clone, PartialEq)]
pub enum PutOutcome {
    /// It was written; this is its ModifyIndex now.
    Written(u64),
    /// Someone else had written it, or it exists, or it is gone: nothing was changed, and this is what stands.
    Conflict(Variable),
}

impl Client {
    /// A variable of the client's namespace; none where it does not exist.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `variables { path "…" { capabilities = ["read"] } }`.
    pub async fn variable(&self, path: &str) -> Result<Option<Variable>, Error> {
        let ask = self.about_variable(reqwest::Method::GET, path, "reading", "read");
        self.read_optional(ask).await
    }

    /// Waits for a change of a variable; none where it does not exist then.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `variables { path "…" { capabilities = ["read"] } }`.
    pub async fn watch_variable(
        &self,
        path: &str,
        options: &QueryOptions,
    ) -> Result<(Option<Variable>, QueryMeta), Error> {
        let ask = self.about_variable(reqwest::Method::GET, path, "reading", "read");
        self.query_optional(ask, options).await
    }

    /// Writes a variable if its ModifyIndex is still `cas`; 0 asks that it does not exist yet. An equal
    /// write raises the ModifyIndex too.
    ///
    /// # Errors
    /// [`Error::VariableTooLarge`], or as every question to Nomad; needs
    /// `variables { path "…" { capabilities = ["write"] } }`.
    pub async fn put_variable(
        &self,
        path: &str,
        items: &BTreeMap<String, String>,
        cas: u64,
    ) -> Result<PutOutcome, Error> {
        let bytes = items.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if bytes > VARIABLE_BYTES_MAX {
            return Err(Error::VariableTooLarge { path: path.to_owned(), bytes });
        }
        let ask = self
            .about_variable(reqwest::Method::PUT, path, "writing", "write")
            .body(&json!({ "Items": items }))
            .with("cas", cas.to_string());
        let answer = self.send(&ask).await?;
        match answer.code {
            200..300 => {
                let written: Variable = self.decode(&ask, &answer.body)?;
                Ok(PutOutcome::Written(written.modify_index))
            }
            409 => Ok(PutOutcome::Conflict(self.decode(&ask, &answer.body)?)),
            code => Err(self.refusal(&ask, code, &answer.body)),
        }
    }

    /// Removes a variable whatever it holds; one that does not exist is no error.
    ///
    /// # Errors
    /// As every question to Nomad: see [`Error`]; needs `variables { path "…" { capabilities = ["destroy"] } }`.
    pub async fn delete_variable(&self, path: &str) -> Result<(), Error> {
        let ask = self.about_variable(reqwest::Method::DELETE, path, "removing", "destroy");
        self.succeed(&ask).await.map(drop)
    }

    fn about_variable(
        &self,
        method: reqwest::Method,
        path: &str,
        verb: &str,
        capability: &str,
    ) -> Ask {
        let namespace = self.namespace();
        // A variable's path is of several segments, and Nomad expects its slashes as they are.
        let mut segments = vec!["var"];
        segments.extend(path.split('/'));
        Ask::new(method, &segments, format!("{verb} variable {path:?} of namespace {namespace:?}"))
            .needs(format!(
                "namespace {namespace:?} {{ variables {{ path {path:?} {{ capabilities = [{capability:?}] }} }} }}"
            ))
            .with("namespace", namespace)
    }
}
