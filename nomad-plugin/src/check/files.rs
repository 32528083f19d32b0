//! Which files are read, and what of ours stands in them: values with their places, and no judgement of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hcl_edit::expr::{Expression, ObjectKey, UnaryOperator};
use hcl_edit::structure::{Block, Body};
use hcl_edit::{Decorated, Ident, Span, parser};

use super::finding::{Place, Report};
use super::template::{Masked, is_masked, mask, shown};

/// Folders within folders that are looked into; deeper is a loop of links, or no folder of policies.
const DEPTH_MAX: usize = 8;

/// Files of one check; a cluster has dozens of policies.
const FILES_MAX: usize = 10_000;

/// The largest file that is read: a job file with all its templates has some ten thousand bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Blocks within blocks on the way to a `scaling`: job, group, task.
const NESTING_MAX: usize = 4;

/// What only files of the autoscaler's with something of ours have.
const OURS: [&str; 2] = ["scaling \"", "\"lamplighter\""];

/// What every rack file of an agent's has.
const RACK_FILE: [&str; 2] = ["[devices.", "[machines."];

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// `None`: an expression, which only who evaluates it can know.
    pub(super) text: Option<String>,
    /// Where its key stands.
    pub(super) place: Place,
}

/// The attributes of one block, and where it begins.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) place: Place,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Section {
    /// A key's text; none where it is missing or an expression.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.entries.get(key)?.text.as_deref()
    }

    /// Where a key stands, or the block where it is missing.
    pub(super) fn place_of(&self, key: &str) -> &Place {
        self.entries.get(key).map_or(&self.place, |entry| &entry.place)
    }
}

/// A `check` of a policy.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) section: Section,
    pub(super) strategy: Option<String>,
}

/// Where a block stands, and so who evaluates its expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A file of the autoscaler's: nobody does.
    File,
    /// A job: Nomad does, and enables a policy that does not say.
    Job,
    /// The `template` of a job's task, which becomes a file of the autoscaler's: Nomad does.
    Template,
}

/// A `scaling` block.
#[derive(Debug)]
pub(super) struct Policy {
    /// Its label, or `job/group`.
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) scaling: Section,
    /// Its `policy` block; the block's own place where there is none.
    pub(super) document: Section,
    pub(super) checks: Vec<Check>,
    /// The label of its `target`, and the block.
    pub(super) target: Option<(String, Section)>,
}

/// A `target`, `apm` or `strategy` block of the autoscaler's own configuration.
#[derive(Debug)]
pub(super) struct PluginBlock {
    pub(super) origin: Origin,
    pub(super) kind: String,
    pub(super) label: String,
    pub(super) section: Section,
    /// Its `args`, where they are literal.
    pub(super) args: Option<Vec<String>>,
    pub(super) config: Section,
}

/// A `template` of a job that holds what is ours.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) place: Place,
    /// Pieces of it that only Nomad can evaluate.
    pub(super) unevaluated: usize,
}

/// What all files say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: usize,
    /// What was read in templates of jobs.
    pub(super) templates: Vec<Template>,
    /// Where jobs carry an agent's rack file, which is not read here.
    pub(super) rack_files: Vec<Place>,
    pub(super) policies: Vec<Policy>,
    pub(super) plugins: Vec<PluginBlock>,
}

impl Found {
    /// Reads files, and all of a folder whose name ends in .hcl or .nomad.
    pub(super) fn read(paths: &[PathBuf], report: &mut Report) -> Self {
        let mut found = Self::default();
        for path in paths {
            let mut files = Vec::new();
            if path.is_dir() {
                list(path, 0, &mut files, report);
                if files.is_empty() {
                    report.error(
                        &Place::file(&name_of(path)),
                        "a folder without policies",
                        "files whose names end in .hcl or .nomad",
                        "name the folder of the autoscaler's `policy { dir = … }`, or the files",
                    );
                }
                files.sort();
            } else {
                files.push(path.clone());
            }
            for file in files {
                found.read_file(&file, report);
            }
        }
        found
    }

    fn read_file(&mut self, path: &Path, report: &mut Report) {
        let file = name_of(path);
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(why) => {
                let remedy = "name a file of policies, or the folder that they are in";
                report.error(&Place::file(&file), why, "a file of HCL in UTF-8", remedy);
                return;
            }
        };
        self.files += 1;
        match parser::parse_body(&text) {
            Ok(body) => {
                Reader { file: Rc::clone(&file), text: &text, is_template: false, found: self }
                    .body(&body);
                templates(&file, &text, &body, self, report);
            }
            Err(error) => {
                let remedy = "the autoscaler and Nomad would refuse the file too";
                no_hcl(&file, &error, remedy, report);
            }
        }
    }
}

