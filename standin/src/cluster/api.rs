//! Nomad's HTTP API, as far as Lamplighter calls it. Whatever else is asked is refused as such, so that a
//! new call of ours can not pass for one about something that does not exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State as Shared;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};

use super::Cluster;
use super::filter::Filter;
use super::job::Job;
use super::node::DrainSpec;
use super::question::Question;
use super::state::{Refusal, State, Table};
use super::work::{Allocation, ClientStatus, EvalStatus};

/// The largest body: a variable of 64 KiB, or a job with a script.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What a question gets: Nomad's JSON, or why not.
type Answer = Result<Value, Refusal>;

pub(super) async fn serve(listener: TcpListener, cluster: Arc<Cluster>) -> Result<()> {
    let router = Router::new().fallback(answer).with_state(cluster);
    Ok(axum::serve(listener, router).await?)
}

async fn answer(Shared(cluster): Shared<Arc<Cluster>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let (index, answer) = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => match Question::read(&head) {
            Ok(question) if question.method == Method::GET => asked(&cluster, &question).await,
            Ok(question) => (None, written(&cluster, &question, &body)),
            Err(words) => (None, Err(Refusal::Bad(words))),
        },
        Err(error) => (None, Err(Refusal::Bad(error.to_string()))),
    };
    respond(index, answer)
}

fn respond(index: Option<u64>, answer: Answer) -> Response<Body> {
    let (code, body) = match answer {
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err(Refusal::NotFound(words)) => (StatusCode::NOT_FOUND, words.to_owned()),
        Err(Refusal::Bad(words)) => (StatusCode::BAD_REQUEST, words),
        Err(Refusal::Failed(words)) => (StatusCode::INTERNAL_SERVER_ERROR, words.to_owned()),
        Err(Refusal::Unknown(words)) => (StatusCode::NOT_IMPLEMENTED, words),
        Err(Refusal::Conflict(stands)) => (StatusCode::CONFLICT, stands.to_string()),
    };
    let mut response = Response::builder().status(code);
    if let Some(index) = index {
        response = response
            .header("X-Nomad-Index", index)
            .header("X-Nomad-KnownLeader", "true")
            .header("X-Nomad-LastContact", "0");
    }
    response.body(Body::from(body)).unwrap_or_default()
}

/// Answers a question, where it names an index when something has changed after that.
async fn asked(cluster: &Cluster, question: &Question) -> (Option<u64>, Answer) {
    let (after, wait) = match (question.number("index"), question.wait()) {
        (Ok(after), Ok(wait)) => (after, wait),
        (Err(words), _) | (_, Err(words)) => return (None, Err(Refusal::Bad(words))),
    };
    let until = Instant::now() + wait;
    let mut changes = cluster.changed.subscribe();
    loop {
        let (index, answer) = {
            let state = cluster.read();
            let (table, answer) = found(&state, question, cluster);
            (table.map_or(1, |table| state.index_of(table)), answer)
        };
        if after == 0 || index > after || answer_is_final(&answer) {
            return (Some(index), answer);
        }
        // Nobody ever stops telling, so an error is the end of the wait.
        if !matches!(timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
            return (Some(index), answer);
        }
    }
}

/// Whether waiting can not change the answer.
const fn answer_is_final(answer: &Answer) -> bool {
    matches!(answer, Err(Refusal::Bad(_) | Refusal::Unknown(_)))
}

fn unknown(question: &Question) -> Refusal {
    let (method, path) = (&question.method, question.path.join("/"));
    Refusal::Unknown(format!("the stand-in for Nomad does not know {method} /v1/{path}"))
}

/// The objects of a kind, and the answer.
fn found(state: &State, question: &Question, cluster: &Cluster) -> (Option<Table>, Answer) {
    let path: Vec<&str> = question.path.iter().map(String::as_str).collect();
    let (table, answer) = match path.as_slice() {
        ["status", "leader"] => return (None, Ok(json!(cluster.http.to_string()))),
        ["namespaces"] => return (None, Ok(json!([{ "Name": "default" }]))),
        ["nodes"] => (Table::Nodes, Ok(state.nodes.values().map(|node| node.stub()).collect())),
        ["node", id] => {
            (Table::Nodes, state.nodes.get(*id).map(|n| n.whole()).ok_or(gone("node not found")))
        }
        ["node", id, "allocations"] => {
            let on_it = state.allocations.iter().filter(|alloc| alloc.node_id == *id);
            (Table::Allocations, Ok(on_it.map(Allocation::whole).collect()))
        }
        ["allocations"] => {
            (Table::Allocations, filtered(question, state.allocations.iter().map(Allocation::stub)))
        }
        ["allocation", id] => {
            let alloc = state.allocations.iter().find(|alloc| alloc.id == *id);
            (Table::Allocations, alloc.map(Allocation::whole).ok_or(gone("alloc not found")))
        }
        ["evaluations"] if question.asked("status") == Some("blocked") => {
            let all = state.evaluations.iter().filter(|e| e.status == EvalStatus::Blocked);
            (Table::Evaluations, filtered(question, all.map(|evaluation| evaluation.whole())))
        }
        ["evaluation", id] => {
            let evaluation = state.evaluations.iter().find(|evaluation| evaluation.id == *id);
            (Table::Evaluations, evaluation.map(|e| e.whole()).ok_or(gone("eval not found")))
        }
        ["jobs"] => {
            let stubs = state.jobs.values().map(|job| job_stub(state, job));
            (Table::Jobs, filtered(question, stubs))
        }
        ["job", id, rest @ ..] => of_job(state, question, id, rest),
        ["var", path @ ..] => {
            let path = path.join("/");
            let variable = state.variables.get(&path).map(|variable| variable.whole(&path));
            (Table::Variables, variable.ok_or(gone("variable not found")))
        }
        _ => return (None, Err(unknown(question))),
    };
    (Some(table), answer)
}

