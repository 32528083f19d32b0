//! Host lists as powerman and Slurm write them: `node[1-3,5],foo[01-16]`, read and written.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::{MachineName, NameError};

/// The most names of one host list: more than an agent has machines; `[1-999999999]` is a slip of the finger.
pub const HOSTS_MAX: usize = 4096;

/// The most digits of a number in a range: a name with more is not numbered but hashed.
const DIGITS_MAX: usize = 9;

/// Why a text is no host list. Columns count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostListError {
    /// There is no name where one was expected.
    #[error("column {column}: a name is missing; write a host list like node[1-3,5],nas")]
    Empty {
        /// Where.
        column: usize,
    },
    /// A bracket that is never closed.
    #[error("column {column}: this '[' is never closed; write a host list like node[1-3,5]")]
    Unclosed {
        /// Where it was opened.
        column: usize,
    },
    /// A bracket where none can stand: closed without being open, nested, or a second in one name.
    #[error(
        "column {column}: '{bracket}' can not stand here; a name has one pair of brackets, like node[1-3,5]"
    )]
    Bracket {
        /// Where.
        column: usize,
        /// Which.
        bracket: char,
    },
    /// What stands in brackets is neither a number nor a range.
    #[error("column {column}: {found:?} is neither a number nor a range like 1-3 or 01-16")]
    Range {
        /// Where.
        column: usize,
        /// The text.
        found: String,
    },
    /// A range that runs backwards.
    #[error("column {column}: the range {found:?} runs backwards; write the smaller number first")]
    Backwards {
        /// Where.
        column: usize,
        /// The text.
        found: String,
    },
    /// More names than [`HOSTS_MAX`].
    #[error("column {column}: that is more than {HOSTS_MAX} names")]
    TooMany {
        /// Where the list became too long.
        column: usize,
    },
    /// A name that holds what names do not have.
    #[error("column {column}: {source}")]
    Name {
        /// Where.
        column: usize,
        /// Why.
        #[source]
        source: NameError,
    },
}

