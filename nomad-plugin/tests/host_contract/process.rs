//! The binary as a process: launch, handshake, signals, end, log channel.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nomad_plugin::host::wire::hashicorp::nomad_autoscaler::plugins::base::proto::v1 as base;
use nomad_plugin::host::wire::plugin;
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;

use crate::rig::{COOKIE, Process, config, connect, ours, until, within};

const NOT_FOR_PEOPLE: &str = "This binary is a plugin. These are not meant to be executed directly.\n\
     Please execute the program that consumes these plugins, which will\n\
     load any plugins automatically";

/// Item 18 as the host parses it: three strings, the time with six fraction digits.
fn assert_is_hclog(line: &str) -> Value {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    for key in ["@level", "@message", "@timestamp", "@module"] {
        assert!(object[key].is_string(), "{key} in {line}");
    }
    let levels = ["trace", "debug", "info", "warn", "error"];
    assert!(levels.iter().any(|level| object["@level"] == *level), "{line}");
    let time = object["@timestamp"].as_str().expect("a string");
    let fraction = time.strip_suffix('Z').and_then(|time| time.split_once('.')).expect(time).1;
    assert!(fraction.len() == 6 && fraction.bytes().all(|digit| digit.is_ascii_digit()), "{time}");
    object
}

fn sockets_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("a directory").count()
}

#[tokio::test]
async fn item_4_by_hand_it_says_what_every_go_plugin_says_and_exits_1() {
    let wrong = [(COOKIE.0, "e082fa04")];
    for (args, vars) in [(&[][..], &[][..]), (&["target"], &[]), (&["apm"], &[]), (&[], &wrong)] {
        let mut process = Process::start(ours(), args, vars);
        assert_eq!(process.ended().await.code(), Some(1), "{args:?}");
        assert!(process.stdout.all().is_empty(), "{args:?}");
        assert_eq!(process.stderr.all().join("\n"), NOT_FOR_PEOPLE, "{args:?}");
    }
}

#[tokio::test]
async fn item_2_a_block_without_args_is_told_which_line_it_lacks() {
    let mut process = Process::plugin(&[]);
    assert_eq!(process.ended().await.code(), Some(1));
    assert!(process.stdout.all().is_empty());
    let said = assert_is_hclog(&process.stderr.all().join(""));
    assert_eq!(said["@level"], "error");
    assert!(said["@message"].as_str().expect("text").contains("args = [\"target\"]"), "{said}");
}

#[tokio::test]
async fn item_2_a_kind_that_is_none_of_ours_is_an_error_in_the_hosts_log() {
    let mut process = Process::plugin(&["strategy"]);
    assert_eq!(process.ended().await.code(), Some(1));
    assert!(process.stdout.all().is_empty());
    let said = assert_is_hclog(&process.stderr.all().join(""));
    assert!(said["@message"].as_str().expect("text").contains("'strategy'"), "{said}");
}

#[tokio::test]
async fn item_2_and_21_name_and_type_are_those_of_the_block_that_started_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let link = dir.path().join("rack-switch");
    std::os::unix::fs::symlink(ours(), &link).expect("a link");
    for (program, kind, name, r#type) in [
        (ours(), "target", "lamplighter", base::PluginType::Target),
        (ours(), "apm", "lamplighter", base::PluginType::Apm),
        (&link, "target", "rack-switch", base::PluginType::Target),
    ] {
        let process = Process::start(program, &[kind], &[COOKIE]);
        let channel = process.channel().await;
        let mut client = base::base_plugin_service_client::BasePluginServiceClient::new(channel);
        let info = client.plugin_info(base::PluginInfoRequest {}).await.expect("info").into_inner();
        assert_eq!((info.name.as_str(), info.r#type()), (name, r#type));
    }
}

#[tokio::test]
async fn items_6_and_7_stdout_is_one_line_and_the_socket_accepts_when_it_comes() {
    let mut process = Process::plugin(&["target"]);
    let socket = process.socket().await;
    std::os::unix::net::UnixStream::connect(&socket).expect("it listens already");
    process.signal(Signal::TERM);
    process.ended().await;
    assert_eq!(process.stdout.all(), [format!("1|1|unix|{}|grpc|", socket.display())]);
}

#[tokio::test]
async fn item_6_a_host_that_asks_for_multiplexing_reads_that_there_is_none() {
    let process = Process::start(ours(), &["apm"], &[COOKIE, ("PLUGIN_MULTIPLEX_GRPC", "1")]);
    process.socket().await;
    assert!(process.stdout.all()[0].ends_with("|grpc||false"));
}

#[tokio::test]
async fn item_8_without_a_common_version_the_own_lowest_is_printed() {
    let vars = [COOKIE, ("PLUGIN_PROTOCOL_VERSIONS", "2,3")];
    let process = Process::start(ours(), &["target"], &vars);
    process.socket().await;
    assert!(process.stdout.all()[0].starts_with("1|1|unix|"));
    until("it warns", || process.stderr.count("speaks no protocol version of ours") == 1).await;
}

#[tokio::test]
async fn item_9_the_socket_is_a_temporary_file_named_plugin_in_the_hosts_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("text");
    let vars = [COOKIE, ("PLUGIN_UNIX_SOCKET_DIR", path)];
    let process = Process::start(ours(), &["target"], &vars);
    let socket = process.socket().await;
    assert_eq!(socket.parent(), Some(dir.path()));
    let name = socket.file_name().and_then(|name| name.to_str()).expect("a name");
    let number = name.strip_prefix("plugin").expect("the prefix");
    assert!(!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()), "{name}");
    assert_eq!(sockets_in(process.dir.path()), 0, "TMPDIR is not used then");
    let plain = Process::plugin(&["target"]);
    assert_eq!(plain.socket().await.parent(), Some(plain.dir.path()), "and is used without it");
}

