//! The Prometheus text format (version 0.0.4), as far as a reader needs it: samples with their labels.
//! Total: a line that is none is left out.

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    pub name: &'a str,
    pub labels: Vec<(&'a str, String)>,
    pub value: f64,
}

impl Sample<'_> {
    /// A label's value; empty if it is not there, which Prometheus holds for the same.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value.as_str())
    }
}

/// All samples of a text, in its order; comments and broken lines are left out.
pub fn parse(text: &str) -> Vec<Sample<'_>> {
    text.lines().filter_map(|line| sample(line.trim())).collect()
}

/// `name{label="value",...} value [timestamp]`
fn sample(line: &str) -> Option<Sample<'_>> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // "+Inf" and "NaN" are what Rust reads too.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(Sample { name, labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim(), value));
        rest = after;
    }
}

/// A text up to its closing quote, with `\\`, `\"` and `\n` resolved, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_with_and_without_labels() {
        let text = "# HELP up x\n# TYPE up gauge\nup 1\n\n\
            a_bucket{le=\"+Inf\",service=\"a\\\"b\\\\c\\nd}\"} 3 1700000000\n b { x = \"1\" , y=\"\", } 2.5e3\nnan NaN\n";
        let samples = parse(text);
        assert_eq!(samples.len(), 4);
        assert_eq!((samples[0].name, samples[0].value), ("up", 1.0));
        assert_eq!(samples[1].label("service"), "a\"b\\c\nd}");
        assert_eq!(samples[1].label("missing"), "");
        assert_eq!((samples[2].name, samples[2].label("x"), samples[2].value), ("b", "1", 2500.0));
        assert!(samples[3].value.is_nan());
    }

    #[test]
    fn broken_lines_are_left_out() {
        for line in
            ["a", "a{", "a{x", "a{x=", "a{x=\"", "a{x=\"1\"", "a{x=\"1\"}", "a b", "{} 1", "a{x=\"\\", "a{x=1} 2"]
        {
            assert_eq!(parse(line), [], "{line}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*", piece in "[a{}=\",\\\\ 1\n]*") {
            parse(&text);
            parse(&piece);
        }
    }
}
