//! The part of an address behind the question mark, read strictly: what nobody knows is refused in words.

/// Longest query that is read.
const MOST_BYTES: usize = 1024;

/// Names and values, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query that may have these names, each once. Errors: words for the caller.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, String> {
        let text = text.unwrap_or_default();
        if text.len() > MOST_BYTES {
            return Err(format!("the query is longer than {MOST_BYTES} bytes"));
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&name.as_str()) {
                let those =
                    if known.is_empty() { "takes none".to_owned() } else { format!("takes {}", known.join(", ")) };
                return Err(format!("unknown parameter {name:?}: this path {those}"));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(format!("parameter {name:?} is given twice"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// A value; None if it is not given, or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, value)| other == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// One of some words; the first if it is not given.
    pub fn word(&self, name: &str, words: &[&'static str]) -> Result<&'static str, String> {
        let Some(value) = self.get(name) else { return Ok(words[0]) };
        let found = words.iter().find(|word| **word == value);
        found.copied().ok_or_else(|| format!("{name} is {value:?}: it must be one of {}", words.join(", ")))
    }

    /// A number from 1 to `most`; `usual` if it is not given.
    pub fn number(&self, name: &str, usual: usize, most: usize) -> Result<usize, String> {
        let Some(value) = self.get(name) else { return Ok(usual) };
        let number = value.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("{name} is {value:?}: it must be a number from 1 to {most}"))
    }
}

/// Resolves `%XX` and `+`.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: [&str; 2] = ["service", "limit"];

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse(Some("service=a%2Fb+c%26%3Cx%3E&limit=7"), &KNOWN).unwrap();
        assert_eq!(query.get("service"), Some("a/b c&<x>"));
        assert_eq!(query.number("limit", 50, 100), Ok(7));
        assert_eq!(Query::parse(None, &KNOWN).unwrap().number("limit", 50, 100), Ok(50));
        assert_eq!(Query::parse(Some("service="), &KNOWN).unwrap().get("service"), None);
        assert_eq!(
            Query::parse(Some("service=recent"), &KNOWN).unwrap().word("service", &["slow", "recent"]),
            Ok("recent")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("servise=a", "unknown parameter \"servise\": this path takes service, limit"),
            ("limit=1&limit=2", "given twice"),
            ("service=%zz", "percent-encoded"),
            ("service=%ff", "percent-encoded"),
            ("service=%f", "percent-encoded"),
        ] {
            let error = Query::parse(Some(text), &KNOWN).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Query::parse(Some("x=1"), &[]).unwrap_err().contains("takes none"));
        assert!(Query::parse(Some(&"x".repeat(2000)), &KNOWN).is_err());
        for limit in ["0", "101", "-1", "x", "1e1"] {
            let query = Query::parse(Some(&format!("limit={limit}")), &KNOWN).unwrap();
            assert!(query.number("limit", 50, 100).unwrap_err().contains("from 1 to 100"));
            assert!(query.word("limit", &["slow", "recent"]).unwrap_err().contains("slow, recent"));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*", piece in "[a%=&+2fF]*") {
            let _ = Query::parse(Some(&text), &KNOWN);
            let _ = Query::parse(Some(&piece), &["a"]);
        }
    }
}
