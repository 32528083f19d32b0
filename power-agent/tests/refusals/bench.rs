//! A rack of silent boards, which hear nothing but orders, and the real agent on the network before them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use agent_api::{AgentAddress, AgentError, Answer, Client, Credentials, Order, RefusalCode};
use fleet::{Origin, Verb};
use power_agent::audit::{AuditLine, each_line};
use power_agent::certs::{Authority, Bearer};
use testkit::bench::{Bench, PATIENCE, order, until};
use tokio::time::timeout;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

const BOARDS: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-silent"
channels = 4
link = "a.tty"
"#;

const RACK: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "1s"
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
[tls]
ca_file = "ca/ca.pem"
cert_file = "ca/rack.pem"
key_file = "ca/rack.key"
crl_file = "ca/crl.pem"
[access.ada]
role = "break-glass"
[access.bob]
role = "operator"
machines = "lamp1"
[access.eve]
role = "viewer"
[access.scaler]
role = "autoscaler"
pools = ["rack"]
[access.hasty]
role = "operator"
orders_per_minute = 1
[devices.a]
driver = "lcus"
port = "a.tty"
channels = 4
status = "none"
[pools.rack]
[pools.other]
[machines.lamp1]
pool = "rack"
outlets = [{ device = "a", outlet = 1 }]
[machines.lamp2]
pool = "other"
outlets = [{ device = "a", outlet = 2 }]
"#;

/// Names that have a certificate from the start.
const NAMES: &[&str] = &["ada", "bob", "eve", "scaler", "hasty", "stranger", "gone"];

/// Rack, agent, and the authority that it knows.
pub(crate) struct Networked {
    pub(crate) bench: Bench,
    pub(crate) authority: Authority,
    pub(crate) port: u16,
}

