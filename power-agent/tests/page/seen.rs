//! What a person sees and does, in a real Chromium.

use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::bench::until;
use testkit::browser::{self, Browser, View};
use testkit::ports::Port;
use virtual_rack::relay::Power;

use crate::bench::{Shelf, shelf, shelf_at, shelf_of, shown};

pub(crate) const PHONE: View = View { width: 390, height: 844, dark: false, still: true };
const SCREEN: View = View { width: 1280, height: 800, dark: false, still: true };

/// Keeps a picture where LAMPLIGHTER_PICTURES names a folder, for somebody to look at.
pub(crate) async fn picture(browser: &mut Browser, name: &str) {
    let Some(folder) = std::env::var_os("LAMPLIGHTER_PICTURES") else { return };
    browser.picture(&PathBuf::from(folder).join(format!("{name}.png"))).await.unwrap();
}

/// In each size and both schemes nothing is wider than the page, and nothing that is written is cut off.
pub(crate) async fn fits(browser: &mut Browser, name: &str) {
    for (size, view) in [("phone", PHONE), ("screen", SCREEN)] {
        for dark in [false, true] {
            browser.view(View { dark, ..view }).await.unwrap();
            let wide = "[document.documentElement.scrollWidth, innerWidth, \
                [...document.querySelectorAll('.tile, .mark, .name, .word, .verbs button')].filter((e) => \
                e.offsetParent && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0).length]";
            let found = browser.evaluate(wide).await.unwrap();
            assert!(found[0].as_u64() <= found[1].as_u64(), "{name} on a {size}: {found}");
            assert_eq!(found[2], 0, "{name} on a {size}: so many are cut off");
            picture(browser, &format!("{name}-{size}-{}", if dark { "dark" } else { "light" }))
                .await;
        }
    }
}

async fn labels(browser: &mut Browser) -> Vec<String> {
    let all =
        "[...document.querySelectorAll('.tile')].map((tile) => tile.getAttribute('aria-label'))";
    let labels = browser.evaluate(all).await.unwrap();
    labels.as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned()).collect()
}

/// Machines in every state that there is.
async fn motley(shelf: &Shelf) {
    for (machine, verb) in [("lamp1", "on"), ("lamp2", "on"), ("desk1", "on"), ("desk2", "on")] {
        let said = shelf.order("ada", machine, verb, "the course of the autumn").await;
        assert_eq!(said.status, 202, "{said:?}");
    }
    for (machine, look) in
        [("lamp1", "on"), ("lamp2", "on"), ("desk1", "assumed-on"), ("desk2", "assumed-on")]
    {
        shelf.looks(machine, look).await;
    }
    let off = json!({"operation": "off-1", "reason": "measuring the idle current", "force": true});
    let said = shelf.ask("ada", "POST", "/api/machines/desk2/off", &off).await;
    assert_eq!(said.status, 202, "{said:?}");
    shelf.looks("desk2", "assumed-off").await;
    shelf.bench.rack.by_hand("a:2", Power::Off).await.unwrap();
    shelf.looks("lamp2", "off-differs").await;
    shelf.bench.rack.fault("c unplugged").await.unwrap();
    shelf.looks("nas", "unknown").await;
    let said = shelf.order("bob", "lamp1", "hold", "its fan is being exchanged").await;
    assert_eq!(said.status, 200, "{said:?}");
    shelf.looks("lamp10", "off").await;
}

