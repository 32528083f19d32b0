//! Who may: the page's verbs are the agent's own, with its refusals.

use serde_json::json;
use testkit::bench::until;
use virtual_rack::relay::Power;

use crate::bench::shelf;

#[tokio::test]
async fn an_order_of_the_page_moves_the_relay_once_and_is_kept_under_its_persons_name() {
    let shelf = shelf().await;
    let body = json!({"operation": "twice-1", "reason": "course"});
    for _ in 0..2 {
        let said = shelf.ask("bob", "POST", "/api/machines/lamp1/on", &body).await;
        assert_eq!(
            (said.status, said.json()["outcome"].as_str()),
            (202, Some("accepted")),
            "{said:?}"
        );
    }
    shelf.looks("lamp1", "on").await;
    let tile = &shelf.tiles("ada").await["lamp1"];
    assert_eq!(
        (tile["by"]["who"].as_str(), tile["by"]["reason"].as_str()),
        (Some("bob"), Some("course"))
    );
    let off = shelf.order("bob", "lamp1", "off", "the fan is loud").await;
    assert_eq!(
        off.status, 409,
        "no Nomad is configured, so nothing proves the node empty: {off:?}"
    );
    let forced = json!({"operation": "forced-1", "reason": "the fan is loud", "force": true});
    let said = shelf.ask("ada", "POST", "/api/machines/lamp1/off", &forced).await;
    assert_eq!(said.status, 202, "{said:?}");
    shelf.looks("lamp1", "off").await;
    let held = until("it is held off", async || {
        let tile = shelf.tiles("ada").await["lamp1"].clone();
        tile["marks"].as_array()?.iter().find(|mark| mark["word"] == "held off").cloned()
    });
    assert!(held.await["text"].as_str().unwrap().contains("ada"));
    let moves = shelf.bench.moves().await;
    assert_eq!(moves, [("a".to_owned(), 1, Power::On), ("a".to_owned(), 1, Power::Off)]);
}

#[tokio::test]
async fn a_hold_is_taken_told_and_released_and_moves_nothing() {
    let shelf = shelf().await;
    let said = shelf.order("bob", "lamp2", "hold", "measuring").await;
    assert!(said.status == 200 && said.text().contains("hold bob"), "{said:?}");
    let tile = &shelf.tiles("eve").await["lamp2"];
    assert_eq!(
        (tile["locked"].as_bool(), tile["marks"][0]["word"].as_str()),
        (Some(true), Some("held"))
    );
    let why = shelf.ask("eve", "GET", "/api/machines/lamp2/why", &json!({})).await.json();
    let lines = why["lines"].to_string();
    assert!(lines.contains("lamp2: off") && lines.contains("measuring"), "{lines}");
    let said = shelf.order("bob", "lamp2", "release", "").await;
    assert!(said.status == 200 && said.text().contains("nothing moves by it"), "{said:?}");
    assert_eq!(shelf.tiles("eve").await["lamp2"]["locked"], false);
    assert!(shelf.bench.moves().await.is_empty());
}

#[tokio::test]
async fn machines_stand_in_the_order_of_the_shelf_by_pool() {
    let shelf = shelf().await;
    let rack = shelf.ask("eve", "GET", "/api/rack", &json!({})).await.json();
    let groups: Vec<(Option<&str>, Vec<&str>)> = rack["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            let machines = group["machines"].as_array().unwrap().iter();
            (group["pool"].as_str(), machines.map(|tile| tile["name"].as_str().unwrap()).collect())
        })
        .collect();
    assert_eq!(
        groups,
        [
            (Some("lab"), vec!["desk1", "desk2", "desk3"]),
            (Some("rack"), vec!["lamp1", "lamp2", "lamp10"]),
            (None, vec!["nas"]),
        ]
    );
    assert_eq!(rack["may"], json!({"switch": false, "hold": false, "force": false}));
}
