//! What the page answers to: its own files, how the rack stands, and a person's orders, by the service's own calls.

use std::convert::Infallible;
use std::sync::Arc;

use agent_api::wire::power_agent_server::PowerAgent;
use agent_api::{Answer, HistoryAsked, Inventory, Plan, Release, Released, TakeHold, Taken, wire};
use axum::body::Body;
use fleet::{HoldKind, MachineName, Verb};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use tonic::Status;

use super::asked::{COOKIE_NAME, Login, Wanted, from_the_page, json, token};
use super::tile::RackJson;
use super::told::{Answered, Told, as_json, done, nothing_here, text};
use super::{Peer, TOLD, live, nobody};
use crate::agent::Agent;
use crate::audit::{Event, Outcome, What};
use crate::cli::{why, words};
use crate::clock::Clock;
use crate::identity::{Caller, Identity};
use crate::metrics::Why;
use crate::server::Service;

/// How many browsers may look on at once: a quarter of all watches, so that the page keeps no plugin out.
const WATCHES_MAX: usize = 16;

/// How long a browser keeps a token, in seconds: a month. What ends earlier is ended by the rack file.
const COOKIE_SECONDS: u32 = 30 * 24 * 3600;

/// The page's own files alone: no script, style or picture from anywhere else, and none within the page's text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The files of the page, which tell nothing of a rack.
const FILES: [(&str, &str, &str); 4] = [
    ("page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("login.js", "text/javascript; charset=utf-8", include_str!("login.js")),
    ("lamp.svg", "image/svg+xml", include_str!("lamp.svg")),
];

const HTML: &str = "text/html; charset=utf-8";

/// The page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    agent: Arc<Agent>,
    service: Service,
    watches: Arc<Semaphore>,
}

#[derive(Serialize)]
struct WhyJson {
    lines: Vec<String>,
}

impl Page {
    pub(crate) fn new(agent: Arc<Agent>) -> Self {
        let service = Service::new(Arc::clone(&agent));
        Self { agent, service, watches: Arc::new(Semaphore::new(WATCHES_MAX)) }
    }

    /// Never fails: what is wrong is an answer too.
    pub(crate) async fn answer(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let mut answer = match self.route(&head, body).await {
            Ok(answer) => answer,
            Err(told) => told.answer(),
        };
        for (name, value) in HEADERS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(answer)
    }

    async fn route(&self, head: &Parts, body: Body) -> Answered {
        let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        match (&head.method, path.as_slice()) {
            (&Method::GET, [""]) => Ok(match self.who(head) {
                Ok(_) => text(StatusCode::OK, HTML, include_str!("page.html")),
                Err(_) => text(StatusCode::UNAUTHORIZED, HTML, include_str!("login.html")),
            }),
            (&Method::GET, [file]) => {
                let found = FILES.iter().find(|(name, ..)| name == file);
                let (_, kind, content) = found.ok_or_else(nothing_here)?;
                Ok(text(StatusCode::OK, kind, *content))
            }
            (&Method::GET, ["api", "rack"]) => self.rack(self.who(head)?).await,
            (&Method::GET, ["api", "watch"]) => self.watch(self.who(head)?).await,
            (&Method::GET, ["api", "machines", name, "why"]) => {
                self.why(self.who(head)?, machine(name)?).await
            }
            (&Method::POST, ["login"]) => {
                self.own(head)?;
                self.login(head, body).await
            }
            (&Method::POST, ["logout"]) => {
                self.own(head)?;
                Ok(with_cookie("", 0, head))
            }
            (&Method::POST, ["api", "machines", name, verb]) => {
                self.own(head)?;
                let caller = self.who(head)?;
                let wanted: Wanted = json(body).await.map_err(Told::malformed)?;
                self.act(&caller, machine(name)?, verb, &wanted).await
            }
            _ => Err(nothing_here()),
        }
    }

    /// Who asks: by a certificate where one was shown, else by a token.
    fn who(&self, head: &Parts) -> Result<Caller, Told> {
        let peer = head.extensions.get::<Peer>().ok_or_else(Told::internal)?;
        if let Some(caller) = &peer.proven {
            return Ok(caller.clone());
        }
        let Some(token) = token(head) else {
            return Err(Told::unknown("nobody is logged in here: show a certificate or a token"));
        };
        self.bearer(token, peer)
    }

