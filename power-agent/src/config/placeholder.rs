//! `{machine}` and `{node}` in commands: known when the file is read, filled in when the command runs.

/// The names that may stand in braces.
pub(crate) const KNOWN: &[&str] = &["machine", "node"];

/// Puts the names in for `{machine}` and `{node}`; all other text stays as it is.
#[must_use]
pub fn fill(template: &str, machine: &str, node: &str) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, word, after)) = next(rest) {
        filled.push_str(before);
        match word {
            "machine" => filled.push_str(machine),
            "node" => filled.push_str(node),
            other => filled.extend(["{", other, "}"]),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The first word in braces that stands for nothing. Braces around anything but
/// lower-case letters, and those after a `$`, are left to the shell.
pub(crate) fn unknown(template: &str) -> Option<&str> {
    let mut rest = template;
    while let Some((_, word, after)) = next(rest) {
        if !KNOWN.contains(&word) {
            return Some(word);
        }
        rest = after;
    }
    None
}

/// The text before the next `{word}`, the word, and the text after it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    for (open, _) in text.match_indices('{') {
        if text.get(..open)?.ends_with('$') {
            continue;
        }
        let inner = text.get(open + 1..)?;
        let Some(close) = inner.find(|c: char| !c.is_ascii_lowercase()) else { continue };
        if close > 0 && inner.get(close..)?.starts_with('}') {
            return Some((text.get(..open)?, inner.get(..close)?, inner.get(close + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_in_and_other_braces_are_left_alone() {
        assert_eq!(fill("ssh root@{node} # {machine}", "n1", "rack-n1"), "ssh root@rack-n1 # n1");
        assert_eq!(
            fill("awk '{ print }' ${node}{machine", "n1", "x"),
            "awk '{ print }' ${node}{machine"
        );
        assert_eq!(fill("{machine}", "{node}", "x"), "{node}", "a name is not filled in again");
    }

    #[test]
    fn a_word_that_stands_for_nothing_is_found() {
        assert_eq!(unknown("{machine} {host}"), Some("host"));
        assert_eq!(unknown("{machine} {node} { x } {}"), None);
    }
}
