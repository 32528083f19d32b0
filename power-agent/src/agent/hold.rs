//! Locks of people, as they ask for them and end them. What that means is decided by [`fleet::arbiter::hold`].

use agent_api::{Release, Released, TakeHold, Taken};
use fleet::Origin;
use fleet::arbiter::{HoldAsked, HoldKind};

use super::{Agent, RequestError};
use crate::audit::{Event, Outcome, What, Who};
use crate::clock::Clock;
use crate::machine::hold_view;

impl Agent {
    /// Holds a machine for a person. Moves nothing.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`]; a refusal is an answer and no error.
    pub async fn take_hold(&self, asked: TakeHold, by: &Who) -> Result<Taken, RequestError> {
        let name = asked.machine;
        let book = self.book.lock().await;
        let machine = self.machine(&name)?;
        let now = Clock.now();
        let mut memory = machine.memory();
        let what = match asked.kind {
            HoldKind::Reservation => What::Reserve,
            HoldKind::Maintenance | HoldKind::Off | HoldKind::Hold | HoldKind::Flapping => {
                What::Hold
            }
        };
        let why = format!("{}: {}", asked.kind.as_str(), asked.reason);
        let event = Event::new(what, by.clone(), &why).about(&name);
        let wanted = HoldAsked {
            kind: asked.kind,
            by: asked.by,
            reason: asked.reason,
            span: asked.span,
            force: asked.force,
        };
        let hold = match memory.holds.take(wanted, &name, now) {
            Ok(hold) => hold,
            Err(refusal) => {
                self.audit(event.with(Outcome::refused(&refusal))).await;
                return Ok(Taken::Refused(refusal));
            }
        };
        if memory.holds.of(hold.kind) != Some(&hold) {
            memory.holds.put(hold.clone());
            self.write_machine(&name, memory, Some(event)).await?;
            machine.state().holds.put(hold.clone());
            tracing::info!(
                machine = %name, by = hold.by, kind = hold.kind.as_str(), reason = %hold.reason, "machine held"
            );
        }
        if let Some(live) = &mut machine.state().live
            && !matches!(live.origin, Origin::Person(_))
        {
            // What has begun goes on; what only waits for its time does not.
            live.call_off = Some(format!("called off: {} holds the machine", hold.by));
        }
        drop(book);
        self.publish(&name);
        Ok(Taken::Held(hold_view(&hold, now)))
    }

    /// Ends holds, and a quarantine where all is to end; tells which. Moves nothing.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`]; a refusal is an answer and no error.
    pub async fn release(&self, asked: Release, who: &Who) -> Result<Released, RequestError> {
        let name = asked.machine;
        let book = self.book.lock().await;
        let machine = self.machine(&name)?;
        let now = Clock.now();
        let mut memory = machine.memory();
        let by = (asked.by.as_str(), asked.force);
        let holds = machine.state().all_holds(&machine.config, now);
        let mut released = holds.release(asked.kind, by, &name, now);
        // The breaker's lock is told, not kept.
        released.left.remove(HoldKind::Flapping);
        if released.ended.iter().any(|hold| hold.kind == HoldKind::Flapping) {
            memory.wear.calm();
        }
        let quarantine = if asked.kind.is_none() { memory.quarantine.take() } else { None };
        if !released.ended.is_empty() || quarantine.is_some() {
            memory.holds = released.left;
            let ended = released
                .ended
                .iter()
                .map(|hold| format!("the {} of {} ({})", hold.kind.as_str(), hold.by, hold.reason));
            let out = quarantine.iter().map(|out| format!("the quarantine ({})", out.reason));
            let what = ended.chain(out).collect::<Vec<_>>().join(" and ") + " ends";
            let event = Event::new(What::Release, who.clone(), &what).about(&name);
            self.write_machine(&name, memory.clone(), Some(event)).await?;
            let mut state = machine.state();
            state.holds = memory.holds;
            state.wear = memory.wear;
            state.quarantine = memory.quarantine;
        }
        drop(book);
        if let Some(refusal) = &released.refused {
            let event = Event::new(What::Release, who.clone(), "").about(&name);
            self.audit(event.with(Outcome::refused(refusal))).await;
        }
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
