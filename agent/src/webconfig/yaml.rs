//! YAML as a tree with the line of every key and value. Errors say the line and nothing of the text: secrets stand in it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned};

use crate::config::Problem;

/// A value.
#[derive(Clone, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    /// As text.
    Number(String),
    Text(String),
    List(Vec<At>),
    /// In the order of the file, with what stands twice.
    Map(Vec<(String, At)>),
}

/// A value with the line where it, or its key, begins.
#[derive(Clone, PartialEq)]
pub struct At {
    pub line: usize,
    pub node: Node,
}

/// Reads one document. Errors: no YAML, with the line.
pub fn parse(text: &str) -> Result<Node, Problem> {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    // An empty file, or one of comments.
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#') || line == "---") {
        return Ok(Node::Null);
    }
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| Problem {
        line: error.location().map_or(1, |location| location.line() as usize),
        text: "this is no YAML: see to indentation, colons and quotes".to_owned(),
    })
}

impl Node {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "nothing",
            Node::Bool(_) => "true or false",
            Node::Number(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Map(_) => "a section",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E: Error>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_none<E: Error>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                deserializer.deserialize_any(self)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Number(value.to_string()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element::<Spanned<Node>>()? {
                    list.push(At { line: item.referenced.line() as usize, node: item.value });
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut map = Vec::new();
                while let Some(key) = entries.next_key::<Spanned<String>>()? {
                    let node = entries.next_value::<Node>()?;
                    map.push((key.value, At { line: key.referenced.line() as usize, node }));
                }
                Ok(Node::Map(map))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Node {
        Node::Text(value.to_owned())
    }

    #[test]
    fn values_come_with_their_lines() {
        let Node::Map(map) = parse("---\na: x\nb:\n  - 1\n  - true\nc:\n\nd: {e: 'f', e: g}\n").unwrap_or(Node::Null)
        else {
            panic!("no map")
        };
        let lines: Vec<(&str, usize)> = map.iter().map(|(key, at)| (key.as_str(), at.line)).collect();
        assert_eq!(lines, [("a", 2), ("b", 3), ("c", 6), ("d", 8)]);
        assert!(map[0].1.node == text("x") && map[2].1.node == Node::Null);
        let Node::List(list) = &map[1].1.node else { panic!("no list") };
        assert!(list[0] == At { line: 4, node: Node::Number("1".to_owned()) } && list[1].node == Node::Bool(true));
        let Node::Map(twice) = &map[3].1.node else { panic!("no map") };
        assert_eq!(twice.len(), 2);
    }

    #[test]
    fn nothing_is_a_document() {
        for empty in ["", "\n", "# a comment\n", "---\n"] {
            assert!(parse(empty).is_ok_and(|node| node == Node::Null), "{empty:?}");
        }
    }

    #[test]
    fn errors_say_the_line_and_nothing_of_the_text() {
        for (text, line) in [("a: [hush", 1), ("a: b\n hush: c\n", 2), ("a: 'hush", 1), ("a: *hush\n", 1)] {
            let Err(problem) = parse(text) else { panic!("{text} is taken") };
            assert!(!problem.text.contains("hush"), "{}", problem.text);
            assert!(problem.line >= line, "{text}: {}", problem.line);
        }
    }

    #[test]
    fn a_few_bytes_do_not_grow_to_many() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..20 {
            let refs = vec![format!("*a{}", n - 1); 9].join(",");
            bomb += &format!("a{n}: &a{n} [{refs}]\n");
        }
        assert!(parse(&bomb).is_err());
        let deep = format!("a: {}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn any_yaml_like_text_is_read_or_refused(text in "([a-c]: |- |[&*]a |[\\[\\]{},'\"#!|>~?]|\n {0,3}|[0-9.]+|<<){0,60}") {
            let _ = parse(&text);
        }
    }
}
