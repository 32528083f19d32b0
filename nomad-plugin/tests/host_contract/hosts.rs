//! Ours beside a Go plugin, and below the real autoscaler.
//!
//! The hosts come from the test kit's cache, which builds them where Go is at hand. By hand without
//! either, these tests are skipped loudly; with CI=true that is a failure.

use std::path::{Path, PathBuf};

use nomad_plugin::host::Direction;
use nomad_plugin::host::wire::plugin;
use rustix::process::Signal;
use serde_json::Value;
use testkit::hosts;
use testkit::ports::Port;
use testkit::skip::skip;
use tokio::process::Command;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::payloads::Rig;
use crate::rig::{COOKIE, Process, Server, ours, until, within};
use crate::services::{listed, services};

/// Whether the hosts are to be had; says so loudly where they are not.
fn hosts_at_hand() -> bool {
    let Err(missing) = hosts::available() else { return true };
    skip("a test on the real hosts", &missing);
    false
}

/// What can be seen of a plugin from outside, with what must differ taken out.
#[derive(Debug, PartialEq)]
struct Seen {
    by_hand: (Option<i32>, Vec<String>, Vec<String>),
    handshake: Vec<String>,
    socket_below: PathBuf,
    socket_name: String,
    services: Vec<String>,
    health: Vec<String>,
    interrupted: Value,
    ended: (Option<i32>, usize),
}

async fn health(channel: tonic::transport::Channel) -> Vec<String> {
    let mut client = HealthClient::new(channel);
    let mut seen = Vec::new();
    for name in ["", "plugin", "target", "grpc.health.v1.Health"] {
        let answer = client.check(HealthCheckRequest { service: name.to_owned() }).await;
        seen.push(match answer {
            Ok(answer) => format!("{name}: {:?}", answer.into_inner().status()),
            Err(error) => format!("{name}: {:?} {}", error.code(), error.message()),
        });
    }
    seen
}

async fn look_at(program: &Path, args: &[&str], own: &str) -> Seen {
    let mut by_hand = Process::start(program, args, &[]);
    let code = by_hand.ended().await.code();
    let by_hand = (code, by_hand.stdout.all(), by_hand.stderr.all());

    let vars = [COOKIE, ("PLUGIN_PROTOCOL_VERSIONS", "1"), ("PLUGIN_MIN_PORT", "10000")];
    let mut process = Process::start(program, args, &vars);
    let socket = process.socket().await;
    let line = process.stdout.all().remove(0);
    let handshake = line.split('|').map(|field| field.replace(socket.to_str().expect("text"), "@"));
    let name = socket.file_name().and_then(|name| name.to_str()).expect("a name");
    let channel = process.channel().await;
    let services = services(channel.clone()).await;
    let health = health(channel.clone()).await;
    process.signal(Signal::INT);
    until("the interrupt is told", || process.stderr.count("interrupt") == 1).await;
    let told = process.stderr.all().into_iter().find(|line| line.contains("interrupt"));
    let mut interrupted: Value = serde_json::from_str(&told.expect("told")).expect("JSON");
    let object = interrupted.as_object_mut().expect("an object");
    let time = object.remove("@timestamp").expect("a time");
    assert_eq!(time.as_str().map(str::len), Some("2026-11-22T18:36:54.155604Z".len()), "{time}");
    object.remove("@module");
    let mut controller = plugin::grpc_controller_client::GrpcControllerClient::new(channel);
    // Go cuts its own answer off; the host ignores what comes.
    controller.shutdown(plugin::Empty {}).await.ok();
    let code = process.ended().await.code();
    let left = std::fs::read_dir(process.dir.path()).expect("a directory").count();
    Seen {
        by_hand,
        handshake: handshake.collect(),
        socket_below: socket
            .parent()
            .expect("a parent")
            .strip_prefix(process.dir.path())
            .expect("TMPDIR")
            .to_owned(),
        socket_name: name.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned(),
        services: services.into_iter().filter(|name| !name.ends_with(own)).collect(),
        health,
        interrupted,
        ended: (code, left),
    }
}

#[tokio::test]
async fn items_4_6_9_11_13_16_and_18_ours_is_seen_from_outside_as_a_go_plugin_is() {
    if !hosts_at_hand() {
        return;
    }
    let go = hosts::go_target_value().await.expect("a Go plugin");
    let theirs = look_at(&go, &[], "StrategyPluginService").await;
    assert_eq!(look_at(ours(), &["target"], "TargetPluginService").await, theirs);
    assert_eq!(look_at(ours(), &["apm"], "APMPluginService").await, theirs);
    assert_eq!(theirs.services.len() + 1, listed("any").len());
}

/// The real autoscaler with one policy, whose target is the plugin `driver`.
struct Autoscaler {
    process: Process,
    _port: Port,
}

