//! What the host asks of a pool: Status, answered from memory, and Scale, answered once the record has it.

use fleet::{Discord, Moment};
use tokio::sync::oneshot;

use super::Pool;
use crate::host::{Config, Direction, Fault, ScalingAction};
use crate::pool::{Report, Request};
use crate::target::block::Block;

/// Scales that may wait for the record to be written: more are answered with an error.
const SCALES_MAX: usize = 64;

impl Pool {
    pub(super) fn answer(&mut self, request: Request) {
        let now = self.now();
        match request {
            Request::Status { block, raw, answer } => {
                let report = self.status(&block, &raw, now);
                // The host may have given up waiting; it asks again.
                answer.send(report).ok();
            }
            Request::Scale { block, raw, action, answer } => {
                self.scale((&block, &raw), &action, answer, now);
            }
            Request::Stop(_) => {}
        }
    }

    pub(super) fn status(&mut self, block: &Block, raw: &Config, now: Moment) -> Report {
        let discord = self.take_block(block, raw, now).err();
        self.meet_caller(&block.voice, raw, now);
        let report = self.report(block, discord, now);
        if let Some(why) = report.not_ready.as_ref().filter(|_| self.not_ready != report.not_ready)
        {
            tracing::info!(pool = %self.parts.pool, reason = %why, "Status is answered not ready");
        }
        self.not_ready.clone_from(&report.not_ready);
        match &mut self.reconciler {
            Some(reconciler) if report.ready => reconciler.told(block.caller(), report.count, now),
            Some(reconciler) => reconciler.told_not_ready(block.caller(), now),
            None => {}
        }
        report
    }

    /// Takes what a policy's block says; it is refused while it contradicts another's.
    pub(super) fn take_block(
        &mut self,
        block: &Block,
        raw: &Config,
        now: Moment,
    ) -> Result<(), Discord> {
        let is_new = self.blocks.take(block, raw)?;
        if let Some(reconciler) = &mut self.reconciler {
            reconciler.call(&block.voice, now);
        }
        if is_new {
            if let Some(reconciler) = &mut self.reconciler {
                reconciler.set_knobs(self.blocks.knobs());
            }
            self.look(now);
        }
        self.blocks.discord().map_or(Ok(()), Err)
    }

    /// Forgets the policies whose demands have lapsed.
    pub(super) fn forget_lapsed(&mut self) {
        let Some(reconciler) = &mut self.reconciler else { return };
        for voice in reconciler.take_lapsed() {
            tracing::info!(
                pool = %self.parts.pool, demand = %voice,
                "a demand lapsed: its policy has not called for demand_ttl"
            );
            self.blocks.forget(&voice);
            self.namesakes.forget(&voice);
            reconciler.set_knobs(self.blocks.knobs());
        }
    }

    pub(super) fn report(&self, block: &Block, discord: Option<Discord>, now: Moment) -> Report {
        let discord = discord.map(|discord| discord.to_string());
        if let Some(reconciler) = &self.reconciler {
            let status = reconciler.status_for(block.terms.knobs.while_starting, now);
            let overdue = self.office.is_overdue(now).then(|| {
                let why = self.office.problem.as_deref().unwrap_or("no answer yet");
                format!("the heartbeat of the pool's lease can not be written: {why}")
            });
            // Why Nomad can not be read is told with its remedy.
            let unread = self.nomad_problem.clone().filter(|_| !self.nomad.answers);
            let waits = status.not_ready.map(|why| unread.unwrap_or(why));
            let not_ready = discord.or(waits).or(overdue);
            return Report {
                ready: not_ready.is_none(),
                count: status.count,
                desired: status.desired,
                not_ready,
            };
        }
        let why = match (self.office.other(), &self.office.problem, &self.nomad_problem) {
            (Some(holder), ..) => format!("{holder} holds the pool's lease"),
            (None, Some(problem), _) => problem.clone(),
            (None, None, Some(problem)) if !self.nomad.answers => problem.clone(),
            (None, None, _) => "the pool is being looked at for the first time".to_owned(),
        };
        Report {
            ready: false,
            count: self.view().count(now),
            desired: None,
            not_ready: Some(discord.unwrap_or(why)),
        }
    }

    pub(super) fn scale(
        &mut self,
        (block, raw): (&Block, &Config),
        action: &ScalingAction,
        answer: oneshot::Sender<Result<(), Fault>>,
        now: Moment,
    ) {
        let refuse = |answer: oneshot::Sender<_>, why: String| {
            // The host may have given up waiting; it asks again.
            answer.send(Err(Fault::failed(why))).ok();
        };
        let Ok(count) = u32::try_from(action.count) else {
            return refuse(answer, format!("count {} is no number of machines", action.count));
        };
        if self.scales.len() >= SCALES_MAX {
            return refuse(answer, "the pool's record can not be written".to_owned());
        }
        let discord = self.take_block(block, raw, now).err();
        let is_refused = discord.is_some();
        self.meet_asker(&block.voice, action, now);
        let Report { desired, not_ready, .. } = self.report(block, discord, now);
        let reconciler = self.reconciler.as_mut().filter(|_| desired.is_some() && !is_refused);
        let Some(reconciler) = reconciler else {
            let why = not_ready.unwrap_or_default();
            return refuse(answer, format!("pool {} can not scale: {why}", self.parts.pool));
        };
        let direction = match action.direction {
            Direction::Up => fleet::demand::Direction::Up,
            Direction::Down => fleet::demand::Direction::Down,
            Direction::None => fleet::demand::Direction::None,
        };
        let count = fleet::NodeCount(count);
        tracing::debug!(pool = %self.parts.pool, %count, reason = %action.reason, "a policy asked");
        reconciler.ask(&block.voice, count, direction, now);
        self.scales.push(answer);
    }

    /// The record could not be written: who asked for a count is told why, and asks again.
    pub(super) fn answer_unkept(&mut self) {
        let Some(problem) = &self.office.problem else { return };
        for answer in self.scales.drain(..) {
            // The host may have given up waiting; it asks again.
            answer.send(Err(Fault::failed(format!("the count was not kept: {problem}")))).ok();
        }
    }
}
