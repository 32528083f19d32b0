//! Goal: everything that was ordered of the real agent is in its audit, before it moved and after, across kills; and
//! `audit verify` finds what was altered. Method: orders over the socket, the binary as its own witness.

use std::path::Path;

use agent_api::Answer;
use fleet::{Order, Verb};
use serde_json::Value;

use crate::bench;
use testkit::bench::{Bench, autoscaler, name, order, person, until};

/// What the command says and its exit code.
pub(crate) async fn ask(bench: &Bench, words: &[&str]) -> (i32, String) {
    let said = bench.run(words).await;
    (said.code, said.out + &said.err)
}

pub(crate) async fn lines(bench: &Bench) -> Vec<Value> {
    let (code, said) = ask(bench, &["--json", "audit", "show"]).await;
    assert_eq!(code, 0, "{said}");
    said.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// What happened, in short: `on read accepted`.
pub(crate) fn short(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let words = |line: &Value| {
        [word(line, "what"), word(line, "machine"), word(line, "outcome"), word(line, "code")]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    lines.iter().map(words).collect()
}

fn rewrite(file: &Path, change: impl FnOnce(&str) -> String) {
    let text = std::fs::read_to_string(file).expect("a file");
    std::fs::write(file, change(&text)).expect("a file");
}

#[tokio::test]
async fn every_order_its_end_and_its_refusal_is_in_the_audit_with_who_and_why() {
    let mut bench = bench::start("100ms").await;
    let plan = fleet::PlanId::new("plan-12").ok();
    bench.done(&Order { plan, ..order("op-1", "read", Verb::On, autoscaler(3)) }).await;
    bench.done(&order("op-2", "read", Verb::Off, person())).await;
    let held = bench.client.set_power(&order("op-3", "read", Verb::On, autoscaler(3))).await;
    assert!(matches!(held, Ok(Answer::Refused(_))), "{held:?}");
    let nobody = Order { machine: name("nobody"), ..order("op-4", "read", Verb::On, person()) };
    bench.client.set_power(&nobody).await.expect_err("there is no such machine");
    bench.release("read").await;
    bench.kill_agent().await;
    bench.start_agent().await;
    bench.stop_agent().await;
    bench.start_agent().await;
    let lines = lines(&bench).await;
    let told = [
        "started done",
        "on read accepted",
        "on read ended",
        "off read accepted",
        "off read ended",
        "on read refused held",
        "on nobody refused unknown-machine",
        "release read done",
        "started done",
        "stopped done",
        "started done",
    ];
    assert_eq!(short(&lines), told);
    let (accepted, off) = (&lines[1], &lines[4]);
    assert_eq!(accepted["by"], "autoscaler of global, pool rack, fence 3");
    assert_eq!((&accepted["known"], &accepted["reason"]), (&"fence".into(), &"test".into()));
    // Which plan moved it, at its beginning and at its end.
    assert_eq!([&accepted["plan"], &lines[2]["plan"]], ["plan-12"; 2]);
    assert_eq!(off["plan"], Value::Null);
    let (_, history) = ask(&bench, &["--json", "history", "read"]).await;
    let history: Value = serde_json::from_str(&history).expect("it is JSON");
    assert_eq!(history["operations"][0]["plan"], "plan-12");
    assert!(accepted["peer"].as_str().expect("a peer").contains(" from unix socket, uid "));
    assert_eq!((&off["operation"], &off["text"]), (&"op-2".into(), &"read back off".into()));
    assert_eq!((&off["well"], &off["changed"]), (&true.into(), &true.into()));
    let (_, of_one) = ask(&bench, &["--json", "audit", "show", "--machine", "nobody"]).await;
    assert_eq!(of_one.lines().count(), 1, "{of_one}");
}

#[tokio::test]
async fn verify_holds_a_running_and_a_killed_agent_to_their_head() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    let file = bench.path("state/audit.log");
    let (code, said) = ask(&bench, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the chain holds: 3 lines, from 1 (") && said.contains("held against"));
    bench.kill_agent().await;
    let state = bench.path("state");
    let verify = ["audit", "verify", "--state", state.to_str().expect("a path")];
    assert_eq!(ask(&bench, &verify).await.0, 0);
    let whole = std::fs::read_to_string(&file).expect("a file");
    rewrite(&file, |text| text.replace("read back on", "read back off"));
    let (code, said) = ask(&bench, &verify).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("audit.log, line 3: its own hash does not fit"), "{said}");
    rewrite(&file, |_| whole.lines().take(2).map(|line| format!("{line}\n")).collect());
    let (code, said) = ask(&bench, &verify).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the last line is number 2, and the newest that was written is 3"));
    let copy = ["audit", "verify", "--file", file.to_str().expect("a path")];
    let (code, said) = ask(&bench, &copy).await;
    assert_eq!(code, 0, "a cut at a line's end does not show without a head: {said}");
    assert!(said.contains("note: one file for itself"), "{said}");
    let noted = serde_json::from_str::<Value>(whole.lines().last().expect("a line")).expect("JSON");
    let head = format!("3:{}", noted["hash"].as_str().expect("a hash"));
    let (code, said) = ask(&bench, &[&copy[..], &["--head", &head]].concat()).await;
    assert_eq!(code, 1, "{said}");
    // The next agent has the line in its journal, writes it again, and says so.
    bench.start_agent().await;
    let (code, said) = ask(&bench, &["--json", "audit", "verify"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(short(&lines(&bench).await).contains(&"damaged done".to_owned()));
}

#[tokio::test]
async fn an_order_that_can_not_be_written_down_is_refused_and_the_audit_has_it_when_it_can_write() {
    let bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.limit_files(Some(0));
    let refused = bench.client.set_power(&order("op-2", "read", Verb::Off, person())).await;
    refused.expect_err("nothing can be written");
    bench.limit_files(None);
    bench.done(&order("op-3", "lamp", Verb::On, person())).await;
    let told = ["off read refused journal", "on lamp accepted", "on lamp ended"];
    assert_eq!(short(&lines(&bench).await)[3..], told);
    assert_eq!(ask(&bench, &["audit", "verify"]).await.0, 0);
}

#[tokio::test]
async fn prometheus_is_told_what_was_ordered_and_how_the_outlets_stand() {
    let mut bench = bench::start("100ms").await;
    bench.stop_agent().await;
    let file = bench.agent_file().replace("poll =", "metrics = \"127.0.0.1:0\"\npoll =");
    bench.write_agent_file(&file);
    bench.start_agent().await;
    bench.done(&order("op-1", "read", Verb::On, person())).await;
    bench.done(&order("op-2", "lamp", Verb::Off, person())).await;
    bench.accepted(&order("op-3", "twin", Verb::On, autoscaler(1))).await;
    let text = bench.scraped("/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    for line in [
        "lamplighter_agent_orders_total{verb=\"on\",outcome=\"accepted\"} 2",
        "lamplighter_agent_operations_total{verb=\"off\",result=\"well\"} 1",
        "lamplighter_agent_operation_duration_seconds_count{verb=\"off\"} 1",
        "lamplighter_agent_holds{kind=\"off\"} 1",
        "lamplighter_agent_holds{kind=\"maintenance\"} 0",
        "lamplighter_agent_machines_quarantined 0",
        "lamplighter_agent_device_unreadable{device=\"a\"} 0",
        "lamplighter_agent_journal_write_failures_total 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    let on = text.lines().find(|line| line.starts_with("lamplighter_agent_outlets{state=\"on\"}"));
    assert!(on.is_some_and(|line| !line.ends_with(" 0")), "{on:?}");
    assert!(bench.scraped("/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn history_joins_an_order_with_its_end_and_why_tells_all_that_stands() {
    let mut bench = bench::start("100ms").await;
    bench.done(&order("op-1", "read", Verb::On, autoscaler(1))).await;
    bench.done(&order("op-2", "lamp", Verb::On, person())).await;
    bench.done(&order("op-3", "read", Verb::Off, person())).await;
    let held = bench.client.set_power(&order("op-4", "read", Verb::On, autoscaler(1))).await;
    assert!(matches!(held, Ok(Answer::Refused(_))), "{held:?}");
    bench.kill_agent().await;
    bench.start_agent().await;
    let history = async |words: &[&str]| -> Value {
        let (code, said) = ask(&bench, &[&["--json", "history"], words].concat()).await;
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&said).expect("it is JSON")
    };
    let ids = |told: &Value| -> Vec<String> {
        let operations = told["operations"].as_array().expect("a list");
        operations.iter().map(|entry| entry["operation"].as_str().expect("an id").into()).collect()
    };
    let of_one = history(&["read"]).await;
    assert_eq!(ids(&of_one), ["op-1", "op-3", "op-4"]);
    let (off, on) = (&of_one["operations"][1], &of_one["operations"][2]);
    assert_eq!((&off["outcome"], &off["text"]), (&"well".into(), &"read back off".into()));
    assert_eq!((&off["changed"], off["took_ms"].is_u64()), (&true.into(), true));
    assert_eq!((&on["outcome"], &on["code"]), (&"refused".into(), &"held".into()));
    let last = history(&["--limit", "1"]).await;
    assert_eq!((ids(&last), &last["more"]), (vec!["op-4".to_owned()], &true.into()));
    assert!(ids(&history(&["--since", "1ms"]).await).is_empty());
    let (_, said) = ask(&bench, &["history"]).await;
    assert!(said.contains("off read: done in") && said.contains("because: test"), "{said}");
    let (code, said) = ask(&bench, &["why", "read"]).await;
    assert_eq!(code, 0, "{said}");
    let parts = [
        "read: off",
        "on: done in",
        "off: done in",
        "on: refused (held)",
        "reads off,",
        "outlet a/1: off,",
        "in pool rack; its node is read",
        "no plan of its pool has come",
    ];
    let places: Vec<_> = parts.iter().map(|part| said.find(part)).collect();
    assert!(places.iter().all(Option::is_some), "of {parts:?} one is missing in\n{said}");
    assert!(places.is_sorted(), "it is in the order of time:\n{said}");
    assert!(said.contains("(min_off of 100ms)") || said.contains("min_off of 100ms is over"));
    assert!(!said.contains("commanded"), "its order is told already:\n{said}");
}

#[tokio::test]
async fn doctor_names_who_holds_a_port_and_what_is_missing_and_moves_nothing() {
    let bench = bench::start("100ms").await;
    let before = bench.moves().await;
    let file = bench.path("agent.toml");
    let doctor = async || -> (i32, Vec<Value>) {
        let words = ["--json", "doctor", "--config", file.to_str().expect("a path")];
        let (code, said) = ask(&bench, &words).await;
        let told = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let told = told.unwrap_or_else(|| panic!("no JSON in {said}"));
        (code, told["looked"].as_array().expect("a list").clone())
    };
    let of = |looked: &[Value], what: &str| -> Value {
        let found =
            looked.iter().find(|one| one["what"].as_str().is_some_and(|w| w.contains(what)));
        found.cloned().unwrap_or_else(|| panic!("nothing of {what} in {looked:?}"))
    };
    let (code, looked) = doctor().await;
    assert_eq!(code, 1, "this agent has no [nomad]");
    assert_eq!(of(&looked, "socket ")["grade"], "ok");
    assert_eq!(of(&looked, "Nomad")["grade"], "warn");
    // The rack stands in this process, and holds the ports as a stranger would.
    let port = of(&looked, "port ");
    assert_eq!(port["grade"], "fail", "{port}");
    assert!(port["found"].as_str().is_some_and(|found| found.contains("has it open")), "{port}");
    assert!(port["remedy"].is_string());
    bench.unplug().await;
    let gone = until("the port is gone", async || {
        let (_, looked) = doctor().await;
        Some(of(&looked, "of a")).filter(|port| port["grade"] == "fail")
    })
    .await;
    assert!(
        gone["remedy"].as_str().is_some_and(|text| text.contains("/dev/serial/by-path")),
        "{gone}"
    );
    assert!(before.is_empty());
}
