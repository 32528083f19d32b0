//! Who calls, proven by a certificate or by the kernel, and what the rack file allows them. No message is believed.

mod account;
mod gate;
mod keeper;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_api::Inventory;
use fleet::{MachineName, Order, Origin, PoolName};
use rustls::pki_types::CertificateDer;
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;

use crate::audit::{Known, Who};
use crate::roles::{Deed, Denied, Grant};

pub(crate) use account::Account;
pub(crate) use gate::GateLayer;
pub(crate) use keeper::{Keeper, Place, Turned};
pub(crate) use token::{Bearer, hash_of};
pub use token::{SHA256_BYTES, Token};

/// What stands before the name in a certificate: its subject alternative name `lamplighter://NAME`, of the kind URI.
pub const NAME_PREFIX: &str = "lamplighter://";

/// The longest name, in bytes: as long as a certificate's common name may be.
pub const NAME_BYTES_MAX: usize = 64;

/// Whether a text can be somebody's name in a certificate or in the rack file.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let taken = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(taken)
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// On this host, named by the kernel.
    Local(Arc<Account>),
    /// On the network, named by a certificate that our authority has signed.
    Remote(Arc<Remote>),
    /// At the page, named by a token that the rack file knows.
    Bearer(Arc<Bearer>),
}

/// Who is at the other end of a connection from the network.
#[derive(Debug)]
pub(crate) struct Remote {
    /// The name, or why the certificate gives none.
    pub(crate) name: Result<String, String>,
    /// What it has proven it with.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// From where.
    pub(crate) peer: SocketAddr,
}

impl Caller {
    /// The name, proven or not.
    pub(crate) fn name(&self) -> &str {
        match self {
            Caller::Local(account) => &account.name,
            Caller::Remote(remote) => {
                remote.name.as_deref().unwrap_or("a certificate without a name")
            }
            Caller::Bearer(bearer) => &bearer.name,
        }
    }

    /// For the audit.
    pub(crate) fn who(&self) -> Who {
        self.told(self.name())
    }

    /// The same under the name that is kept.
    fn told(&self, name: &str) -> Who {
        match self {
            Caller::Local(account) => Who::at_socket(name.to_owned(), Some(account.uid)),
            Caller::Remote(remote) => Who {
                name: name.to_owned(),
                known: Known::Certificate,
                peer: Some(remote.peer.to_string()),
            },
            Caller::Bearer(bearer) => Who {
                name: name.to_owned(),
                known: Known::Token,
                peer: Some(bearer.peer.to_string()),
            },
        }
    }
}

/// Somebody who is known, with what they may.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
    pub(crate) name: String,
    pub(crate) grant: Grant,
    /// Whether a refusal of this call has its line in the audit already.
    told: Arc<AtomicBool>,
}

impl Identity {
    /// Who makes a request that the gate has let in.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let found = request.extensions().get::<Self>().cloned();
        found.ok_or_else(|| Status::internal("a call came past the gate"))
    }

    /// Whatever refuses this call from here on writes its own line in the audit.
    pub(crate) fn leaves_a_line(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    pub(crate) fn left_a_line(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// The name under which a person's order or release is kept.
    pub(crate) fn person(&self, claimed: &str) -> String {
        match &self.caller {
            Caller::Local(account) => account.person(claimed),
            Caller::Remote(_) | Caller::Bearer(_) => self.name.clone(),
        }
    }

    /// The same for the audit, under the name that is kept.
    pub(crate) fn told(&self, name: &str) -> Who {
        self.caller.told(name)
    }

    pub(crate) fn may(&self, deed: Deed) -> Result<(), Denied> {
        if self.grant.role.may(deed) {
            return Ok(());
        }
        Err(Denied::Role { who: self.name.clone(), role: self.grant.role, deed })
    }

    /// Whether they may give such an order in their own name. What an autoscaler's would lead to may be asked by all who
    /// may look: the question is no order.
    pub(crate) fn may_as(&self, order: &Order) -> Result<(), Denied> {
        match &order.origin {
            Origin::Person(_) if order.force => self.may(Deed::Force),
            Origin::Person(_) => self.may(Deed::Order),
            Origin::Autoscaler(fence) => self.may_touch_pool(&fence.pool),
            Origin::Agent => Ok(()),
        }
    }

    pub(crate) fn covers(&self, machine: &MachineName, pool: Option<&PoolName>) -> bool {
        self.grant.scope.covers(machine, pool)
    }

    pub(crate) fn may_touch(
        &self,
        machine: &MachineName,
        pool: Option<&PoolName>,
    ) -> Result<(), Denied> {
        if self.covers(machine, pool) {
            Ok(())
        } else {
            Err(self.outside(format!("machine {machine}")))
        }
    }

    pub(crate) fn may_touch_pool(&self, pool: &PoolName) -> Result<(), Denied> {
        if self.grant.scope.covers_pool(pool) {
            Ok(())
        } else {
            Err(self.outside(format!("pool {pool}")))
        }
    }

    /// What of an inventory somebody may see.
    pub(crate) fn sight(&self, mut inventory: Inventory) -> Inventory {
        inventory.machines.retain(|machine| self.covers(&machine.name, machine.pool.as_ref()));
        inventory.fences.retain(|fence| self.grant.scope.covers_pool(&fence.pool));
        inventory
    }

    fn outside(&self, what: String) -> Denied {
        let Grant { role, scope, .. } = &self.grant;
        Denied::Scope { who: self.name.clone(), role: *role, scope: scope.to_string(), what }
    }
}

/// The one name in a certificate.
///
/// # Errors
/// Why it has none, or no single one.
pub fn name_in(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| format!("the certificate can not be read: {error}"))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| format!("the certificate's names can not be read: {error}"))?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let mut found = names.filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(NAME_PREFIX),
        _ => None,
    });
    match (found.next(), found.next()) {
        (Some(name), None) if is_name(name) => Ok(name.to_owned()),
        (Some(name), None) => Err(format!("{NAME_PREFIX}{name} in the certificate is no name")),
        (Some(_), Some(_)) => Err(format!("the certificate has several names {NAME_PREFIX}…")),
        (None, _) => Err(format!(
            "the certificate has no name: its subject alternative name should be URI:{NAME_PREFIX}NAME"
        )),
    }
}
