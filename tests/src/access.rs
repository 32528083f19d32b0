//! The tokens of a rig: one for each part, with the policy that its users are told to give it, and no more.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cluster::{Access, Server};

/// The policies of `examples/acl`, by the part that they are for.
const POLICIES: [(&str, &str); 3] = [
    ("autoscaler", include_str!("../../examples/acl/autoscaler.hcl")),
    ("plugin", include_str!("../../examples/acl/plugin.hcl")),
    ("agent", include_str!("../../examples/acl/agent.hcl")),
];

/// The policy of an autoscaler's own token where several elect one.
const ELECTED: &str = include_str!("../../examples/acl/autoscaler-ha.hcl");

/// The file with the token of a part.
#[must_use]
pub fn token_file(dir: &Path, part: &str) -> PathBuf {
    dir.join(format!("{part}.token"))
}

/// Makes a token for each part, where Nomad asks for tokens, and writes it into its file in `dir`. Returns
/// the autoscaler's own, which takes none from a file.
///
/// # Errors
/// Where Nomad makes none.
pub async fn grant(server: &Server, access: Access, dir: &Path) -> Result<Option<String>> {
    if access != Access::Tokens {
        return Ok(None);
    }
    for (part, rules) in POLICIES {
        let secret = server.token_with(part, rules).await?;
        std::fs::write(token_file(dir, part), secret)?;
    }
    Ok(Some(std::fs::read_to_string(token_file(dir, "autoscaler"))?))
}

/// A token for an autoscaler in Nomad's own election, where Nomad asks for tokens: with the rule for the
/// variable of its lock.
///
/// # Errors
/// Where Nomad makes none.
pub async fn grant_election(server: &Server) -> Result<Option<String>> {
    if server.token().is_none() {
        return Ok(None);
    }
    Ok(Some(server.token_with("autoscaler-ha", ELECTED).await?))
}
