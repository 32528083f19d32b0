//! Story 6. Goal: a machine is a person's when they say so, and not even a person cuts it under work by
//! mistake. Method: the agent's command line beside a policy that wants the opposite.

use std::time::Duration;

use anyhow::{Result, ensure};
use nomad_api::{ClientStatus, NodeStatus, NodeStub};
use testkit::diary::Diary;
use testkit::rig::{PATH_BOUND, Rig, RigSpec, Said, fixed_policy};
use testkit::work::ShellJob;
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

/// The exit code of a refusal.
const REFUSED: i32 = 2;

#[test]
fn a_machine_that_a_person_switched_off_stays_off_and_another_is_lit_in_its_place() {
    crate::story("a person's off", async {
        let policy = fixed_policy(2, 3, "");
        let rig = Rig::start(&RigSpec { policy, ..RigSpec::dark(3) }).await?;
        rig.until(2, Phase::Up).await?;
        let (first, second, third) = order_of_light(&rig).await?;

        // Nothing runs there, so that nothing stands against it.
        switch_off(&rig, &first).await?;
        rig.rack.wait(&third, Phase::Up, PATH_BOUND).await?;
        rig.power_agent(&["release", &first]).await?.success()?;
        rig.heartbeats(3).await?;
        assert_edges(&rig, &first, &[Power::On, Power::Off]).await?;

        // The policy has what it wants only where the released one may be lit.
        switch_off(&rig, &second).await?;
        rig.rack.wait(&first, Phase::Up, PATH_BOUND).await?;
        // Now it wants more than there is, and the held one stays dark all the same.
        switch_off(&rig, &third).await?;
        rig.heartbeats(3).await?;
        assert_edges(&rig, &first, &[Power::On, Power::Off, Power::On]).await?;
        assert_edges(&rig, &second, &[Power::On, Power::Off]).await?;
        assert_edges(&rig, &third, &[Power::On, Power::Off]).await
    });
}

#[test]
fn off_and_cycle_of_a_machine_with_work_are_refused_and_say_what_runs_there() {
    crate::story("a person's off under work", async {
        let rig = Rig::start(&RigSpec::dark(1)).await?;
        rig.server.run_job(&ShellJob::service("web", 1)).await?;
        working(&rig, "web").await?;
        for verb in ["off", "cycle"] {
            let said = rig.power_agent(&[verb, "node1", "--reason", "fan is loud"]).await?;
            assert_refused(&said, "of job web (running)")?;
        }
        rig.heartbeats(2).await?;
        assert_edges(&rig, "node1", &[Power::On]).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 1, PATH_BOUND).await?;

        let forced = ["cycle", "node1", "--force", "--reason", "stuck"];
        rig.power_agent(&forced).await?.success()?;
        assert_edges(&rig, "node1", &[Power::On, Power::Off, Power::On]).await?;
        working(&rig, "web").await?;
        let forced = ["off", "node1", "--force", "--reason", "smoke"];
        rig.power_agent(&forced).await?.success()?;
        let all = [Power::On, Power::Off, Power::On, Power::Off];
        assert_edges(&rig, "node1", &all).await
    });
}

/// A large disk that moves with its work, and what the work does with it: fills it where it is empty, else
/// says whether all of it has come along.
const DISK: &str = "ephemeral_disk {\n  migrate = true\n  sticky = true\n  size = 500\n}";
const KEEP_FILE: &str = "cd $NOMAD_ALLOC_DIR/data
if [ ! -e whole ]; then head -c 200000000 /dev/zero > file; echo yes > whole; say made
elif [ $(stat -c %s file) = 200000000 ]; then say arrived
else say torn; fi";

#[test]
fn with_drain_a_migrating_disk_arrives_before_a_person_switches_its_machine() {
    crate::story("a person's off with drain, and a disk", async {
        let spec = RigSpec { policy: fixed_policy(2, 2, ""), ..RigSpec::dark(2) };
        let rig = Rig::start(&spec).await?;
        let diary = Diary::new(&rig.dir);
        rig.until(2, Phase::Up).await?;
        rig.server.node_ready("node1").await?;
        rig.server.node_ready("node2").await?;
        let carries = diary.service("carries", KEEP_FILE, Duration::ZERO);
        rig.server.run_job(&ShellJob { in_group: DISK.to_owned(), ..carries }).await?;
        let first = diary.said_when("carries", "begin", 1, PATH_BOUND).await?.node;
        rig.power_agent(&["off", &first, "--drain", "--reason", "new fan"]).await?.success()?;
        let arrived = diary.said_when("carries", "arrived", 1, PATH_BOUND).await?;
        ensure!(arrived.node == other_than(&first), "it went to {}", arrived.node);
        assert_edges(&rig, &first, &[Power::On, Power::Off]).await
    });
}