#[tokio::test]
async fn item_9_a_group_gets_the_socket_and_may_write() {
    let own = rustix::process::getgid().as_raw();
    let group = own.to_string();
    let vars = [COOKIE, ("PLUGIN_UNIX_SOCKET_GROUP", group.as_str())];
    let process = Process::start(ours(), &["target"], &vars);
    let meta = std::fs::metadata(process.socket().await).expect("a socket");
    assert_eq!((meta.gid(), meta.permissions().mode() & 0o777), (own, 0o660));
}

#[tokio::test]
async fn items_9_and_10_what_can_not_be_followed_is_one_error_without_a_handshake_or_a_socket() {
    let long = format!("/tmp/{}", "x".repeat(120));
    for (name, value, part) in [
        ("PLUGIN_CLIENT_CERT", "-----BEGIN CERTIFICATE-----", "AutoMTLS"),
        ("PLUGIN_UNIX_SOCKET_GROUP", "no-such-group-here", "no-such-group-here"),
        ("PLUGIN_UNIX_SOCKET_DIR", "/nowhere/at/all", "/nowhere/at/all"),
        ("PLUGIN_UNIX_SOCKET_DIR", long.as_str(), "at most 90 bytes"),
    ] {
        let mut process = Process::start(ours(), &["target"], &[COOKIE, (name, value)]);
        assert_eq!(process.ended().await.code(), Some(1), "{name}");
        assert!(process.stdout.all().is_empty(), "{name}");
        let lines = process.stderr.all();
        let said = assert_is_hclog(lines.last().expect("an error"));
        assert_eq!(said["@level"], "error", "{said}");
        assert!(said["@message"].as_str().expect("text").contains(part), "{said}");
        assert_eq!(sockets_in(process.dir.path()), 0, "{name} leaves a socket");
    }
}

#[tokio::test]
async fn item_11_interrupts_are_counted_and_swallowed_and_hangups_do_nothing() {
    let process = Process::plugin(&["target"]);
    let channel = process.channel().await;
    for count in 1..=2 {
        process.signal(Signal::INT);
        let said = format!("\"count\":{count}");
        until("the interrupt is told", || process.stderr.count(&said) == 1).await;
    }
    process.signal(Signal::HUP);
    until("the hangup is told", || process.stderr.count("hangup signal, ignoring") == 1).await;
    let lines = process.stderr.all();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("interrupt"))
        .map(|l| assert_is_hclog(l))
        .collect();
    assert_eq!(told[1]["@message"], "plugin received interrupt signal, ignoring");
    assert_eq!((&told[1]["@level"], &told[1]["count"]), (&"trace".into(), &2.into()));
    let mut client = base::base_plugin_service_client::BasePluginServiceClient::new(channel);
    client.plugin_info(base::PluginInfoRequest {}).await.expect("it lives");
}

#[tokio::test]
async fn item_11_a_termination_is_an_orderly_end_that_leaves_no_socket() {
    let mut process = Process::plugin(&["target"]);
    let _held = process.channel().await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(sockets_in(process.dir.path()), 0);
}

