//! One table of the rack file while it is read: each key is asked for once by name and type, and what is left over is unknown.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use fleet::feeds::parse_amperes;
use fleet::{Milliamps, NameError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Finding, Report};
use fleet::duration::{parse_duration, show_duration};
use fleet::spelling::nearest;

/// A value with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A value that may be of several types.
pub(crate) enum Item<'a> {
    /// A string.
    Text(At<String>),
    /// A whole number that is not negative.
    Integer(At<u64>),
    /// A table.
    Table(Section<'a>),
}

impl Item<'_> {
    /// Where it stands.
    pub(crate) fn span(&self) -> Range<usize> {
        match self {
            Self::Text(text) => text.span.clone(),
            Self::Integer(number) => number.span.clone(),
            Self::Table(table) => table.span(),
        }
    }
}

/// One table while it is read.
pub(crate) struct Section<'a> {
    name: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    base: &'a Path,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(crate) fn root(table: &'a DeTable<'a>, base: &'a Path, report: &'a Report) -> Self {
        Self { name: String::new(), span: 0..0, table, known: Vec::new(), base, report }
    }

    /// `[devices.board-a]`, or `the file` for the root.
    pub(crate) fn name(&self) -> String {
        if self.name.is_empty() { "the file".to_owned() } else { format!("[{}]", self.name) }
    }

    /// Where the section's name stands.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Tells of something that is wrong here.
    pub(crate) fn tell(&self, finding: Finding) {
        self.report.tell(finding);
    }

    /// Whether the key stands there at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Tells that a key that must stand there does not.
    pub(crate) fn missing(&self, key: &str, example: &str) {
        self.tell(
            Finding::error(format!("{} has no `{key}`", self.name()), self.span())
                .found(format!("`{key}` is missing"))
                .remedy(format!("add a line like `{key} = {example}`")),
        );
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str, example: &str) {
        self.tell(
            Finding::error(format!("`{key}` in {} has the wrong type", self.name()), value.span())
                .found(format!("found {}", type_name(value.get_ref())))
                .expected(wanted)
                .remedy(format!("write it like `{key} = {example}`")),
        );
    }

    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str, example: &str) -> Option<At<String>> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a string", example);
            return None;
        };
        if text.is_empty() {
            self.tell(
                Finding::error(format!("`{key}` in {} is empty", self.name()), value.span())
                    .found("found an empty string")
                    .remedy(format!("write it like `{key} = {example}`, or leave it out")),
            );
            return None;
        }
        Some(At { value: text.to_owned(), span: value.span() })
    }

    /// A name, as its type takes it.
    pub(crate) fn parsed<T>(&mut self, key: &'static str, example: &str) -> Option<At<T>>
    where
        T: FromStr<Err = NameError>,
    {
        let At { value, span } = self.text(key, example)?;
        match value.parse() {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.bad_name(&error, span);
                None
            }
        }
    }

    /// Tells that a text is no name.
    pub(crate) fn bad_name(&self, error: &NameError, span: Range<usize>) {
        self.tell(Finding::error(error.to_string(), span).found("not a name").remedy(
            "names are of letters, digits, '.', '_' and '-', so that host lists can hold them",
        ));
    }

    /// A path; relative ones begin at the rack file's directory.
    pub(crate) fn path(&mut self, key: &'static str, example: &str) -> Option<At<PathBuf>> {
        let At { value, span } = self.text(key, example)?;
        Some(At { value: self.base.join(value), span })
    }

    /// A whole number within bounds.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<u64>,
        example: &str,
    ) -> Option<At<u64>> {
        let value = self.value(key)?;
        let wanted = format!("an integer from {} to {}", bounds.start(), bounds.end());
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &wanted, example);
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if bounds.contains(&number) => {
                Some(At { value: number, span: value.span() })
            }
            _ => {
                self.out_of_bounds(key, value.span(), integer.as_str(), &wanted, example);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn truth(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            self.wrong_type(key, value, "true or false", "true");
        }
        truth
    }

    fn out_of_bounds(
        &self,
        key: &str,
        span: Range<usize>,
        found: &str,
        wanted: &str,
        example: &str,
    ) {
        self.tell(
            Finding::error(format!("`{key}` in {} is out of bounds", self.name()), span)
                .found(format!("found {found}"))
                .expected(wanted)
                .remedy(format!("write it like `{key} = {example}`")),
        );
    }

    /// A duration within bounds, which [`parse_duration`] reads.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
        example: &str,
    ) -> Option<Duration> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a duration in quotes, with its unit", example);
            return None;
        };
        match parse_duration(text) {
            Ok(duration) if bounds.contains(&duration) => Some(duration),
            Ok(_) => {
                let (from, to) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
                let (found, wanted) = (format!("{text:?}"), format!("{from} to {to}"));
                self.out_of_bounds(key, value.span(), &found, &wanted, example);
                None
            }
            Err(error) => {
                let title = format!("`{key}` in {} is no duration", self.name());
                self.tell(
                    Finding::error(title, value.span())
                        .found(error.to_string())
                        .expected("numbers with the units ns, us, ms, s, m or h")
                        .remedy(format!("write it like `{key} = {example}`")),
                );
                None
            }
        }
    }

    /// A current within bounds, which [`parse_amperes`] reads.
    pub(crate) fn amperes(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Milliamps>,
        example: &str,
    ) -> Option<At<Milliamps>> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "amperes in quotes, with their unit", example);
            return None;
        };
        match parse_amperes(text) {
            Ok(current) if bounds.contains(&current) => {
                Some(At { value: current, span: value.span() })
            }
            Ok(_) => {
                let wanted = format!("{} to {}", bounds.start(), bounds.end());
                self.out_of_bounds(key, value.span(), &format!("{text:?}"), &wanted, example);
                None
            }
            Err(error) => {
                let title = format!("`{key}` in {} is no current", self.name());
                self.tell(
                    Finding::error(title, value.span())
                        .found(error.to_string())
                        .expected("a number with the unit A or mA")
                        .remedy(format!("write it like `{key} = {example}`")),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<At<T>> {
        let example = choices.first().map(|(word, _)| format!("{word:?}")).unwrap_or_default();
        let At { value, span } = self.text(key, &example)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == value) {
            return Some(At { value: *choice, span });
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let title = format!("`{key}` in {} can not be {value:?}", self.name());
        self.tell(
            unknown_word(title, span, &value, &words)
                .found("not one of the choices")
                .expected(listed(&words)),
        );
        None
    }

    /// A list of texts that are not empty.
    pub(crate) fn texts(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<At<Vec<At<String>>>> {
        let value = self.value(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of strings", example);
            return None;
        };
        let mut texts = Vec::new();
        for item in array.iter() {
            let Some(text) = item.get_ref().as_str() else {
                self.wrong_type(key, item, "a list of strings", example);
                return None;
            };
            texts.push(At { value: text.to_owned(), span: item.span() });
        }
        Some(At { value: texts, span: value.span() })
    }

    /// A table of this section.
    pub(crate) fn section(&mut self, key: &'static str, example: &str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.child(key, self.key_span(key), table)),
            None => {
                self.wrong_type(key, value, "a table", example);
                None
            }
        }
    }

    /// The tables of a table, each with the name under which it stands.
    pub(crate) fn named(&mut self, key: &'static str) -> Vec<(At<String>, Section<'a>)> {
        let example = format!("a section [{key}.NAME]");
        let Some(parent) = self.section(key, &example) else { return Vec::new() };
        let mut children = Vec::new();
        for (name, value) in parent.table.iter() {
            let name = At { value: name.get_ref().to_string(), span: name.span() };
            match value.get_ref().as_table() {
                Some(table) => {
                    let child = parent.child(&name.value, name.span.clone(), table);
                    children.push((name, child));
                }
                None => {
                    let title = format!("`{}` in [{key}] is not a section", name.value);
                    let found = format!("found {}", type_name(value.get_ref()));
                    self.tell(
                        Finding::error(title, value.span())
                            .found(found)
                            .expected(format!("a section of its own, [{key}.{}]", name.value)),
                    );
                }
            }
        }
        children
    }

    /// The tables of a list of tables.
    pub(crate) fn list(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<At<Vec<Section<'a>>>> {
        let value = self.value(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list of tables", example);
            return None;
        };
        let mut items = Vec::new();
        for item in array.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong_type(key, item, "a list of tables", example);
                return None;
            };
            items.push(self.child(key, item.span(), table));
        }
        Some(At { value: items, span: self.key_span(key) })
    }

    /// A string that is not empty, a whole number, or a table.
    pub(crate) fn item(&mut self, key: &'static str, example: &str) -> Option<Item<'a>> {
        let value = self.value(key)?;
        self.item_of(key, value, example)
    }

    /// A list of such.
    pub(crate) fn items(&mut self, key: &'static str, example: &str) -> Option<At<Vec<Item<'a>>>> {
        let value = self.value(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, "a list", example);
            return None;
        };
        let items: Vec<_> = array.iter().map(|item| self.item_of(key, item, example)).collect();
        let items = items.into_iter().collect::<Option<Vec<_>>>()?;
        Some(At { value: items, span: value.span() })
    }

    fn item_of(
        &self,
        key: &'static str,
        value: &'a Spanned<DeValue<'a>>,
        example: &str,
    ) -> Option<Item<'a>> {
        let span = value.span();
        let number = |text: &str, radix| u64::from_str_radix(text, radix).ok();
        let item = match value.get_ref() {
            DeValue::String(text) if !text.is_empty() => {
                Some(Item::Text(At { value: text.to_string(), span }))
            }
            DeValue::Integer(integer) => number(integer.as_str(), integer.radix())
                .map(|value| Item::Integer(At { value, span })),
            DeValue::Table(table) => Some(Item::Table(self.child(key, span, table))),
            _ => None,
        };
        if item.is_none() {
            self.wrong_type(key, value, "a name, a number from 0, or a table", example);
        }
        item
    }

    /// All keys with text values: for a table whose keys are free.
    pub(crate) fn free_texts(&mut self, key: &'static str) -> Vec<(String, String)> {
        let example = "{ \"attr.kernel.name\" = \"linux\" }";
        let Some(section) = self.section(key, example) else { return Vec::new() };
        let mut texts = Vec::new();
        for (name, value) in section.table.iter() {
            match value.get_ref().as_str() {
                Some(text) => texts.push((name.get_ref().to_string(), text.to_owned())),
                None => section.wrong_type(name.get_ref(), value, "a string", "\"…\""),
            }
        }
        texts
    }

    /// Where a key stands; the section where it does not.
    pub(crate) fn key_span(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or_else(|| self.span(), |(key, _)| key.span())
    }

    fn child(&self, key: &str, span: Range<usize>, table: &'a DeTable<'a>) -> Section<'a> {
        let name =
            if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        Section { name, span, table, known: Vec::new(), base: self.base, report: self.report }
    }

    /// Tells of every key that nobody asked for. Not called where half of the keys were not asked for.
    pub(crate) fn finish(self) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let title = format!("unknown key `{name}` in {}", self.name());
            self.tell(
                unknown_word(title, key.span(), name, &self.known)
                    .found("nothing reads this")
                    .expected(listed(&self.known)),
            );
        }
    }
}

/// An error about a word that is not among the known ones, with the nearest of them as remedy.
pub(crate) fn unknown_word(
    title: String,
    span: Range<usize>,
    word: &str,
    known: &[&str],
) -> Finding {
    let finding = Finding::error(title, span);
    match nearest(word, known.iter().copied()) {
        Some(name) => finding.remedy(format!("did you mean `{name}`?")),
        None => finding,
    }
}

/// `one of a, b, c`.
pub(crate) fn listed(words: &[&str]) -> String {
    match words {
        [] => "nothing: none is declared".to_owned(),
        [only] => format!("`{only}`"),
        many => {
            let quoted: Vec<String> = many.iter().map(|word| format!("`{word}`")).collect();
            format!("one of {}", quoted.join(", "))
        }
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