#[tokio::test]
async fn each_state_is_told_by_a_word_and_a_shape_and_unknown_is_never_off() {
    if !browser::available() {
        return;
    }
    let shelf = shelf().await;
    motley(&shelf).await;
    let mut browser = shelf.browser("eve").await;
    shown(&mut browser, "document.querySelectorAll('.tile').length === 7").await;
    let labels = labels(&mut browser).await;
    for (index, begins) in [
        "desk1: assumed on",
        "desk2: assumed off",
        "desk3: off",
        "lamp1: on; hold bob",
        "lamp2: off (commanded on)",
        "lamp10: off",
        "nas: unknown",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(labels[index].starts_with(begins), "{begins}: {labels:?}");
    }
    assert!(labels[6].contains("device c: ") && labels[6].contains("never taken"), "{labels:?}");
    // What tells the states apart without a colour: the letter, the bar, the dashes of the lamp and of the case.
    let shape = |machine: &str| {
        format!(
            "(() => {{ const t = document.querySelector('[data-machine={machine}]'); \
             const s = (q) => getComputedStyle(t.querySelector(q)); \
             return [t.querySelector('.letter').textContent, s('.bar').stroke !== 'none', s('.lamp').strokeDasharray, \
             s('.lamp').stroke !== 'none', s('.lamp').fill !== 'none', s('.differs').stroke !== 'none', s('.case').strokeDasharray].join(); }})()"
        )
    };
    let mut shapes: Vec<Value> = Vec::new();
    for machine in ["lamp1", "lamp10", "desk1", "desk2", "lamp2", "nas"] {
        let found = browser.evaluate(&shape(machine)).await.unwrap();
        assert!(!shapes.contains(&found), "{machine} looks as another does: {found}, {shapes:?}");
        shapes.push(found);
    }
    let offers = "document.querySelector('#keys').innerText";
    assert!(
        !browser.evaluate(offers).await.unwrap().to_string().contains("cycle"),
        "eve only looks"
    );
    fits(&mut browser, "motley").await;
    browser.evaluate("document.querySelector('[data-machine=lamp1]').click(); true").await.unwrap();
    shown(&mut browser, "document.querySelector('#details-why').innerText.includes('its node is')")
        .await;
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('#details-verbs button').length")
            .await
            .unwrap(),
        0
    );
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn by_keyboard_alone_a_machine_is_found_asked_about_and_switched_off_with_a_reason() {
    if !browser::available() {
        return;
    }
    let shelf = shelf().await;
    motley(&shelf).await;
    let mut browser = shelf.browser("ada").await;
    browser.view(SCREEN).await.unwrap();
    browser.evaluate("document.querySelector('.tile').focus(); true").await.unwrap();
    let on = |name: &str| format!("document.activeElement.dataset.machine === '{name}'");
    for (key, name) in [
        ("ArrowRight", "desk2"),
        ("ArrowDown", "lamp2"),
        ("ArrowLeft", "lamp1"),
        ("ArrowUp", "desk1"),
        ("End", "nas"),
        ("Home", "desk1"),
        ("ArrowDown", "lamp1"),
    ] {
        browser.press(key).await.unwrap();
        shown(&mut browser, &on(name)).await;
    }
    browser.press("Enter").await.unwrap();
    shown(&mut browser, "document.querySelector('#details').open").await;
    shown(
        &mut browser,
        "document.querySelector('#details-why').innerText.includes('the course of the autumn')",
    )
    .await;
    picture(&mut browser, "why-screen-light").await;
    browser.press("Escape").await.unwrap();
    shown(&mut browser, &on("lamp1")).await;
    // Held by bob, and no Nomad: the refusal is shown in its words, and the relay stays.
    browser.press("f").await.unwrap();
    shown(&mut browser, "document.activeElement.id === 'asking-reason'").await;
    browser.press("Enter").await.unwrap();
    let unsaid = "document.querySelector('#asking').open && document.querySelector('#asking-reason:invalid')";
    shown(&mut browser, unsaid).await;
    browser.write("the shelf is being painted").await.unwrap();
    browser.press("Enter").await.unwrap();
    shown(
        &mut browser,
        "document.querySelector('#asking-refused').textContent.includes('--force')",
    )
    .await;
    fits(&mut browser, "refused").await;
    assert_eq!(
        shelf
            .bench
            .moves()
            .await
            .iter()
            .filter(|(board, channel, _)| (board.as_str(), *channel) == ("a", 1))
            .count(),
        1
    );
    // By force it goes.
    browser.view(SCREEN).await.unwrap();
    browser.evaluate("document.querySelector('#asking-force').focus(); true").await.unwrap();
    browser.press(" ").await.unwrap();
    browser.evaluate("document.querySelector('#asking-reason').focus(); true").await.unwrap();
    browser.press("Enter").await.unwrap();
    shown(&mut browser, "!document.querySelector('#asking').open").await;
    shown(&mut browser, "document.querySelector('[data-machine=lamp1]').getAttribute('aria-label').startsWith('lamp1: off;')").await;
    let last = until("the contact opens", async || shelf.bench.moves().await.pop());
    assert_eq!(last.await, ("a".to_owned(), 1, Power::Off));
    let history = shelf.ask("ada", "GET", "/api/machines/lamp1/why", &json!({})).await.body;
    assert!(history.contains("the shelf is being painted"), "{history}");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn on_a_phone_a_finger_holds_and_cycles_and_sees_how_far_it_is() {
    if !browser::available() {
        return;
    }
    let shelf = shelf().await;
    motley(&shelf).await;
    let mut browser = shelf.browser("ada").await;
    browser.view(PHONE).await.unwrap();
    let click = |what: &str| format!("document.querySelector('{what}').click(); true");
    browser.evaluate(&click("[data-machine=desk1]")).await.unwrap();
    browser.evaluate(&click("#details-verbs [data-verb=hold]")).await.unwrap();
    shown(&mut browser, "document.querySelector('#asking').open").await;
    picture(&mut browser, "hold-phone-light").await;
    browser.write("a spider lives there").await.unwrap();
    browser.evaluate(&click("#asking-go")).await.unwrap();
    shown(
        &mut browser,
        "document.querySelector('#details-word').innerText.includes('a spider lives there')",
    )
    .await;
    let label = "document.querySelector('[data-machine=desk1]').getAttribute('aria-label')";
    shown(&mut browser, &format!("{label}.includes('hold ada')")).await;
    browser.evaluate(&click("#details-verbs [data-verb=cycle]")).await.unwrap();
    browser.write("it hangs").await.unwrap();
    browser.evaluate(&click("#asking-force")).await.unwrap();
    browser.evaluate(&click("#asking-go")).await.unwrap();
    // While it dwells, the tile says so, with the time that is left.
    shown(&mut browser, "!document.querySelector('[data-machine=desk1] .doing').hidden").await;
    let text = "document.querySelector('[data-machine=desk1] .doing').innerText";
    shown(&mut browser, &format!("/cycle: .* more|booting.* more/.test({text})")).await;
    browser.evaluate(&click("#details .close")).await.unwrap();
    fits(&mut browser, "cycle").await;
    shown(&mut browser, &format!("{text}.includes('booting, at most')")).await;
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn an_agent_that_is_gone_is_not_shown_as_it_was_and_comes_back_by_itself() {
    if !browser::available() {
        return;
    }
    // Its port stays the same over the restart, and nobody takes it meanwhile.
    let held = Port::take().unwrap();
    let mut shelf = shelf_at(held.number()).await;
    let mut browser = shelf.browser("eve").await;
    browser.view(PHONE).await.unwrap();
    shelf.bench.kill_agent().await;
    shown(
        &mut browser,
        "document.body.classList.contains('stale') && !document.querySelector('#lost').hidden",
    )
    .await;
    fits(&mut browser, "lost").await;
    shelf.bench.start_agent().await;
    shown(
        &mut browser,
        "!document.body.classList.contains('stale') && document.querySelector('#lost').hidden",
    )
    .await;
    browser.evaluate("document.querySelector('#logout').click(); true").await.unwrap();
    shown(&mut browser, "document.querySelector('#login')").await;
    fits(&mut browser, "login").await;
}

/// A rack of so many machines, the last half of them without a pool.
fn rack_of(count: usize) -> (String, String) {
    let mut boards = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n".to_owned();
    let mut rack =
        "[agent]\nname = \"hall-3\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"5s\"\n\
        [page]\nlisten = \"127.0.0.1:0\"\n[pools.rack]\n"
            .to_owned();
    for board in 0..count.div_ceil(8) {
        let kind = if board % 3 == 2 { ("lcus-silent", "none") } else { ("lcus-ascii", "ascii") };
        boards.push_str(&format!(
            "[boards.b{board}]\nkind = \"{}\"\nchannels = 8\nlink = \"{board}.tty\"\n",
            kind.0
        ));
        rack.push_str(&format!(
            "[devices.b{board}]\ndriver = \"lcus\"\nport = \"{board}.tty\"\nchannels = 8\nstatus = \"{}\"\n",
            kind.1
        ));
    }
    for machine in 0..count {
        let pool = if machine < count.div_ceil(2) { "pool = \"rack\"\n" } else { "" };
        let (board, outlet, number) = (machine / 8, machine % 8 + 1, machine + 1);
        rack.push_str(&format!(
            "[machines.node{number}]\n{pool}outlets = [{{ device = \"b{board}\", outlet = {outlet} }}]\n"
        ));
    }
    (boards, rack)
}

#[tokio::test]
async fn none_one_and_two_hundred_machines_fit_the_page() {
    if !browser::available() {
        return;
    }
    for count in [0, 1, 200] {
        // A rack has at least a board.
        let (boards, rack) = rack_of(count.max(1));
        let rack =
            if count == 0 { rack.split("[machines.").next().unwrap().to_owned() } else { rack };
        let shelf = shelf_of(&boards, &rack, |_| {}).await;
        let mut browser = shelf.browser("eve").await;
        shown(&mut browser, &format!("document.querySelectorAll('.tile').length === {count}"))
            .await;
        fits(&mut browser, &format!("rack-of-{count}")).await;
        let said = browser.evaluate("document.querySelector('#rack').innerText").await.unwrap();
        assert_eq!(said.to_string().contains("No machine is declared here"), count == 0, "{said}");
    }
}
