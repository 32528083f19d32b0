//! The rack of these tests: two boards, one of which can not be read, and four machines.

use testkit::bench::{Bench, until};

const RACK_FILE: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "a.tty"
[boards.b]
kind = "lcus-silent"
channels = 2
link = "b.tty"
"#;

/// It looks by itself so seldom that what is asserted of a reading is of the order's own: on a busy host the answer to a
/// poll may come too late, and then nothing is known until the next one.
const AGENT_FILE: &str = r#"
[agent]
name = "bench"
socket = "agent.sock"
state = "state"
poll = "20s"
[devices.a]
driver = "lcus"
port = "a.tty"
channels = 4
status = "ascii"
[devices.b]
driver = "lcus"
port = "b.tty"
channels = 2
status = "none"
[pools.rack]
off_dwell = "OFF_DWELL"
cycles_per_hour = 0
settle = "100ms"
[machines.read]
pool = "rack"
outlets = [{ device = "a", outlet = 1 }]
[machines.twin]
pool = "rack"
outlets = [{ device = "a", outlet = 2 }, { device = "a", outlet = 3 }]
[machines.silent]
pool = "rack"
outlets = [{ device = "b", outlet = 1 }]
[machines.lamp]
off_dwell = "OFF_DWELL"
outlets = [{ device = "a", outlet = 4 }]
"#;

/// All dark, the agent answers; a cycle leaves a machine off for `off_dwell`.
pub(crate) async fn start(off_dwell: &str) -> Bench {
    with_pool(off_dwell, "").await
}

/// As [`start`], with more lines about the pool.
pub(crate) async fn with_pool(off_dwell: &str, more: &str) -> Bench {
    let agent_file = AGENT_FILE
        .replace("OFF_DWELL", off_dwell)
        .replace("[machines.read]", &format!("{more}\n[machines.read]"));
    let mut bench = Bench::new(RACK_FILE, &agent_file).await;
    bench.start_agent().await;
    bench
}

/// Starts the agent anew on another rack file.
pub(crate) async fn restart_with(bench: &mut Bench, file: &str) {
    bench.stop_agent().await;
    bench.write_agent_file(file);
    bench.start_agent().await;
}

/// Runs an agent of another boot of the host, in this process, as long as `work` takes.
pub(crate) async fn with_agent_of<T>(
    bench: &Bench,
    boot: power_agent::clock::BootId,
    work: impl AsyncFnOnce() -> T,
) -> T {
    let config = power_agent::config::Config::load(&bench.path("agent.toml"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let agent = power_agent::wiring::serve_until(config.expect("a config").0, boot, async {
        drop(stopped.await);
    });
    let work = async {
        until("the agent answers", async || bench.client.inventory().await.ok()).await;
        let done = work().await;
        drop(stop);
        done
    };
    let (served, done) = tokio::join!(agent, work);
    served.expect("it serves");
    done
}