/// Runs a test beside a rack and an agent of its own. After it, its word stands against the boards': what they heard
/// is what the test says, byte for byte.
pub(crate) async fn with_bench(frames_expected: u64, test: impl AsyncFnOnce(&Networked)) {
    let mut bench = Bench::new(BOARDS, RACK).await;
    let authority = make_authority(&bench.path("ca"));
    bench.start_agent().await;
    let address = || {
        let log = bench.log();
        let rest = log.split("address=127.0.0.1:").nth(1)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let port = until("the agent listens", async || address()).await;
    let bench = Networked { bench, authority, port };
    let ada = bench.client("ada");
    until("the agent answers on the network", async || ada.inventory().await.ok()).await;
    test(&bench).await;
    let frames =
        async || bench.bench.rack.state().await.expect("the rack answers").boards["a"].frames;
    // An order is answered before its frame goes out.
    until("the boards have heard what was ordered", async || {
        (frames().await.accepted >= frames_expected).then_some(())
    })
    .await;
    bench.bench.heard().await;
    let frames = frames().await;
    let heard = frames.accepted + frames.queries + frames.lost + frames.bad + frames.ignored;
    assert_eq!((heard, frames.accepted), (frames_expected, frames_expected), "{frames:?}");
}

fn make_authority(dir: &std::path::Path) -> Authority {
    let now = wall();
    Authority::init(dir, now).expect("an authority");
    let authority = Authority::open(dir).expect("an authority");
    let hosts = vec!["127.0.0.1".to_owned()];
    authority.issue("rack", &Bearer::Agent { hosts }, 30, now).expect("a certificate");
    for name in NAMES {
        authority.issue(name, &Bearer::Client, 30, now).expect("a certificate");
    }
    // A certificate reaches back one day.
    authority.issue("expired", &Bearer::Client, 1, now - 9 * DAY).expect("a certificate");
    authority.issue("early", &Bearer::Client, 9, now + 9 * DAY).expect("a certificate");
    authority
}

#[expect(clippy::disallowed_methods, reason = "certificates are made for the wall clock")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

impl Networked {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    pub(crate) fn log(&self) -> String {
        self.bench.log()
    }

    /// The files of a name, of this authority or another.
    pub(crate) fn credentials(&self, dir: &str, who: &str) -> Credentials {
        let of = |file: String| self.path(dir).join(file);
        Credentials {
            ca_file: self.path("ca/ca.pem"),
            cert_file: of(format!("{who}.pem")),
            key_file: of(format!("{who}.key")),
        }
    }

    pub(crate) fn client_at(&self, host: &str, credentials: &Credentials) -> Client {
        let address = AgentAddress::Network { host: host.to_owned(), port: self.port };
        Client::connect_lazy_with(&address, Some(credentials))
    }

    pub(crate) fn client(&self, who: &str) -> Client {
        self.client_at("127.0.0.1", &self.credentials("ca", who))
    }

    /// Gives an order that must not reach the agent's ears: what the client was told.
    pub(crate) async fn shut_out(&self, client: &Client) -> String {
        let order = unforced("shut-out", "lamp1", Verb::On, root());
        let answer = timeout(PATIENCE, client.set_power(&order)).await.expect("an answer in time");
        match answer {
            Err(error @ AgentError::Unreachable { .. }) => error.to_string(),
            other => panic!("not shut out: {other:?}"),
        }
    }

    /// Gives an order that must be refused for want of a role: the text.
    pub(crate) async fn forbidden(&self, who: &str, order: &Order) -> String {
        match self.client(who).set_power(order).await {
            Ok(Answer::Refused(refusal)) => {
                assert_eq!(refusal.code, RefusalCode::Forbidden, "{}", refusal.text);
                refusal.text
            }
            other => panic!("{who} was not refused: {other:?}"),
        }
    }

    /// The lines of the audit that tell of refusals.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.lines(|line| (line.outcome == "refused").then_some(()), |text, ()| text.to_owned())
    }

    /// What is picked of the audit's lines, with their text.
    pub(crate) fn lines<P, T>(
        &self,
        pick: impl Fn(&AuditLine) -> Option<P>,
        told: impl Fn(&str, P) -> T,
    ) -> Vec<T> {
        let mut lines = Vec::new();
        let read = each_line(&self.path("state"), |text, line| {
            if let Some(picked) = line.ok().and_then(|line| pick(&line)) {
                lines.push(told(text, picked));
            }
        });
        // Before the first line there is no file.
        drop(read);
        lines
    }

    /// How many callers Prometheus is told to have been turned away, by why.
    pub(crate) async fn turned_away(&self) -> BTreeMap<String, u64> {
        let text = self.bench.scraped("/metrics").await;
        let count = |line: &str| {
            let rest = line.strip_prefix("lamplighter_agent_turned_away_total{why=\"")?;
            let (why, count) = rest.split_once("\"} ")?;
            Some((why.to_owned(), count.parse().ok()?))
        };
        text.lines().filter_map(count).collect()
    }

    /// How often the agent has taken changed certificates.
    pub(crate) fn renewals(&self) -> usize {
        self.log().matches("certificates were read again").count()
    }

    /// Waits until the agent has taken changed certificates once.
    pub(crate) async fn until_renewed(&self) {
        until("certificates were read again", async || (self.renewals() > 0).then_some(())).await;
    }

    /// Waits for a line of the audit that holds one of these words, separated by `|`, and what `first` says.
    pub(crate) async fn until_told_any(&self, first: &str, words: &str) {
        until(&format!("the audit tells {first} and {words}: {}", self.log()), async || {
            let told = self.refusals();
            let holds = |line: &String| {
                line.contains(first) && words.split('|').any(|word| line.contains(word))
            };
            told.iter().any(holds).then_some(())
        })
        .await;
    }

    /// Waits for a line of the audit that holds all these words.
    pub(crate) async fn until_told(&self, words: &[&str]) {
        let what = format!("the audit tells {words:?}; it has {:#?}", self.refusals());
        until(&what, async || {
            let told = self.refusals();
            told.iter().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        })
        .await;
    }
}

pub(crate) fn root() -> Origin {
    Origin::Person("root".to_owned())
}

/// An order that does not say that it needs no proof.
pub(crate) fn unforced(id: &str, machine: &str, verb: Verb, origin: Origin) -> Order {
    Order { force: false, ..order(id, machine, verb, origin) }
}
