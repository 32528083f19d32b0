//! The APM kind: answers `pending POOL` from one look at Nomad and the agents, and tells the agents why.
//!
//! What is counted is decided in [`fleet::pending`]; here it is only observed, asked and told.

mod clock;
mod hosts;
mod look;
mod query;
mod tell;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_api::AgentAddress;
use fleet::pending::{Line, Patience, Pending};
use fleet::{HolderId, Moment, PoolName};

use crate::host::{Apm, Config, Fault, Point, TimeRange};
use crate::observe::{AgentSight, Agents};
use crate::settings::Settings;
use clock::Clock;
use look::{Looker, Sight};
pub(crate) use query::Query;
use tell::Teller;

/// How long a query may take: under three quarters of the host's default interval, and under its own
/// cut, so that the error says what was slow.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(7);

/// How old a look may be that answers another query: policies of one interval ask at the same moment.
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);

/// The APM plugin.
#[derive(Debug)]
pub struct ApmPlugin {
    me: HolderId,
    clock: Clock,
    /// Replaced as a whole at each SIGHUP of the host.
    asker: Mutex<Option<Arc<Asker>>>,
}

/// All that queries of one configuration share.
#[derive(Debug)]
struct Asker {
    /// The how manieth configuration of this process this is.
    run: u64,
    settings: Settings,
    /// Queries look one after the other; who waited uses the look of the one before.
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
struct State {
    looker: Looker,
    sight: Option<(Sight, Moment)>,
    patience: BTreeMap<PoolName, Patience>,
    teller: Teller,
    /// Agents that did not answer at the last look, so that each silence is logged once.
    silent: BTreeSet<AgentAddress>,
}

impl ApmPlugin {
    /// A plugin without configuration. `me` names this process in the plans that it leaves with agents.
    #[must_use]
    pub fn new(me: HolderId) -> Self {
        Self { me, clock: Clock::start(), asker: Mutex::new(None) }
    }

    fn asker(&self) -> Result<Arc<Asker>, Fault> {
        let asker = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        asker.clone().ok_or_else(|| Fault::failed("the plugin has not been configured yet"))
    }

    async fn pending(&self, pool: &PoolName) -> Result<Pending, Fault> {
        let asker = self.asker()?;
        let mut state = asker.state.lock().await;
        state.look(&self.clock).await?;
        let (answer, lines, to) = state.judge(pool, self.clock.now())?;
        let now = self.clock.now();
        if let Some(plan) = state.teller.news(pool, &lines, &to, now) {
            tracing::info!(pool = %pool, count = answer.count.0, "demand changed");
            let clients = state.looker.agents().clients().clone();
            for agent in tell::tell(&plan, &to, &clients).await {
                state.teller.failed(pool, &agent);
            }
        }
        Ok(answer)
    }
}

impl State {
    async fn look(&mut self, clock: &Clock) -> Result<(), Fault> {
        let now = clock.now();
        if self.sight.as_ref().is_some_and(|(_, at)| now.since(*at) < LOOK_AGE_MAX) {
            return Ok(());
        }
        self.sight = None;
        let sight = self.looker.look(now).await;
        let sight = sight.map_err(|error| Fault::caused("pending work is not known", &error))?;
        for agent in &sight.agents {
            match &agent.problem {
                Some(problem) if self.silent.insert(agent.address.clone()) => {
                    tracing::warn!(agent = %agent.address, err = %problem, "agent not heard");
                }
                Some(_) => {}
                None => {
                    self.silent.remove(&agent.address);
                }
            }
        }
        self.sight = Some((sight, clock.now()));
        Ok(())
    }