#[tokio::test]
async fn item_16_shutdown_ends_it_with_0_and_without_a_socket_even_while_streams_are_open() {
    let mut process = Process::plugin(&["target"]);
    let channel = process.channel().await;
    let mut broker = plugin::grpc_broker_client::GrpcBrokerClient::new(channel.clone());
    let mut stdio = plugin::grpc_stdio_client::GrpcStdioClient::new(channel.clone());
    let _broker = broker.start_stream(tokio_stream::pending()).await.expect("the broker");
    let _stdio = stdio.stream_stdio(()).await.expect("stdio");
    let mut controller = plugin::grpc_controller_client::GrpcControllerClient::new(channel);
    controller.shutdown(plugin::Empty {}).await.expect("an answer");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(sockets_in(process.dir.path()), 0);
    for line in process.stderr.all() {
        assert_is_hclog(&line);
    }
}

#[tokio::test]
async fn item_17_it_ends_when_the_host_has_gone_and_taken_its_streams() {
    let mut process = Process::plugin(&["target"]);
    let socket = process.socket().await;
    // A host that crashes says nothing more: a runtime that is dropped only closes its socket.
    let crash = tokio::task::spawn_blocking(move || {
        let host = tokio::runtime::Builder::new_current_thread().enable_all().build();
        host.expect("a runtime").block_on(async {
            let channel = connect(&socket).await;
            let mut broker = plugin::grpc_broker_client::GrpcBrokerClient::new(channel.clone());
            let mut stdio = plugin::grpc_stdio_client::GrpcStdioClient::new(channel);
            broker.start_stream(tokio_stream::pending()).await.expect("the broker");
            stdio.stream_stdio(()).await.expect("stdio");
        });
    });
    crash.await.expect("no panic");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(process.stderr.count("the host closed its streams"), 1);
}

#[tokio::test]
async fn item_17_it_ends_when_the_process_that_launched_it_is_killed() {
    // A shell stands in the host's place: it launches the plugin and waits.
    let dir = tempfile::tempdir().expect("a directory");
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" target & wait", ours().to_str().expect("text")]);
    shell.env("TMPDIR", dir.path()).env(COOKIE.0, COOKIE.1);
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut host = Process::follow(shell, dir);
    host.socket().await;
    until("it is up", || host.stderr.count("plugin address") == 1).await;
    host.signal(Signal::KILL);
    // Its output ends only when the plugin, which holds the pipes too, has ended.
    host.ended().await;
    assert_eq!(host.stderr.count("the host died"), 1);
    assert_eq!(sockets_in(host.dir.path()), 0);
}

#[tokio::test]
async fn item_17_the_signal_alone_while_the_host_lives_ends_nothing() {
    let process = Process::plugin(&["target"]);
    let channel = process.channel().await;
    process.signal(Signal::USR1);
    process.signal(Signal::HUP);
    until("both are handled", || process.stderr.count("hangup signal, ignoring") == 1).await;
    let mut client = base::base_plugin_service_client::BasePluginServiceClient::new(channel);
    client.plugin_info(base::PluginInfoRequest {}).await.expect("it lives");
    assert_eq!(process.stderr.count("plugin is ending"), 0);
}

#[tokio::test]
async fn items_18_to_20_everything_on_stderr_is_hclog_whatever_the_config_holds() {
    let mut process = Process::plugin(&["target"]);
    let channel = process.channel().await;
    let mut client = base::base_plugin_service_client::BasePluginServiceClient::new(channel);
    let hostile = config(&[("@message", "5"), ("a\n{\"@message\":5}", "\n{\"@level\":{}}\n")]);
    // Whether it is refused is the plugin's matter; what the log carries is the host's.
    client.set_config(base::SetConfigRequest { config: hostile }).await.ok();
    process.signal(Signal::TERM);
    process.ended().await;
    let lines = process.stderr.all();
    assert!(lines.iter().any(|line| line.contains("config received")), "{lines:?}");
    for line in lines {
        assert_is_hclog(&line);
    }
}

#[tokio::test]
async fn item_24_it_outlives_a_host_that_stops_reading_its_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut deaf = Command::new(ours());
    deaf.arg("target").env(COOKIE.0, COOKIE.1).env("TMPDIR", dir.path());
    deaf.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut deaf = deaf.kill_on_drop(true).spawn().expect("it starts");
    drop(deaf.stderr.take());
    let mut name = String::new();
    until("its socket is there", || {
        let mut entries = std::fs::read_dir(dir.path()).expect("a directory");
        entries.next().is_some_and(|entry| {
            name = entry.expect("an entry").path().display().to_string();
            true
        })
    })
    .await;
    let mut client = base::base_plugin_service_client::BasePluginServiceClient::new(
        connect(Path::new(&name)).await,
    );
    let request = base::SetConfigRequest { config: config(&[]) };
    client.set_config(request).await.ok();
    within("an answer", client.plugin_info(base::PluginInfoRequest {})).await.expect("it lives");
}
