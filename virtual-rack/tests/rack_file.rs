//! Every mistake in a rack file is one error with file, line, column, what was found and what was
//! expected. Method: one whole file, with one line changed per case.

use std::path::Path;

use virtual_rack::config;
use virtual_rack::relay::Power;

const WHOLE: &str = r#"socket = "rack.sock"
edge_log = "/var/log/edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 4
link = "board-a"
[boards.b]
kind = "lcus-silent"
channels = 8
link = "board-b"
min_gap_ms = 100
[machines.node1]
board = "a"
channel = 1
boot_ms = 1000
shutdown_ms = 500
watts = 6.5
command = ["nomad", "agent"]
command_log = "node1.log"
[machines.node2]
board = "b"
channel = 8
on = true
boot_ms = 1000
shutdown_ms = 500
watts = 10
boot_watts = 12.5
halted_watts = 0.4
"#;

fn check(line: &str, instead: &str, expected: &str) {
    assert!(WHOLE.contains(line), "{line}");
    let text = WHOLE.replacen(line, instead, 1);
    let err = config::parse(&text, Path::new("/lab/RACK.toml")).expect_err(instead);
    assert_eq!(err.to_string(), format!("/lab/RACK.toml:{expected}"));
}

#[test]
fn a_whole_file_is_read_with_its_defaults_and_its_own_directory() {
    let rack = config::parse(WHOLE, Path::new("/lab/RACK.toml")).expect("it is whole");
    assert_eq!(rack.socket, Path::new("/lab/rack.sock"));
    assert_eq!(rack.edge_log, Path::new("/var/log/edges.jsonl"));
    assert_eq!(rack.boards["a"].link, Path::new("/lab/board-a"));
    assert_eq!(rack.boards["a"].min_gap.as_millis(), 50);
    assert_eq!(rack.boards["b"].min_gap.as_millis(), 100);
    let (node1, node2) = (&rack.machines["node1"], &rack.machines["node2"]);
    assert_eq!((node1.found, node2.found), (Power::Off, Power::On));
    assert_eq!((node1.nature.boot_watts, node1.nature.halted_watts), (6.5, 0.0));
    assert_eq!((node2.nature.boot_watts, node2.nature.halted_watts), (12.5, 0.4));
    assert_eq!(node1.command, ["nomad", "agent"]);
    assert!(node2.command.is_empty());
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_at_their_place() {
    check(
        "watts = 6.5",
        "wats = 6.5",
        "17:1: unknown field `wats`, expected one of `board`, `channel`, `feed`, `running_ma`, `inrush_ma`, `inrush_ms`, `on`, `boot_ms`, \
         `shutdown_ms`, `watts`, `boot_watts`, `halted_watts`, `command`, `command_log`",
    );
    check(
        "lcus-silent",
        "lcus-mute",
        "8:8: unknown variant `lcus-mute`, expected one of `lcus-ascii`, `lcus-bytes`, `lcus-silent`",
    );
    check("boot_ms = 1000", "boot_ms = \"1s\"", "15:11: invalid type: string \"1s\", expected u64");
    check("shutdown_ms = 500\n", "", "12:1: missing field `shutdown_ms`");
}

#[test]
fn outlets_are_refused_where_they_are_taken_or_do_not_exist() {
    check(
        "board = \"b\"\nchannel = 8",
        "board = \"a\"\nchannel = 1",
        "22:11: found channel 1 of board \"a\", on which machine \"node1\" hangs already, expected \
         a free one",
    );
    check(
        "channel = 1",
        "channel = 5",
        "14:11: found channel 5, expected 1 to 4: board \"a\" has no other",
    );
    check("board = \"b\"", "board = \"c\"", "21:9: found the board \"c\", expected one of a, b");
    check("channels = 4", "channels = 16", "5:12: found 16 channels, expected 1 to 8");
    check(
        "link = \"board-b\"",
        "link = \"board-a\"",
        "10:8: found the link of board \"a\", expected one of its own",
    );
}

#[test]
fn feeds_links_and_faults_are_refused_where_they_make_no_sense() {
    check(
        "channel = 8\n",
        "channel = 8\nfeed = \"left\"\n",
        "23:8: found the feed \"left\", expected one that has its own table [feeds.NAME]; there is none",
    );
    check(
        "min_gap_ms = 100",
        "unpowered = \"toggle\"",
        "11:13: unknown variant `toggle`, expected `drop` or `hold`",
    );
    check(
        "min_gap_ms = 100",
        "by_path = \"board-a\"",
        "11:11: found the link of board \"a\", expected one of its own",
    );
    check(
        "[boards.a]",
        "faults = [\"node1 no-boot\", \"a:1 explodes\"]\n[boards.a]",
        &format!(
            "3:28: found the fault \"a:1 explodes\", expected one of:\n{}",
            virtual_rack::fault::WORDS
        ),
    );
}

#[test]
fn figures_and_commands_are_refused_where_they_make_no_sense() {
    check("watts = 6.5", "watts = -1", "17:9: found -1 W, expected 0 to 4000 W");
    check("watts = 6.5", "watts = nan", "17:9: found NaN W, expected 0 to 4000 W");
    check(
        "min_gap_ms = 100",
        "min_gap_ms = 86400000",
        "11:14: found 86400000 ms, expected at most 3600000 ms",
    );
    check(
        "command = [\"nomad\", \"agent\"]",
        "command = []",
        "18:11: found an empty command, expected a program and its arguments",
    );
    check("command = [\"nomad\", \"agent\"]\n", "", "18:15: found a command_log without a command");
    check(
        "[machines.node1]",
        "[machines.\"node 1\"]",
        "12:11: found the name \"node 1\", expected 1 to 64 bytes without blanks",
    );
}
