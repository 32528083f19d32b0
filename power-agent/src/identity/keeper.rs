//! Who may come in: roles as the rack file has them, certificates as the authority has them now, and how often.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet::Moment;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::{Account, Bearer, Caller, Identity, Remote, hash_of};
use crate::clock::Clock;
use crate::quota::{CALLS_PER_MINUTE, CONNECTIONS_PER_NAME_MAX, ORDERS_PER_MINUTE_DEFAULT, Quota};
use crate::roles::{Access, Denied, Grant, Role, Scope, deed_of};
use crate::tls::Trust;

/// How many refusals of one name are written down at once, and then each hour: a script that fails in a loop must not
/// drive everything else out of the audit. That is 0.3 MB a day, of the 32 MiB that are kept.
pub(crate) const TOLD_MAX: u32 = 30;

/// In which time a name gets all of its [`TOLD_MAX`] back.
const TOLD_WINDOW: Duration = Duration::from_secs(3600);

/// Of how many names it is counted how often they were refused without a line.
const UNTOLD_MAX: usize = 1024;

/// What gRPC's clients read how long to wait from.
const RETRY_HINT: &str = "grpc-retry-pushback-ms";

/// Why somebody is turned away. Nothing has moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Turned {
    /// The certificate is not, or no longer, good, or names nobody.
    #[error("certificate of {who}: {problem}; look with `power-agent certs list`")]
    Unproven {
        /// The name that it claims.
        who: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A token that was taken back or has expired since.
    #[error("the token of {who:?} is no longer good; `power-agent token add` makes another")]
    BadToken {
        /// Whose it was.
        who: String,
    },
    /// The role does not allow it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Too often.
    #[error(
        "{who:?} has given {per_minute} {what} within a minute, and that is the limit; again in {} ms",
        wait.as_millis()
    )]
    Overdrawn {
        /// The name.
        who: String,
        /// Orders or calls.
        what: &'static str,
        /// The limit.
        per_minute: u32,
        /// When there is one more.
        wait: Duration,
    },
}

impl Turned {
    /// As it is answered.
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Turned::Unproven { .. } | Turned::BadToken { .. } => Code::Unauthenticated,
            Turned::Denied(_) => Code::PermissionDenied,
            Turned::Overdrawn { .. } => Code::ResourceExhausted,
        };
        let mut status = Status::new(code, self.to_string());
        if let Turned::Overdrawn { wait, .. } = self {
            let hint = MetadataValue::from(fleet::moment::millis(*wait));
            status.metadata_mut().insert(RETRY_HINT, hint);
        }
        status
    }
}

/// Keeps the door.
#[derive(Debug)]
pub(crate) struct Keeper {
    access: Mutex<Arc<Access>>,
    /// What is checked of certificates; `None`: nothing listens on the network.
    pub(crate) trust: Option<Arc<Trust>>,
    own_uid: u32,
    calls: Mutex<Quota>,
    orders: Mutex<Quota>,
    told: Mutex<Told>,
    open: Arc<Mutex<BTreeMap<String, u32>>>,
}

/// What was written down of refusals.
#[derive(Debug, Default)]
struct Told {
    quota: Quota,
    /// How many were not, since the last line of each name.
    untold: BTreeMap<String, u64>,
}

