//! The same on an emulated Raspberry Pi 3B: its static binaries under Debian's arm64 kernel, the boards in there too, the
//! agent's file, state and log on the SD card. Memory and bytes are what a Pi's would be. The processor's time is counted
//! instructions at two nanoseconds each, and so not a Pi's, which waits for its memory or does two at once.

use anyhow::{Context as _, Result, ensure};
use testkit::pi::{self, Pi};
use testkit::programs::crossed;

use super::{BOARDS, CHANNELS, Cost, POLL, agent_file, cost, head, rack_file, row};

/// An hour: the emulator skips what all wait for.
const POLLS: u32 = 360;

const TRIPLE: &str = "aarch64-unknown-linux-musl";

/// An SD card's sector, and the kernel's unit wherever it counts them.
const SECTOR: u64 = 512;

/// The boards, the agent, and what it costs from one moment, after which nobody asks it anything, to another.
fn script() -> String {
    let (last, thread) = (format!("b{BOARDS}m{CHANNELS}"), cost::THREAD);
    let (settle, span) = (POLL.as_secs(), POLL.as_secs() * u64::from(POLLS));
    format!(
        "export POWER_AGENT=unix:/card/agent.sock
        cost() {{
            sync
            echo \"@@cost $1\"
            cat /proc/$agent/status /proc/$agent/io
            for task in /proc/$agent/task/*; do echo \"{thread}$(cat $task/schedstat)\"; done
            echo \"card $(cat /sys/block/mmcblk0/stat)\"
            /virtual-rack ctl --socket /card/rack.sock state
            echo @@end
        }}
        cp /rack.toml /agent.toml /card
        /virtual-rack run /card/rack.toml & rack=$!
        until [ -S /card/rack.sock ]; do kill -0 $rack || exit 1; sleep 1; done
        /power-agent serve --config /card/agent.toml 2>>/card/agent.log & agent=$!
        until /power-agent status {last} | grep -q ' off '; do kill -0 $agent || exit 1; sleep 1; done
        sleep {settle}
        cost before
        sleep {span}
        cost after
        /power-agent status {last}
        kill $agent $rack
        wait $agent $rack"
    )
}

/// Prints what it costs there, where a Pi can be emulated and the binaries are built; else what is missing.
pub(crate) async fn measure() -> Result<()> {
    let programs = crossed("power-agent", TRIPLE).and_then(|agent| {
        pi::available().map_err(anyhow::Error::msg)?;
        Ok((agent, crossed("virtual-rack", TRIPLE)?))
    });
    let (agent, rack) = match programs {
        Ok(programs) => programs,
        Err(missing) => {
            println!("not measured on an emulated Pi: {missing:#}");
            return Ok(());
        }
    };
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: String| -> Result<_> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let ended = Pi::new(&script())
        .with_card()
        .counting_instructions()
        .taking(POLL * POLLS)
        .file("/power-agent", agent)
        .file("/virtual-rack", rack)
        .file("/rack.toml", file("rack.toml", rack_file())?)
        .file("/agent.toml", file("agent.toml", agent_file())?)
        .run()
        .await?;
    ensure!(ended.status == 0, "the agent or the rack did not end well:\n{}", ended.console);
    let (before, after) = (told(&ended.console, "before")?, told(&ended.console, "after")?);
    let cost = Cost::parse(after)?.since(&Cost::parse(before)?);
    let card = sectors(after)? - sectors(before)?;
    let asked = queries(after)? - queries(before)?;
    ensure!(asked + 1 >= POLLS, "the last board was asked {asked} times:\n{}", ended.console);
    println!("the same on an emulated Raspberry Pi 3B, {POLLS} polls, instructions of 2 ns");
    head();
    row("power-agent", POLLS, &cost);
    let bytes = card * SECTOR;
    println!(
        "{bytes} bytes written to the card meanwhile, with what the file system itself writes"
    );
    Ok(())
}

/// What the script printed of a moment.
fn told<'a>(console: &'a str, moment: &str) -> Result<&'a str> {
    let text = console.split_once(&format!("@@cost {moment}\n")).map(|(_, rest)| rest);
    let text = text.and_then(|rest| rest.split_once("@@end")).map(|(text, _)| text);
    text.with_context(|| format!("no cost {moment}:\n{console}"))
}

/// How many sectors the card has written: the seventh of the kernel's numbers.
fn sectors(text: &str) -> Result<u64> {
    let numbers = text.lines().find_map(|line| line.strip_prefix("card "));
    let written = numbers.and_then(|numbers| numbers.split_whitespace().nth(6));
    Ok(written.context("what the card has written")?.parse()?)
}

/// How often the last board was asked.
fn queries(text: &str) -> Result<u32> {
    let board = format!("board b{BOARDS} ");
    let line = text.lines().find(|line| line.starts_with(&board));
    let count = line.and_then(|line| line.split_once("queries ")?.1.split_whitespace().next());
    Ok(count.with_context(|| format!("what board b{BOARDS} heard:\n{text}"))?.parse()?)
}
