//! The firmware bridge for bare chips: that its logic builds without std, and what it weighs there.

use anyhow::{Context as _, Result};

use crate::cross;
use crate::steps::{Tally, command, step};

/// The cores of RP2040 and of the small boards like it.
const TARGET: &str = "thumbv6m-none-eabi";

/// The firmware for a board, whose HAL has a tree of its own.
const BOARD: &str = "firmware-bridge/rp2040/Cargo.toml";

/// A program for a bare chip, in a workspace of its own.
struct Program {
    what: &'static str,
    folder: &'static str,
    name: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        what: "the logic alone",
        folder: "firmware-bridge/footprint",
        name: "bridge-footprint",
    },
    Program { what: "for RP2040 boards", folder: "firmware-bridge/rp2040", name: "bridge-rp2040" },
];

/// Builds the logic alone, and as firmware for a board, and prints what they weigh. Where the target can not be had it says
/// so, and in CI fails.
pub(crate) async fn weigh(in_ci: bool, tally: &mut Tally) -> Result<()> {
    match cross::library(TARGET).await {
        Ok(()) => {}
        Err(error) if in_ci => return Err(error),
        Err(error) => {
            println!("\nSKIPPED, the firmware for bare chips: {error:#}");
            return Ok(());
        }
    }
    for program in PROGRAMS {
        program.weigh(tally).await?;
    }
    Ok(())
}

/// Licences, sources and bans of what only the firmware depends on.
pub(crate) async fn dependencies(deny: &str, tally: &mut Tally) -> Result<()> {
    let checks = ["--manifest-path", BOARD, "check", "bans", "licenses", "sources"];
    step("dependencies of the firmware", command(deny, &checks), tally).await
}

impl Program {
    async fn weigh(&self, tally: &mut Tally) -> Result<()> {
        let manifest = format!("{}/Cargo.toml", self.folder);
        let format = ["fmt", "--manifest-path", &manifest, "--", "--check"];
        let name = format!("firmware, {}: format", self.what);
        step(&name, command("cargo", &format), tally).await?;
        let build = ["build", "--manifest-path", &manifest, "--release", "--locked"];
        let mut building = command("cargo", &build);
        building.args(["--target", TARGET]).env("CARGO_TARGET_DIR", cross::target_folder());
        step(&format!("firmware, {}", self.what), building, tally).await?;
        let program = cross::target_folder().join(TARGET).join("release").join(self.name);
        let bytes = std::fs::read(&program).with_context(|| format!("{}", program.display()))?;
        let sections = sections(&bytes)
            .with_context(|| format!("{} is no 32-bit ELF program", program.display()))?;
        let sum = |kinds: &[&str]| -> u64 {
            let counted = |name: &str| kinds.iter().any(|kind| name.starts_with(kind));
            sections.iter().filter(|(name, _)| counted(name)).map(|(_, size)| size).sum()
        };
        let code = sum(&[".text", ".rodata", ".ARM.exidx", ".vector_table", ".boot2"]);
        let state = sum(&[".bss", ".data"]);
        println!(
            "{TARGET}, {}: {code} bytes of code and constants, {state} bytes of state beside the stack",
            self.what
        );
        Ok(())
    }
}

/// The names and sizes of a program's sections.
fn sections(elf: &[u8]) -> Option<Vec<(String, u64)>> {
    /// Where a 32-bit little-endian ELF header says how its table of sections stands.
    const TABLE: usize = 0x20;
    const ENTRY_LEN: usize = 0x2E;
    const ENTRIES: usize = 0x30;
    const NAMES: usize = 0x32;
    let half = |at: usize| -> Option<usize> {
        Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?).into())
    };
    let word = |at: usize| -> Option<usize> {
        usize::try_from(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?)).ok()
    };
    if elf.get(..6)? != b"\x7fELF\x01\x01" {
        return None;
    }
    let (table, length) = (word(TABLE)?, half(ENTRY_LEN)?);
    let entry = |number: usize| table + number * length;
    // Of an entry: the name's place among the names at 0, the place in the file at 0x10, the size at 0x14.
    let names = word(entry(half(NAMES)?) + 0x10)?;
    let mut sections = Vec::new();
    for number in 0..half(ENTRIES)? {
        let name = elf.get(names + word(entry(number))?..)?;
        let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next()?).into_owned();
        let size = u64::try_from(word(entry(number) + 0x14)?).ok()?;
        sections.push((name, size));
    }
    Some(sections)
}

#[cfg(test)]
mod tests {
    use super::sections;

    #[test]
    fn sections_of_what_is_no_program_for_a_bare_chip_are_not_read() {
        for bytes in [&b""[..], b"\x7fELF\x02\x01", b"\x7fELF\x01\x01", &[0; 64]] {
            assert_eq!(sections(bytes), None);
        }
    }
}