/// Starts it with `plugins` as its plugin directory and a policy that always wants 3 machines.
async fn autoscaler(driver: &str, apm: bool, fill: impl FnOnce(&Path)) -> Autoscaler {
    let program = hosts::autoscaler().await.expect("the autoscaler");
    let dir = tempfile::tempdir().expect("a directory");
    let port = Port::take().expect("a port");
    for folder in ["plugins", "policies", "sockets"] {
        std::fs::create_dir(dir.path().join(folder)).expect("a folder");
    }
    fill(&dir.path().join("plugins"));
    let at = |file: &str| dir.path().join(file).display().to_string();
    let apm = if apm {
        format!("apm {driver:?} {{\n driver = {driver:?}\n args = [\"apm\"]\n}}")
    } else {
        String::new()
    };
    let agent = format!(
        "log_level = \"trace\"\nlog_json = true\nplugin_dir = {plugins:?}\n\
         http {{\n bind_address = \"127.0.0.1\"\n bind_port = {port}\n}}\n\
         nomad {{\n address = \"http://127.0.0.1:1\"\n}}\n\
         policy {{\n dir = {policies:?}\n source \"nomad\" {{\n enabled = false\n }}\n}}\n\
         target {driver:?} {{\n driver = {driver:?}\n args = [\"target\"]\n config = {{\n agents = \"unix:/nowhere\"\n }}\n}}\n\
         strategy \"fixed-value\" {{\n driver = \"fixed-value\"\n}}\n{apm}\n",
        plugins = at("plugins"),
        policies = at("policies"),
        port = port.number(),
    );
    let policy = format!(
        "scaling \"rack\" {{\n enabled = true\n min = 0\n max = 9\n policy {{\n\
         cooldown = \"1s\"\n evaluation_interval = \"1s\"\n\
         check \"three\" {{\n strategy \"fixed-value\" {{\n value = \"3\"\n }}\n }}\n\
         target {driver:?} {{\n pool = \"rack\"\n }}\n }}\n}}\n"
    );
    std::fs::write(at("agent.hcl"), agent).expect("written");
    std::fs::write(at("policies/rack.hcl"), policy).expect("written");
    let mut command = Command::new(program);
    command.args(["agent", "-config", &at("agent.hcl")]).env("TMPDIR", at("sockets"));
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Autoscaler { process: Process::follow(command, dir), _port: port }
}

impl Autoscaler {
    /// How many lines of its log, whichever stream carries them, contain all `parts`.
    fn said(&self, parts: &[&str]) -> usize {
        let lines = [self.process.stdout.all(), self.process.stderr.all()].concat();
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    async fn until_said(&self, parts: &[&str], times: usize) {
        until(&format!("the autoscaler's log says {parts:?}"), || self.said(parts) >= times).await;
    }

    fn sockets(&self) -> usize {
        std::fs::read_dir(self.process.dir.path().join("sockets")).expect("a folder").count()
    }
}

fn link_ours(plugins: &Path) {
    std::os::unix::fs::symlink(ours(), plugins.join("lamplighter")).expect("a link");
}

const DISPENSED: [&str; 2] =
    ["successfully launched and dispensed plugin", "\"plugin_name\":\"lamplighter\""];

#[tokio::test]
async fn items_5_14_16_21_22_and_23_the_real_autoscaler_runs_and_ends_our_binary() {
    if !hosts_at_hand() {
        return;
    }
    let mut host = autoscaler("lamplighter", true, link_ours).await;
    host.until_said(&DISPENSED, 2).await;
    let ours = "\"@module\":\"lamplighter.host.answers\"";
    host.until_said(&["config received", ours, "\"@level\":\"debug\""], 2).await;
    host.until_said(&["status asked", ours, "\"@level\":\"trace\""], 1).await;
    assert_eq!(host.sockets(), 2, "one for each block");
    host.process.signal(Signal::HUP);
    host.until_said(&["config received", ours], 4).await;
    host.process.signal(Signal::INT);
    host.process.ended().await;
    assert_eq!(host.said(&["plugin process exited"]), 2);
    for wrong in [
        "plugin failed to exit gracefully",
        "plugin process exited\",\"error",
        "stdio service not available",
        "panic",
    ] {
        assert_eq!(host.said(&[wrong]), 0, "{wrong}");
    }
    assert_eq!(host.sockets(), 0);
}

#[tokio::test]
async fn item_17_our_processes_end_when_the_real_autoscaler_is_killed() {
    if !hosts_at_hand() {
        return;
    }
    let mut host = autoscaler("lamplighter", true, link_ours).await;
    host.until_said(&DISPENSED, 2).await;
    assert_eq!(host.sockets(), 2);
    host.process.signal(Signal::KILL);
    host.process.ended().await;
    until("both plugins have ended and unlinked their sockets", || host.sockets() == 0).await;
}

#[tokio::test]
async fn items_25_to_33_what_the_real_autoscaler_asks_reaches_a_plugin_through_the_seam() {
    if !hosts_at_hand() {
        return;
    }
    let rig = Rig::shared();
    let mut server = Server::target(&rig);
    // The host launches a program that names the socket of this process.
    let handshake = format!("1|1|unix|{}|grpc|", server.socket.display());
    let mut host = autoscaler("rig", false, |plugins| {
        use std::os::unix::fs::PermissionsExt;
        let program = plugins.join("rig");
        let script = format!("#!/bin/sh\necho '{handshake}'\nexec sleep 600\n");
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
    })
    .await;
    until("a scale has come", || !rig.scales.lock().expect("not poisoned").is_empty()).await;
    let configs = rig.configs.lock().expect("not poisoned").clone();
    assert_eq!(configs[0]["agents"], "unix:/nowhere");
    assert_eq!(configs[0]["nomad_address"], "http://127.0.0.1:1", "inherited (item 22)");
    let status = rig.statuses.lock().expect("not poisoned")[0].clone();
    assert_eq!(status["pool"], "rack");
    assert!(status["_nomad_autoscaler_grpc_timeout"].ends_with("ms"), "{status:?}");
    let (action, policy) = rig.scales.lock().expect("not poisoned")[0].clone();
    assert_eq!((action.count, action.direction), (3, Direction::Down), "from the 7 of Status");
    assert!(action.meta.contains_key("nomad_policy_id"), "{action:?}");
    assert!(!action.is_dry_run() && !action.error);
    assert_eq!(policy["pool"], "rack");
    host.process.signal(Signal::INT);
    host.process.ended().await;
    let served = within("the server's end by Shutdown", server.serving.join_next()).await;
    served.expect("a task").expect("no panic").expect("no error");
}
