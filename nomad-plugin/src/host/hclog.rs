//! One log line as Go's hclog writes it: the only form that the host reads as more than raw text.
//!
//! A line whose `@message`, `@level` or `@timestamp` is no string panics the whole autoscaler, so
//! they are built here and no field can take their place.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// The longest text of one field or message, in bytes: beyond it nobody reads, and what is wrong
/// stands at its beginning.
const TEXT_MAX: usize = 4096;

/// The longest line. The host reads 64 KiB at a time and cuts what is longer into raw pieces; a
/// message of [`TEXT_MAX`] control characters, six bytes each when escaped, still fits.
const LINE_MAX: usize = 32 * 1024;

/// How bad it is, in the host's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// The fields of a line, under names that can not be the host's own.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn put(&mut self, name: &str, value: Value) {
        let name = name.strip_prefix("r#").unwrap_or(name);
        let name = name.strip_prefix('@').map_or(name.to_owned(), |rest| format!("at_{rest}"));
        let value = match value {
            Value::String(text) => Value::String(bounded(text)),
            other => other,
        };
        self.0.insert(name, value);
    }

    pub(super) fn extend(&mut self, other: &Fields) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// The line with its newline.
pub(super) fn line(
    at: SystemTime,
    level: Level,
    module: &str,
    message: String,
    fields: Fields,
) -> Vec<u8> {
    let mut object = fields.0;
    let user_fields = object.len();
    head(&mut object, at, level, module, message);
    let mut line = Value::Object(object).to_string();
    if line.len() > LINE_MAX {
        let Ok(Value::Object(mut object)) = serde_json::from_str(&line) else {
            return Vec::new();
        };
        object.retain(|name, _| name.starts_with('@'));
        object.insert("fields_omitted".to_owned(), user_fields.into());
        line = Value::Object(object).to_string();
    }
    line.push('\n');
    line.into_bytes()
}

fn head(
    object: &mut Map<String, Value>,
    at: SystemTime,
    level: Level,
    module: &str,
    message: String,
) {
    object.insert("@level".to_owned(), level.word().into());
    object.insert("@message".to_owned(), bounded(message).into());
    object.insert("@module".to_owned(), bounded(module.to_owned()).into());
    object.insert("@timestamp".to_owned(), timestamp(at).into());
}

fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push_str(" ... (cut)");
    }
    text
}

/// Go's layout `2006-01-02T15:04:05.000000Z07:00`, in UTC: any other number of fraction digits
/// makes the host show the whole line as raw text.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// The Gregorian date of a day since 1970-01-01, by eras of 400 years that begin on 1 March.
fn civil(days: u64) -> (u64, u64, u64) {
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turn, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parsed(line: &[u8]) -> Map<String, Value> {
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        serde_json::from_slice(line).expect("a JSON object")
    }

    fn at(secs: u64, micros: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(secs, micros * 1000)
    }

    #[test]
    fn item_18_a_log_line_has_six_fraction_digits() {
        for (secs, micros, text) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000001Z"),
            (951_782_400, 999_999, "2000-02-29T00:00:00.999999Z"),
            (951_868_800, 120_000, "2000-03-01T00:00:00.120000Z"),
            (1_795_374_367, 500, "2026-11-22T19:06:07.000500Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(at(secs, micros)), text);
        }
    }

    #[test]
    fn item_18_a_log_line_carries_level_message_time_and_module() {
        let mut fields = Fields::default();
        fields.put("count", 3.into());
        let line = line(at(0, 7), Level::Trace, "lamplighter.host", "said".to_owned(), fields);
        assert_eq!(
            String::from_utf8(line).expect("text"),
            "{\"@level\":\"trace\",\"@message\":\"said\",\"@module\":\"lamplighter.host\",\
             \"@timestamp\":\"1970-01-01T00:00:00.000007Z\",\"count\":3}\n"
        );
    }

    #[test]
    fn item_19_a_log_line_stays_below_64_kib() {
        let mut fields = Fields::default();
        for number in 0..40 {
            fields.put(&format!("field{number}"), "\u{1}".repeat(100_000).into());
        }
        let line = line(at(0, 0), Level::Info, "m", "\u{1}".repeat(100_000), fields);
        assert!(line.len() <= LINE_MAX, "{}", line.len());
        let object = parsed(&line);
        assert_eq!(object["fields_omitted"], 40);
        assert!(object["@message"].as_str().expect("text").ends_with("(cut)"));
    }

    #[test]
    fn item_20_a_field_can_not_take_the_place_of_a_key_of_the_host() {
        let mut fields = Fields::default();
        for name in ["@message", "@level", "@timestamp", "@module"] {
            fields.put(name, 5.into());
        }
        let line = line(at(0, 0), Level::Warn, "m", "kept".to_owned(), fields);
        let object = parsed(&line);
        for name in ["@message", "@level", "@timestamp", "@module"] {
            assert!(object[name].is_string(), "{name}");
            assert_eq!(object[&name.replace('@', "at_")], 5);
        }
        assert_eq!(object["@message"], "kept");
    }

    #[test]
    fn item_20_a_line_break_in_user_data_begins_no_line() {
        let mut fields = Fields::default();
        fields.put("name", "x\n{\"@message\":5}\n".into());
        let line = line(at(0, 0), Level::Warn, "m", "a\n{\"@message\":5}".to_owned(), fields);
        parsed(&line);
    }
}
