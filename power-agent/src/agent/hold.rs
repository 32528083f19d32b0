//! Locks of people, as they ask for them and end them. What that means is decided by [`fleet::arbiter::hold`].

use agent_api::{Release, Released, TakeHold, Taken};
use fleet::arbiter::HoldAsked;

use super::{Agent, RequestError};
use crate::clock::Clock;
use crate::machine::hold_view;

impl Agent {
    /// Holds a machine for a person. Moves nothing.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`]; a refusal is an answer and no error.
    pub async fn take_hold(&self, asked: TakeHold) -> Result<Taken, RequestError> {
        let name = asked.machine;
        let book = self.book.lock().await;
        let machine = self.machine(&name)?;
        let now = Clock.now();
        let mut memory = machine.memory();
        let wanted = HoldAsked {
            kind: asked.kind,
            by: asked.by,
            reason: asked.reason,
            span: asked.span,
            force: asked.force,
        };
        let hold = match memory.holds.take(wanted, &name, now) {
            Ok(hold) => hold,
            Err(refusal) => return Ok(Taken::Refused(refusal)),
        };
        if memory.holds.of(hold.kind) != Some(&hold) {
            memory.holds.put(hold.clone());
            self.write_machine(&name, memory).await?;
            machine.state().holds.put(hold.clone());
            tracing::info!(
                machine = %name, by = hold.by, kind = hold.kind.as_str(), reason = %hold.reason, "machine held"
            );
        }
        drop(book);
        self.publish(&name);
        Ok(Taken::Held(hold_view(&hold, now)))
    }

    /// Ends holds, and a quarantine where all is to end; tells which. Moves nothing.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`]; a refusal is an answer and no error.
    pub async fn release(&self, asked: Release) -> Result<Released, RequestError> {
        let name = asked.machine;
        let book = self.book.lock().await;
        let machine = self.machine(&name)?;
        let now = Clock.now();
        let mut memory = machine.memory();
        let by = (asked.by.as_str(), asked.force);
        let released = memory.holds.release(asked.kind, by, &name, now);
        let quarantine = if asked.kind.is_none() { memory.quarantine.take() } else { None };
        if !released.ended.is_empty() || quarantine.is_some() {
            memory.holds = released.left;
            self.write_machine(&name, memory.clone()).await?;
            let mut state = machine.state();
            (state.holds, state.quarantine) = (memory.holds, memory.quarantine);
        }
        drop(book);
        if let Some(quarantine) = &quarantine {
            tracing::info!(
                machine = %name, by = asked.by, reason = %quarantine.reason, "machine returned to service"
            );
        }
        for hold in &released.ended {
            tracing::info!(
                machine = %name, by = asked.by, kind = hold.kind.as_str(), held_by = hold.by, "hold released"
            );
        }
        self.publish(&name);
        let ended = released.ended.iter().map(|hold| hold_view(hold, now)).collect();
        let was_quarantined = quarantine.is_some();
        Ok(Released { ended, was_quarantined, refused: released.refused })
    }
}