/// Templates may be of any program; one with a word of ours is to be the autoscaler's.
fn unreadable(file: &Rc<str>, error: &parser::Error, masked: &Masked, report: &mut Report) {
    if !OURS.iter().any(|word| masked.text.contains(word)) {
        return;
    }
    if masked.unevaluated == 0 {
        let remedy = "Nomad would make this file, and the autoscaler would refuse it";
        return no_hcl(file, error, remedy, report);
    }
    let at = error.location();
    let place = Place { file: Rc::clone(file), line: at.line(), column: at.column() };
    let found = format!(
        "{:?} can not be read before Nomad has evaluated this template: nothing of it is checked",
        shown(error.line().trim())
    );
    let expected = "HCL but for values, with {{ … }} that steers in lines of its own";
    let remedy = "write it so, or check the file that Nomad makes of it";
    report.warning(&place, found, expected, remedy);
}

fn no_hcl(file: &Rc<str>, error: &parser::Error, remedy: &str, report: &mut Report) {
    let at = error.location();
    let place = Place { file: Rc::clone(file), line: at.line(), column: at.column() };
    let found = format!("{:?} can not be read as HCL", shown(error.line().trim()));
    report.error(&place, found, error.message().trim_start_matches("expected "), remedy);
}

fn name_of(path: &Path) -> Rc<str> {
    path.display().to_string().into()
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("can not be read: {error}"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("can not be read: {error}"))
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, report: &mut Report) {
    let place = Place::file(&name_of(folder));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) if depth <= DEPTH_MAX => entries,
        Ok(_) => {
            let found = format!("a folder more than {DEPTH_MAX} folders down");
            report.error(&place, found, "policies in one folder", "name the folder itself");
            return;
        }
        Err(error) => {
            let found = format!("can not be read: {error}");
            report.error(&place, found, "a folder of policies", "let who checks read it");
            return;
        }
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_ours = path.extension().is_some_and(|end| end == "hcl" || end == "nomad");
        if files.len() >= FILES_MAX || is_hidden {
            continue;
        }
        if path.is_dir() {
            list(&path, depth + 1, files, report);
        } else if is_ours {
            files.push(path);
        }
    }
}

/// Reads what is ours in the templates of a job's tasks: files of the autoscaler's that the job carries.
fn templates(file: &Rc<str>, text: &str, body: &Body, found: &mut Found, report: &mut Report) {
    let within =
        |body: &Body, ident: &str| -> Vec<Block> { body.get_blocks(ident).cloned().collect() };
    let mut blocks = within(body, "job");
    for ident in ["group", "task", "template"] {
        blocks = blocks.iter().flat_map(|block| within(&block.body, ident)).collect();
    }
    for block in blocks {
        let Some(data) = block.body.get_attribute("data") else { continue };
        let Expression::HeredocTemplate(heredoc) = &data.value else { continue };
        let Some(masked) = heredoc.template.span().and_then(|span| mask(text, span)) else {
            continue;
        };
        if RACK_FILE.iter().all(|table| masked.text.contains(table)) {
            let reader = Reader { file: Rc::clone(file), text, is_template: true, found };
            let place = reader.place(&data.key);
            found.rack_files.push(place);
            continue;
        }
        let parsed = match parser::parse_body(&masked.text) {
            Ok(parsed) => parsed,
            Err(error) => {
                unreadable(file, &error, &masked, report);
                continue;
            }
        };
        let known = (found.policies.len(), found.plugins.len());
        let mut reader =
            Reader { file: Rc::clone(file), text: &masked.text, is_template: true, found };
        reader.body(&parsed);
        let place = reader.place(&data.key);
        if (found.policies.len(), found.plugins.len()) != known {
            found.templates.push(Template { place, unevaluated: masked.unevaluated });
        }
    }
}

/// One file, or one template in it, while it is read.
struct Reader<'a> {
    file: Rc<str>,
    /// A template's is the file's with all else blank, so that places are those of the file.
    text: &'a str,
    is_template: bool,
    found: &'a mut Found,
}

