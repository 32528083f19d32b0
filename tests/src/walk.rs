//! A document's commands: its fenced blocks in their order, and what they print, as a test runs and compares them.

use anyhow::{Result, bail, ensure};

/// How many blocks and lines a document of ours has at most: more is no walk of ten minutes.
const BLOCKS_MAX: usize = 100;

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Commands, one a line, with the document's line of the first.
    Commands(usize, Vec<String>),
    /// A file: its path, which its first line names as `# /PATH …`, and its text.
    File(String, String),
    /// What the last command before it prints.
    Printed(usize, Vec<String>),
}

/// The fenced blocks of a document in Markdown.
///
/// # Errors
/// Where a fence is of no known kind, a file without a path, or a document without an end.
pub fn blocks(document: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, Vec<String>)> = None;
    for (number, line) in (1..).zip(document.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some((kind.to_owned(), number + 1, Vec::new())),
            (Some(_), Some("")) => {
                let (kind, at, lines) = open.take().unwrap_or_default();
                blocks.push(block(&kind, at, lines)?);
                ensure!(blocks.len() <= BLOCKS_MAX, "more than {BLOCKS_MAX} blocks");
            }
            (Some((_, _, lines)), _) => lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "the last block has no end");
    Ok(blocks)
}

fn block(kind: &str, at: usize, lines: Vec<String>) -> Result<Block> {
    Ok(match kind {
        "sh" => Block::Commands(at, lines),
        "text" => Block::Printed(at, lines),
        "toml" | "hcl" => {
            let named = lines.first().and_then(|line| line.strip_prefix("# "));
            let path = named.and_then(|named| named.split_whitespace().next());
            match path {
                Some(path) if path.starts_with('/') => {
                    Block::File(path.to_owned(), lines.join("\n") + "\n")
                }
                _ => bail!("line {at}: a file's first line names it, as `# /etc/FILE`"),
            }
        }
        other => bail!("line {at}: a block is sh, text, toml or hcl, not {other:?}"),
    })
}

/// Which line of what a document shows is not among those that were printed, in this order: spans of time may differ, `…`
/// stands for anything, and more may be printed between. `None`: all are there.
#[must_use]
pub fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let mut lines = printed.lines();
    shown
        .iter()
        .filter(|line| !line.trim().is_empty())
        .find(|line| !lines.any(|printed| is_shown(line, printed)))
        .map(String::as_str)
}

fn is_shown(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (plain(shown), plain(printed));
    let mut rest = printed.as_str();
    let parts: Vec<&str> = shown.split('…').collect();
    for (number, part) in parts.iter().enumerate() {
        let Some(at) = rest.find(part.trim()) else { return false };
        if number == 0 && at != 0 {
            return false;
        }
        rest = &rest[at + part.trim().len()..];
    }
    shown.ends_with('…') || rest.is_empty()
}

/// A line with each span of time as the same, and no more than one space between words.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let bare = word.trim_matches(|end: char| "(),:;".contains(end));
        let span = bare.starts_with(|first: char| first.is_ascii_digit())
            && bare.ends_with(['s', 'm', 'h', 'd'])
            && bare.chars().all(|each| each.is_ascii_digit() || ".smhd".contains(each));
        if span { word.replace(bare, "0s") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_commands_files_and_what_is_printed() {
        let text = "a\n```sh\none\ntwo\n```\n```toml\n# /etc/x on the Pi\na = 1\n```\n```text\nsaid\n```\n";
        let expected = [
            Block::Commands(3, vec!["one".to_owned(), "two".to_owned()]),
            Block::File("/etc/x".to_owned(), "# /etc/x on the Pi\na = 1\n".to_owned()),
            Block::Printed(11, vec!["said".to_owned()]),
        ];
        assert_eq!(blocks(text).unwrap(), expected);
        for wrong in ["```sh\none\n", "```\none\n```\n", "```toml\na = 1\n```\n"] {
            assert!(blocks(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_may_differ_in_spans_of_time_and_say_more() {
        let shown = |line: &str| vec![line.to_owned(), "end".to_owned()];
        let said = "before\nnode1  on for 12.5s (id 4f)\nbetween\nend\n";
        assert_eq!(missing(&shown("node1 on for 3s (id …)"), said), None);
        assert_eq!(missing(&shown("node2 on for 3s (id …)"), said), Some("node2 on for 3s (id …)"));
        assert_eq!(missing(&shown("on for 3s …"), said), Some("on for 3s …"), "a line's begin");
        assert_eq!(missing(&shown("node1 on"), said), Some("node1 on"), "a line's end");
        assert_eq!(missing(&shown("2 on"), "3 on\nend"), Some("2 on"), "a number is no span");
        assert_eq!(missing(&shown("end"), said), Some("end"), "in this order");
    }
}
