//! The house's rules that no lint knows, as tests: each names what is wrong and where.
#![expect(clippy::panic, reason = "tests tell what is wrong by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longer files are hard to hold in the head at once.
const FILE_LINES_MAX: usize = 600;

/// Which of our crates each crate may depend on, to be built or to be tested. Dependencies point down only.
const EDGES: &[(&str, &[&str])] = &[
    ("fleet", &[]),
    ("bridge-protocol", &[]),
    ("serial-port", &[]),
    ("bridge-device", &["bridge-protocol"]),
    ("bridge-simulated", &["bridge-device", "bridge-protocol"]),
    ("firmware-bridge", &["bridge-protocol", "bridge-simulated", "serial-port"]),
    ("nomad-api", &[]),
    ("agent-api", &["fleet"]),
    ("nomad-plugin", &["agent-api", "fleet", "nomad-api"]),
    ("power-agent", &["agent-api", "firmware-bridge", "fleet", "nomad-api", "serial-port"]),
    ("virtual-rack", &[]),
    ("standin", &["nomad-plugin"]),
];

/// Those that may use everything, and that nobody uses but in tests.
const TOPS: &[&str] = &["testkit", "xtask"];

/// Crates that tests of others may use beside their own edges: what stands in for the world.
const FOR_TESTS: &[&str] = &["bridge-simulated", "testkit", "virtual-rack"];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests lies in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files with an ending, of folders that hold our own sources.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of ours can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no {ending} files below {}", root().display());
    found
}

fn members() -> Vec<PathBuf> {
    let manifest: toml::Table =
        read(&root().join("Cargo.toml")).parse().expect("the manifest is TOML");
    let members = manifest["workspace"]["members"].as_array().expect("members are a list");
    members.iter().map(|member| root().join(member.as_str().expect("a path"))).collect()
}

/// Our crates by name, with the crates of ours that they name in a section.
fn edges(section: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut crates = BTreeMap::new();
    let tables: Vec<toml::Table> = members()
        .iter()
        .map(|member| read(&member.join("Cargo.toml")).parse().expect("a manifest is TOML"))
        .collect();
    let name =
        |table: &toml::Table| table["package"]["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = tables.iter().map(name).collect();
    for table in &tables {
        let named = table.get(section).and_then(toml::Value::as_table);
        let named = named.into_iter().flat_map(toml::Table::keys);
        let own = named.filter(|dependency| ours.contains(*dependency)).cloned().collect();
        crates.insert(name(table), own);
    }
    crates
}

#[test]
fn dependencies_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, uses) in edges(section) {
            if TOPS.contains(&name.as_str()) {
                continue;
            }
            let may = allowed.get(name.as_str()).unwrap_or_else(|| {
                panic!("crate {name} is new: give it its edges here and in ARCHITECTURE.md")
            });
            for used in uses {
                let test = section == "dev-dependencies" && FOR_TESTS.contains(&used.as_str());
                assert!(
                    may.contains(&used.as_str()) || test,
                    "{name} must not use {used} ({section}): see ARCHITECTURE.md"
                );
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = files(".rs")
        .iter()
        .map(|path| (path, read(path).lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "at most {FILE_LINES_MAX} lines: {long:#?}");
}

#[test]
fn what_is_to_be_done_has_an_owner() {
    for path in files(".rs") {
        for (number, line) in read(&path).lines().enumerate() {
            let open = line.contains(concat!("TO", "DO")) && !line.contains(concat!("TO", "DO("));
            assert!(
                !open,
                "{}:{}: who does it, and where is it written?",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn the_decisions_read_no_clock_and_do_no_io() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "Instant::",
        "SystemTime",
        "async fn",
        "HashMap",
        "HashSet",
        "rand::",
    ];
    for path in files(".rs") {
        if !path.starts_with(root().join("fleet/src")) {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in forbidden {
                assert!(!code.contains(word), "{}:{}: {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_map_names_every_crate_and_every_story_and_no_other() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for member in members() {
        let folder = member.file_name().and_then(|name| name.to_str()).expect("a folder's name");
        assert!(map.contains(&format!("`{folder}/`")), "ARCHITECTURE.md does not name `{folder}/`");
    }
    let stories = root().join("tests/stories");
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(stories).expect("the stories' folder can be read") {
        let name = entry.expect("an entry can be read").file_name().to_string_lossy().into_owned();
        if name != "main.rs" {
            assert!(
                map.contains(&format!("`{name}`")),
                "ARCHITECTURE.md does not name the story {name}"
            );
            found.insert(name);
        }
    }
    let told = map.split("## The stories").nth(1).expect("ARCHITECTURE.md tells the stories");
    for word in told.split('`').filter(|word| word.ends_with(".rs") && !word.contains('/')) {
        assert!(found.contains(word), "ARCHITECTURE.md names {word}, which is no story");
    }
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let ours = files(".md").into_iter().filter(|path| path.starts_with(root().join("docs")));
    let documents = ours.chain(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)));
    for document in documents {
        let text = read(&document);
        let folder = document.parent().expect("it lies in a folder").to_owned();
        let document = document.display();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let there = link.contains(':') || folder.join(file).exists();
            assert!(there, "{document} links {link}, which is not there");
        }
        let quoted = text.split('`').skip(1).step_by(2);
        let linked = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let names = quoted.chain(linked).filter(|name| {
            let folder = name.split('/').next().unwrap_or_default();
            let is_ours = name.contains('/') && folder != ".." && root().join(folder).is_dir();
            (is_ours || linked_file(name)) && !name.contains([' ', '*', ':'])
        });
        for name in names {
            assert!(root().join(name).exists(), "{document} names {name}, which is not there");
        }
    }
}

/// Whether a name is that of a document beside the manifest.
fn linked_file(name: &str) -> bool {
    name.starts_with("LICENSE") || (name.ends_with(".md") && !name.contains('/'))
}

#[test]
fn every_driver_has_an_example() {
    let example = read(&root().join("examples/rack.toml"));
    let table = read(&root().join("power-agent/src/drivers/mod.rs"));
    let start = table.find("drivers! {").expect("the table of drivers");
    let rows = table[start..].lines().skip(1).take_while(|line| !line.starts_with('}'));
    let mut drivers = 0;
    for row in rows.filter(|row| row.contains("=>")) {
        let module = row.split("=>").nth(1).unwrap_or_default().split_whitespace().next();
        let name = module.unwrap_or_default().trim_end_matches(',').replace('_', "-");
        assert!(example.contains(&format!("driver = \"{name}\"")), "no example of driver {name}");
        drivers += 1;
    }
    assert!(drivers > 0, "the table of drivers is empty");
}

#[test]
fn every_example_and_every_job_is_run_by_a_test() {
    let folders = [root().join("examples"), root().join("jobs")];
    let told: String = files(".rs")
        .iter()
        .filter(|path| {
            path.components().any(|part| part.as_os_str() == "tests")
                && !path.ends_with("tidy/main.rs")
        })
        .map(|path| read(path))
        .chain([read(&root().join("docs/shelf.md"))])
        .collect();
    let named = [".hcl", ".toml", ".json", ".yml"].into_iter().flat_map(files);
    let ours = named.filter(|path| folders.iter().any(|folder| path.starts_with(folder)));
    let mut count = 0;
    for path in ours {
        let name = path.strip_prefix(root()).expect("it is in the workspace");
        let name = name.to_str().expect("our names are plain");
        assert!(
            told.contains(name),
            "no test and no story names {name}: run it, do not only ship it"
        );
        count += 1;
    }
    assert!(count > 0, "there are no examples");
}
