//! Who may not.

use serde_json::json;
use testkit::bench::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::{OWN, shelf, token};

/// Everything that tells of the rack or moves it.
const GUARDED: &[(&str, &str)] = &[
    ("GET", "/api/rack"),
    ("GET", "/api/watch"),
    ("GET", "/api/machines/desk1/why"),
    ("POST", "/api/machines/desk1/on"),
    ("POST", "/api/machines/desk1/off"),
    ("POST", "/api/machines/desk1/cycle"),
    ("POST", "/api/machines/desk1/hold"),
    ("POST", "/api/machines/desk1/release"),
];

#[tokio::test]
async fn without_a_good_token_nothing_is_told_and_nothing_moves() {
    let shelf = shelf().await;
    for token in [None, Some("Bearer lamp_00"), Some("Bearer "), Some("Basic YWRhOmFkYQ==")] {
        for (method, path) in GUARDED {
            let mut headers = vec![OWN];
            headers.extend(token.map(|token| ("authorization", token)));
            let body = json!({"reason": "x", "operation": "x-1"}).to_string();
            let said = shelf.ask_bare(method, path, &headers, &body).await;
            assert_eq!(said.status, 401, "{method} {path} {token:?}: {said:?}");
            assert!(!said.body.contains("lamp1") && !said.body.contains("shelf"), "{said:?}");
            assert!(said.headers["www-authenticate"].starts_with("Bearer"), "{said:?}");
        }
    }
    let first = shelf.ask_bare("GET", "/", &[], "").await;
    assert_eq!(first.status, 401);
    assert!(first.body.contains("Your token") && !first.body.contains("shelf"), "{first:?}");
    let lines = shelf.audit("denied", 1).await;
    assert!(
        lines.iter().any(|line| line.by == "nobody" && line.code.as_deref() == Some("unproven")),
        "{lines:?}"
    );
    let body = json!({"token": "lamp_00"}).to_string();
    let said = shelf.ask_bare("POST", "/login", &[OWN], &body).await;
    assert_eq!((said.status, said.headers.get("set-cookie")), (401, None), "{said:?}");
    assert_eq!(shelf.frames().await, 0);
}

#[tokio::test]
async fn who_may_not_is_refused_before_any_byte_reaches_a_board() {
    let shelf = shelf().await;
    for (who, verb, says) in [
        ("eve", "on", "is viewer here and may not switch machines by hand"),
        ("eve", "off", "is viewer here and may not switch machines by hand"),
        ("eve", "cycle", "is viewer here and may not switch machines by hand"),
        ("eve", "hold", "is viewer here and may not hold or release machines"),
        ("eve", "release", "is viewer here and may not hold or release machines"),
        ("bob", "on", "is operator of lamp[1-2] here, and machine desk1 is none of them"),
        ("bob", "hold", "is operator of lamp[1-2] here, and machine desk1 is none of them"),
    ] {
        let said = shelf.order(who, "desk1", verb, "a try").await;
        assert_eq!(said.status, 403, "{who} {verb}: {said:?}");
        assert!(said.text().contains(says), "{who} {verb}: {said:?}");
        assert_eq!(said.json()["code"], "forbidden", "{said:?}");
    }
    let forced = json!({"reason": "x", "operation": "force-1", "force": true});
    let said = shelf.ask("bob", "POST", "/api/machines/lamp1/off", &forced).await;
    assert!(said.status == 403 && said.text().contains("--force"), "{said:?}");
    let lines = shelf.audit("denied", 8).await;
    assert!(
        lines.iter().all(|line| line.known == "token" && line.code.as_deref() == Some("forbidden")),
        "{lines:?}"
    );
    assert_eq!(shelf.frames().await, 0);
    let seen: Vec<String> = shelf.tiles("bob").await.into_keys().collect();
    assert_eq!(seen, ["lamp1", "lamp2"], "he sees his machines alone");
    let why = shelf.ask("bob", "GET", "/api/machines/desk1/why", &json!({})).await;
    assert_eq!(why.status, 404, "{why:?}");
}

