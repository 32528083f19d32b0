//! What is wrong with a file, and how it is told: file and line, what was found, what was expected, the remedy.

use std::fmt;
use std::rc::Rc;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file, as it was named or found.
    pub(super) file: Rc<str>,
    /// From 1; 0 for the file as a whole.
    pub(super) line: usize,
    /// In characters, from 1; 0 for the file as a whole.
    pub(super) column: usize,
}

impl Place {
    /// A file as a whole.
    pub(super) fn file(file: &Rc<str>) -> Self {
        Self { file: Rc::clone(file), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// Whether a pool can live with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// It would not work, or not as it is written.
    Error,
    /// It works, and a person should know how.
    Warning,
}

impl Severity {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) severity: Severity,
    pub(super) found: String,
    pub(super) expected: String,
    pub(super) remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}: {}", self.place, self.severity.as_str(), self.found)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  help: {}", self.remedy)
    }
}

/// Collects findings; reading goes on after each.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Finding>);

impl Report {
    /// Something that would not work.
    pub(super) fn error(
        &mut self,
        place: &Place,
        found: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.tell(Severity::Error, place, [found.into(), expected.into(), remedy.into()]);
    }

    /// Something that a person should know.
    pub(super) fn warning(
        &mut self,
        place: &Place,
        found: impl Into<String>,
        expected: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.tell(Severity::Warning, place, [found.into(), expected.into(), remedy.into()]);
    }

    fn tell(&mut self, severity: Severity, place: &Place, words: [String; 3]) {
        let [found, expected, remedy] = words;
        self.0.push(Finding { place: place.clone(), severity, found, expected, remedy });
    }

    /// All of them, by place.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.0.sort();
        self.0
    }
}