/// A connection that counts against its name's limit until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    name: String,
    open: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Keeper {
    pub(crate) fn new(access: Access, trust: Option<Arc<Trust>>) -> Self {
        Self {
            access: Mutex::new(Arc::new(access)),
            trust,
            own_uid: rustix::process::geteuid().as_raw(),
            calls: Mutex::default(),
            orders: Mutex::default(),
            told: Mutex::default(),
            open: Arc::default(),
        }
    }

    /// Takes the roles of a rack file that was read again.
    pub(crate) fn take_access(&self, access: Access) {
        *lock(&self.access) = Arc::new(access);
    }

    /// Who calls, if they may make this call at all.
    pub(crate) fn admit(
        &self,
        caller: &Caller,
        call: &str,
        now: Moment,
    ) -> Result<Identity, Turned> {
        let identity = self.identify(caller)?;
        let who = &identity.name;
        let taken = lock(&self.calls).take(who, CALLS_PER_MINUTE, now);
        taken.map_err(|wait| overdrawn(who, "calls", CALLS_PER_MINUTE, wait))?;
        identity.may(deed_of(call))?;
        Ok(identity)
    }

    /// Who calls, as the rack file and the certificates stand now.
    pub(crate) fn identify(&self, caller: &Caller) -> Result<Identity, Turned> {
        let access = Arc::clone(&lock(&self.access));
        let (name, grant) = match caller {
            Caller::Local(account) => (&account.name, self.grant_of(account, &access)),
            Caller::Remote(remote) => {
                let name = self.proven(remote)?;
                (name, access.get(name).cloned())
            }
            Caller::Bearer(bearer) => {
                let grant = access.get(&bearer.name).cloned();
                let token = grant.as_ref().and_then(|grant| grant.token.as_ref());
                let good = token.is_some_and(|token| token.is(&bearer.hash, Clock.wall_ms()));
                if !good {
                    return Err(Turned::BadToken { who: bearer.name.clone() });
                }
                (&bearer.name, grant)
            }
        };
        match grant {
            Some(grant) => {
                let (caller, name) = (caller.clone(), name.clone());
                Ok(Identity { caller, name, grant, told: Arc::default() })
            }
            None => Err(Denied::Stranger { who: name.clone() }.into()),
        }
    }

    /// Whose token this is. All are compared, each to its end, so that no time tells how near a guess was.
    pub(crate) fn bearer(&self, token: &str, peer: SocketAddr) -> Option<Caller> {
        let access = Arc::clone(&lock(&self.access));
        let (hash, now) = (hash_of(token), Clock.wall_ms());
        let holds = |grant: &Grant| grant.token.as_ref().is_some_and(|token| token.is(&hash, now));
        let mut found = None;
        for (name, _) in access.iter().filter(|(_, grant)| holds(grant)) {
            found = Some(name.clone());
        }
        Some(Caller::Bearer(Arc::new(Bearer { name: found?, hash, peer })))
    }

    /// Root and the agent's own user could write the rack file or the journal anyway. Others have what the rack file
    /// gives to them or to their groups; the socket's group is there to give orders.
    fn grant_of(&self, account: &Account, access: &Access) -> Option<Grant> {
        let everywhere = |role| Grant {
            role,
            scope: Scope::All,
            orders_per_minute: ORDERS_PER_MINUTE_DEFAULT,
            token: None,
        };
        if account.uid == 0 || account.uid == self.own_uid {
            return Some(everywhere(Role::BreakGlass));
        }
        let of_group = |group: &String| access.get(&format!("%{group}"));
        let granted =
            access.get(&account.name).or_else(|| account.groups.iter().find_map(of_group));
        let default = || account.shares_socket.then(|| everywhere(Role::Operator));
        granted.cloned().or_else(default)
    }

    /// The certificate is asked about again at each call: it may have expired or been revoked since the handshake.
    fn proven<'a>(&self, remote: &'a Remote) -> Result<&'a String, Turned> {
        let unproven =
            |who: &str, problem: String| Turned::Unproven { who: who.to_owned(), problem };
        let from = remote.peer.to_string();
        let name = remote.name.as_ref().map_err(|problem| unproven(&from, problem.clone()))?;
        let trust = self.trust.as_ref();
        let trust = trust.ok_or_else(|| unproven(name, "nothing listens here".to_owned()))?;
        trust.accepts(&remote.chain).map_err(|problem| unproven(name, problem))?;
        Ok(name)
    }

    /// Counts one order.
    pub(crate) fn count_order(&self, who: &Identity, now: Moment) -> Result<(), Turned> {
        let per_minute = who.grant.orders_per_minute;
        let taken = lock(&self.orders).take(&who.name, per_minute, now);
        taken.map_err(|wait| overdrawn(&who.name, "orders", per_minute, wait))
    }

    /// Counts one connection; `None`: the name has too many.
    pub(crate) fn place(&self, name: &str) -> Option<Place> {
        let mut open = lock(&self.open);
        let count = open.entry(name.to_owned()).or_default();
        if *count >= CONNECTIONS_PER_NAME_MAX {
            return None;
        }
        *count += 1;
        Some(Place { name: name.to_owned(), open: Arc::clone(&self.open) })
    }

    /// Whether one more refusal of this name is written down, and then how many were not since the last one.
    pub(crate) fn tells(&self, who: &str, now: Moment) -> Option<u64> {
        let Told { quota, untold } = &mut *lock(&self.told);
        if quota.take_of(who, (TOLD_MAX, TOLD_WINDOW), now).is_ok() {
            return Some(untold.remove(who).unwrap_or_default());
        }
        if untold.contains_key(who) || untold.len() < UNTOLD_MAX {
            let count = untold.entry(who.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.name);
            }
        }
    }
}

fn overdrawn(who: &str, what: &'static str, per_minute: u32, wait: Duration) -> Turned {
    Turned::Overdrawn { who: who.to_owned(), what, per_minute, wait }
}