fn of_job(state: &State, question: &Question, id: &str, rest: &[&str]) -> (Table, Answer) {
    let table = if rest == ["allocations"] { Table::Allocations } else { Table::Jobs };
    let Some(job) = state.jobs.get(id) else {
        let none_left = rest == ["allocations"];
        return (table, if none_left { Ok(json!([])) } else { Err(gone("job not found")) });
    };
    let answer = match rest {
        [] => Ok(json!(**job)),
        ["summary"] => Ok(summary(state, job)),
        ["allocations"] => {
            Ok(state.allocations.iter().filter(|a| a.job.id == id).map(Allocation::stub).collect())
        }
        _ => Err(unknown(question)),
    };
    (table, answer)
}

const fn gone(words: &'static str) -> Refusal {
    Refusal::NotFound(words)
}

/// A list, narrowed by a filter and by a namespace; there is one namespace.
fn filtered(question: &Question, objects: impl Iterator<Item = Value>) -> Answer {
    if !matches!(question.asked("namespace"), None | Some("*" | "default")) {
        return Ok(json!([]));
    }
    let filter = question.asked("filter").map(Filter::read).transpose().map_err(Refusal::Bad)?;
    Ok(objects.filter(|object| filter.as_ref().is_none_or(|filter| filter.takes(object))).collect())
}

fn job_stub(state: &State, job: &Job) -> Value {
    json!({
        "ID": job.id,
        "Namespace": job.namespace,
        "Type": job.job_type,
        "Stop": job.stop,
        "Status": if job.stop { "dead" } else { "running" },
        "JobSummary": summary(state, job),
        "JobModifyIndex": job.job_modify_index,
    })
}

fn summary(state: &State, job: &Job) -> Value {
    let count = |status: ClientStatus| {
        state.allocations.iter().filter(|a| a.job.id == job.id && a.status == status).count()
    };
    json!({
        "JobID": job.id,
        "Namespace": job.namespace,
        "Summary": { &job.group().name: {
            "Queued": state.queued.get(&job.id).copied().unwrap_or_default(),
            "Starting": count(ClientStatus::Pending),
            "Running": count(ClientStatus::Running),
            "Complete": count(ClientStatus::Complete),
            "Failed": count(ClientStatus::Failed),
            "Lost": count(ClientStatus::Lost),
            "Unknown": 0,
        }},
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DrainBody {
    drain_spec: Option<DrainSpec>,
    #[serde(default)]
    mark_eligible: bool,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EligibilityBody {
    eligibility: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VariableBody {
    items: BTreeMap<String, String>,
}

fn body<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| Refusal::Bad(error.to_string()))
}

fn written(cluster: &Cluster, question: &Question, bytes: &[u8]) -> Answer {
    let path: Vec<&str> = question.path.iter().map(String::as_str).collect();
    let node_change =
        |index: u64| json!({ "Index": index, "NodeModifyIndex": index, "EvalIDs": null });
    let job_change = |(id, index): (String, u64)| json!({ "EvalID": id, "JobModifyIndex": index, "Index": index, "Warnings": "" });
    match (question.method.as_str(), path.as_slice()) {
        ("PUT" | "POST", ["node", id, "drain"]) => {
            let DrainBody { drain_spec, mark_eligible, meta } = body(bytes)?;
            let meta = meta.unwrap_or_default();
            cluster
                .write(|state, now| state.drain(id, drain_spec, mark_eligible, meta, now))
                .map(node_change)
        }
        ("PUT" | "POST", ["node", id, "eligibility"]) => {
            let eligible = match body::<EligibilityBody>(bytes)?.eligibility.as_str() {
                "eligible" => true,
                "ineligible" => false,
                other => return Err(Refusal::Bad(format!("invalid eligibility {other:?}"))),
            };
            cluster.write(|state, _| state.set_eligibility(id, eligible)).map(node_change)
        }
        ("PUT" | "POST", ["node", id, "purge"]) => {
            cluster.write(|state, _| state.purge_node(id)).map(node_change)
        }
        ("PUT" | "POST", ["jobs"]) => {
            let job = Job::read(bytes).map_err(Refusal::Bad)?;
            cluster.write(|state, _| state.register_job(job)).map(job_change)
        }
        ("DELETE", ["job", id]) => {
            let purge = question.asked("purge") == Some("true");
            cluster.write(|state, _| state.deregister_job(id, purge)).map(job_change)
        }
        ("PUT" | "POST", ["var", path @ ..]) => {
            let VariableBody { items } = body(bytes)?;
            let cas = question.asked("cas").map(|_| question.number("cas")).transpose();
            let cas = cas.map_err(Refusal::Bad)?;
            cluster.write(|state, _| state.put_variable(&path.join("/"), items, cas))
        }
        ("DELETE", ["var", path @ ..]) => {
            cluster.write(|state, _| state.delete_variable(&path.join("/")));
            Ok(Value::Null)
        }
        _ => Err(unknown(question)),
    }
}
