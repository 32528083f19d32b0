//! Goal: `certs` makes what TLS and openssl take, loses nothing, and says what to do next.
//! Method: the real binary in a directory of its own; where the host has openssl, that reads the files too.

#![expect(clippy::unwrap_used, reason = "a helper of tests may fail them")]
#![expect(clippy::disallowed_methods, reason = "certificates are made for the wall clock")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use power_agent::certs::{Authority, Bearer, Standing};
use power_agent::identity::name_in;
use serde_json::Value;
use tokio::process::Command;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn run(program: &str, arguments: &[&str], dir: &Path) -> (i32, String, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

async fn certs(arguments: &[&str], dir: &Path) -> (i32, String, String) {
    run(env!("CARGO_BIN_EXE_power-agent"), &[&["certs"], arguments].concat(), dir).await
}

async fn done(arguments: &[&str], dir: &Path) -> String {
    let (code, out, err) = certs(arguments, dir).await;
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

async fn standings(dir: &Path) -> Vec<(String, String, String)> {
    let list: Value = serde_json::from_str(&done(&["list", "--json"], dir).await).unwrap();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let each = |held: &Value| (text(held, "name"), text(held, "kind"), text(held, "standing"));
    list.as_array().unwrap().iter().map(each).collect()
}

#[tokio::test]
async fn an_authority_issues_renews_and_revokes_and_its_files_are_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("ca");
    done(&["init", dir.to_str().unwrap()], home.path()).await;
    let said = done(&["issue", "ada", "--role", "operator", "--machines", "node[1-4]"], &dir).await;
    assert!(
        said.contains("[access.\"ada\"]\nrole = \"operator\"\nmachines = \"node[1-4]\""),
        "{said}"
    );
    let said = done(&["agent", "rack-a", "--host", "rack-a.example,10.0.0.7"], &dir).await;
    assert!(said.contains("cert_file = \"rack-a.pem\""), "{said}");

    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);

    let old = std::fs::read(dir.join("ada.pem")).unwrap();
    done(&["renew", "ada", "--days", "10"], &dir).await;
    assert_ne!(std::fs::read(dir.join("ada.pem")).unwrap(), old);
    let row = |who: &str, kind: &str, how: &str| (who.to_owned(), kind.to_owned(), how.to_owned());
    let (code, out, _) = certs(&["list"], &dir).await;
    assert_eq!(code, 1, "one ends soon: {out}");

    let said = done(&["revoke", "ada"], &dir).await;
    assert!(said.contains("crl.pem"), "{said}");
    done(&["issue", "ada", "--role", "viewer"], &dir).await;
    let mut rows = standings(&dir).await;
    rows.sort();
    let expected = [
        row("ada", "client", "good"),
        row("ada", "client", "revoked"),
        row("rack-a", "agent", "good"),
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn nothing_is_overwritten_and_what_makes_no_sense_is_said() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (code, _, err) = certs(&["issue", "ada", "--role", "viewer"], dir).await;
    assert!(code == 64 && err.contains("holds no authority"), "{code} {err}");
    done(&["init", "."], dir).await;
    let before = std::fs::read(dir.join("ca.pem")).unwrap();
    done(&["issue", "ada", "--role", "viewer"], dir).await;
    for (arguments, expected) in [
        (&["init", "."][..], "never overwritten"),
        (&["issue", "ada", "--role", "viewer"], "`certs renew` makes a new one"),
        (&["issue", "bob", "--role", "king"], "expected viewer, operator, autoscaler, break-glass"),
        (&["issue", "bob/../ca", "--role", "viewer"], "can not be a name"),
        (&["issue", "ca", "--role", "viewer"], "are not ca or crl"),
        (&["issue", "bob", "--role", "viewer", "--machines", "node[1"], "never closed"),
        (&["issue", "bob", "--role", "viewer", "--days", "0"], "expected 1 to"),
        (&["agent", "rack", "--host", "not a host"], "neither a DNS name nor an IP address"),
        (&["revoke", "bob"], "bob has no certificate in .; it holds ada"),
        (&["renew", "bob"], "bob has no certificate"),
    ] {
        let (code, out, err) = certs(arguments, dir).await;
        assert!(code == 64 && err.contains(expected), "{arguments:?}: {code} {out}{err}");
    }
    assert_eq!(std::fs::read(dir.join("ca.pem")).unwrap(), before);
    let names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 5, "ca, its key, the list, ada, her key: {names:?}");
}

#[test]
fn a_certificate_ends_with_its_term_and_never_after_its_authority() {
    let home = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    Authority::init(home.path(), now).unwrap();
    let authority = Authority::open(home.path()).unwrap();
    authority.issue("short", &Bearer::Client, 60, now).unwrap();
    authority.issue("late", &Bearer::Client, 60, now + 3640 * DAY).unwrap();
    let standing = |at| -> Vec<(String, Standing)> {
        let list = authority.list(at).unwrap();
        list.into_iter().map(|(held, standing)| (held.who, standing)).collect()
    };
    let (late, short) = ("late".to_owned(), "short".to_owned());
    let told = |of_late, of_short| vec![(late.clone(), of_late), (short.clone(), of_short)];
    assert_eq!(standing(now), told(Standing::NotYet, Standing::Good));
    assert_eq!(standing(now + 31 * DAY), told(Standing::NotYet, Standing::EndsSoon));
    assert_eq!(standing(now + 61 * DAY), told(Standing::NotYet, Standing::Expired));
    assert_eq!(standing(now + 3651 * DAY), told(Standing::Expired, Standing::Expired));
    let pem = agent_api::credentials::certificates(
        agent_api::credentials::Part::Certificate,
        &home.path().join("late.pem"),
    );
    assert_eq!(name_in(&pem.unwrap()[0]), Ok("late".to_owned()));
}

#[tokio::test]
async fn openssl_reads_and_believes_the_files() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    done(&["init", "."], dir).await;
    done(&["issue", "ada", "--role", "viewer"], dir).await;
    done(&["agent", "rack", "--host", "rack.example,::1"], dir).await;
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("openssl").exists()));
    if !found {
        // What rustls makes of them is in the refusal matrix; this is the second opinion.
        return;
    }
    let verify = ["verify", "-CAfile", "ca.pem", "-crl_check", "-CRLfile", "crl.pem"];
    let purpose = |purpose: &'static str, file: &'static str| {
        [&verify[..], &["-purpose", purpose, file]].concat()
    };
    for (arguments, good) in [
        (purpose("sslclient", "ada.pem"), true),
        (purpose("sslserver", "rack.pem"), true),
        (purpose("sslserver", "ada.pem"), false),
        (purpose("sslclient", "rack.pem"), false),
    ] {
        let (code, out, err) = run("openssl", &arguments, dir).await;
        assert_eq!(code == 0, good, "{arguments:?}: {out}{err}");
    }
    let text = run("openssl", &["x509", "-noout", "-text", "-in", "ada.pem"], dir).await.1;
    assert!(text.contains("URI:lamplighter://ada") && text.contains("prime256v1"), "{text}");
    done(&["revoke", "ada"], dir).await;
    let revoked = std::fs::read_dir(dir.join("revoked")).unwrap();
    let pem = revoked.map(|e| e.unwrap().path()).find(|path| path.extension().unwrap() == "pem");
    let pem = pem.unwrap();
    let arguments = [&verify[..], &[pem.to_str().unwrap()]].concat();
    let (code, out, err) = run("openssl", &arguments, dir).await;
    assert!(code != 0 && format!("{out}{err}").contains("revoked"), "{out}{err}");
}
