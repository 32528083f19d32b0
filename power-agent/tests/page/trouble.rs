//! What a person sees of a machine that is out of service, and of one whose work still moves away, in a real Chromium.

use agent_api::Service;
use fleet::{QuarantineCause, Reason};
use nomad_api::ClientStatus;
use serde_json::json;
use testkit::bench::{PATIENCE, autoscaler, name};
use testkit::browser;
use testkit::cluster::{Access, Hosts, MachineSpec, Server};
use testkit::process::Process;
use testkit::work::ShellJob;

use crate::bench::{BOARDS, RACK, shelf_of, shown};
use crate::seen::{PHONE, fits, picture};

/// A service that takes its time to end, so that its node's drain does.
const SLOW: &str = "trap '' TERM; while :; do sleep 1; done";

#[tokio::test]
async fn a_quarantine_says_its_reason_and_a_drain_whose_work_it_waits_for_and_both_end() {
    if !browser::available() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start_on(Hosts::StandIn, home.path(), Access::Open).await.unwrap();
    let client = server.machine(home.path(), &MachineSpec::named("lamp1")).unwrap();
    let nomad = format!("[nomad]\naddress = \"{}\"\n[devices.a]", server.address());
    let shelf = shelf_of(BOARDS, &RACK.replacen("[devices.a]", &nomad, 1), |_| {}).await;
    assert_eq!(shelf.order("ada", "lamp1", "on", "the course of the autumn").await.status, 202);
    shelf.looks("lamp1", "on").await;
    let _client = Process::start("lamp1", client.argv(), home.path()).unwrap();
    server.node_ready("lamp1").await.unwrap();
    server.run_job(&ShellJob::batch("render", 1, SLOW)).await.unwrap();
    server.allocations_when("render", &ClientStatus::Running, 1, PATIENCE).await.unwrap();
    let (machine, origin) = (name("lamp2"), autoscaler(1));
    let reason = Reason::new("did not boot within 5m, and not after a cycle either");
    let quarantine = Some(QuarantineCause::NoBoot);
    let out = Service { machine, origin, quarantine, reason };
    assert_eq!(shelf.bench.client.set_quarantine(&out).await.expect("an answer"), Ok(true));
    let drain = json!({"operation": "drain-1", "reason": "new fan", "drain": true});
    let said = shelf.ask("ada", "POST", "/api/machines/lamp1/off", &drain).await;
    assert_eq!(said.status, 202, "{said:?}");

    let mut browser = shelf.browser("ada").await;
    let label = |machine: &str| {
        format!("document.querySelector('[data-machine={machine}]').getAttribute('aria-label')")
    };
    shown(&mut browser, &format!("/off: draining.*render/.test({})", label("lamp1"))).await;
    shown(&mut browser, &format!("{}.includes('did not boot within 5m')", label("lamp2"))).await;
    let summary =
        "document.querySelector('#summary').innerText.endsWith('1 of them in quarantine')";
    shown(&mut browser, summary).await;
    fits(&mut browser, "drain").await;
    let click = |what: &str| format!("document.querySelector('{what}').click(); true");
    browser.view(PHONE).await.unwrap();
    browser.evaluate(&click("[data-machine=lamp2]")).await.unwrap();
    let word = "document.querySelector('#details-word').innerText";
    shown(&mut browser, &format!("{word}.includes('not after a cycle either')")).await;
    picture(&mut browser, "quarantine-phone").await;
    browser.evaluate(&click("#details-verbs [data-verb=release]")).await.unwrap();
    browser.evaluate(&click("#asking-go")).await.unwrap();
    shown(&mut browser, &format!("!{}.includes('quarantine')", label("lamp2"))).await;
    browser.evaluate(&click("#details .close")).await.unwrap();

    // Another order takes the place of the one whose drain still goes on: nothing has moved.
    browser.evaluate(&click("[data-machine=lamp1]")).await.unwrap();
    browser.evaluate(&click("#details-verbs [data-verb=on]")).await.unwrap();
    shown(&mut browser, "document.querySelector('#asking-text').innerText.includes('It is busy now: off: draining')").await;
    fits(&mut browser, "busy").await;
    browser.evaluate(&click("#asking-go")).await.unwrap();
    shown(&mut browser, &format!("!/draining/.test({})", label("lamp1"))).await;
    let edges = shelf.bench.moves().await;
    assert_eq!(edges.len(), 1, "{edges:?}");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}
