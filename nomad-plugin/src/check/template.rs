//! The text of a job's `template`, readable before Nomad has evaluated it: what only Nomad knows is masked by letters
//! that stand for a value nobody knows here, and all lines and columns stay those of the job's file.

use std::ops::Range;

/// The letter of the mask: HCL takes it in a name as in a text, and no file of policies has it.
const MASK: char = 'ꙮ';

/// How masked letters of a name are shown.
pub(super) const UNKNOWN: char = '…';

/// Words of the template's language that have an `end`.
const OPENERS: [&str; 5] = ["if", "range", "with", "define", "block"];

/// A template as it can be read, with all that stands around it blank.
#[derive(Debug)]
pub(super) struct Masked {
    pub(super) text: String,
    /// Pieces that only Nomad can evaluate: `{{ … }}`, `${…}`, `%{…}`.
    pub(super) unevaluated: usize,
}

/// Whether a part of the text is not known.
pub(super) fn is_masked(text: &str) -> bool {
    text.contains(MASK)
}

/// The text for people: what is not known is one sign.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars().map(|letter| if letter == MASK { UNKNOWN } else { letter }) {
        if letter != UNKNOWN || !shown.ends_with(UNKNOWN) {
            shown.push(letter);
        }
    }
    shown
}

/// The template that stands at `span` of a file. Of an `if` with an `else` the first branch is read, and a `range` as if
/// it were run through once. `None` where the span is none of the file's.
pub(super) fn mask(file: &str, span: Range<usize>) -> Option<Masked> {
    let mut text = String::with_capacity(span.end);
    text.extend(file.get(..span.start)?.chars().map(blank));
    let mut rest = file.get(span)?;
    let mut masked = Masked { text: String::new(), unevaluated: 0 };
    // For each that has no end yet: whether its `else` was reached.
    let mut open: Vec<bool> = Vec::new();
    while let Some(letter) = rest.chars().next() {
        let Some(length) = piece(rest) else {
            let is_passed = open.contains(&true);
            text.push(if is_passed { blank(letter) } else { letter });
            rest = rest.get(letter.len_utf8()..)?;
            continue;
        };
        let (found, after) = (rest.get(..length)?, rest.get(length..)?);
        let is_passed = open.contains(&true);
        let keep = |letter| if letter == '\n' || is_passed { blank(letter) } else { MASK };
        text.extend(found.chars().map(keep));
        masked.unevaluated += usize::from(counts(found, &mut open));
        rest = after;
    }
    // What stands alone in its lines is no value: it steers, or brings whole blocks.
    for line in text.split_inclusive('\n') {
        let is_alone = line.chars().all(|letter| letter.is_whitespace() || letter == MASK);
        let kept = line.chars().map(|letter| if is_alone { blank(letter) } else { letter });
        masked.text.extend(kept);
    }
    Some(masked)
}

const fn blank(letter: char) -> char {
    if letter == '\n' { letter } else { ' ' }
}

/// How long the piece is that begins here, in bytes, where one does.
fn piece(text: &str) -> Option<usize> {
    let (opens, closes) = if text.starts_with("{{") {
        ("{{", "}}")
    } else if text.starts_with("${") || text.starts_with("%{") {
        ("{", "}")
    } else {
        return None;
    };
    let begin = text.find(opens)? + opens.len();
    let mut quote: Option<char> = None;
    let (mut depth, mut is_escaped) = (0_usize, false);
    for (at, letter) in text.get(begin..)?.char_indices() {
        if let Some(mark) = quote {
            quote = Some(mark).filter(|mark| letter != *mark || is_escaped);
            is_escaped = letter == '\\' && !is_escaped && mark == '"';
        } else if letter == '"' || (letter == '`' && closes == "}}") {
            quote = Some(letter);
        } else if depth == 0 && text.get(begin + at..)?.starts_with(closes) {
            return Some(begin + at + closes.len());
        } else if letter == '{' {
            depth += 1;
        } else if letter == '}' {
            depth = depth.saturating_sub(1);
        }
    }
    None
}

/// Whether a piece is one to tell of, and what it does to what is open.
fn counts(piece: &str, open: &mut Vec<bool>) -> bool {
    let Some(action) = piece.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else {
        return true;
    };
    let action = action.trim_start_matches('-').trim_start();
    let word = action.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    match word {
        "else" => {
            if let Some(passed) = open.last_mut() {
                *passed = true;
            }
            false
        }
        "end" => {
            open.pop();
            false
        }
        word if OPENERS.contains(&word) => {
            open.push(false);
            true
        }
        _ => !action.starts_with("/*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_nomad_knows_is_masked_and_every_line_and_column_stays() {
        let m = |count: usize| MASK.to_string().repeat(count);
        let branches = "{{ if a }}\nx = 1\n{{- else }}\nx = 2\n{{ end }}\ny = 3";
        let first = format!("{:10}\nx = 1\n{:11}\n{:5}\n{:9}\ny = 3", "", "", "", "");
        for (file, expected, unevaluated) in [
            ("a = {{ env \"X\" }}\nb = 1", format!("a = {}\nb = 1", m(13)), 1),
            ("a = \"{{ `}}` }}/b\"", format!("a = \"{}/b\"", m(10)), 1),
            ("a = \"${x({y = \"}\"})}\"", format!("a = \"{}\"", m(15)), 1),
            ("{{/* said */}}\na = 1", format!("{:14}\na = 1", ""), 0),
            (branches, first, 1),
            ("a = \"{{if b}}é{{else}}c{{end}}\"", format!("a = \"{}é{}{:8}\"", m(8), m(8), ""), 1),
            ("a = {{ never closed", "a = {{ never closed".to_owned(), 0),
        ] {
            let masked = mask(file, 0..file.len()).unwrap();
            assert_eq!(masked.text, expected, "of {file}");
            assert_eq!(masked.unevaluated, unevaluated, "of {file}");
        }
        let file = "é\n  <<E\nx = 1\nE";
        assert_eq!(mask(file, 9..15).unwrap().text, " \n     \nx = 1\n");
        assert!(mask(file, 1..15).is_none(), "in the midst of a letter");
    }

    #[test]
    fn a_name_that_is_not_known_is_shown_by_one_sign() {
        assert_eq!(shown("aꙮꙮꙮb"), "a…b");
        assert!(is_masked("aꙮ") && !is_masked("a"));
    }
}
