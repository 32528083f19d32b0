//! What the agent reaches and shows: certificates and keys, its socket, Nomad.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use agent_api::{AgentAddress, Client};
use tokio::time::timeout;
use x509_parser::pem::Pem;

use super::{Grade, Looked};
use crate::clock::Clock;
use crate::config::{Config, NomadConfig};
use crate::node::{Nodes, chain};

/// How long Nomad and the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate that ends sooner is told of: time to make another one.
const EXPIRY_WARN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether a file can be read, and a secret by nobody else.
pub(super) fn file(path: &Path, secret: bool) -> Looked {
    let what = format!("file {}", path.display());
    let found = match std::fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(found) => found,
        Err(error) => {
            return Looked::bad(
                Grade::Fail,
                what,
                error.to_string(),
                "make it readable for the agent's user",
            );
        }
    };
    let mode = found.permissions().mode() & 0o777;
    if secret && mode & 0o077 != 0 {
        let remedy = format!("`chmod 600 {}`", path.display());
        return Looked::bad(
            Grade::Warn,
            what,
            format!("its mode is {mode:o}: others may read the key"),
            remedy,
        );
    }
    Looked::ok(what, format!("can be read, mode {mode:o}"))
}

/// The files of mutual TLS.
pub(super) fn certificates(config: &Config) -> Vec<Looked> {
    let Some(network) = &config.network else { return Vec::new() };
    let tls = &network.tls;
    let mut looked = vec![file(&tls.key_file, true)];
    for path in [&tls.ca_file, &tls.cert_file] {
        looked.push(certificate(path));
    }
    looked.extend(tls.crl_file.as_deref().map(|path| file(path, false)));
    looked
}

fn certificate(path: &Path) -> Looked {
    let what = format!("certificate {}", path.display());
    let remedy = "`power-agent certs` makes another one";
    let ends = match ends(path) {
        Ok(ends) => ends,
        Err(error) => return Looked::bad(Grade::Fail, what, error, remedy),
    };
    let now = Clock.wall_ms() / 1000;
    let left = u64::try_from(ends).unwrap_or_default().saturating_sub(now);
    let told = format!("ends in {} days", left / 86_400);
    match Duration::from_secs(left) {
        Duration::ZERO => Looked::bad(Grade::Fail, what, "has ended", remedy),
        left if left < EXPIRY_WARN => Looked::bad(Grade::Warn, what, told, remedy),
        _ => Looked::ok(what, told),
    }
}

/// When the first certificate of a file ends, in seconds since 1970.
fn ends(path: &Path) -> Result<i64, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let (pem, _) = Pem::read(std::io::Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
    Ok(certificate.validity().not_after.timestamp())
}

/// Whether an agent answers.
pub(super) async fn socket(path: &Path) -> Looked {
    let what = format!("socket {}", path.display());
    if !path.exists() {
        return Looked::ok(what, "not there: no agent runs");
    }
    let client = Client::connect_lazy(&AgentAddress::socket(path.to_owned()));
    match timeout(PATIENCE, client.inventory()).await {
        Ok(Ok(inventory)) => {
            let machines = inventory.machines.len();
            Looked::ok(what, format!("agent {} answers, with {machines} machines", inventory.agent))
        }
        Ok(Err(error)) => {
            let remedy = "is the agent running, and is this user in the socket's group?";
            Looked::bad(Grade::Warn, what, chain(&error), remedy)
        }
        Err(_elapsed) => {
            Looked::bad(Grade::Fail, what, "the agent does not answer", "look at its log")
        }
    }
}

/// Whether Nomad answers, and the token may read what proves a node empty.
pub(super) async fn nomad(config: Option<&NomadConfig>) -> Vec<Looked> {
    let Some(config) = config else {
        let told = "there is no [nomad]: no node can be proven empty, and off and cycle by hand need --force";
        return vec![Looked::bad(
            Grade::Warn,
            "Nomad",
            told,
            "add [nomad] with its address to the rack file",
        )];
    };
    let what = format!("Nomad at {}", config.address);
    let mut looked: Vec<Looked> = config.token_file.iter().map(|path| file(path, true)).collect();
    let asked = async {
        let nodes = Nodes::new(Some(config)).map_err(|error| chain(&error))?;
        nodes.sight().await.map_err(|error| chain(&error))
    };
    looked.push(match timeout(PATIENCE, asked).await {
        Ok(Ok(count)) => Looked::ok(
            what,
            format!("answers with {count} nodes, and the token sees all work; node:write is not tried, because trying it would change a node"),
        ),
        Ok(Err(why)) => Looked::bad(Grade::Fail, what, why, "see the address, the certificates and the token's policy"),
        Err(_elapsed) => Looked::bad(Grade::Fail, what, "does not answer", "see whether its server runs and can be reached from here"),
    });
    looked
}
