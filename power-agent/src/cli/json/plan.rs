//! `plan`, for a program.

use agent_api::{DryRun, Forecast, Foretold, Plan};
use fleet::{MachineName, OnSoftOffTimeout};
use serde::Serialize;

use super::{HoldJson, millis};

/// What an order would lead to.
#[derive(Debug, Serialize)]
pub(crate) struct DryRunsJson<'a> {
    pub(crate) verb: &'static str,
    pub(crate) exit: u8,
    pub(crate) machines: Vec<DryRunJson<'a>>,
}

/// Of one machine.
#[derive(Debug, Serialize)]
pub(crate) struct DryRunJson<'a> {
    machine: &'a str,
    /// begins, joins, refused, known.
    answer: &'static str,
    code: Option<&'static str>,
    text: Option<&'a str>,
    /// What runs on its node and would be moved or lost.
    work: Option<&'a str>,
    hold: Option<HoldJson>,
    called_off: Option<ForecastJson>,
    forecast: Option<ForecastJson>,
}

/// What a sequence would do.
#[derive(Debug, Serialize)]
pub(crate) struct ForecastJson {
    operation: String,
    verb: &'static str,
    /// When it ends: at the earliest, and at the latest where nothing fails.
    from_ms: u64,
    by_ms: u64,
    well: bool,
    evidence: String,
    /// Does it not shut down in time, it keeps its power and is quarantined; else it is cut.
    quarantine_on_timeout: bool,
    steps: Vec<StepJson>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    doing: &'static str,
    /// When it begins.
    from_ms: u64,
    by_ms: u64,
    lasts_ms: u64,
    outlets: Vec<ContactJson>,
    text: String,
}

#[derive(Debug, Serialize)]
struct ContactJson {
    device: String,
    outlet: u32,
}

/// What is pending.
#[derive(Debug, Serialize)]
pub(crate) struct PendingJson<'a> {
    pending: Vec<PendingItemJson<'a>>,
    sequences: Vec<ForecastJson>,
    plans: Vec<PendingPlanJson<'a>>,
}

/// One thing that is to come.
#[derive(Debug, Serialize)]
pub(crate) struct PendingItemJson<'a> {
    pub(crate) machine: &'a str,
    /// `null`: as soon as it can be.
    pub(crate) in_ms: Option<u64>,
    pub(crate) when: &'a str,
    pub(crate) text: &'a str,
}

/// A plugin's plan as it is kept here.
#[derive(Debug, Serialize)]
pub(crate) struct PendingPlanJson<'a> {
    id: String,
    pool: String,
    author: &'a str,
    age_ms: u64,
    lines: Vec<LineJson<'a>>,
}

#[derive(Debug, Serialize)]
struct LineJson<'a> {
    machine: Option<&'a str>,
    text: &'a str,
}

impl<'a> DryRunJson<'a> {
    pub(crate) fn of(machine: &'a MachineName, run: &'a DryRun) -> Self {
        let (answer, refusal, forecast) = match &run.answer {
            Foretold::Refused(refusal) => ("refused", Some(refusal), None),
            Foretold::Begins(forecast) => ("begins", None, Some(forecast)),
            Foretold::Joins(forecast) => ("joins", None, Some(forecast)),
            Foretold::Known => ("known", None, None),
        };
        Self {
            machine: machine.as_str(),
            answer,
            code: refusal.map(|refusal| refusal.code.as_str()),
            text: refusal.map(|refusal| refusal.text.as_str()),
            work: run.work.as_deref(),
            hold: run.hold.as_ref().map(HoldJson::from),
            called_off: run.called_off.as_ref().map(ForecastJson::from),
            forecast: forecast.map(ForecastJson::from),
        }
    }
}

impl From<&Forecast> for ForecastJson {
    fn from(forecast: &Forecast) -> Self {
        let step = |step: &agent_api::ForecastStep| StepJson {
            doing: step.doing.as_str(),
            from_ms: millis(step.from),
            by_ms: millis(step.by),
            lasts_ms: millis(step.lasts),
            outlets: step
                .outlets
                .iter()
                .map(|(device, outlet)| ContactJson { device: device.to_string(), outlet: *outlet })
                .collect(),
            text: step.texts(forecast.on_soft_off_timeout).join("; "),
        };
        Self {
            operation: forecast.operation.to_string(),
            verb: forecast.verb.as_str(),
            from_ms: millis(forecast.from),
            by_ms: millis(forecast.by),
            well: forecast.well,
            evidence: forecast.evidence.clone(),
            quarantine_on_timeout: forecast.on_soft_off_timeout == OnSoftOffTimeout::Quarantine,
            steps: forecast.steps.iter().map(step).collect(),
        }
    }
}

impl<'a> PendingJson<'a> {
    pub(crate) fn new<'b>(
        pending: Vec<PendingItemJson<'a>>,
        sequences: impl Iterator<Item = &'b Forecast>,
        plans: Vec<PendingPlanJson<'a>>,
    ) -> Self {
        Self { pending, sequences: sequences.map(ForecastJson::from).collect(), plans }
    }
}

impl<'a> PendingPlanJson<'a> {
    pub(crate) fn of(plan: &'a Plan) -> Self {
        let line = |line: &'a agent_api::PlanLine| LineJson {
            machine: line.machine.as_ref().map(|name| name.as_str()),
            text: &line.text,
        };
        Self {
            id: plan.id.to_string(),
            pool: plan.pool.to_string(),
            author: &plan.author,
            age_ms: millis(plan.age),
            lines: plan.lines.iter().map(line).collect(),
        }
    }
}
