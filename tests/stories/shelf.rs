//! Story 15. Goal: who types what `docs/shelf.md` says has a shelf whose jobs light it, and sees what it shows. Method:
//! its commands in their order, on the real hosts, with a virtual rack in the place of board and machines. What is put
//! in the place of what is a list, and printed; a command that is neither in it nor can be run here is red.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use testkit::cluster::{Access, MachineSpec};
use testkit::hosts;
use testkit::process::Process;
use testkit::programs::program;
use testkit::rig::{PATH_BOUND, READY_BOUND, Rig, RigSpec};
use testkit::said::{Said, said, said_by};
use testkit::wait::{Probe, eventually};
use testkit::walk::{Block, blocks, missing};
use virtual_rack::machine::Phase;
use virtual_rack::relay::Power;

const WALK: &str = include_str!("../../docs/shelf.md");
const SHELF: &str = include_str!("../../examples/relay-shelf.toml");
const UNIT: &str = include_str!("../../power-agent/debian/power-agent.service");

/// The Pi's node: short, because the path of a Unix socket is.
const PI: &str = "hub";

/// Whole commands that the test does in another way, and which.
const INSTEAD: [(&str, &str, Instead); 12] = [
    ("cargo xtask package arm64", BUILT, Instead::Built),
    ("cargo xtask cross aarch64-unknown-linux-musl", BUILT, Instead::Built),
    (
        "scp target/debian/power-agent_0.1.0_arm64.deb target/aarch64-unknown-linux-musl/release/lamplighter pi:",
        BUILT,
        Instead::Built,
    ),
    ("scp -r examples jobs pi:", "a copy of both", Instead::Built),
    ("sudo apt install ./power-agent_0.1.0_arm64.deb", BUILT, Instead::Built),
    ("sudo adduser $USER lamplighter", "the agent runs as who tests", Instead::Built),
    (
        "sudo ssh-keygen -q -t ed25519 -N \"\" -C power-agent -f /etc/lamplighter/id_ed25519",
        SHUTDOWN,
        Instead::Built,
    ),
    ("sudo chown lamplighter: /etc/lamplighter/id_ed25519", SHUTDOWN, Instead::Built),
    ("ssh-keyscan node1 node2 | sudo tee /etc/lamplighter/known_hosts", SHUTDOWN, Instead::Built),
    (
        "for node in node1 node2; do ssh-copy-id -f -i /etc/lamplighter/id_ed25519.pub root@$node; done",
        SHUTDOWN,
        Instead::Built,
    ),
    (
        "sudo systemctl enable --now nomad",
        "the test's own server, and a client beside the rack",
        Instead::Controller,
    ),
    ("sudo systemctl start power-agent", "ExecStart of its unit", Instead::Agent),
];

const BUILT: &str = "the programs of this build";
const SHUTDOWN: &str = "the virtual rack shuts machines down, not ssh";

/// What is done in the place of a command.
#[derive(Debug, Clone, Copy)]
enum Instead {
    /// Nothing: the test has it already.
    Built,
    /// The Pi's own Nomad client is started.
    Controller,
    /// The agent is started as its unit says.
    Agent,
}

/// What may be asked again until it says what the document shows: a reader looks again too.
const LOOKS: [&str; 4] =
    ["power-agent status", "lamplighter why", "nomad job status", "nomad node"];

#[test]
fn who_follows_the_walk_from_a_bare_pi_has_jobs_that_light_machines() {
    crate::story("a shelf", async {
        let mut walk = Walk::begin().await?;
        let mut printed = String::new();
        let mut last = String::new();
        for block in blocks(WALK)? {
            match block {
                Block::Commands(at, lines) => {
                    for (number, line) in (at..).zip(lines) {
                        printed = walk
                            .type_in(&line)
                            .await
                            .with_context(|| format!("docs/shelf.md:{number}: {line}"))?;
                        last = line;
                    }
                }
                Block::File(path, text) => walk.write(&path, &text)?,
                Block::Printed(at, shown) => walk
                    .until_shown(&last, &shown, &printed)
                    .await
                    .with_context(|| format!("docs/shelf.md:{at}: after `{last}`"))?,
            }
        }
        walk.ends_dark().await
    });
}

#[test]
fn the_walks_rack_file_is_the_example() {
    let file = blocks(WALK).expect("blocks").into_iter().find_map(|block| match block {
        Block::File(path, text) if path == "/etc/lamplighter/rack.toml" => Some(text),
        _ => None,
    });
    let body = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    let file = body(&file.expect("a rack file"));
    assert_eq!(file, body(SHELF)[1..], "without its head");
}

