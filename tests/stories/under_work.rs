//! Story 2. Goal: scale-in never costs work. Services and their data are elsewhere before their machine
//! goes; a batch task runs to its end, and meanwhile others go. Method: tasks write a diary, the rack its
//! edges, on one clock; the two are compared.

use std::time::Duration;

use anyhow::{Result, ensure};
use nomad_api::ClientStatus;
use testkit::diary::{Diary, Entry};
use testkit::rig::{PATH_BOUND, Rig, RigSpec, fixed_policy};
use testkit::work::ShellJob;
use virtual_rack::edges::EdgeRecord;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// Some ticks of the policy, so that it is evaluated while work still moves.
const STOP_TAKES: Duration = Duration::from_secs(4);

/// Short beside the copying of the data: a machine that goes too soon takes them with it.
const SHUTDOWN: Duration = Duration::from_millis(10);

/// Fills the disk with data and a checksum where it is empty, and checks it where it is not.
const KEEP_DATA: &str = "cd $NOMAD_ALLOC_DIR/data
if [ -e sum ]; then
  say arrived
  if sha256sum -c --quiet sum; then say whole; else say broken; fi
else
  head -c 64000000 /dev/urandom > blob
  sha256sum blob > sum
  say made
fi";

#[test]
fn services_and_a_migrating_disk_are_elsewhere_before_their_machine_goes() {
    crate::story("scale-in under services", services_move());
}

#[test]
fn a_batch_task_runs_to_its_end_while_another_machine_goes() {
    crate::story("scale-in under batch work", batch_runs_to_its_end());
}

async fn services_move() -> Result<()> {
    let spec = RigSpec { shutdown: SHUTDOWN, ..RigSpec::utilised(2, 60, "") };
    let rig = Rig::start(&spec).await?;
    let diary = Diary::new(&rig.dir);
    let disk = "ephemeral_disk {\n  migrate = true\n  sticky = true\n  size = 200\n}";
    let moves = ShellJob { cpu_mhz: 150, ..diary.service("moves", "", Duration::ZERO) };
    // It is the last to end, so that the machine waits for nothing but its data.
    let carries = diary.service("carries", KEEP_DATA, STOP_TAKES);
    let carries = ShellJob { cpu_mhz: 150, in_group: disk.to_owned(), ..carries };

    rig.server.run_job(&moves).await?;
    rig.server.run_job(&carries).await?;
    let old = diary.said_when("moves", "begin", 1, PATH_BOUND).await?.node;
    diary.said_when("carries", "made", 1, PATH_BOUND).await?;
    // What fills the first machine has the policy light the second, and leaves it the only room.
    rig.server.run_job(&ShellJob { cpu_mhz: 1500, ..ShellJob::service("fills", 1) }).await?;
    rig.until(2, Phase::Up).await?;
    let stays = ShellJob { cpu_mhz: 500, ..diary.service("stays", "", Duration::ZERO) };
    rig.server.run_job(&stays).await?;
    let new = diary.said_when("stays", "begin", 1, PATH_BOUND).await?.node;
    ensure!(old != new, "all work runs on {old}");

    rig.server.stop_job("fills").await?;
    let cut = rig.off_edge(&old).await?;
    for job in ["moves", "carries"] {
        assert_moved(&diary, job, &new, &cut)?;
        let running = ClientStatus::Running;
        let now = rig.server.allocations_when(job, &running, 1, PATH_BOUND).await?;
        ensure!(now[0].node_name == new, "Nomad has {job} on {}", now[0].node_name);
    }
    let whole = diary.said("carries", "whole")?;
    let story = diary.entries()?;
    ensure!(whole.len() == 1 && whole[0].node == new, "the data did not arrive whole: {story:?}");
    ensure!(diary.said("stays", "begin")?.len() == 1, "work that could stay was moved");
    ensure!(rig.edges(&old).await? == [Power::On, Power::Off], "{old} was switched otherwise");
    ensure!(rig.edges(&new).await? == [Power::On], "{new} was switched otherwise");
    Ok(())
}

/// A job has begun once on either machine, and ended by itself on the old one, all before that was cut.
fn assert_moved(diary: &Diary, job: &str, new: &str, cut: &EdgeRecord) -> Result<()> {
    let begun = diary.said(job, "begin")?;
    let ended = diary.said(job, "end")?;
    let story = format!("{job} began {begun:?}, ended {ended:?}; its machine was cut {cut:?}");
    let ([first, second], [end]) = (begun.as_slice(), ended.as_slice()) else {
        anyhow::bail!("expected two begins and one end: {story}");
    };
    ensure!(end.alloc == first.alloc, "another instance ended: {story}");
    ensure!(second.node == new, "it did not move to {new}: {story}");
    ensure!(before(second, cut), "the replacement came after the cut: {story}");
    ensure!(before(end, cut), "the end came after the cut: {story}");
    Ok(())
}

fn before(entry: &Entry, edge: &EdgeRecord) -> bool {
    entry.wall_us < edge.wall_us
}

async fn batch_runs_to_its_end() -> Result<()> {
    let mut rig = Rig::start(&RigSpec::dark(2)).await?;
    let diary = Diary::new(&rig.dir);
    let gate = rig.dir.join("gate");
    let script = format!("say begin; until [ -e {} ]; do sleep 0.1; done; say end", gate.display());
    let batch = ShellJob::batch("batch", 1, &diary.script(&script));
    rig.server.run_job(&ShellJob { cpu_mhz: 1500, ..batch }).await?;
    let other = ShellJob { cpu_mhz: 1500, ..diary.service("other", "", Duration::ZERO) };
    rig.server.run_job(&other).await?;
    let busy = diary.said_when("batch", "begin", 1, PATH_BOUND).await?.node;
    let idle = diary.said_when("other", "begin", 1, PATH_BOUND).await?.node;

    rig.stop_autoscaler().await?;
    rig.server.stop_job("other").await?;
    rig.start_autoscaler_with(&fixed_policy(0, 2, "")).await?;
    rig.off_edge(&idle).await?;
    rig.heartbeats(2).await?;
    rig.ensure_untouched(&busy).await?;
    ensure!(rig.edges(&busy).await? == [Power::On], "{busy} was switched otherwise");
    ensure!(diary.said("batch", "end")?.is_empty(), "the batch task has ended by itself");

    std::fs::write(&gate, "")?;
    let cut = rig.off_edge(&busy).await?;
    let (begun, ended) = (diary.said("batch", "begin")?, diary.said("batch", "end")?);
    ensure!(begun.len() == 1 && ended.len() == 1, "the batch task said {:?}", diary.entries()?);
    ensure!(before(&ended[0], &cut), "it ended {:?}, its machine was cut {cut:?}", ended[0]);
    let done = rig.server.allocations_when("batch", &ClientStatus::Complete, 1, PATH_BOUND).await?;
    ensure!(done[0].node_name == busy, "Nomad has it complete on {}", done[0].node_name);
    Ok(())
}
