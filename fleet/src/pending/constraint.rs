//! Nomad's constraints, as far as a shape can answer them.

use crate::Shape;

use super::Source;

/// A constraint as Nomad writes it: `left operand right`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    /// What is asked about: `${attr.kernel.name}`, `${node.class}`, or a literal.
    pub left: String,
    /// How it is compared; empty means `=`.
    pub operand: String,
    /// What it is compared with.
    pub right: String,
}

/// What a shape answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is met.
    Met,
    /// It is not.
    Unmet,
    /// The shape does not say, or the operand is not modelled.
    Unknown,
}

/// One side of a constraint on one machine.
enum Value<'a> {
    Is(&'a str),
    NotSet,
    Unknown,
}

/// What constraints ask about on one machine.
pub(super) struct Subject<'a> {
    pub(super) node: &'a str,
    pub(super) shape: &'a Shape,
    pub(super) source: Source,
}

impl<'s> Subject<'s> {
    fn known(&self, text: &str) -> bool {
        self.source == Source::Seen || !text.is_empty()
    }

    /// The text behind a key without `${}`; `None`: not set or not known, by [`Source`].
    pub(super) fn lookup(&self, key: &str) -> Option<&'s str> {
        let of_node = |text: &str| self.known(text);
        match key {
            "node.datacenter" => Some(self.shape.datacenter.as_str()).filter(|text| of_node(text)),
            "node.class" => Some(self.shape.node_class.as_str()).filter(|text| of_node(text)),
            "node.pool" => Some(self.shape.node_pool.as_str()).filter(|text| of_node(text)),
            "node.unique.name" => Some(self.node),
            _ => self.shape.attributes.get(key).map(String::as_str),
        }
    }

    fn resolve<'a>(&'a self, target: &'a str) -> Value<'a> {
        let Some(key) = key_of(target) else { return Value::Is(target) };
        match self.lookup(key) {
            Some(text) => Value::Is(text),
            // What is unique to a machine may change from boot to boot and is not kept with its shape.
            None if self.source == Source::Seen && !key.contains("unique.") => Value::NotSet,
            None => Value::Unknown,
        }
    }

    /// Whether the machine runs tasks of a driver: nodes say so by an attribute.
    pub(super) fn has_driver(&self, driver: &str) -> Verdict {
        match self.resolve(&format!("${{attr.driver.{driver}}}")) {
            Value::Is("1" | "true") => Verdict::Met,
            Value::Is(_) | Value::NotSet => Verdict::Unmet,
            Value::Unknown => Verdict::Unknown,
        }
    }
}

/// The key inside `${}`, or `None` where the text is a literal.
pub(super) fn key_of(target: &str) -> Option<&str> {
    target.strip_prefix("${").map(|rest| rest.strip_suffix('}').unwrap_or(rest))
}

impl Constraint {
    /// As Nomad's `checkConstraint`; operands that need version or regular expression rules are unknown.
    pub(super) fn judge(&self, subject: &Subject<'_>) -> Verdict {
        let left = subject.resolve(&self.left);
        let right = subject.resolve(&self.right);
        let met = match (self.operand.as_str(), &left, &right) {
            ("distinct_hosts" | "distinct_property", ..) => true,
            ("is_set", Value::Is(_), _) | ("is_not_set", Value::NotSet, _) => true,
            ("is_set", Value::NotSet, _) | ("is_not_set", Value::Is(_), _) => false,
            (_, Value::Unknown, _) | (_, _, Value::Unknown) => return Verdict::Unknown,
            ("" | "=" | "==" | "is", Value::Is(left), Value::Is(right)) => left == right,
            ("" | "=" | "==" | "is", ..) => false,
            // As in Nomad: what is not set differs from every text, and is compared as empty.
            ("!=" | "not", left, right) => left.text() != right.text(),
            ("set_contains" | "set_contains_all", Value::Is(left), Value::Is(right)) => {
                members(right).all(|wanted| members(left).any(|found| found == wanted))
            }
            ("set_contains_any", Value::Is(left), Value::Is(right)) => {
                members(right).any(|wanted| members(left).any(|found| found == wanted))
            }
            (_, Value::NotSet, _) | (_, _, Value::NotSet) => false,
            _ => return Verdict::Unknown,
        };
        if met { Verdict::Met } else { Verdict::Unmet }
    }
}

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Value::Is(text) => Some(text),
            Value::NotSet | Value::Unknown => None,
        }
    }
}

fn members(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.operand.as_str() {
            "is_set" | "is_not_set" => write!(f, "{} {}", self.left, self.operand),
            "" => write!(f, "{} = {}", self.left, self.right),
            _ => write!(f, "{} {} {}", self.left, self.operand, self.right),
        }
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text, as a job's datacenters do.
#[must_use]
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraint(left: &str, operand: &str, right: &str) -> Constraint {
        Constraint { left: left.into(), operand: operand.into(), right: right.into() }
    }

    fn judge(left: &str, operand: &str, right: &str, source: Source) -> Verdict {
        let shape = Shape {
            node_class: "rack".into(),
            attributes: [
                ("attr.kernel.name".to_owned(), "linux".to_owned()),
                ("meta.disks".to_owned(), "ssd, nvme".to_owned()),
            ]
            .into(),
            ..Shape::default()
        };
        let subject = Subject { node: "node1", shape: &shape, source };
        constraint(left, operand, right).judge(&subject)
    }

    #[test]
    fn constraints_are_judged_as_nomad_judges_them() {
        use Verdict::{Met, Unknown, Unmet};
        for (left, operand, right, seen, declared) in [
            ("${attr.kernel.name}", "=", "linux", Met, Met),
            ("${attr.kernel.name}", "", "linux", Met, Met),
            ("${attr.kernel.name}", "is", "windows", Unmet, Unmet),
            ("${attr.kernel.name}", "!=", "windows", Met, Met),
            ("${attr.kernel.name}", "not", "linux", Unmet, Unmet),
            ("${meta.gpu}", "=", "yes", Unmet, Unknown),
            ("${meta.gpu}", "!=", "yes", Met, Unknown),
            ("${meta.gpu}", "is_set", "", Unmet, Unknown),
            ("${meta.gpu}", "is_not_set", "", Met, Unknown),
            ("${attr.kernel.name}", "is_set", "", Met, Met),
            ("${node.class}", "=", "rack", Met, Met),
            ("${node.datacenter}", "=", "dc1", Unmet, Unknown),
            ("${node.unique.name}", "=", "node1", Met, Met),
            ("${node.unique.id}", "=", "x", Unknown, Unknown),
            ("${meta.disks}", "set_contains", "nvme,ssd", Met, Met),
            ("${meta.disks}", "set_contains_any", "hdd,ssd", Met, Met),
            ("${meta.disks}", "set_contains", "hdd,ssd", Unmet, Unmet),
            ("${attr.kernel.name}", "regexp", "lin.*", Unknown, Unknown),
            ("${attr.vault.version}", "semver", ">= 1", Unmet, Unknown),
            ("", "distinct_hosts", "true", Met, Met),
        ] {
            let found = (
                judge(left, operand, right, Source::Seen),
                judge(left, operand, right, Source::Declared),
            );
            assert_eq!(found, (seen, declared), "{left} {operand} {right}");
        }
    }

    #[test]
    fn datacenters_match_by_globs() {
        for (pattern, text, wanted) in [
            ("dc1", "dc1", true),
            ("dc1", "dc10", false),
            ("*", "", true),
            ("dc*", "dc10", true),
            ("*-eu", "rack-eu", true),
            ("*-eu", "rack-us", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("", "dc1", false),
        ] {
            assert_eq!(matches_glob(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
