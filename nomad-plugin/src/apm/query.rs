//! The text of a query.

use fleet::PoolName;

/// What the queries are, for the error of one that is none.
const KNOWN: &str =
    "known is: pending POOL (the machines that hold work, and those that waiting work needs)";

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// How many machines a pool needs for what runs and what waits.
    Pending(PoolName),
}

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("query {0:?} is empty; {KNOWN}")]
    Empty(String),
    #[error("query {query:?} begins with {word:?}, which is no query; {KNOWN}")]
    Unknown { query: String, word: String },
    #[error(
        "query {0:?} names no pool; write the pool's name as in the rack file: \"pending POOL\""
    )]
    NoPool(String),
    #[error(
        "query {query:?} goes on with {rest:?} after the pool's name; expected nothing: \"pending POOL\""
    )]
    More { query: String, rest: String },
    #[error("query {query:?}: {source}")]
    Name { query: String, source: fleet::NameError },
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        let query = || text.to_owned();
        let mut words = text.split_whitespace();
        match words.next() {
            None => return Err(QueryError::Empty(query())),
            Some("pending") => {}
            Some(word) => {
                return Err(QueryError::Unknown { query: query(), word: word.to_owned() });
            }
        }
        let pool = words.next().ok_or_else(|| QueryError::NoPool(query()))?;
        let rest: Vec<&str> = words.collect();
        if !rest.is_empty() {
            return Err(QueryError::More { query: query(), rest: rest.join(" ") });
        }
        match PoolName::new(pool) {
            Ok(pool) => Ok(Self::Pending(pool)),
            Err(source) => Err(QueryError::Name { query: query(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_pool() {
        let rack = PoolName::new("rack").expect("a name");
        assert_eq!(Query::parse(" pending   rack\n"), Ok(Query::Pending(rack)));
    }

    #[test]
    fn what_is_no_query_gets_one_sentence_with_what_is_expected() {
        for (text, words) in [
            ("", "known is: pending POOL"),
            ("waiting rack", "\"waiting\", which is no query"),
            ("pending", "names no pool"),
            ("pending rack now", "\"now\""),
            ("pending a/b", "'/'"),
        ] {
            let error = Query::parse(text).expect_err(text).to_string();
            assert!(error.contains(words) && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
