//! The part of Nomad's filter language that our questions use: `KEY == "WORD" and KEY != "WORD"`.

use serde_json::Value;

/// Which objects of a list are wanted.
#[derive(Debug, PartialEq)]
pub(crate) struct Filter(Vec<(String, bool, String)>);

impl Filter {
    /// # Errors
    /// In words, where it is more than the stand-in reads.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let term = |term: &str| {
            let words: Vec<&str> = term.split_whitespace().collect();
            let [key, operator, word] = words.as_slice() else { return None };
            let word = word.strip_prefix('"')?.strip_suffix('"')?;
            let equal = match *operator {
                "==" => true,
                "!=" => false,
                _ => return None,
            };
            Some(((*key).to_owned(), equal, word.to_owned()))
        };
        let terms: Option<Vec<_>> = text.split(" and ").map(term).collect();
        terms.map(Self).ok_or_else(|| {
            format!("filter {text:?}: the stand-in reads KEY == \"WORD\" and KEY != \"WORD\"")
        })
    }

    pub(crate) fn takes(&self, object: &Value) -> bool {
        let holds = |(key, equal, word): &(String, bool, String)| {
            (object.get(key).and_then(Value::as_str) == Some(word)) == *equal
        };
        self.0.iter().all(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_operators_are_read_and_anything_else_is_refused() {
        let filter = Filter::read("A == \"x\" and B != \"y\"").unwrap();
        assert!(filter.takes(&json!({ "A": "x", "B": "z" })));
        assert!(!filter.takes(&json!({ "A": "x", "B": "y" })));
        assert!(!filter.takes(&json!({ "B": "z" })));
        for text in ["", "A == x", "A matches \"x\"", "A == \"x\" or B == \"y\""] {
            assert!(Filter::read(text).is_err(), "{text}");
        }
    }
}
