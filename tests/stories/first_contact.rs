//! Story 4. Goal: on a rack that is on and that no record tells of, nothing goes dark that has not been
//! idle for its time since. Method: four machines on, two with work, on boards of both kinds; the time is
//! read off the rack's edge log.

use std::time::Duration;

use anyhow::{Result, ensure};
use nomad_api::ClientStatus;
use testkit::evidence::between;
use testkit::rig::{PATH_BOUND, Rig, RigSpec, waiting_policy};
use testkit::wait::{Probe, eventually};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::moment::Moment;
use virtual_rack::relay::Power;

/// Long beside the damping of three seconds and the drain and shutdown of some six: a cut that did not
/// wait for it is seen.
const IDLE_TIME: Duration = Duration::from_secs(16);

#[test]
fn at_first_contact_on_boards_that_can_be_read_nothing_goes_dark_before_its_idle_time() {
    crate::story("first contact, boards with status", first_contact("lcus-ascii"));
}

#[test]
fn at_first_contact_on_silent_boards_nothing_goes_dark_before_its_idle_time() {
    crate::story("first contact, silent boards", first_contact("lcus-silent"));
}

async fn first_contact(board: &'static str) -> Result<()> {
    let policy = waiting_policy(1, 4, "idle_time = \"16s\"");
    let spec = RigSpec { board, on: 4, policy, ..RigSpec::dark(4) };
    let mut rig = Rig::prepare(&spec).await?;
    let stays = work_on(&rig, "stays", "node3").await?;
    work_on(&rig, "leaves", "node2").await?;
    rig.start_agent().await?;
    let unmet = rig.now().await?;
    rig.start_autoscaler().await?;

    let contact = contact(&rig, unmet).await?;
    rig.heartbeats(2).await?;
    let idle_since = rig.now().await?;
    rig.server.stop_job("leaves").await?;
    rig.until(3, Phase::Dark).await?;

    for (machine, since) in [("node1", contact), ("node2", idle_since), ("node4", contact)] {
        let waited = between(since, rig.cut_at(machine).await?);
        ensure!(
            waited >= IDLE_TIME,
            "{machine} was cut after {waited:?}, its idle time is {IDLE_TIME:?}"
        );
        ensure!(rig.edges(machine).await? == [Power::Off], "{machine} was lit meanwhile");
    }
    rig.heartbeats(3).await?;
    ensure!(rig.edges("node3").await?.is_empty(), "the relay of the one with work has moved");
    let running = ClientStatus::Running;
    let now = rig.server.allocations_when("stays", &running, 1, PATH_BOUND).await?;
    ensure!(now[0].id == stays, "its work was moved or started anew");
    Ok(())
}

/// Runs a service on this machine; returns its allocation.
async fn work_on(rig: &Rig, id: &str, machine: &str) -> Result<String> {
    let job = ShellJob::service(id, 1).only_on(machine);
    rig.server.run_job(&job).await?;
    let placed = rig.server.allocations_when(id, &ClientStatus::Running, 1, PATH_BOUND).await?;
    ensure!(placed[0].node_name == machine, "{id} runs on {}", placed[0].node_name);
    Ok(placed[0].id.clone())
}

/// The last moment at which the pool had no record: the plugin adopts it after the first one is written.
async fn contact(rig: &Rig, without: Moment) -> Result<Moment> {
    let mut without = without;
    eventually("the pool's first record", PATH_BOUND, async || {
        let now = rig.now().await?;
        let found = rig.record().await?.map(|_| without);
        without = now;
        Ok(Probe::of(found, || "none".to_owned()))
    })
    .await
}
