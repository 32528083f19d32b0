//! By what an agent on the network knows us: files on the command line or in the environment.

use std::path::PathBuf;

use agent_api::{AgentAddress, Credentials};
use clap::Args;

use super::Failure;

/// By what an agent on the network knows us, and we it.
#[derive(Debug, Args)]
pub(crate) struct CredentialArgs {
    /// The authority of the agents' certificates, for https://
    #[arg(
        long,
        global = true,
        env = "LAMPLIGHTER_CACERT",
        value_name = "FILE",
        hide_env_values = true
    )]
    ca_cert: Option<PathBuf>,
    /// Our own certificate, for https://
    #[arg(
        long,
        global = true,
        env = "LAMPLIGHTER_CLIENT_CERT",
        value_name = "FILE",
        hide_env_values = true
    )]
    client_cert: Option<PathBuf>,
    /// Its key, for https://
    #[arg(
        long,
        global = true,
        env = "LAMPLIGHTER_CLIENT_KEY",
        value_name = "FILE",
        hide_env_values = true
    )]
    client_key: Option<PathBuf>,
}

impl CredentialArgs {
    /// What an agent at this address wants; none on this host, where the kernel says who we are.
    pub(crate) fn for_agent(self, address: &AgentAddress) -> Result<Option<Credentials>, Failure> {
        if !address.is_network() {
            return Ok(None);
        }
        match (self.ca_cert, self.client_cert, self.client_key) {
            (Some(ca_file), Some(cert_file), Some(key_file)) => {
                let credentials = Credentials { ca_file, cert_file, key_file };
                credentials.read().map_err(|error| Failure::Usage(error.to_string()))?;
                Ok(Some(credentials))
            }
            _ => Err(Failure::Usage(format!(
                "{address} is on the network: --ca-cert, --client-cert and --client-key (or LAMPLIGHTER_CACERT, \
                 LAMPLIGHTER_CLIENT_CERT and LAMPLIGHTER_CLIENT_KEY) name the files; `power-agent certs` makes them"
            ))),
        }
    }
}
