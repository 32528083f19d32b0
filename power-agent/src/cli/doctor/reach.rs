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
use crate::node::{Lack, Nodes, chain};

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
    looked.extend(tls.crl_file.as_deref().map(list));
    looked
}

/// The list of revoked certificates. One that is old still counts for the agent: it must not lock an edge site.
fn list(path: &Path) -> Looked {
    let what = format!("list of revoked certificates {}", path.display());
    let remedy = "copy the authority's crl.pem here anew; `power-agent certs revoke` writes it";
    let read = || {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let (pem, _) = Pem::read(std::io::Cursor::new(bytes)).map_err(|error| error.to_string())?;
        let (_, list) =
            x509_parser::parse_x509_crl(&pem.contents).map_err(|error| error.to_string())?;
        let next = list.next_update().map(|next| next.timestamp());
        Ok((list.last_update().timestamp(), next, list.iter_revoked_certificates().count()))
    };
    let (written, next, count) = match read() {
        Ok(read) => read,
        Err(error) => {
            let error: String = error;
            return Looked::bad(Grade::Fail, what, error, remedy);
        }
    };
    let now = i64::try_from(Clock.wall_ms() / 1000).unwrap_or(i64::MAX);
    let age = now.saturating_sub(written).max(0) / 86_400;
    let told = format!("of {age} days ago, with {count} certificates");
    if next.is_some_and(|next| next < now) {
        let told = format!("{told}; it says that a newer one should be there by now");
        return Looked::bad(Grade::Warn, what, told, remedy);
    }
    Looked::ok(what, told)
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

/// Whether Nomad answers, and which rules the token lacks.
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
        nodes.rights().await.map_err(|error| chain(&error))
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(lacks)) => {
            let told = match lacks.as_slice() {
                [] => "answers, and the token may do all that an agent does",
                [_] => "answers",
                // Nomad refuses a token that it does not know with the words for one that lacks a rule.
                _ => {
                    "answers, but does not grant the token what follows: is it one that Nomad knows?"
                }
            };
            looked.push(Looked::ok(what, told));
            looked.extend(lacks.iter().map(lacking));
        }
        Ok(Err(why)) => looked.push(Looked::bad(
            Grade::Fail,
            what,
            why,
            "see the address, the certificates and the token",
        )),
        Err(_elapsed) => looked.push(Looked::bad(
            Grade::Fail,
            what,
            "does not answer",
            "see whether its server runs and can be reached from here",
        )),
    }
    looked
}

/// One rule that the token lacks, in the policy's own words.
fn lacking(lack: &Lack) -> Looked {
    let Lack { rule, without, nomads_words } = lack;
    let told = format!("it lacks {rule}: without, {without}. Nomad says {nomads_words:?}");
    let remedy = "add the rule to the token's policy; all that an agent needs stands in \
         examples/acl/agent.hcl: `nomad acl policy apply lamplighter-agent agent.hcl`";
    Looked::bad(Grade::Fail, "Nomad's token", told, remedy)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::certs::Authority;

    #[test]
    fn a_list_of_revoked_certificates_tells_its_age_and_one_that_is_none_fails() {
        let home = tempfile::tempdir().unwrap();
        let ca = home.path().join("ca");
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(Clock.wall_ms());
        Authority::init(&ca, now).unwrap();
        let fresh = list(&ca.join("crl.pem"));
        assert_eq!(fresh.grade, Grade::Ok, "{fresh:?}");
        assert!(fresh.found.contains("with 0 certificates"), "{fresh:?}");
        let old = home.path().join("old");
        Authority::init(&old, now - Duration::from_secs(4000 * 86_400)).unwrap();
        let old = list(&old.join("crl.pem"));
        assert_eq!(old.grade, Grade::Warn, "{old:?}");
        assert!(old.found.starts_with("of 4001 days ago"), "{old:?}");
        assert_eq!(list(&ca.join("ca.pem")).grade, Grade::Fail);
    }
}
