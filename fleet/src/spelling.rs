//! Which known word a person may have meant.

/// The known word that is the nearest to a mistyped one; `None` where none is near enough to be meant: more than
/// one letter in four is wrong.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (steps, name) = known.into_iter().map(|name| (distance(word, name), name)).min()?;
    (steps <= 1 + word.chars().count() / 4).then_some(name)
}

/// Insertions, deletions and replacements from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        for ((right, above_left), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let replaced = above_left + usize::from(left != *right);
            let before = next.last().map_or(0, |before| before + 1);
            next.push(replaced.min(above + 1).min(before));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_another_word_finds_none() {
        let known = ["idle_time", "min_on", "min_off"];
        assert_eq!(nearest("idel_time", known), Some("idle_time"));
        assert_eq!(nearest("min_of", known), Some("min_off"));
        assert_eq!(nearest("cooldown", known), None);
        assert_eq!(nearest("x", []), None);
    }
}
