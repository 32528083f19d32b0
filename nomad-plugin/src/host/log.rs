//! The log channel: every tracing event and every panic becomes one hclog line on stderr, and
//! nothing else of this process gets there.

use std::fmt;
use std::io::Write;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::clock;
use super::hclog::{Fields, Level, line};

/// Our own crates log everything and the host filters by its level; what gRPC and HTTP do inside
/// is told only when it goes wrong.
const OURS: [&str; 5] = ["nomad_plugin", "lamplighter", "fleet", "nomad_api", "agent_api"];

/// Sends this process's events and panics to the host.
pub(super) fn install() {
    let ours = OURS.map(|name| (name, LevelFilter::TRACE));
    let filter = Targets::new().with_targets(ours).with_default(LevelFilter::WARN);
    let subscriber = tracing_subscriber::registry().with(HclogLayer.with_filter(filter));
    // Fails only where a subscriber stands already: that one then has the events.
    tracing::subscriber::set_global_default(subscriber).ok();
    std::panic::set_hook(Box::new(|panic| {
        let mut fields = Fields::default();
        if let Some(place) = panic.location() {
            fields.put("place", place.to_string().into());
        }
        let said = panic.payload_as_str().unwrap_or("a value that is no text");
        write_line(Level::Error, "lamplighter.panic", format!("panicked: {said}"), fields);
    }));
}

/// Writes one line outside of tracing: where it may not stand yet, or may be what panicked.
pub(super) fn write_line(level: Level, module: &str, message: String, fields: Fields) {
    write(&line(clock::wall(), level, module, message, fields));
}

/// Stderr that is gone or full of errors is no reason to die.
fn write(line: &[u8]) {
    std::io::stderr().write_all(line).ok();
}

struct HclogLayer;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HclogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        attributes.record(&mut said);
        span.extensions_mut().insert(said.fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        values.record(&mut said);
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            fields.extend(&said.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.extend(outer);
            }
        }
        let mut said = Said::default();
        event.record(&mut said);
        fields.extend(&said.fields);
        let metadata = event.metadata();
        let level = level(*metadata.level());
        write_line(level, &module(metadata.target()), said.message, fields);
    }
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

fn module(target: &str) -> String {
    let target = target.replace("::", ".");
    match target.strip_prefix("nomad_plugin") {
        Some(rest) => format!("lamplighter{rest}"),
        None => target,
    }
}

/// What an event or a span says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Fields,
}

impl Said {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => self.fields.put(name, value),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_20_a_message_that_is_no_text_becomes_text() {
        let mut said = Said::default();
        let subscriber = tracing_subscriber::registry().with(Capture);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(message = 5, count = 6);
        });
        CAPTURED.with_borrow_mut(|captured| std::mem::swap(&mut said, captured));
        assert_eq!(said.message, "5");
    }

    thread_local! {
        static CAPTURED: std::cell::RefCell<Said> = std::cell::RefCell::default();
    }

    struct Capture;

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
            CAPTURED.with_borrow_mut(|captured| event.record(captured));
        }
    }

    /// The child of this test is this test, told by a variable to panic.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child's stderr is read to its end")]
    fn items_19_and_20_a_panic_is_one_error_line_of_hclog_on_stderr() {
        const CHILD: &str = "LAMPLIGHTER_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            install();
            panic!("{{\"@message\":5}}\nthread 'main' panicked");
        }
        let name = "host::log::tests::items_19_and_20_a_panic_is_one_error_line_of_hclog_on_stderr";
        let child = std::process::Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("it runs");
        let stderr = String::from_utf8(child.stderr).expect("text");
        let lines: Vec<_> = stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{stderr}");
        let line: Value = serde_json::from_str(lines[0]).expect("JSON");
        assert_eq!(line["@level"], "error");
        assert_eq!(line["@message"], "panicked: {\"@message\":5}\nthread 'main' panicked");
        assert!(line["place"].as_str().expect("a place").contains("log.rs:"), "{line}");
    }

    #[test]
    fn a_module_is_named_for_the_program() {
        assert_eq!(module("nomad_plugin::host::signals"), "lamplighter.host.signals");
        assert_eq!(module("h2::proto"), "h2.proto");
    }
}
