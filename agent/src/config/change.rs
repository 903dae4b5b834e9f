//! What a reload changes: the keys whose values differ, and which of them take effect only after a restart.

use toml::Value;

use super::{Config, KEYS};

/// A key whose value is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: &'static str,
    /// The running agent keeps the old value until it is restarted.
    pub restart: bool,
}

/// The keys that differ, in the order of [`KEYS`]. A list of tables counts as one key.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (tree(old), tree(new));
    let differs = |path: &str| at(&old, path) != at(&new, path);
    KEYS.iter().filter(|key| differs(key.path)).map(|key| Change { key: key.path, restart: key.restart }).collect()
}

/// Unset keys are left out, so they differ from any value.
fn tree(config: &Config) -> Value {
    Value::try_from(config).expect("a configuration is made of texts, numbers, lists and tables")
}

/// The value at a dotted path; keys below a list of tables are not looked into.
fn at<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(tree, |value, name| value.as_table()?.get(name))
}
