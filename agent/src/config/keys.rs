//! The table of keys: path, type with range, and whether a change takes effect at a reload. The one place to add a key
//! to beside its field; a test holds the two together.

use std::net::SocketAddr;

use hyper::header::{HeaderName, HeaderValue};
use toml::de::DeValue;

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Dotted path; keys of a list of tables stand under the list's path.
    pub path: &'static str,
    pub kind: Kind,
    /// A change needs a restart of the agent.
    pub restart: bool,
}

/// Type and range of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    /// Inclusive bounds and what the number must be a multiple of.
    Number {
        least: i64,
        most: i64,
        multiple_of: i64,
    },
    /// Inclusive bounds.
    PowerOfTwo {
        least: i64,
        most: i64,
    },
    Text,
    /// URL of a collector.
    Endpoint,
    /// Names and texts of HTTP headers, in a table of their own.
    Headers,
    OneOf(&'static [&'static str]),
    Address,
    /// Milliseconds, inclusive.
    Duration {
        least_ms: u128,
        most_ms: u128,
    },
    Texts,
    /// URL paths that begin with `/`.
    Routes,
    Numbers {
        least: i64,
        most: i64,
    },
    /// A list of tables, whose keys stand under this path, and those that each must have.
    Tables {
        needs: &'static [&'static str],
    },
    /// Names and texts, in a table of their own.
    Labels,
    /// A list of numbers.
    Edges,
    /// A number above zero.
    Factor,
}

const fn live(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, restart: false }
}

const fn fixed(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, restart: true }
}

const fn number(least: i64, most: i64) -> Kind {
    Kind::Number { least, most, multiple_of: 1 }
}

const PORT: Kind = number(1, 65_535);
/// PID_MAX_LIMIT of a 64-bit kernel.
const MAX_PID: i64 = 4 << 20;
/// The first service's place is taken by what is not recognised yet.
const LEAST_SERVICES: i64 = 2;
/// The kernel side marks a process with its slot and one in 16 bits; 0 is not watched.
const MOST_PROCESSES: i64 = u16::MAX as i64;

