//! The values of a web configuration by what they must be, and what is said of those that are not. Knows no key.

use std::path::{Path, PathBuf};

use super::yaml::{At, Node};
use crate::config::Problem;

/// Collects what is wrong.
pub struct Search<'a> {
    /// Paths are relative to it.
    pub folder: &'a Path,
    pub problems: Vec<Problem>,
}

impl Search<'_> {
    /// The known keys of a section, each once.
    pub fn section<'n>(&mut self, at: &'n At, path: &str, known: &[&'static str]) -> Vec<(&'static str, &'n At)> {
        let Some(entries) = self.map(at, if path.is_empty() { "the file" } else { path }) else { return Vec::new() };
        let mut found: Vec<(&'static str, &'n At)> = Vec::new();
        for (key, at) in entries {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.iter().find(|name| *name == key) {
                Some(name) if found.iter().any(|(seen, _)| seen == name) => {
                    self.report(at, format!("`{full}` stands here twice"));
                }
                Some(name) => found.push((name, at)),
                None => {
                    let advice = match nearest(key, known) {
                        Some(name) => format!("did you mean `{name}`?"),
                        None => format!("known here: {}", known.join(", ")),
                    };
                    self.report(at, format!("unknown key `{full}`; {advice}"));
                }
            }
        }
        found
    }

    /// Keys and values; None, and said, if it is something else.
    pub fn map<'n>(&mut self, at: &'n At, name: &str) -> Option<&'n [(String, At)]> {
        match &at.node {
            Node::Map(map) => Some(map),
            Node::Null => Some(&[]),
            other => {
                self.report(at, format!("`{name}` wants a section, got {}", other.kind()));
                None
            }
        }
    }

    /// A text or a number.
    pub fn text(&mut self, at: &At, key: &str) -> Option<String> {
        match &at.node {
            Node::Text(text) | Node::Number(text) if !text.is_empty() => Some(text.clone()),
            other => {
                self.report(at, format!("`{key}` wants a text, not empty, got {}", other.kind()));
                None
            }
        }
    }

    /// A path, relative to the folder of the file.
    pub fn path(&mut self, at: &At, key: &str) -> Option<PathBuf> {
        self.text(at, key).map(|path| self.folder.join(path))
    }

    /// True or false.
    pub fn boolean(&mut self, at: &At, key: &str) -> Option<bool> {
        match at.node {
            Node::Bool(value) => Some(value),
            ref other => {
                self.report(at, format!("`{key}` wants true or false, got {}", other.kind()));
                None
            }
        }
    }

    /// At least one text.
    pub fn texts(&mut self, at: &At, key: &str) -> Vec<String> {
        match &at.node {
            Node::List(list) if !list.is_empty() => list.iter().filter_map(|item| self.text(item, key)).collect(),
            other => {
                self.report(at, format!("`{key}` wants a list of texts, not empty, got {}", other.kind()));
                Vec::new()
            }
        }
    }

    /// What a word stands for.
    pub fn one_of<T: Copy>(&mut self, at: &At, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(at, key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.report(at, format!("`{key}` wants one of {}, got `{text}`", known.join(", ")));
        }
        found
    }

    /// What each word of a list stands for.
    pub fn each_of<T: Copy>(&mut self, at: &At, key: &str, words: &[(&str, T)]) -> Vec<T> {
        if !matches!(at.node, Node::List(_)) {
            self.texts(at, key);
            return Vec::new();
        }
        let Node::List(list) = &at.node else { return Vec::new() };
        list.iter().filter_map(|item| self.one_of(item, key, words)).collect()
    }

    /// Says what is wrong, without the value where that may be a secret.
    pub fn report(&mut self, at: &At, text: String) {
        self.problems.push(Problem { line: at.line.max(1), text });
    }
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let alike = known.iter().map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &key.to_lowercase()), *name));
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= 0.8).map(|(_, name)| name)
}
