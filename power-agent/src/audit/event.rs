//! What is worth a line of the audit.

use std::time::Duration;

use fleet::{MachineName, OperationId, Order, Origin, PlanId, Reason, Refusal, Verb};

/// What was asked, or happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An order for a machine.
    Order(Verb),
    /// A hold was asked for.
    Hold,
    /// The end of a hold was asked for.
    Release,
    /// A reservation was asked for.
    Reserve,
    /// A machine went into quarantine.
    Quarantine,
    /// A machine was returned from quarantine.
    Return,
    /// A pool was taken for another lease.
    Claim,
    /// A fence was set back by hand.
    FenceReset,
    /// The rack file was read anew.
    Reload,
    /// Certificates were exchanged.
    CertificatesRotated,
    /// Somebody asked for what their role does not allow.
    Denied,
    /// A connection was refused before anything was asked.
    HandshakeRefused,
    /// Somebody asked more often than they may.
    OverQuota,
    /// A call was refused that no other word tells of: it made no sense, or came too late.
    Call,
    /// The agent began to serve.
    Started,
    /// The agent stopped as it was told to.
    Stopped,
    /// A sequence that was half done was taken up.
    TakenUp,
    /// A sequence that was half done was not finished.
    Abandoned,
    /// A new file of the audit was begun.
    Rotated,
    /// The audit's files were not as they had been left.
    Damaged,
}

impl What {
    /// The word in the line; for ever.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            What::Order(verb) => verb.as_str(),
            What::Hold => "hold",
            What::Release => "release",
            What::Reserve => "reserve",
            What::Quarantine => "quarantine",
            What::Return => "return",
            What::Claim => "claim",
            What::FenceReset => "fence-reset",
            What::Reload => "reload",
            What::CertificatesRotated => "certificates-rotated",
            What::Denied => "denied",
            What::HandshakeRefused => "handshake-refused",
            What::OverQuota => "over-quota",
            What::Call => "call",
            What::Started => "started",
            What::Stopped => "stopped",
            What::TakenUp => "taken-up",
            What::Abandoned => "abandoned",
            What::Rotated => "rotated",
            What::Damaged => "damaged",
        }
    }
}

/// How it is known who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The kernel told the user at the other end of the Unix socket.
    Socket {
        /// The user's id.
        uid: u32,
    },
    /// A certificate that our authority signed.
    Certificate,
    /// A token that the rack file knows by its hash.
    Token,
    /// The order carries the fence of a lease.
    Fence,
    /// The journal has it: the order was given earlier.
    Journal,
    /// The agent itself.
    Agent,
    /// Nobody could tell.
    Not,
}

impl Known {
    /// The word in the line; for ever.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Known::Socket { uid } => format!("socket uid {uid}"),
            Known::Certificate => "certificate".to_owned(),
            Known::Token => "token".to_owned(),
            Known::Fence => "fence".to_owned(),
            Known::Journal => "journal".to_owned(),
            Known::Agent => "agent".to_owned(),
            Known::Not => "not known".to_owned(),
        }
    }
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The name.
    pub name: String,
    /// How it is known.
    pub known: Known,
    /// Where they came from, as far as it is known: an address, or the socket's user.
    pub peer: Option<String>,
}

impl Who {
    /// The agent itself.
    #[must_use]
    pub fn agent() -> Self {
        Self { name: "the agent".to_owned(), known: Known::Agent, peer: None }
    }

    /// Somebody at the Unix socket; without a user id the kernel did not tell.
    #[must_use]
    pub fn at_socket(name: String, uid: Option<u32>) -> Self {
        let known = uid.map_or(Known::Not, |uid| Known::Socket { uid });
        Self { name, known, peer: uid.map(|uid| format!("unix socket, uid {uid}")) }
    }

    /// Whoever gave an order, as the order says; `at` is whoever brought it.
    #[must_use]
    pub fn of_origin(origin: &Origin, at: Option<Who>) -> Self {
        match (origin, at) {
            (Origin::Person(_), Some(at)) => at,
            (Origin::Agent, _) => Self::agent(),
            (Origin::Person(name), None) => {
                Self { name: name.clone(), known: Known::Journal, peer: None }
            }
            (Origin::Autoscaler(fence), at) => {
                let (cluster, pool, number) = (&fence.cluster, &fence.pool, fence.number.0);
                let name = format!("autoscaler of {cluster}, pool {pool}, fence {number}");
                // Whoever brought it is told as where it came from.
                let peer = at.map(|at| match at.peer {
                    Some(peer) => format!("{} from {peer}", at.name),
                    None => at.name,
                });
                Self { name, known: Known::Fence, peer }
            }
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken, and what it leads to is told by a later line of the same operation.
    Accepted,
    /// It was refused; nothing moved.
    Refused {
        /// The class, as a word.
        code: String,
        /// What stands against it.
        text: String,
    },
    /// An operation ended.
    Ended {
        /// As ordered.
        well: bool,
        /// Whether anything moved.
        changed: bool,
        /// On what that rests, or what went wrong.
        evidence: String,
        /// From the order to the end.
        took: Duration,
    },
    /// It is done, or has happened.
    Done,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What was asked, or happened.
    pub what: What,
    /// What came of it.
    pub outcome: Outcome,
    /// Who asked.
    pub who: Who,
    /// The machine that it is about.
    pub machine: Option<MachineName>,
    /// The operation that it belongs to.
    pub operation: Option<OperationId>,
    /// Why, as whoever asked said it; or what happened, in a sentence.
    pub reason: Reason,
    /// The plan that the order is part of.
    pub plan: Option<PlanId>,
}

impl Event {
    /// Something that has happened.
    #[must_use]
    pub fn new(what: What, who: Who, reason: &str) -> Self {
        Self {
            what,
            outcome: Outcome::Done,
            who,
            machine: None,
            operation: None,
            reason: Reason::new(reason),
            plan: None,
        }
    }

    /// The same about a machine.
    #[must_use]
    pub fn about(self, machine: &MachineName) -> Self {
        Self { machine: Some(machine.clone()), ..self }
    }

    /// The same with what came of it.
    #[must_use]
    pub fn with(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// What came of an order when it was heard.
    #[must_use]
    pub fn of_order(order: &Order, who: &Who, outcome: Outcome) -> Self {
        Self {
            what: What::Order(order.verb),
            outcome,
            who: who.clone(),
            machine: Some(order.machine.clone()),
            operation: Some(order.operation.clone()),
            reason: order.reason.clone(),
            plan: order.plan.clone(),
        }
    }
}

impl Outcome {
    /// A refusal.
    #[must_use]
    pub fn refused(refusal: &Refusal) -> Self {
        Self::Refused { code: refusal.code.as_str().to_owned(), text: refusal.text.clone() }
    }
}
