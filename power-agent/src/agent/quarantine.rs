//! Machines out of service, and how their boots went: what the plugin finds is kept here, beside the hardware.

use agent_api::{Boot, Service};
use fleet::arbiter::{BEFORE_BOOT, check_word};
use fleet::{BOOTS_MAX, MachineName, Origin, Quarantine, Refusal};

use super::{Agent, RequestError, who};
use crate::audit::{Event, Outcome, What, Who};
use crate::clock::Clock;

impl Agent {
    /// Takes a machine out of service, or returns it; tells whether that changed anything. Moves nothing.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`]; the inner one is a refusal: the word of an
    /// autoscaler that has no say here any more.
    pub async fn set_service(
        &self,
        service: Service,
        by: Who,
    ) -> Result<Result<bool, Refusal>, RequestError> {
        let book = self.book.lock().await;
        let machine = self.machine(&service.machine)?;
        let now = Clock.now();
        let what = if service.quarantine.is_some() { What::Quarantine } else { What::Return };
        let by = Who::of_origin(&service.origin, Some(by));
        let event = Event::new(what, by, service.reason.as_str()).about(&service.machine);
        if let Origin::Autoscaler(fence) = &service.origin
            && let Err(refusal) =
                check_word(fence, &service.machine, &machine.ledger(now), &book.fences)
        {
            self.audit(event.with(Outcome::refused(&refusal))).await;
            return Ok(Err(refusal));
        }
        let mut memory = machine.memory();
        let quarantine = service.quarantine.map(|cause| Quarantine {
            cause,
            reason: service.reason.clone(),
            since: now,
            by: service.origin.clone(),
        });
        // The first reason stays: a second one is only its consequence.
        if memory.quarantine.is_some() == quarantine.is_some() {
            return Ok(Ok(false));
        }
        memory.quarantine.clone_from(&quarantine);
        self.write_machine(&service.machine, memory, Some(event)).await?;
        let out = quarantine.is_some();
        machine.state().quarantine = quarantine;
        drop(book);
        tracing::info!(
            machine = %service.machine, by = %who(&service.origin), reason = %service.reason,
            "{}", if out { "machine quarantined" } else { "machine returned to service" }
        );
        self.publish(&service.machine);
        Ok(Ok(true))
    }

    /// Keeps how a boot ended. Told again, nothing is written: the answer may have been lost.
    ///
    /// # Errors
    /// [`RequestError::UnknownMachine`] or [`RequestError::Journal`].
    pub async fn record_boot(&self, name: &MachineName, boot: Boot) -> Result<(), RequestError> {
        let book = self.book.lock().await;
        let machine = self.machine(name)?;
        let now = Clock.now();
        let mut memory = machine.memory();
        let known = memory.boots.last().is_some_and(|last| {
            let this_boot = now.since(last.at) < BEFORE_BOOT;
            last.operation == boot.operation && last.end == boot.end && this_boot
        });
        if known {
            return Ok(());
        }
        let surplus = (memory.boots.len() + 1).saturating_sub(BOOTS_MAX);
        memory.boots.drain(..surplus);
        memory.boots.push(fleet::Boot {
            operation: boot.operation,
            end: boot.end,
            took: boot.took,
            at: now.ago(boot.age),
        });
        self.write_machine(name, memory.clone(), None).await?;
        machine.state().boots = memory.boots;
        drop(book);
        self.publish(name);
        Ok(())
    }
}