#[tokio::test]
async fn what_another_site_sends_in_somebodys_name_is_refused() {
    let shelf = shelf().await;
    let cookie = format!("lamplighter={}", shelf.tokens["ada"]);
    let cookie = ("cookie", cookie.as_str());
    let body = json!({"reason": "forged", "operation": "forged-1"}).to_string();
    for (headers, what) in [
        (&[cookie, ("content-type", "text/plain")][..], "a form"),
        (&[cookie, ("origin", "http://shelf")], "our own host, without the header"),
        (&[cookie, OWN, ("origin", "http://evil.example")], "another site"),
        (&[cookie, OWN, ("origin", "null")], "a frame without an origin"),
        (&[cookie, OWN, ("sec-fetch-site", "cross-site")], "the browser says so"),
    ] {
        let said = shelf.ask_bare("POST", "/api/machines/desk1/on", headers, &body).await;
        assert_eq!(
            (said.status, said.json()["code"].as_str()),
            (403, Some("other-site")),
            "{what}"
        );
    }
    // Before a script of another site may set the header, the browser asks; nobody allows it.
    let asked = [("origin", "http://evil.example"), ("access-control-request-headers", OWN.0)];
    let said = shelf.ask_bare("OPTIONS", "/api/machines/desk1/on", &asked, "").await;
    assert_eq!(said.status, 404);
    assert!(!said.headers.keys().any(|name| name.starts_with("access-control")), "{said:?}");
    let login = json!({"token": shelf.tokens["ada"]}).to_string();
    assert_eq!(shelf.ask_bare("POST", "/login", &[], &login).await.status, 403);
    assert_eq!(shelf.frames().await, 0);
    let own = [cookie, OWN, ("origin", "http://shelf")];
    let said = shelf.ask_bare("POST", "/api/machines/desk1/on", &own, &body).await;
    assert_eq!(said.status, 202, "the page itself may");
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let shelf = shelf().await;
    let bearer = format!("Bearer {}", shelf.tokens["eve"]);
    for path in ["/", "/page.js", "/page.css", "/login.js", "/lamp.svg", "/api/rack", "/nothing"] {
        let said = shelf.ask_bare("GET", path, &[("authorization", &bearer)], "").await;
        let policy = &said.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(said.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(said.headers["cache-control"], "no-store", "{path}");
        for outside in ["http://", "https://", "<style", "onclick", "javascript:"] {
            let own = said.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(outside), "{path} has {outside}");
        }
    }
    let login = json!({"token": format!(" {}\n", shelf.tokens["eve"])}).to_string();
    let said = shelf.ask_bare("POST", "/login", &[OWN], &login).await;
    let cookie = &said.headers["set-cookie"];
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=2592000"), "{cookie}");
    let value = cookie.split(';').next().unwrap();
    assert_eq!(shelf.ask_bare("GET", "/", &[("cookie", value)], "").await.status, 200);
    let out = shelf.ask_bare("POST", "/logout", &[OWN, ("cookie", value)], "").await;
    assert!(
        out.headers["set-cookie"].contains("lamplighter=; ")
            && out.headers["set-cookie"].contains("Max-Age=0")
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_sentence() {
    let shelf = shelf().await;
    let machine = "/api/machines/desk1/off";
    for (body, says) in [
        (json!({"operation": "a-1"}).to_string(), "say why: others will read it"),
        (json!({"operation": "a-1", "reason": "  "}).to_string(), "say why: others will read it"),
        (json!({"reason": "x"}).to_string(), "operation: "),
        (
            json!({"reason": "x", "operation": "a-1", "by": "root"}).to_string(),
            "unknown field `by`",
        ),
        ("off".to_owned(), "the body is not what is expected"),
        (format!("{{\"reason\": \"{}\"}}", "x".repeat(9000)), "no body of at most 8192 bytes"),
    ] {
        let bearer = format!("Bearer {}", shelf.tokens["ada"]);
        let said = shelf.ask_bare("POST", machine, &[OWN, ("authorization", &bearer)], &body).await;
        assert_eq!(said.status, 400, "{body:.60}: {said:?}");
        assert!(said.text().contains(says), "{body:.60}: {said:?}");
    }
    let unknown = shelf.order("ada", "desk9", "on", "x").await;
    assert!(unknown.status == 404 && unknown.text().contains("no machine desk9"), "{unknown:?}");
    assert_eq!(shelf.order("ada", "desk1", "explode", "x").await.status, 404);
    assert_eq!(shelf.frames().await, 0);
}

#[tokio::test]
async fn a_token_that_is_taken_back_ends_what_it_has_opened() {
    let shelf = shelf().await;
    let mut stream = TcpStream::connect(("127.0.0.1", shelf.port)).await.unwrap();
    let bearer = &shelf.tokens["eve"];
    let request =
        format!("GET /api/watch HTTP/1.1\r\nhost: shelf\r\nauthorization: Bearer {bearer}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    until("the watch tells the rack", async || {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        (heard.contains("event: rack") && heard.contains("event: machine")).then_some(())
    })
    .await;
    // Eve has another token from now on.
    let (fresh, lines) = token(&shelf.bench, "eve", &["--role", "viewer"]).await;
    let kept = shelf.file.split("[access.\"eve\"]").next().unwrap();
    shelf.bench.reload(&format!("{kept}{lines}")).await;
    let said = shelf.ask("eve", "GET", "/api/rack", &json!({})).await;
    assert_eq!(said.status, 401, "{said:?}");
    until("the watch is ended", async || {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        heard
            .contains("event: end\ndata: \"the token of \\\"eve\\\" is no longer good")
            .then_some(())
    })
    .await;
    let bearer = format!("Bearer {fresh}");
    let said = shelf.ask_bare("GET", "/api/rack", &[("authorization", &bearer)], "").await;
    assert_eq!(said.status, 200, "{said:?}");
    // And one that has ended by its day is none.
    let ended = format!(
        "{kept}{}token_until = \"2020-02-29\"\n",
        lines.trim_end_matches('\n').to_owned() + "\n"
    );
    shelf.bench.reload(&ended).await;
    let said = shelf.ask_bare("GET", "/api/rack", &[("authorization", &bearer)], "").await;
    assert_eq!(said.status, 401, "{said:?}");
}

#[tokio::test]
async fn one_address_can_not_hold_all_places() {
    let shelf = shelf().await;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(TcpStream::connect(("127.0.0.1", shelf.port)).await.unwrap());
    }
    let mut ended = 0;
    for stream in &mut held[16..] {
        let mut byte = [0; 1];
        // Hung up on, or never taken: nothing is answered.
        ended += usize::from(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
    }
    assert_eq!(ended, 24);
    drop(held);
    until("there is a place again", async || {
        let mut stream = TcpStream::connect(("127.0.0.1", shelf.port)).await.ok()?;
        stream.write_all(b"GET /lamp.svg HTTP/1.1\r\nhost: shelf\r\n\r\n").await.ok()?;
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.ok()?;
        (&bytes == b"HTTP/1.1 200").then_some(())
    })
    .await;
}