    /// The answer, its lines, and the agents that can be told of it.
    fn judge(
        &mut self,
        pool: &PoolName,
        now: Moment,
    ) -> Result<(Pending, Vec<Line>, BTreeSet<AgentAddress>), Fault> {
        let Some((sight, _)) = &self.sight else {
            return Err(Fault::failed("pending work is not known yet"));
        };
        let hosts = hosts::of_pool(pool, &sight.agents, &sight.nodes, &sight.allocs);
        if hosts.is_empty() {
            return Err(no_such_pool(pool, &sight.agents));
        }
        let feeds = hosts::feed_rooms(&sight.agents);
        let patience = self.patience.entry(pool.clone()).or_default();
        let answer = patience.assess(&sight.work, &hosts, &feeds, now);
        let mut lines = answer.lines(pool, now);
        lines.extend(remarks(sight).map(|text| Line { machine: None, text }));
        let heard = sight.agents.iter().filter(|agent| agent.problem.is_none());
        let heard = heard.map(|agent| agent.address.clone()).collect();
        Ok((answer, lines, heard))
    }
}

/// What the count does not rest on, although it should.
fn remarks(sight: &Sight) -> impl Iterator<Item = String> {
    let silent = sight.agents.iter().filter_map(|agent| {
        let problem = agent.problem.as_ref()?;
        Some(match &agent.inventory {
            Some(_) => format!(
                "agent {} does not answer ({problem}): of its machines only the work that they hold is counted",
                agent.address
            ),
            None => format!(
                "agent {} has not been heard since this plugin started ({problem}): its machines are not known and not counted",
                agent.address
            ),
        })
    });
    let left_out = (sight.jobs_left_out > 0).then(|| {
        format!(
            "{} more jobs wait and are looked at when older ones have their places",
            sight.jobs_left_out
        )
    });
    silent.chain(left_out)
}

fn no_such_pool(pool: &PoolName, agents: &[AgentSight]) -> Fault {
    let silent: Vec<String> = agents
        .iter()
        .filter_map(|agent| {
            let problem = agent.problem.as_ref()?;
            Some(format!("{} ({problem})", agent.address))
        })
        .collect();
    let pools: Vec<&str> = hosts::pools(agents).into_iter().map(PoolName::as_str).collect();
    let mut text = format!("pool {pool}: no agent names a machine with pool = \"{pool}\"");
    if !pools.is_empty() {
        text.push_str(&format!("; pools that agents name: {}", pools.join(", ")));
    }
    if !silent.is_empty() {
        text.push_str(&format!("; agents that do not answer: {}", silent.join(", ")));
    }
    text.push_str("; correct the query, the rack file, or `agents` in the plugin block's config");
    Fault::failed(text)
}

impl Apm for ApmPlugin {
    async fn set_config(&self, config: Config) -> Result<(), Fault> {
        let mut warnings = Vec::new();
        let settings = Settings::read(&config, &mut warnings)?;
        if settings.metrics.is_some() {
            warnings.push("config metrics is for the target: the apm has none".to_owned());
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mut known = self.asker.lock().unwrap_or_else(PoisonError::into_inner);
        // A SIGHUP without a change forgets nothing of what was learnt.
        if known.as_ref().is_some_and(|asker| asker.settings == settings) {
            return Ok(());
        }
        let nomad = nomad_api::Client::new(&settings.nomad);
        let nomad = nomad.map_err(|error| Fault::caused("config", &error))?;
        let run = known.as_ref().map_or(1, |asker| asker.run + 1);
        let state = State {
            looker: Looker::new(nomad, Agents::at(&settings.agents, settings.credentials.as_ref())),
            sight: None,
            patience: BTreeMap::new(),
            teller: Teller::new(&self.me, run),
            silent: BTreeSet::new(),
        };
        *known = Some(Arc::new(Asker { run, settings, state: tokio::sync::Mutex::new(state) }));
        Ok(())
    }

    async fn query(&self, query: String, range: TimeRange) -> Result<Vec<Point>, Fault> {
        let asked = Query::parse(&query).map_err(|error| Fault::failed(error.to_string()))?;
        let Query::Pending(pool) = asked;
        let answer = tokio::time::timeout(QUERY_DEADLINE, self.pending(&pool)).await;
        let answer = answer.unwrap_or_else(|_elapsed| {
            Err(Fault::failed(format!(
                "query {query:?} had no answer within {} s; check that Nomad and the agents answer promptly",
                QUERY_DEADLINE.as_secs()
            )))
        })?;
        Ok(vec![Point { at: range.to, value: f64::from(answer.count.0) }])
    }

    async fn stop(&self) {}
}
