//! Goal: `lamplighter check` tells every mistake that it is there for, at its line, and nothing of files that are right.
//! Method: the real binary over `bad-policies/`, where NAME.txt holds its whole answer to NAME.hcl, and over ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// Far above what a swamped host needs for one check.
const BOUND: Duration = Duration::from_secs(180);

/// The exit code, what it answered, and what it complained of.
async fn check(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lamplighter"));
    command.arg("check").args(args).current_dir(folder).kill_on_drop(true);
    let output = tokio::time::timeout(BOUND, command.output()).await;
    let output = output.expect("it ends").expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn bad() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-policies")
}

#[tokio::test]
async fn every_mistake_gets_its_exact_words() {
    let mut seen = 0;
    let files = std::fs::read_dir(bad()).expect("the folder").flatten();
    for file in files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "hcl"))
    {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let (exit, answer, complaint) = check(&bad(), &[name]).await;
        let expected = std::fs::read_to_string(file.with_extension("txt")).expect(name);
        assert_eq!(format!("{complaint}{answer}exit {exit}\n"), expected, "{name}");
        let worst = if complaint.contains(": error: ") { 65 } else { 1 };
        assert_eq!(exit, worst, "{name}");
        seen += 1;
    }
    assert!(seen >= 25, "{seen} files");
}

#[tokio::test]
async fn what_the_project_ships_is_right() {
    let (exit, answer, complaint) = check(&root(), &["examples", "jobs"]).await;
    assert_eq!((exit, complaint.as_str()), (0, ""), "{answer}");
    assert!(answer.contains("pool shelf: 2 policies\n"), "{answer}");
}

#[tokio::test]
async fn what_the_documents_show_is_right() {
    let shown = std::fs::read_to_string(root().join("docs/policies.md")).expect("docs/policies.md");
    let folder = tempfile::tempdir().expect("a folder");
    let blocks = shown.split("```hcl\n").skip(1).filter_map(|rest| rest.split("```").next());
    for (number, block) in blocks.enumerate() {
        std::fs::write(folder.path().join(format!("{number}.hcl")), block).expect("a file");
    }
    let (exit, answer, complaint) = check(folder.path(), &["."]).await;
    assert_eq!((exit, complaint.as_str()), (0, ""), "{answer}");
    assert!(answer.starts_with("pool rack: 1 policy\n"), "{answer}");
}

#[tokio::test]
async fn policies_share_a_pool_over_files_and_a_disabled_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let good =
        std::fs::read_to_string(root().join("examples/policies/rack.hcl")).expect("an example");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("a.hcl", &good);
    write("b.hcl", &good);
    let (exit, _, complaint) = check(folder.path(), &["."]).await;
    assert_eq!(exit, 65);
    assert!(complaint.starts_with("./b.hcl:") && complaint.contains("./a.hcl:"), "{complaint}");
    write("b.hcl", &good.replace("enabled = true", "enabled = false"));
    assert_eq!(check(folder.path(), &["."]).await.0, 0);
}

#[tokio::test]
async fn a_program_reads_the_same_as_json() {
    let (exit, answer, complaint) = check(&bad(), &["--json", "shared-with-other-knobs.hcl"]).await;
    assert_eq!((exit, complaint.as_str()), (65, ""));
    let json: Value = serde_json::from_str(&answer).expect("JSON");
    let findings = json["findings"].as_array().expect("findings");
    let severities: Vec<_> =
        findings.iter().map(|finding| finding["severity"].as_str().expect("a word")).collect();
    assert_eq!(severities, ["error", "warning", "warning", "error"]);
    assert_eq!((json["exit"].as_u64(), findings[1]["line"].as_u64()), (Some(65), Some(43)));
    assert_eq!(json["policies"][1]["demand"], "night");
    for key in ["file", "column", "found", "expected", "remedy"] {
        assert!(!findings[0][key].is_null(), "{key}");
    }
}

#[tokio::test]
async fn a_path_that_leads_to_no_policies_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, words) in [("nowhere.hcl", "can not be read"), (".", "a folder without policies")] {
        let (exit, _, complaint) = check(folder.path(), &[path]).await;
        assert_eq!(exit, 65, "{path}");
        assert!(complaint.starts_with(&format!("{path}: error: {words}")), "{complaint}");
    }
    assert_eq!(check(folder.path(), &[]).await.0, 2, "clap's own code");

    let deep = folder.path().join("1/2/3/4/5/6/7/8/9");
    std::fs::create_dir_all(&deep).expect("folders");
    std::fs::write(deep.join("rack.hcl"), "").expect("a file");
    std::fs::write(folder.path().join("large.hcl"), vec![b' '; 1024 * 1024 + 1]).expect("a file");
    let (exit, answer, complaint) = check(folder.path(), &["."]).await;
    assert_eq!((exit, answer.as_str()), (65, "0 files: 2 errors, 0 warnings\n"));
    assert!(
        complaint.contains("./1/2/3/4/5/6/7/8/9: error: a folder more than 8 folders down"),
        "{complaint}"
    );
    assert!(complaint.contains("./large.hcl: error: 1048577 bytes"), "{complaint}");
}