/// The names of a host list, in its order, each once.
///
/// # Errors
/// See [`HostListError`].
pub fn expand(list: &str) -> Result<Vec<MachineName>, HostListError> {
    let mut names: Vec<MachineName> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (column, word) in words(list)? {
        for text in expand_word(column, word)? {
            let name =
                MachineName::new(text).map_err(|source| HostListError::Name { column, source })?;
            if names.len() == HOSTS_MAX {
                return Err(HostListError::TooMany { column });
            }
            if seen.insert(name.clone()) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

/// Splits at the commas outside of brackets; every word comes with its column.
fn words(list: &str) -> Result<Vec<(usize, &str)>, HostListError> {
    let mut words = Vec::new();
    let mut open: Option<usize> = None;
    let (mut start, mut start_column) = (0, 1);
    for ((offset, character), column) in list.char_indices().zip(1..) {
        match character {
            '[' if open.is_none() => open = Some(column),
            ']' if open.is_some() => open = None,
            bracket @ ('[' | ']') => return Err(HostListError::Bracket { column, bracket }),
            ',' if open.is_none() => {
                words.push((start_column, list.get(start..offset).unwrap_or_default()));
                (start, start_column) = (offset + 1, column + 1);
            }
            _ => {}
        }
    }
    if let Some(column) = open {
        return Err(HostListError::Unclosed { column });
    }
    words.push((start_column, list.get(start..).unwrap_or_default()));
    match words.iter().find(|(_, word)| word.is_empty()) {
        Some((column, _)) => Err(HostListError::Empty { column: *column }),
        None => Ok(words),
    }
}

/// One word: a name, or a name with one pair of brackets.
fn expand_word(column: usize, word: &str) -> Result<Vec<String>, HostListError> {
    let Some((prefix, rest)) = word.split_once('[') else { return Ok(vec![word.to_owned()]) };
    let Some((ranges, suffix)) = rest.split_once(']') else {
        return Err(HostListError::Unclosed { column: column + prefix.chars().count() });
    };
    if let Some(at) = suffix.find('[') {
        let before = word.chars().count() - suffix.chars().count();
        let column = column + before + suffix.get(..at).map_or(0, |text| text.chars().count());
        return Err(HostListError::Bracket { column, bracket: '[' });
    }
    let mut names = Vec::new();
    let mut at = column + prefix.chars().count() + 1;
    for range in ranges.split(',') {
        let numbers = expand_range(at, range)?;
        if names.len() + numbers.len() > HOSTS_MAX {
            return Err(HostListError::TooMany { column: at });
        }
        names.extend(numbers.iter().map(|number| format!("{prefix}{number}{suffix}")));
        at += range.chars().count() + 1;
    }
    Ok(names)
}

/// `5` or `01-16`: the numbers as they are written, zeros in front kept.
fn expand_range(column: usize, range: &str) -> Result<Vec<String>, HostListError> {
    let wrong = || HostListError::Range { column, found: range.to_owned() };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| -> Option<u32> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && text.len() <= DIGITS_MAX { text.parse().ok() } else { None }
    };
    let (from, to) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
    if to < from {
        return Err(HostListError::Backwards { column, found: range.to_owned() });
    }
    let count = usize::try_from(to - from).unwrap_or(usize::MAX);
    if count >= HOSTS_MAX {
        return Err(HostListError::TooMany { column });
    }
    let width = first.len();
    Ok((from..=to).map(|number| format!("{number:0width$}")).collect())
}

/// A name cut at its last number: `rack-a-node03` is `rack-a-node`, `03`. Names whose number is too
/// long, or that have none at their end, are cut nowhere.
fn split(name: &str) -> Option<(&str, &str)> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > DIGITS_MAX {
        return None;
    }
    name.split_at_checked(name.len() - digits)
}

/// Numbers of one prefix and one width that are written together.
#[derive(Default)]
struct Numbers(Vec<u32>);

/// Writes names as a host list, in natural order, each once: `nas,node[1-3,5]`.
#[must_use]
pub fn compress<'a>(names: impl IntoIterator<Item = &'a MachineName>) -> String {
    let mut plain: Vec<&str> = Vec::new();
    let mut numbered: BTreeMap<(&str, usize), Numbers> = BTreeMap::new();
    for name in names {
        match split(name.as_str()) {
            Some((prefix, digits)) => {
                // A number with zeros in front keeps its width; without, all widths are one series.
                let width =
                    if digits.starts_with('0') && digits.len() > 1 { digits.len() } else { 0 };
                let number = digits.parse().unwrap_or_default();
                numbered.entry((prefix, width)).or_default().0.push(number);
            }
            None => plain.push(name.as_str()),
        }
    }
    merge_widths(&mut numbered);
    // Sorted by the first name of each series, which is what a reader looks for.
    let mut written: Vec<(String, String)> =
        plain.into_iter().map(|name| (name.to_owned(), name.to_owned())).collect();
    for ((prefix, width), Numbers(mut numbers)) in numbered {
        numbers.sort_unstable();
        numbers.dedup();
        let first = numbers.first().copied().unwrap_or_default();
        let series = write_series(prefix, width, &numbers);
        written.push((format!("{prefix}{first:0width$}"), series));
    }
    written.sort_by(|(one, _), (other, _)| natural(one, other));
    written.dedup();
    let written: Vec<String> = written.into_iter().map(|(_, series)| series).collect();
    written.join(",")
}

/// `node08` and `node10` are one series of width 2: full numbers join the padded ones of their width.
fn merge_widths<'a>(numbered: &mut BTreeMap<(&'a str, usize), Numbers>) {
    let padded: Vec<(&'a str, usize)> =
        numbered.keys().filter(|(_, width)| *width > 0).copied().collect();
    for (prefix, width) in padded {
        let Some(full) = numbered.get_mut(&(prefix, 0)) else { continue };
        let (same, other): (Vec<u32>, Vec<u32>) =
            full.0.iter().partition(|number| number.to_string().len() == width);
        full.0 = other;
        let is_empty = full.0.is_empty();
        if is_empty {
            numbered.remove(&(prefix, 0));
        }
        if let Some(Numbers(numbers)) = numbered.get_mut(&(prefix, width)) {
            numbers.extend(same);
        }
    }
}

fn write_series(prefix: &str, width: usize, numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let written: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match last - first {
            0 => format!("{first:0width$}"),
            _ => format!("{first:0width$}-{last:0width$}"),
        })
        .collect();
    match (ranges.as_slice(), written.as_slice()) {
        ([(first, last)], [only]) if first == last => format!("{prefix}{only}"),
        _ => format!("{prefix}[{}]", written.join(",")),
    }
}