/// Every key, in the order of the example file.
pub const KEYS: &[Key] = &[
    fixed("listen", Kind::Address),
    fixed("records", Kind::Text),
    fixed("btf", Kind::Text),
    fixed("cgroups", Kind::Text),
    fixed("nvml.enabled", Kind::Bool),
    fixed("nvml.library", Kind::Text),
    fixed("nvml.interval", Kind::Duration { least_ms: 100, most_ms: 3_600_000 }),
    live("discover.enabled", Kind::Bool),
    live("discover.wire", Kind::Bool),
    live("discover.interval", Kind::Duration { least_ms: 1000, most_ms: 24 * 3_600_000 }),
    live("discover.exclude", Kind::Texts),
    live("discover.include.pids", Kind::Numbers { least: 1, most: MAX_PID }),
    live("discover.include.exe", Kind::Texts),
    live("discover.include.ports", Kind::Numbers { least: 1, most: 65_535 }),
    live("discover.service", Kind::Tables { needs: &["name"] }),
    live("discover.service.name", Kind::Text),
    live("discover.service.engine", Kind::Text),
    live("discover.service.model", Kind::Text),
    live("discover.service.exe", Kind::Text),
    live("discover.service.port", PORT),
    fixed("capture.head_bytes", Kind::Number { least: 8192, most: 1 << 20, multiple_of: 8192 }),
    fixed("capture.tail_bytes", number(0, 1 << 20)),
    fixed("capture.request_bytes", number(8192, 1 << 30)),
    fixed("capture.ring_bytes", Kind::PowerOfTwo { least: 256 << 10, most: 1 << 30 }),
    fixed("capture.engines", Kind::Bool),
    fixed("limits.services", number(LEAST_SERVICES, 4096)),
    fixed("limits.processes", number(16, MOST_PROCESSES)),
    fixed("limits.connections", number(64, 1 << 20)),
    fixed("limits.series", number(100, 1_000_000)),
    fixed("metrics.per_process", Kind::Bool),
    live("metrics.route_templates", Kind::Routes),
    fixed("metrics.custom", Kind::Tables { needs: &["name", "type"] }),
    fixed("metrics.custom.name", Kind::Text),
    fixed("metrics.custom.help", Kind::Text),
    fixed("metrics.custom.type", Kind::OneOf(&["counter", "gauge", "histogram"])),
    fixed("metrics.custom.from", Kind::Text),
    fixed("metrics.custom.scope", Kind::OneOf(&["services", "host"])),
    fixed("metrics.custom.service", Kind::Text),
    fixed("metrics.custom.value", Kind::Text),
    fixed("metrics.custom.scale", Kind::Factor),
    fixed("metrics.custom.labels", Kind::Labels),
    fixed("metrics.custom.buckets", Kind::Edges),
    fixed("metrics.custom.max_series", number(1, 100_000)),
    fixed("otlp.endpoint", Kind::Endpoint),
    fixed("otlp.protocol", Kind::OneOf(&["http/protobuf", "grpc"])),
    fixed("otlp.traces", Kind::Bool),
    fixed("otlp.metrics", Kind::Bool),
    fixed("otlp.logs", Kind::Bool),
    fixed("otlp.headers", Kind::Headers),
    fixed("otlp.interval", Kind::Duration { least_ms: 1000, most_ms: 3_600_000 }),
    fixed("otlp.timeout", Kind::Duration { least_ms: 100, most_ms: 300_000 }),
    fixed("otlp.queue", number(16, 1 << 20)),
    fixed("otlp.gzip", Kind::Bool),
    fixed("otlp.ca_file", Kind::Text),
    fixed("otlp.cert_file", Kind::Text),
    fixed("otlp.key_file", Kind::Text),
    fixed("kubernetes.enabled", Kind::Bool),
    fixed("kubernetes.node", Kind::Text),
    fixed("kubernetes.pod_labels", Kind::Texts),
    fixed("kubernetes.pod_resources", Kind::Text),
    fixed("kubernetes.service_account", Kind::Text),
    live("privacy.mode", Kind::OneOf(&["off", "hash", "redacted", "full"])),
    live("privacy.models", Kind::Texts),
    live("privacy.one_in", number(1, 1_000_000)),
    live("privacy.max_bytes", number(256, 1 << 20)),
    live("privacy.total_bytes", number(1 << 20, 1 << 30)),
    live("privacy.max_chars", number(16, 1 << 20)),
    live("privacy.key_interval", Kind::Duration { least_ms: 60_000, most_ms: 366 * 24 * 3_600_000 }),
    fixed("web.config_file", Kind::Text),
    fixed("changes.enabled", Kind::Bool),
    fixed("changes.interval", Kind::Duration { least_ms: 1000, most_ms: 3_600_000 }),
    fixed("changes.environment", Kind::Texts),
    fixed("process.drop_privileges", Kind::Bool),
    fixed("logs.enabled", Kind::Bool),
    fixed("logs.bytes_per_second", number(4096, 64 << 20)),
    fixed("logs.records", Kind::OneOf(&["off", "error", "warning", "info"])),
    fixed("logs.records_per_second", number(1, 1000)),
    fixed("logs.text", Kind::OneOf(&["off", "redacted", "full"])),
    fixed("log.level", Kind::OneOf(&["error", "warn", "info", "debug", "trace"])),
    fixed("log.format", Kind::OneOf(&["text", "json"])),
];