/// The reader's host.
struct Walk {
    rig: Rig,
    home: PathBuf,
    /// What is put in the place of what: why, what stands in the document, what stands here.
    texts: Vec<(&'static str, String, String)>,
    told: BTreeSet<String>,
    /// What runs on the Pi.
    pi: Vec<Process>,
}

impl Walk {
    async fn begin() -> Result<Self> {
        let mut spec = RigSpec { access: Access::Open, ..RigSpec::dark(2) };
        "rack".clone_into(&mut spec.machine.node_class);
        (spec.machine.cpu_mhz, spec.machine.memory_mb, spec.machine.disk_mb) = (6000, 7600, 50_000);
        let rig = Rig::prepare(&spec).await?;
        let home = rig.dir.join("home");
        for folder in [
            "home",
            "bin",
            "etc/lamplighter",
            "etc/nomad.d",
            "run/lamplighter",
            "var/lib",
            "usr/local/bin",
        ] {
            std::fs::create_dir_all(rig.dir.join(folder))?;
        }
        symlink(hosts::nomad().await?, rig.dir.join("bin/nomad"))?;
        symlink(program("power-agent")?, rig.dir.join("bin/power-agent"))?;
        symlink(program("lamplighter")?, home.join("lamplighter"))?;
        symlink(hosts::autoscaler().await?, rig.dir.join("usr/local/bin/nomad-autoscaler"))?;
        let texts = texts(&rig)?;
        let mut walk = Self { rig, home, texts, told: BTreeSet::new(), pi: Vec::new() };
        for folder in ["examples/policies", "jobs"] {
            walk.copy(folder)?;
        }
        Ok(walk)
    }

    /// A folder of the repository, as it is here.
    fn copy(&mut self, folder: &str) -> Result<()> {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        let to = self.home.join(folder);
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let text = self.here(&std::fs::read_to_string(entry.path())?);
            std::fs::write(to.join(entry.file_name()), text)?;
        }
        Ok(())
    }

    fn write(&mut self, path: &str, text: &str) -> Result<()> {
        let text = self.here(text);
        let path = self.here(path);
        std::fs::write(&path, text).with_context(|| format!("{path} can not be written"))
    }

    /// A text of the document as it is here; tells what was put in the place of what.
    fn here(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (why, from, to) in &self.texts {
            if text.contains(from) {
                text = text.replace(from, to);
                if self.told.insert(from.clone()) {
                    eprintln!("in the place of {from:?}: {to:?} ({why})");
                }
            }
        }
        text
    }

    /// What was printed as the reader would see it.
    fn there(&self, text: &str) -> String {
        let dir = self.rig.dir.display().to_string();
        let mut text = text.to_owned();
        for (_, from, to) in self.texts.iter().filter(|(_, _, to)| to.starts_with(['/', 'h'])) {
            text = text.replace(to, from);
        }
        text.replace(&dir, "")
    }

    /// Does what a line says, and returns what it printed.
    async fn type_in(&mut self, line: &str) -> Result<String> {
        if let Some((_, why, instead)) = INSTEAD.iter().find(|(command, _, _)| *command == line) {
            eprintln!("in the place of `{line}`: {why}");
            self.told.insert(line.to_owned());
            return match instead {
                Instead::Built => Ok(String::new()),
                Instead::Controller => self.start_controller().await,
                Instead::Agent => self.start_agent().await,
            };
        }
        let said = self.run(line).await?;
        // The host of a test is no Pi: what doctor finds there is no matter of the walk.
        let well = said.code == 0 || (said.code == 1 && line == "power-agent doctor");
        let printed = self.there(&format!("{}{}", said.out, said.err));
        eprintln!("$ {line}\n{printed}");
        ensure!(well, "exit code {}: {printed}", said.code);
        Ok(printed)
    }