    fn bearer(&self, token: &str, peer: &Peer) -> Result<Caller, Told> {
        self.agent.keeper.bearer(token, peer.address).ok_or_else(|| {
            let text =
                "this token is not known here, or has ended; `power-agent token add` makes one";
            let refused = Outcome::Refused { code: "unproven".to_owned(), text: text.to_owned() };
            let event = Event::new(What::Denied, nobody(peer.address), "the page").with(refused);
            self.agent.tell_refusal(Why::Unproven, TOLD, event);
            Told::unknown(text)
        })
    }

    /// Only the page itself may change anything in its user's name.
    fn own(&self, head: &Parts) -> Result<(), Told> {
        from_the_page(head).map_err(|why| {
            let told = Told {
                status: StatusCode::FORBIDDEN,
                code: "other-site".to_owned(),
                text: why.to_owned(),
            };
            if let Some(peer) = head.extensions.get::<Peer>() {
                let refused = Outcome::Refused { code: told.code.clone(), text: why.to_owned() };
                let event = Event::new(What::Call, nobody(peer.address), head.uri.path());
                self.agent.tell_refusal(Why::CallRefused, TOLD, event.with(refused));
            }
            told
        })
    }

    async fn login(&self, head: &Parts, body: Body) -> Answered {
        let Login { token } = json(body).await.map_err(Told::malformed)?;
        let peer = head.extensions.get::<Peer>().ok_or_else(Told::internal)?;
        let caller = self.bearer(token.trim(), peer)?;
        self.admit(&caller, "Inventory")?;
        Ok(with_cookie(token.trim(), COOKIE_SECONDS, head))
    }

    /// Past the gate, as a call of this name by gRPC.
    fn admit(&self, caller: &Caller, call: &str) -> Result<Identity, Told> {
        self.agent.keeper.admit(caller, call, Clock.now()).map_err(|turned| {
            self.agent.turn_away(caller, (call, None), &turned);
            Told::from(&turned.status())
        })
    }

    /// What a call came to; a refusal leaves its line in the audit as at the gate.
    fn came<T>(
        &self,
        who: &Identity,
        call: &str,
        answer: Result<tonic::Response<T>, Status>,
    ) -> Result<T, Told> {
        answer.map(tonic::Response::into_inner).map_err(|status| {
            if !who.left_a_line() {
                self.agent.note_refusal(&who.caller, call, &status);
            }
            Told::from(&status)
        })
    }

    async fn inventory(&self, caller: &Caller) -> Result<(Inventory, Identity), Told> {
        let who = self.admit(caller, "Inventory")?;
        let reply = self.service.inventory(asks(&who, wire::InventoryRequest {})).await;
        let reply = self.came(&who, "Inventory", reply)?;
        Ok((Inventory::try_from(reply).map_err(|error| Told::odd(&error))?, who))
    }

    async fn rack(&self, caller: Caller) -> Answered {
        let (inventory, who) = self.inventory(&caller).await?;
        as_json(StatusCode::OK, &RackJson::new(&inventory, &who))
    }