impl Kind {
    /// Whether a value may be a secret, which no message shows.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Kind::Endpoint | Kind::Headers)
    }

    /// What a value of this kind is, for "wants ...".
    pub(super) fn wants(&self) -> String {
        match self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Number { least, most, multiple_of: 1 } => format!("a whole number from {least} to {most}"),
            Kind::Number { least, most, multiple_of } => {
                format!("a multiple of {multiple_of} from {least} to {most}")
            }
            Kind::PowerOfTwo { least, most } => format!("a power of two from {least} to {most}"),
            Kind::Endpoint => {
                "a URL of http or https without a password and a query, such as \"http://127.0.0.1:4318\"".to_owned()
            }
            Kind::Headers => "a section of header names and texts, such as { x-api-key = \"..\" }".to_owned(),
            Kind::Text => "a text in quotes, not empty".to_owned(),
            Kind::OneOf(words) => format!("one of \"{}\"", words.join("\", \"")),
            Kind::Address => "an address with a port, such as \"127.0.0.1:9770\" or \"[::]:9770\"".to_owned(),
            Kind::Duration { least_ms, most_ms } => {
                let text =
                    |ms: &u128| humantime::format_duration(std::time::Duration::from_millis(*ms as u64)).to_string();
                format!("a duration such as \"1s\", from \"{}\" to \"{}\"", text(least_ms), text(most_ms))
            }
            Kind::Texts => "a list of texts, such as [\"*/bin/my-server\"]".to_owned(),
            Kind::Routes => "a list of paths that begin with /, such as [\"/users/{id}\"]".to_owned(),
            Kind::Numbers { least, most } => format!("a list of whole numbers from {least} to {most}"),
            Kind::Tables { .. } => "a section in double brackets, such as [[discover.service]]".to_owned(),
            Kind::Labels => "a section of names and texts, such as { tenant = \"request.header.x-tenant\" }".to_owned(),
            Kind::Edges => "a list of numbers, such as [0.1, 1, 10]".to_owned(),
            Kind::Factor => "a number above zero, such as 1e-9".to_owned(),
        }
    }

    /// Whether a value is of this kind and in its range.
    pub(super) fn accepts(&self, value: &DeValue<'_>) -> bool {
        let all = |one: &dyn Fn(&DeValue<'_>) -> bool| {
            value.as_array().is_some_and(|list| list.iter().all(|item| one(item.get_ref())))
        };
        match *self {
            Kind::Bool => value.is_bool(),
            Kind::Number { least, most, multiple_of } => {
                integer(value).is_some_and(|n| (least..=most).contains(&n) && n % multiple_of == 0)
            }
            Kind::PowerOfTwo { least, most } => {
                integer(value).is_some_and(|n| (least..=most).contains(&n) && n.count_ones() == 1)
            }
            Kind::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Kind::Endpoint => value.as_str().is_some_and(super::is_endpoint),
            Kind::Headers => value.as_table().is_some_and(|table| {
                table.iter().all(|(name, value)| {
                    name.get_ref().parse::<HeaderName>().is_ok()
                        && value.get_ref().as_str().is_some_and(|text| HeaderValue::from_str(text).is_ok())
                })
            }),
            Kind::OneOf(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Kind::Address => value.as_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            Kind::Duration { least_ms, most_ms } => value
                .as_str()
                .and_then(|text| humantime::parse_duration(text).ok())
                .is_some_and(|duration| (least_ms..=most_ms).contains(&duration.as_millis())),
            Kind::Texts => all(&|item| item.as_str().is_some_and(|text| !text.is_empty())),
            Kind::Routes => all(&|item| item.as_str().is_some_and(|text| text.starts_with('/'))),
            Kind::Numbers { least, most } => all(&|item| integer(item).is_some_and(|n| (least..=most).contains(&n))),
            Kind::Tables { .. } => all(&|item| item.is_table()),
            Kind::Labels => value.as_table().is_some_and(|table| table.values().all(|value| value.get_ref().is_str())),
            Kind::Edges => all(&|item| item.is_float() || item.is_integer()),
            Kind::Factor => match value {
                DeValue::Float(number) => {
                    number.as_str().parse::<f64>().is_ok_and(|number| number > 0.0 && number.is_finite())
                }
                _ => integer(value).is_some_and(|number| number > 0),
            },
        }
    }
}

/// A whole number, in whichever radix it is written.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