#[test]
fn with_drain_the_work_moves_before_a_person_switches_its_machine() {
    crate::story("a person's off with drain", async {
        let rig = Rig::start(&RigSpec::dark(2)).await?;
        let diary = Diary::new(&rig.dir);
        let web = diary.service("web", "", Duration::ZERO);
        let web = ShellJob { cpu_mhz: 1500, ..web };
        rig.server.run_job(&web).await?;
        let first = diary.said_when("web", "begin", 1, PATH_BOUND).await?.node;
        let second = other_than(&first);

        let off = ["off", &first, "--drain", "--reason", "new fan"];
        rig.power_agent(&off).await?.success()?;
        assert_ended_before_the_cut(&rig, &diary, 1, &first).await?;
        let begin = diary.said_when("web", "begin", 2, PATH_BOUND).await?;
        ensure!(begin.node == second, "it began anew on {}", begin.node);
        assert_edges(&rig, &first, &[Power::On, Power::Off]).await?;
        assert_edges(&rig, second, &[Power::On]).await?;

        rig.power_agent(&["release", &first]).await?.success()?;
        let cycle = ["cycle", second, "--drain", "--reason", "new fan"];
        rig.power_agent(&cycle).await?.success()?;
        assert_ended_before_the_cut(&rig, &diary, 2, second).await?;
        // Its node takes work again: each of the two has room for one instance.
        rig.server.run_job(&ShellJob { count: 2, ..web }).await?;
        rig.server.allocations_when("web", &ClientStatus::Running, 2, PATH_BOUND).await?;
        assert_edges(&rig, second, &[Power::On, Power::Off, Power::On]).await?;
        // Where the cycle was over before the other machine had booted, that one was not needed and went
        // dark again until now.
        let edges = rig.edges(&first).await?;
        let lit = edges.starts_with(&[Power::On, Power::Off, Power::On]);
        ensure!(lit && edges.last() == Some(&Power::On), "{first}: {edges:?}");
        Ok(())
    });
}

/// A person's off.
async fn switch_off(rig: &Rig, machine: &str) -> Result<()> {
    rig.server.node_ready(machine).await?;
    let off = rig.power_agent(&["off", machine, "--reason", "fan is loud"]).await?;
    off.success()?;
    // Until then a ready node is proof that a machine is on, whatever its relay says.
    let down = |node: &NodeStub| node.status == NodeStatus::Down;
    rig.server.node_when(machine, "is down", PATH_BOUND, down).await.map(drop)
}

/// The two machines that are lit, and the one that is not.
async fn order_of_light(rig: &Rig) -> Result<(String, String, String)> {
    let state = rig.rack.state().await?;
    let mut all: Vec<String> = state.machines.keys().cloned().collect();
    all.sort_by_key(|name| state.machines[name].state == Phase::Dark);
    match <[String; 3]>::try_from(all) {
        Ok([first, second, dark]) => Ok((first, second, dark)),
        Err(all) => anyhow::bail!("{all:?} instead of three machines"),
    }
}

fn other_than(machine: &str) -> &'static str {
    if machine == "node1" { "node2" } else { "node1" }
}

/// The machine on which the job's only instance runs, once it does.
async fn working(rig: &Rig, job: &str) -> Result<String> {
    let running = ClientStatus::Running;
    let all = rig.server.allocations_when(job, &running, 1, PATH_BOUND).await?;
    Ok(all[0].node_name.clone())
}

/// The work's `time`th end was in order, on this machine and before its relay opened.
async fn assert_ended_before_the_cut(
    rig: &Rig,
    diary: &Diary,
    time: usize,
    machine: &str,
) -> Result<()> {
    let end = diary.said_when("web", "end", time, PATH_BOUND).await?;
    ensure!(end.node == machine, "it ended on {}", end.node);
    let edges = rig.all_edges().await?;
    let mut cuts = edges.iter().filter(|edge| edge.edge == Power::Off);
    let cut = cuts.find(|edge| edge.machine.as_deref() == Some(machine));
    ensure!(
        cut.is_some_and(|cut| cut.wall_us > end.wall_us),
        "the work on {machine} ended at {}, the cut was {cut:?}",
        end.wall_us
    );
    Ok(())
}

fn assert_refused(said: &Said, because: &str) -> Result<()> {
    ensure!(said.code == REFUSED, "exit code {} instead of {REFUSED}: {said:?}", said.code);
    ensure!(said.out.contains(because), "what runs there is not named: {said:?}");
    ensure!(said.out.contains("--drain") && said.out.contains("--force"), "no remedy: {said:?}");
    Ok(())
}

async fn assert_edges(rig: &Rig, machine: &str, expected: &[Power]) -> Result<()> {
    let edges = rig.edges(machine).await?;
    ensure!(edges == expected, "{machine}: {edges:?} instead of {expected:?}");
    Ok(())
}