/// Held for moments only, never over an await; each value is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Deed;

    fn keeper(names: &[(&str, Role)]) -> Keeper {
        let grant = |role| Grant { role, scope: Scope::All, orders_per_minute: 2, token: None };
        let access = names.iter().map(|(name, role)| ((*name).to_owned(), grant(*role)));
        Keeper { own_uid: 990, ..Keeper::new(access.collect(), None) }
    }

    fn local(uid: u32, name: &str, groups: &[&str], shares_socket: bool) -> Caller {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Caller::Local(Arc::new(Account { uid, name: name.to_owned(), groups, shares_socket }))
    }

    fn role(keeper: &Keeper, caller: &Caller) -> Option<Role> {
        keeper.identify(caller).ok().map(|identity| identity.grant.role)
    }

    #[test]
    fn on_the_socket_the_kernel_and_the_rack_file_say_who_may_what() {
        let keeper = keeper(&[
            ("eve", Role::Viewer),
            ("%lamps", Role::Autoscaler),
            ("root", Role::Viewer),
            ("990", Role::Viewer),
        ]);
        for (caller, expected) in [
            (local(0, "root", &[], false), Some(Role::BreakGlass)),
            (local(990, "lamplighter", &[], false), Some(Role::BreakGlass)),
            (local(7, "eve", &["lamps"], true), Some(Role::Viewer)),
            (local(7, "bob", &["users", "lamps"], true), Some(Role::Autoscaler)),
            (local(7, "bob", &["users"], true), Some(Role::Operator)),
            (local(7, "bob", &["users"], false), None),
        ] {
            assert_eq!(role(&keeper, &caller), expected, "{caller:?}");
        }
    }

    #[test]
    fn roles_that_were_read_again_count_from_the_next_call() {
        let keeper = keeper(&[("eve", Role::Viewer)]);
        let eve = local(7, "eve", &[], false);
        assert_eq!(role(&keeper, &eve), Some(Role::Viewer));
        keeper.take_access(Access::new());
        assert_eq!(role(&keeper, &eve), None);
    }

    #[test]
    fn a_call_that_nobody_listed_is_for_break_glass_alone() {
        let keeper = keeper(&[]);
        let now = Moment::ZERO;
        assert!(keeper.admit(&local(0, "root", &[], true), "NewCall", now).is_ok());
        let turned = keeper.admit(&local(7, "bob", &[], true), "NewCall", now).unwrap_err();
        assert_eq!(turned.status().code(), Code::PermissionDenied);
        assert!(keeper.admit(&local(7, "bob", &[], true), "Inventory", now).is_ok());
        assert_eq!(deed_of("NewCall"), Deed::Unlisted);
    }

    #[test]
    fn who_is_over_the_quota_is_told_when_to_come_again() {
        let keeper = keeper(&[("eve", Role::Operator)]);
        let now = Moment::from_millis(5);
        let eve = keeper.identify(&local(7, "eve", &[], false)).unwrap();
        assert!(keeper.count_order(&eve, now).is_ok() && keeper.count_order(&eve, now).is_ok());
        let status = keeper.count_order(&eve, now).unwrap_err().status();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get(RETRY_HINT).unwrap().to_str().unwrap(), "30000");
        assert!(status.message().contains("again in 30000 ms"), "{}", status.message());
    }

    #[test]
    fn what_an_order_would_do_may_be_asked_as_often_as_anything_is_looked_at() {
        let keeper = keeper(&[]);
        let (root, now) = (local(0, "root", &[], true), Moment::ZERO);
        let asked = (0..=CALLS_PER_MINUTE).filter(|_| keeper.admit(&root, "DryRun", now).is_ok());
        assert_eq!(asked.count(), usize::try_from(CALLS_PER_MINUTE).unwrap());
        let turned = keeper.admit(&root, "Inventory", now).unwrap_err();
        assert_eq!(turned.status().code(), Code::ResourceExhausted, "they share one bucket");
    }

    #[test]
    fn a_flood_leaves_few_lines_and_the_next_one_says_how_many_there_were() {
        let keeper = keeper(&[]);
        let at = |seconds: u64| Moment::from_millis(seconds * 1000);
        let told = (0..5000).filter(|_| keeper.tells("eve", at(1)).is_some()).count();
        assert_eq!(told, 30);
        assert_eq!(keeper.tells("ada", at(1)), Some(0), "one name takes nothing from another");
        assert_eq!(keeper.tells("eve", at(121)), Some(4970));
        let a_day = (121..121 + 86_400).filter(|second| keeper.tells("eve", at(*second)).is_some());
        assert_eq!(a_day.count(), 719, "one each two minutes");
    }

    #[test]
    fn a_name_has_so_many_connections_and_gets_them_back() {
        let keeper = keeper(&[]);
        let mut places: Vec<Place> = Vec::new();
        for _ in 0..CONNECTIONS_PER_NAME_MAX {
            places.push(keeper.place("eve").unwrap());
        }
        assert!(keeper.place("eve").is_none() && keeper.place("ada").is_some());
        places.pop();
        assert!(keeper.place("eve").is_some());
        drop(places);
        assert!(lock(&keeper.open).is_empty());
    }
}