    async fn watch(&self, caller: Caller) -> Answered {
        let who = self.admit(&caller, "Watch")?;
        let place = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| Told {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "busy".to_owned(),
            text: format!("{WATCHES_MAX} browsers look on already; close one"),
        })?;
        let events = self.service.watch(asks(&who, wire::WatchRequest {})).await;
        let events = self.came(&who, "Watch", events)?;
        let body = live::body(Arc::clone(&self.agent), who, events, place);
        Ok(text(StatusCode::OK, "text/event-stream", body))
    }

    /// The same as `power-agent why` says.
    async fn why(&self, caller: Caller, name: MachineName) -> Answered {
        let (inventory, who) = self.inventory(&caller).await?;
        let machine = inventory.machines.iter().find(|machine| machine.name == name);
        let machine = machine.ok_or_else(|| Told::missing(&name))?;
        let asked = HistoryAsked {
            machines: vec![name.clone()],
            since: None,
            limit: why::OPERATIONS_SHOWN,
        };
        let history = self.agent.history(asked, who.clone()).await;
        let history = history.map_err(|error| Told::odd(&error))?;
        let mut plans = Vec::new();
        // Plans speak of whole pools; who may see some machines of one alone sees none of them.
        if let Some(pool) = machine.pool.as_ref().filter(|pool| who.grant.scope.covers_pool(pool)) {
            let reply = self
                .service
                .plans(asks(&who, wire::PlansRequest { pool: pool.to_string(), id: String::new() }))
                .await;
            for plan in self.came(&who, "Plans", reply)?.plans {
                plans.push(Plan::try_from(plan).map_err(|error| Told::odd(&error))?);
            }
        }
        as_json(StatusCode::OK, &WhyJson { lines: why::told(machine, &history.entries, &plans) })
    }

    async fn act(
        &self,
        caller: &Caller,
        machine: MachineName,
        verb: &str,
        wanted: &Wanted,
    ) -> Answered {
        match verb {
            "on" => self.switch(caller, machine, Verb::On, wanted).await,
            "off" => self.switch(caller, machine, Verb::Off, wanted).await,
            "cycle" => self.switch(caller, machine, Verb::Cycle, wanted).await,
            "hold" => self.hold(caller, machine, wanted).await,
            "release" => self.release(caller, machine, wanted).await,
            _ => Err(nothing_here()),
        }
    }

    async fn switch(
        &self,
        caller: &Caller,
        machine: MachineName,
        verb: Verb,
        wanted: &Wanted,
    ) -> Answered {
        let who = self.admit(caller, "SetPower")?;
        let order = wanted.order(machine, verb, &who.name).map_err(Told::malformed)?;
        let reply = self.service.set_power(asks(&who, (&order).into())).await;
        let answer = Answer::try_from(self.came(&who, "SetPower", reply)?);
        match answer.map_err(|error| Told::odd(&error))? {
            Answer::Accepted { operation, .. } => {
                done(StatusCode::ACCEPTED, "accepted", &words::operation(&operation))
            }
            Answer::Refused(refusal) => Err(Told::from(&refusal)),
        }
    }

    async fn hold(&self, caller: &Caller, machine: MachineName, wanted: &Wanted) -> Answered {
        let who = self.admit(caller, "SetHold")?;
        let asked = TakeHold {
            machine,
            kind: HoldKind::Hold,
            by: who.name.clone(),
            reason: wanted.reason().map_err(Told::malformed)?,
            span: None,
            force: wanted.force,
        };
        let reply = self.service.set_hold(asks(&who, (&asked).into())).await;
        let taken = Taken::try_from(self.came(&who, "SetHold", reply)?);
        match taken.map_err(|error| Told::odd(&error))? {
            Taken::Held(hold) => done(StatusCode::OK, "held", &words::hold(&hold)),
            Taken::Refused(refusal) => Err(Told::from(&refusal)),
        }
    }

    async fn release(&self, caller: &Caller, machine: MachineName, wanted: &Wanted) -> Answered {
        let who = self.admit(caller, "Release")?;
        let asked = Release { machine, by: who.name.clone(), kind: None, force: wanted.force };
        let reply = self.service.release(asks(&who, (&asked).into())).await;
        let released = Released::try_from(self.came(&who, "Release", reply)?);
        let released = released.map_err(|error| Told::odd(&error))?;
        match &released.refused {
            Some(refusal) => Err(Told::from(refusal)),
            None if released.ended.is_empty() && !released.was_quarantined => {
                done(StatusCode::OK, "released", "nothing held it")
            }
            None => done(StatusCode::OK, "released", "released; nothing moves by it"),
        }
    }
}

/// A call of the service by somebody whom the gate has let in.
fn asks<T>(who: &Identity, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(who.clone());
    request
}

fn machine(name: &str) -> Result<MachineName, Told> {
    MachineName::new(name).map_err(|error| Told::malformed(error.to_string()))
}

/// The token in a cookie that no script reads and no other site sends; `seconds` 0 takes it away.
fn with_cookie(token: &str, seconds: u32, head: &Parts) -> Response<Body> {
    let secure = head.extensions.get::<Peer>().is_some_and(|peer| peer.secure);
    let only = if secure { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{only}"
    );
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}