    /// Runs a line as a shell does, with the programs of this build and of the real hosts alone in front of it.
    async fn run(&mut self, line: &str) -> Result<Said> {
        let line = self.here(line);
        let first = line.split_whitespace().next().unwrap_or_default();
        let known = ["power-agent", "lamplighter", "nomad", "install", "ln"];
        ensure!(
            known.contains(&first),
            "`{first}` is not run here: say in INSTEAD what is done in its place"
        );
        let dir = self.rig.dir.display();
        let path = format!("{dir}/bin:{dir}/usr/local/bin:/usr/bin:/bin");
        let socket = format!("unix:{dir}/run/lamplighter/agent.sock");
        let environment = [
            ("PATH", path.as_str()),
            ("POWER_AGENT", &socket),
            ("LAMPLIGHTER_AGENTS", &socket),
            ("NOMAD_ADDR", &self.rig.server.address()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        said_by("sh", &["-c", &line], &self.home, &environment).await
    }

    async fn start_controller(&mut self) -> Result<String> {
        let mut spec = MachineSpec { cpu_mhz: 500, ..MachineSpec::named(PI) };
        spec.meta.insert("rack_controller".to_owned(), "true".to_owned());
        let machine = self.rig.server.machine(&self.rig.dir, &spec)?;
        self.pi.push(machine.power_on()?);
        self.rig.server.node_ready(PI).await?;
        Ok(String::new())
    }

    async fn start_agent(&mut self) -> Result<String> {
        let exec = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/"));
        let exec = self.here(exec.context("the unit starts /usr/bin/power-agent")?);
        let bin = self.rig.dir.join("bin");
        let command = format!("exec {}/{exec}", bin.display());
        self.pi.push(Process::start("agent", &["sh", "-c", &command], &self.rig.dir)?);
        eventually("the agent", READY_BOUND, || async {
            let socket = self.rig.dir.join("run/lamplighter/agent.sock");
            Ok(Probe::of(socket.exists().then_some(()), || "no socket".to_owned()))
        })
        .await
        .with_context(|| self.rig.logs())?;
        Ok(String::new())
    }

    /// Waits until a look at what is going on says what the document shows; what moves something has said it at once.
    async fn until_shown(&mut self, line: &str, shown: &[String], printed: &str) -> Result<()> {
        let Some(not_there) = missing(shown, printed) else { return Ok(()) };
        if !LOOKS.iter().any(|look| line.starts_with(look)) {
            bail!("{not_there:?} is not in what it printed:\n{printed}");
        }
        let walk = tokio::sync::Mutex::new(self);
        eventually("what the document shows", PATH_BOUND, || async {
            let mut walk = walk.lock().await;
            let said = walk.run(line).await?;
            let printed = walk.there(&format!("{}{}", said.out, said.err));
            let missing = missing(shown, &printed);
            let state = missing.map(|line| format!("{line:?} is not in\n{printed}"));
            if missing.is_none() {
                eprintln!("$ {line}\n{printed}");
            }
            Ok(Probe::of(missing.is_none().then_some(()), || state.unwrap_or_default()))
        })
        .await
    }

    /// Both machines were lit and are dark, and nothing that the list names is left out.
    async fn ends_dark(&mut self) -> Result<()> {
        self.rig.until(2, Phase::Dark).await?;
        let (on, off) = (Power::On, Power::Off);
        let edges = [self.rig.edges("node1").await?, self.rig.edges("node2").await?];
        ensure!(edges == [vec![on, off, on, off], vec![on, off]], "{edges:?}");
        let unused = INSTEAD.iter().find(|(command, _, _)| !self.told.contains(*command));
        ensure!(unused.is_none(), "no line of docs/shelf.md is {unused:?}");
        let unused = self.texts.iter().find(|(_, from, _)| !self.told.contains(from));
        ensure!(unused.is_none(), "nothing in docs/shelf.md is {unused:?}");
        Ok(())
    }
}

/// What is put in the place of what. Longer texts come before those that are in them.
fn texts(rig: &Rig) -> Result<Vec<(&'static str, String, String)>> {
    let dir = rig.dir.display().to_string();
    let soft_off = SHELF.lines().find(|line| line.starts_with("soft_off")).context("soft_off")?;
    let halts = format!(
        "off_dwell = \"1s\"\nsoft_off = {{ exec = [{:?}, \"ctl\", \"--socket\", \"{dir}/rack.sock\", \"soft-off\", \"{{machine}}\"], deadline = \"60s\" }}",
        program("virtual-rack")?
    );
    let spans = "pool = \"rack\"\n      scale_in_window = \"3s\"\n      idle_time = \"3s\"\n      min_on = \"1s\"\n      min_off = \"1s\"\n";
    let own = |why, from: &str, to: &str| (why, from.to_owned(), to.to_owned());
    Ok(vec![
        own(
            "the virtual rack's port",
            "/dev/serial/by-path/platform-fd500000.pcie-usb-0:1.1:1.0-port0",
            &format!("{dir}/board1"),
        ),
        own(SHUTDOWN, soft_off, &halts),
        own("seconds, not minutes", "settle = \"10s\"", "settle = \"1s\""),
        own("seconds, not minutes", "      pool = \"rack\"\n", &format!("      {spans}")),
        own(
            "seconds, not minutes",
            "cooldown            = \"10s\"",
            "cooldown            = \"1s\"",
        ),
        own(
            "seconds, not minutes",
            "evaluation_interval = \"10s\"",
            "evaluation_interval = \"1s\"",
        ),
        own("the test's Nomad", "http://127.0.0.1:4646", &rig.server.address()),
        own(
            "its rack file is elsewhere",
            "power-agent doctor",
            "power-agent doctor --config /etc/lamplighter/rack.toml",
        ),
        own("a folder of the test", "/etc/", &format!("{dir}/etc/")),
        own("a folder of the test", "/run/lamplighter", &format!("{dir}/run/lamplighter")),
        own("a folder of the test", "/var/lib/lamplighter", &format!("{dir}/var/lib/lamplighter")),
        own("a folder of the test", "/usr/local/", &format!("{dir}/usr/local/")),
        own("nothing here needs root", "sudo ", ""),
    ])
}

const REMEDIES: &str = include_str!("../../docs/when-something-is-wrong.md");

/// `--help` at its end has a command line read, and nothing done.
#[tokio::test]
async fn every_command_of_the_remedies_is_one() -> Result<()> {
    let mut read = 0;
    for block in blocks(REMEDIES)? {
        let Block::Commands(first, lines) = block else { continue };
        for (number, line) in (first..).zip(&lines) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name @ ("power-agent" | "lamplighter"), rest @ ..] = words.as_slice() else {
                continue;
            };
            let told = said(name, &[rest, &["--help"]].concat()).await?;
            ensure!(told.code == 0, "docs/when-something-is-wrong.md:{number}: {line}: {told:?}");
            read += 1;
        }
    }
    ensure!(read > 15, "{read} commands were found");
    Ok(())
}