impl Reader<'_> {
    fn body(&mut self, body: &Body) {
        for block in body.blocks() {
            let is_plugin = matches!(block.ident.as_str(), "target" | "apm" | "strategy");
            if is_plugin && block.body.has_attribute("driver") {
                let plugin = self.plugin(block);
                self.found.plugins.push(plugin);
            }
        }
        self.scalings(body, &[]);
    }

    /// The `scaling` blocks of a policies' file, or of a job's groups. (Those of a task size the task.)
    fn scalings(&mut self, body: &Body, path: &[&str]) {
        for block in body.blocks() {
            let label = block.labels.first().map_or("", |label| label.as_str());
            match block.ident.as_str() {
                "scaling" => {
                    let policy = if path.is_empty() {
                        self.policy(block, shown(label), self.origin())
                    } else {
                        self.policy(block, path.join("/"), Origin::Job)
                    };
                    self.found.policies.push(policy);
                }
                "job" | "group" if path.len() < NESTING_MAX => {
                    self.scalings(&block.body, &[path, &[label]].concat());
                }
                _ => {}
            }
        }
    }

    fn policy(&self, block: &Block, name: String, origin: Origin) -> Policy {
        let scaling = self.section(block);
        let mut policy = Policy {
            name,
            origin,
            document: Section { place: scaling.place.clone(), entries: BTreeMap::new() },
            scaling,
            checks: Vec::new(),
            target: None,
        };
        let Some(document) = block.body.get_blocks("policy").next() else { return policy };
        policy.document = self.section(document);
        for check in document.body.get_blocks("check") {
            let strategy = check.body.get_blocks("strategy").next();
            let strategy = strategy.and_then(|block| block.labels.first());
            policy.checks.push(Check {
                section: self.section(check),
                strategy: strategy.map(|label| label.as_str().to_owned()),
            });
        }
        policy.target = document.body.get_blocks("target").next().map(|target| {
            let label = target.labels.first().map_or("", |label| label.as_str());
            (label.to_owned(), self.section(target))
        });
        policy
    }

    fn plugin(&self, block: &Block) -> PluginBlock {
        let section = self.section(block);
        let args = block.body.get_attribute("args").and_then(|args| args.value.as_array());
        let args = args.and_then(|args| args.iter().map(literal).collect());
        let empty = || Section { place: section.place.clone(), entries: BTreeMap::new() };
        let config = match block.body.get_attribute("config") {
            Some(attribute) => self.object(&attribute.value, self.place(&attribute.key)),
            None => match block.body.get_blocks("config").next() {
                Some(config) => self.section(config),
                None => empty(),
            },
        };
        PluginBlock {
            origin: self.origin(),
            kind: block.ident.as_str().to_owned(),
            label: block.labels.first().map_or("", |label| label.as_str()).to_owned(),
            section,
            args,
            config,
        }
    }

    const fn origin(&self) -> Origin {
        if self.is_template { Origin::Template } else { Origin::File }
    }

    fn section(&self, block: &Block) -> Section {
        let mut section = Section { place: self.place(&block.ident), entries: BTreeMap::new() };
        for attribute in block.body.attributes() {
            if is_masked(attribute.key.as_str()) {
                continue;
            }
            let place = self.place(&attribute.key);
            let entry = Entry { text: literal(&attribute.value), place };
            section.entries.insert(attribute.key.as_str().to_owned(), entry);
        }
        section
    }

    fn object(&self, value: &Expression, place: Place) -> Section {
        let mut section = Section { place, entries: BTreeMap::new() };
        for (key, value) in value.as_object().into_iter().flat_map(|object| object.iter()) {
            let (name, span) = match key {
                ObjectKey::Ident(ident) => (Some(ident.as_str().to_owned()), ident.span()),
                ObjectKey::Expression(key) => (literal(key), key.span()),
            };
            if let Some(name) = name.filter(|name| !is_masked(name)) {
                let place = self.at(span.map_or(0, |span| span.start));
                section.entries.insert(name, Entry { text: literal(value.expr()), place });
            }
        }
        section
    }

    fn place(&self, ident: &Decorated<Ident>) -> Place {
        self.at(ident.span().map_or(0, |span| span.start))
    }

    fn at(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            file: Rc::clone(&self.file),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// A value as the host hands it on: all are strings there. `None` for an expression.
fn literal(value: &Expression) -> Option<String> {
    match value {
        Expression::String(text) if is_masked(text) => None,
        Expression::String(text) => Some(text.as_str().to_owned()),
        Expression::Bool(truth) => Some(truth.value().to_string()),
        Expression::Number(number) => Some(number.value().to_string()),
        Expression::UnaryOp(minus) if *minus.operator.value() == UnaryOperator::Neg => {
            Some(format!("-{}", literal(&minus.expr)?))
        }
        Expression::Parenthesis(inner) => literal(inner.inner()),
        Expression::HeredocTemplate(heredoc) => heredoc
            .template
            .as_single_element()?
            .as_literal()
            .map(|text| text.value().clone())
            .filter(|text| !is_masked(text)),
        _ => None,
    }
}