/// The order in which people count: `node2` before `node10`.
#[must_use]
pub fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let (left_text, left_rest) = left.split_at(first_digit(left));
        let (right_text, right_rest) = right.split_at(first_digit(right));
        let (left_digits, left_tail) = left_rest.split_at(digits(left_rest));
        let (right_digits, right_tail) = right_rest.split_at(digits(right_rest));
        let significant = |text: &'_ str| text.trim_start_matches('0').len();
        let numbers = significant(left_digits).cmp(&significant(right_digits)).then_with(|| {
            left_digits.trim_start_matches('0').cmp(right_digits.trim_start_matches('0'))
        });
        let order = left_text.cmp(right_text).then(numbers);
        if order.is_ne() {
            return order;
        }
        if left_tail.is_empty() && right_tail.is_empty() {
            return one.cmp(other);
        }
        (left, right) = (left_tail, right_tail);
    }
}

fn first_digit(text: &str) -> usize {
    text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len())
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(list: &str) -> String {
        match expand(list) {
            Ok(names) => names.iter().map(MachineName::as_str).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    fn compressed(names: &str) -> String {
        let names: Vec<MachineName> =
            names.split(' ').map(|name| MachineName::new(name).unwrap()).collect();
        compress(&names)
    }

    #[test]
    fn ranges_lists_and_zeros_in_front_are_expanded() {
        assert_eq!(expanded("node[1-3,5]"), "node1 node2 node3 node5");
        assert_eq!(expanded("foo[08-11],nas"), "foo08 foo09 foo10 foo11 nas");
        assert_eq!(expanded("r[1-2]-n.lab,r1-n.lab"), "r1-n.lab r2-n.lab", "each once");
    }

    #[test]
    fn a_text_that_is_no_host_list_is_refused_at_its_column() {
        for (list, message) in [
            ("", "column 1: a name is missing; write a host list like node[1-3,5],nas"),
            ("a,,b", "column 3: a name is missing; write a host list like node[1-3,5],nas"),
            ("node[1-3", "column 5: this '[' is never closed; write a host list like node[1-3,5]"),
            (
                "node1]",
                "column 6: ']' can not stand here; a name has one pair of brackets, like node[1-3,5]",
            ),
            (
                "r[1-2]n[3]",
                "column 8: '[' can not stand here; a name has one pair of brackets, like node[1-3,5]",
            ),
            ("node[1,x]", "column 8: \"x\" is neither a number nor a range like 1-3 or 01-16"),
            ("node[]", "column 6: \"\" is neither a number nor a range like 1-3 or 01-16"),
            (
                "node[5-2]",
                "column 6: the range \"5-2\" runs backwards; write the smaller number first",
            ),
            ("node[1-99999]", "column 6: that is more than 4096 names"),
            (
                "a,no de",
                "column 3: machine \"no de\" holds ' '; names are of letters, digits, '.', '_' and '-'",
            ),
        ] {
            assert_eq!(expanded(list), message, "{list}");
        }
    }

    #[test]
    fn names_are_compressed_in_natural_order() {
        assert_eq!(compressed("node5 node1 node3 node2"), "node[1-3,5]");
        assert_eq!(compressed("node10 node9 nas node9"), "nas,node[9-10]");
        assert_eq!(compressed("n08 n09 n10 n011"), "n[08-10],n011");
        assert_eq!(compressed("node1"), "node1");
    }

    #[test]
    fn people_count_2_before_10() {
        let mut names = ["node10", "node2", "nas", "node2a", "node02"];
        names.sort_by(|one, other| natural(one, other));
        assert_eq!(names, ["nas", "node02", "node2", "node2a", "node10"]);
    }

    proptest! {
        #[test]
        fn what_is_compressed_expands_to_the_same_names(
            names in proptest::collection::btree_set("[a-c]{1,2}-?[0-9]{0,4}[a-c]?", 1..40)
        ) {
            let names: Vec<MachineName> =
                names.into_iter().map(|name| MachineName::new(name).unwrap()).collect();
            let list = compress(&names);
            let mut back = expand(&list).unwrap();
            back.sort();
            prop_assert_eq!(back, names, "{}", list);
        }

        #[test]
        fn no_text_makes_it_panic(list in "[a-c0-9,\\[\\] \u{e9}-]{0,30}") {
            if let Ok(names) = expand(&list) {
                prop_assert!(names.len() <= HOSTS_MAX);
            }
        }
    }
}
