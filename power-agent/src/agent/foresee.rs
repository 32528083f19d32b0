//! What would happen: of an order that nobody has given yet, and of what runs. Judged and run by the same decisions as
//! the real one; nothing is written and nothing moves.

use std::sync::PoisonError;

use agent_api::{DryRun, Forecast, ForecastStep, Foretold, Pending};
use fleet::arbiter::{Hearing, Judgment, Question, Verdict, Work, judge, question, takes_power};
use fleet::forecast::{Assumed, foretell};
use fleet::sequencer::Input;
use fleet::{Moment, OperationId, Order, Sequencer};
use tokio::time::timeout;

use super::hear::{CALL_OFF_PATIENCE, check_id, task, who};
use super::{Agent, NOMAD_PATIENCE, RequestError};
use crate::clock::Clock;
use crate::machine::{Machine, hold_view};

impl Agent {
    /// Tells what would become of an order, heard now.
    ///
    /// # Errors
    /// As [`Agent::order`], but for the journal's: nothing is written.
    pub(crate) async fn dry_run(&self, order: &Order) -> Result<DryRun, RequestError> {
        let arrived = Clock.now();
        let machine = self.machine(&order.machine)?;
        // A policy's order comes after the drain, which is supposed here.
        let work = match question(order, &machine.ledger(arrived)) {
            Question::TakesWork => Work::NotAsked,
            asks => self.work(asks, &machine).await,
        };
        let affected = self.affected(order, &machine, &work).await;
        let book = self.book.lock().await;
        if *self.stop.borrow() {
            return Err(RequestError::Stopping);
        }
        check_id(&book, order)?;
        let known = book.known(&order.operation).is_some();
        let now = Clock.now();
        let mut ledger = self.ledger_of(&machine, now);
        let hearing = Hearing { order, arrived, known, work: &work };
        let Judgment { mut verdict, .. } = judge(hearing, &ledger, &book.fences, now);
        let mut called_off = None;
        if verdict == Verdict::CallOff
            && let Some((id, sequencer)) = self.called_off(order, &machine, now)
        {
            let forecast = self.forecast(&machine, &id, &sequencer, now);
            ledger.running = None;
            ledger.holds.drop_with(&id);
            called_off = Some(forecast);
            verdict = judge(hearing, &ledger, &book.fences, now).verdict;
        }
        let mut hold = None;
        let answer = match verdict {
            Verdict::Repeat => Foretold::Known,
            Verdict::Refuse(refusal) => Foretold::Refused(refusal),
            Verdict::Begin { hold: begun } => {
                hold = begun;
                let sequencer = Sequencer::begin(task(order, &machine, &work), now);
                let mut forecast = self.forecast(&machine, &order.operation, &sequencer, now);
                if called_off.is_some() {
                    delay(&mut forecast);
                }
                Foretold::Begins(forecast)
            }
            Verdict::Join { hold: joined } => {
                hold = joined;
                self.running(&machine, now).map_or(Foretold::Known, Foretold::Joins)
            }
            // What ran has just ended: asked again, it is not there.
            Verdict::CallOff => Foretold::Known,
        };
        let begins = matches!(answer, Foretold::Begins(_));
        Ok(DryRun {
            answer,
            called_off,
            hold: hold.map(|hold| hold_view(&hold, now)),
            work: affected.filter(|_| begins),
        })
    }

    /// What is under way on the machines, or owed: those on which there is something.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        let now = Clock.now();
        let last_try = *self.relit.lock().unwrap_or_else(PoisonError::into_inner);
        let rack = self.rack();
        let all = rack.machines.values().map(|machine| {
            // Each of these locks the machine's state for itself.
            let owed = machine.state().owed.clone();
            let relit_at = machine.relit_at(last_try, now);
            Pending {
                machine: machine.config.name.clone(),
                forecast: self.running(machine, now),
                owed,
                relit_in: relit_at.map(|at| at.since(now)),
            }
        });
        all.filter(|one| one.forecast.is_some() || one.owed.is_some() || one.relit_in.is_some())
            .collect()
    }

    /// What runs on the node and would be moved or lost, also where a real order would not ask.
    async fn affected(&self, order: &Order, machine: &Machine, work: &Work) -> Option<String> {
        let ledger = machine.ledger(Clock.now());
        if !takes_power(order, &ledger) || ledger.pool.is_none() {
            return None;
        }
        let nodes = self.rack().nodes.clone();
        let asked = match work {
            Work::NotAsked => timeout(NOMAD_PATIENCE, nodes.work(&machine.config.node)).await.ok(),
            told => Some(told.clone()),
        };
        match asked {
            Some(Work::Runs(work)) => Some(work),
            Some(Work::NoProof(why)) => Some(format!("nobody can tell: {why}")),
            Some(Work::Empty | Work::NotAsked | Work::TakesWork) => None,
            None => Some("nobody can tell: Nomad did not answer".to_owned()),
        }
    }

    /// What runs, as it would go on once it is called off.
    fn called_off(
        &self,
        order: &Order,
        machine: &Machine,
        now: Moment,
    ) -> Option<(OperationId, Sequencer)> {
        let state = machine.state();
        let live = state.live.as_ref()?;
        let mut sequencer = live.sequencer.clone();
        let why = format!("called off by {}'s `{}`", who(&order.origin), order.verb.as_str());
        sequencer.handle(Input::CalledOff(why), now);
        Some((live.id.clone(), sequencer))
    }

    /// What runs on a machine, from where it is.
    fn running(&self, machine: &Machine, now: Moment) -> Option<Forecast> {
        let (id, sequencer) = {
            let state = machine.state();
            let live = state.live.as_ref()?;
            (live.id.clone(), live.sequencer.clone())
        };
        Some(self.forecast(machine, &id, &sequencer, now))
    }

    fn forecast(
        &self,
        machine: &Machine,
        id: &OperationId,
        sequencer: &Sequencer,
        now: Moment,
    ) -> Forecast {
        let (contacts, outlets, trouble) = machine.outlets_now();
        let room_at = self.room_at(machine, now);
        let node = self.rack().nodes.sign_to_come();
        let assumed = Assumed { outlets, trouble, room_at, node, life: machine.life() };
        let told = foretell(sequencer, &assumed, now);
        let steps = told.steps.into_iter().map(|step| ForecastStep {
            doing: step.doing,
            from: step.from,
            by: step.by,
            lasts: step.lasts,
            outlets: step.outlets.iter().filter_map(|at| contacts.get(*at).cloned()).collect(),
        });
        Forecast {
            operation: id.clone(),
            verb: sequencer.record().task.verb,
            steps: steps.collect(),
            from: told.from,
            by: told.by,
            well: told.well,
            evidence: told.evidence,
            on_soft_off_timeout: sequencer.record().task.on_soft_off_timeout,
        }
    }
}

/// It begins when what runs is called off, which may take that long.
fn delay(forecast: &mut Forecast) {
    forecast.by += CALL_OFF_PATIENCE;
    for step in &mut forecast.steps {
        step.by += CALL_OFF_PATIENCE;
    }
}
