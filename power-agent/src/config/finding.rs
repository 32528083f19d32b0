//! What is wrong with a rack file, and how it is shown: file, line, column, what was found, what was expected, the remedy.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How many findings of one file are shown; a file with more is better mended from the top.
const SHOWN_MAX: usize = 50;

/// Whether an agent can live with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file can not be used.
    Error,
    /// The file can be used, and a person should know.
    Warning,
}

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether an agent can live with it.
    pub severity: Severity,
    /// What is wrong, in a sentence without a place.
    pub title: String,
    /// Where, in bytes of the file; empty for the file as a whole.
    pub span: Range<usize>,
    /// What was found there.
    pub found: String,
    /// The other place that it contradicts.
    pub also: Option<(Range<usize>, String)>,
    /// What was expected.
    pub expected: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// An error at a place.
    pub(crate) fn error(title: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            severity: Severity::Error,
            title: title.into(),
            span,
            found: String::new(),
            also: None,
            expected: None,
            remedy: None,
        }
    }

    /// The same, as something that an agent can live with.
    pub(crate) fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// What was found at the place.
    pub(crate) fn found(mut self, found: impl Into<String>) -> Self {
        self.found = found.into();
        self
    }

    /// The other place that it contradicts.
    pub(crate) fn also(mut self, span: Range<usize>, what: impl Into<String>) -> Self {
        self.also = Some((span, what.into()));
        self
    }

    /// What was expected there.
    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// What to do.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    fn group<'a>(&'a self, file: &'a str, source: &'a str) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let primary = AnnotationKind::Primary.span(self.span.clone()).label(self.found.as_str());
        let mut snippet = Snippet::source(source).path(file).annotation(primary);
        if let Some((span, what)) = &self.also {
            let context = AnnotationKind::Context.span(span.clone()).label(what.as_str());
            snippet = snippet.annotation(context);
        }
        let mut group = level.primary_title(self.title.as_str()).element(snippet);
        if let Some(expected) = &self.expected {
            group = group.element(Level::NOTE.with_name("expected").message(expected.as_str()));
        }
        if let Some(remedy) = &self.remedy {
            group = group.element(Level::HELP.message(remedy.as_str()));
        }
        group
    }
}

/// All findings of one file, with what is needed to show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    file: PathBuf,
    source: String,
    all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn new(file: &Path, source: &str, mut all: Vec<Finding>) -> Self {
        all.sort_by_key(|finding| (finding.severity, finding.span.start));
        Self { file: file.to_owned(), source: source.to_owned(), all }
    }

    /// The file as a whole can not be read.
    pub(crate) fn of_file(file: &Path, why: String) -> Self {
        let finding = Finding::error(format!("can not read the rack file: {why}"), 0..0)
            .remedy("name a rack file with --config; examples/rack.toml is one to begin with");
        Self { file: file.to_owned(), source: String::new(), all: vec![finding] }
    }

    /// The findings: errors first, then by place.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.all
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one of them forbids to use the file.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.all.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Line and column (in characters) of a finding, from 1; `None` where it is the file as a whole.
    #[must_use]
    pub fn place(&self, finding: &Finding) -> Option<(usize, usize)> {
        let before = self.source.get(..finding.span.start)?;
        if self.source.is_empty() {
            return None;
        }
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Some((line, before.get(line_start..)?.chars().count() + 1))
    }

    /// The file that they are about.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// As rustc shows its own, in colour or not.
    #[must_use]
    pub fn render(&self, renderer: &Renderer) -> String {
        let file = self.file.display().to_string();
        let mut shown: Vec<String> = Vec::new();
        for finding in self.all.iter().take(SHOWN_MAX) {
            let group = if self.source.is_empty() {
                let title = Level::ERROR.primary_title(finding.title.as_str());
                let origin = annotate_snippets::Origin::path(file.as_str());
                let help = Level::HELP.message(finding.remedy.as_deref().unwrap_or_default());
                title.element(origin).element(help)
            } else {
                finding.group(&file, &self.source)
            };
            shown.push(renderer.render(&[group]));
        }
        if let Some(more) = self.all.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            shown.push(format!("… and {more} more"));
        }
        shown.join("\n\n")
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

impl std::error::Error for Findings {}

/// Collects findings while a file is read; reading goes on after each.
#[derive(Debug, Default)]
pub(crate) struct Report(RefCell<Vec<Finding>>);

impl Report {
    pub(crate) fn tell(&self, finding: Finding) {
        self.0.borrow_mut().push(finding);
    }

    pub(crate) fn into_findings(self) -> Vec<Finding> {
        self.0.into_inner()
    }
}
