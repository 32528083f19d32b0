//! The autoscaler's configuration of a rig.

use std::fmt::Write as _;

use super::{Rig, token_file};

impl Rig {
    pub(super) fn autoscaler_hcl(&self) -> String {
        let (agents, dir) = (&self.agents, self.dir.display());
        let token = self.token.as_ref().map(|token| format!("  token = {token:?}\n"));
        let mut text = format!(
            "log_level = \"TRACE\"\nplugin_dir = \"{dir}/plugins\"\n\
             http {{\n  bind_address = \"127.0.0.1\"\n  bind_port = {}\n}}\n\
             nomad {{\n  address = \"{}\"\n{}}}\n\
             policy {{\n  dir = \"{dir}/policies\"\n  \
             source \"nomad\" {{\n    enabled = {}\n  }}\n}}\n",
            self.http.number(),
            self.server.address(),
            token.unwrap_or_default(),
            self.job_policies,
        );
        for kind in ["target", "apm"] {
            // The heartbeat is a target's; the apm would warn about it and go on.
            let mut keys = match kind {
                "target" => {
                    format!("heartbeat = {:?}\n    {}\n", self.heartbeat, self.target_config)
                }
                _ => String::new(),
            };
            if !self.agents_config.is_empty() {
                writeln!(keys, "    {}", self.agents_config).ok();
            }
            if self.token.is_some() {
                let file = token_file(&self.dir, "plugin");
                write!(keys, "    nomad_token_file = {file:?}").ok();
            }
            // Writing to a String can not fail.
            write!(
                text,
                "{kind} \"lamplighter\" {{\n  driver = \"lamplighter\"\n  args   = [\"{kind}\"]\n  \
                 config = {{\n    agents = \"{agents}\"\n    {keys}\n  }}\n}}\n"
            )
            .ok();
        }
        text
    }
}
