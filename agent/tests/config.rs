//! The configuration: the example file documents every key, mistakes are told in sentences, reloads are compared.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use agent::config::{Change, Config, ConfigError, KEYS, Kind, LogLevel, Overrides, changes};

const EXAMPLE: &str = include_str!("../../deploy/inferscope.example.toml");

#[test]
fn the_example_is_the_defaults() {
    assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

/// The example with every commented key switched on.
fn everything() -> String {
    let is_key = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            let name = rest.split(" = ").next().unwrap_or_default();
            rest.starts_with("[[") || (rest.contains(" = ") && !name.contains(' '))
        })
    };
    EXAMPLE.lines().map(|line| if is_key(line) { &line[2..] } else { line }).collect::<Vec<_>>().join("\n")
}

fn paths(prefix: &str, value: &toml::Value, found: &mut BTreeSet<String>) {
    let join = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    let is_leaf = KEYS.iter().any(|key| key.path == prefix && matches!(key.kind, Kind::Headers | Kind::Labels));
    match value {
        toml::Value::Table(table) if !is_leaf => {
            table.iter().for_each(|(name, value)| paths(&join(name), value, found))
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            found.insert(prefix.to_owned());
            list.iter().for_each(|item| paths(prefix, item, found));
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

#[test]
fn the_example_the_table_and_the_fields_have_the_same_keys() {
    let text = everything();
    let config = Config::parse(&text).unwrap();
    let (mut in_file, mut in_struct) = (BTreeSet::new(), BTreeSet::new());
    paths("", &toml::from_str(&text).unwrap(), &mut in_file);
    paths("", &toml::Value::try_from(&config).unwrap(), &mut in_struct);
    let in_table: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    assert_eq!(in_file, in_table);
    assert_eq!(in_struct, in_table);
}

#[test]
fn mistakes_are_told_with_line_and_key() {
    for (text, line, wants) in [
        ("listn = \"1\"", 1, "unknown key `listn`; did you mean `listen`?"),
        ("[capture]\n\nhead_byte = 1", 3, "unknown key `capture.head_byte`; did you mean `capture.head_bytes`?"),
        ("[nvlm]\nenabled = true", 1, "unknown key `nvlm`; did you mean `nvml`?"),
        ("per_process = true", 1, "unknown key `per_process`; did you mean `metrics.per_process`?"),
        ("[log]\ncolour = 1", 2, "unknown key `log.colour`; known here: level, format"),
        (
            "\n[nvml]\ninterval = 5",
            3,
            "`nvml.interval` wants a duration such as \"1s\", from \"100ms\" to \"1h\", got the number 5",
        ),
        ("[nvml]\ninterval = \"1ms\"", 2, "got the text \"1ms\""),
        ("[nvml]\nenabled = \"yes\"", 2, "`nvml.enabled` wants true or false, got the text \"yes\""),
        (
            "[capture]\nhead_bytes = 10000",
            2,
            "`capture.head_bytes` wants a multiple of 8192 from 8192 to 1048576, got the number 10000",
        ),
        ("[capture]\nring_bytes = 3000000", 2, "wants a power of two"),
        ("[capture]\nhead_bytes = 8192\ntail_bytes = 16384", 3, "`capture.tail_bytes` (16384) must not exceed"),
        ("[limits]\nseries = -1", 2, "`limits.series` wants a whole number from 100"),
        ("[limits]\nseries = 5.5", 2, "got the number 5.5"),
        ("[limits]\nservices = 1", 2, "`limits.services` wants a whole number from 2 to 4096, got the number 1"),
        ("[limits]\nprocesses = 65536", 2, "`limits.processes` wants a whole number from 16 to 65535"),
        ("limits = 5", 1, "`limits` wants a section [limits], got the number 5"),
        ("listen = \"localhost\"", 1, "`listen` wants an address with a port"),
        (
            "[discover.include]\npids = [\"1\"]",
            2,
            "wants a list of whole numbers from 1 to 4194304, got a list that begins with the text",
        ),
        ("[discover]\nexclude = \"x\"", 2, "`discover.exclude` wants a list of texts"),
        ("[[discover.service]]\nengine = \"vllm\"", 1, "a `discover.service` needs a `name`"),
        ("[[discover.service]]\nname = \"x\"\nprot = 1", 3, "did you mean `discover.service.port`?"),
        ("[discover.service]\nname = \"x\"", 1, "wants a section in double brackets"),
        ("[metrics]\nroute_templates = [\"v1\"]", 2, "wants a list of paths that begin with /"),
        ("[kubernetes]\nenabled = \"auto\"", 2, "`kubernetes.enabled` wants true or false, got the text \"auto\""),
        ("[kubernetes]\npod_label = []", 2, "did you mean `kubernetes.pod_labels`?"),
        ("[kubernetes]\npod_labels = \"app\"", 2, "`kubernetes.pod_labels` wants a list of texts"),
        ("[kubernetes]\nnode = \"\"", 2, "`kubernetes.node` wants a text in quotes, not empty"),
        ("[log]\nlevel = \"loud\"", 2, "`log.level` wants one of \"error\", \"warn\", \"info\", \"debug\", \"trace\""),
        ("listen = ", 1, ""),
        ("a = 1\na = 2", 2, "duplicate key"),
    ] {
        let problems = Config::parse(text).unwrap_err();
        assert_eq!(problems[0].line, line, "{text}: {problems:?}");
        assert!(problems[0].text.contains(wants), "{text}: {problems:?}");
    }
}

#[test]
fn values_that_may_be_keys_are_not_repeated() {
    for (text, line, wants) in [
        (
            "[otlp]\nendpoint = \"http://me:hush@x\"",
            2,
            "`otlp.endpoint` wants a URL of http or https without a password",
        ),
        ("[otlp]\nheaders = { a = 5, b = \"hush\" }", 2, "`otlp.headers` wants a section of header names and texts"),
        ("[otlp.headers]\nx-key = \"hush\\n\"", 1, "`otlp.headers` wants a section of header names and texts"),
        ("[otlp]\nheaders = \"hush\"", 2, "`otlp.headers` wants a section of header names and texts"),
    ] {
        let problems = Config::parse(text).unwrap_err();
        assert_eq!(problems[0].line, line, "{text}: {problems:?}");
        assert!(problems[0].text.starts_with(wants) && !problems[0].text.contains("hush"), "{text}: {problems:?}");
    }
}

#[test]
fn numbers_of_any_radix_are_held_against_each_other() {
    let parsed = |text: &str| Config::parse(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}")).capture;
    let capture = parsed("[capture]\nhead_bytes = 0x20000\ntail_bytes = 65536");
    assert_eq!((capture.head_bytes, capture.tail_bytes), (131_072, 65_536));
    let capture = parsed("[capture]\nhead_bytes = 0o20000\ntail_bytes = 0b1000000000000");
    assert_eq!((capture.head_bytes, capture.tail_bytes), (8192, 4096));
    assert_eq!(parsed("[capture]\nhead_bytes = 131_072\ntail_bytes = 0x1_0000").tail_bytes, 65_536);
    let problems = Config::parse("[capture]\nhead_bytes = 8192\ntail_bytes = 0x4000").unwrap_err();
    let says = "`capture.tail_bytes` (16384) must not exceed `capture.head_bytes` (8192)";
    assert_eq!((problems[0].line, problems[0].text.as_str()), (3, says));
}

#[test]
fn bounds_are_inclusive() {
    for (services, processes) in [(2, 16), (4096, 65_535)] {
        let limits =
            Config::parse(&format!("[limits]\nservices = {services}\nprocesses = {processes}\n")).unwrap().limits;
        assert_eq!((limits.services, limits.processes), (services, processes));
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    std::fs::write(&path, "[log]\nlevel = 1\n[nvml]\nenabld = true\n").unwrap();
    let error = Config::load(Some(&path), &Overrides::default()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("x.toml:2: `log.level`") && lines[1].contains("x.toml:4: unknown key `nvml.enabld`"));
    let missing = Config::load(Some(Path::new("/nonexistent.toml")), &Overrides::default());
    assert!(matches!(missing, Err(ConfigError::Read { .. })));
}

#[test]
fn the_command_line_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    let file = "listen = \"0.0.0.0:1\"\n[discover.include]\npids = [7]\n[nvml]\ninterval = \"250ms\"\n[log]\nlevel = \"warn\"\n";
    std::fs::write(&path, file).unwrap();
    let from_file = Config::load(Some(&path), &Overrides::default()).unwrap();
    assert_eq!((from_file.listen.port(), from_file.log.level), (1, LogLevel::Warn));
    assert_eq!(from_file.nvml.interval, Duration::from_millis(250));
    let overrides = Overrides {
        listen: Some("127.0.0.1:2".parse().unwrap()),
        pids: vec![7, 8],
        log_level: Some(LogLevel::Debug),
        ..Overrides::default()
    };
    let config = Config::load(Some(&path), &overrides).unwrap();
    assert_eq!((config.listen.port(), config.log.level), (2, LogLevel::Debug));
    assert_eq!(config.discover.include.pids, [7, 8]);
}

#[test]
fn a_reload_says_what_needs_a_restart() {
    let old = Config::default();
    let text = "listen = \"127.0.0.1:1\"\nrecords = \"-\"\n[metrics]\nper_process = false\n[[discover.service]]\nname = \"x\"\n";
    let new = Config::parse(text).unwrap();
    let change = |key, restart| Change { key, restart };
    assert_eq!(
        changes(&old, &new),
        [
            change("listen", true),
            change("records", true),
            change("discover.service", false),
            change("metrics.per_process", true)
        ]
    );
    assert_eq!(changes(&new, &new), []);
}
