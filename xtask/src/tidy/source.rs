//! Rust text taken apart just far enough for the rules: code without strings and comments, and comments alone.
//!
//! Both keep every line break, so that line numbers hold. No parser: a macro that builds braces from strings fools it.

/// CODE has blanks for strings, characters and comments; COMMENTS has blanks for everything else.
pub struct Source {
    pub code: String,
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    Line,
    Block(u32),
    Text,
    /// A raw string and its number of hash signs.
    Raw(usize),
}

pub fn split(text: &str) -> Source {
    let bytes = text.as_bytes();
    let (mut code, mut comments) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let (mut state, mut at) = (State::Code, 0);
    while at < bytes.len() {
        let (next, length, is_code) = step(state, bytes, at);
        let is_comment =
            matches!(state, State::Line | State::Block(_)) || matches!(next, State::Line | State::Block(_));
        for byte in &bytes[at..(at + length).min(bytes.len())] {
            let keep = |wanted: bool| if wanted || *byte == b'\n' { *byte } else { b' ' };
            code.push(keep(is_code));
            comments.push(keep(is_comment && !is_code));
        }
        (state, at) = (next, at + length);
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Source { code: text(code), comments: text(comments) }
}

/// The state after the next piece, the piece's length, and whether it is code.
fn step(state: State, bytes: &[u8], at: usize) -> (State, usize, bool) {
    let rest = &bytes[at..];
    match state {
        State::Code => in_code(bytes, at),
        State::Line => (if rest[0] == b'\n' { State::Code } else { State::Line }, 1, false),
        State::Block(depth) if rest.starts_with(b"/*") => (State::Block(depth + 1), 2, false),
        State::Block(1) if rest.starts_with(b"*/") => (State::Code, 2, false),
        State::Block(depth) if rest.starts_with(b"*/") => (State::Block(depth - 1), 2, false),
        State::Block(_) => (state, 1, false),
        State::Text if rest[0] == b'\\' => (State::Text, 2, false),
        State::Text => (if rest[0] == b'"' { State::Code } else { State::Text }, 1, false),
        State::Raw(hashes) => {
            let ends = rest[0] == b'"' && rest.len() > hashes && rest[1..=hashes].iter().all(|byte| *byte == b'#');
            if ends { (State::Code, 1 + hashes, false) } else { (state, 1, false) }
        }
    }
}

fn in_code(bytes: &[u8], at: usize) -> (State, usize, bool) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return (State::Line, 2, false);
    }
    if rest.starts_with(b"/*") {
        return (State::Block(1), 2, false);
    }
    if rest[0] == b'"' {
        return (State::Text, 1, false);
    }
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest[0] == b'r' && (!in_word || bytes[at - 1] == b'b' || bytes[at - 1] == b'c') {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            return (State::Raw(hashes), 2 + hashes, false);
        }
    }
    if rest[0] == b'\''
        && let Some(length) = character(rest)
    {
        return (State::Code, length, false);
    }
    (State::Code, 1, true)
}

/// The length of a character literal at the start of REST; None for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(end + 4);
    }
    // Up to four bytes of UTF-8 between the quotes.
    let end = rest.iter().skip(2).take(4).position(|byte| *byte == b'\'')?;
    let text = std::str::from_utf8(&rest[1..end + 2]).ok()?;
    (text.chars().count() == 1).then_some(end + 3)
}

/// First line (from 1) and number of lines of every function that has a body.
pub fn functions(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|at| at + from) {
        from = at + 3;
        let starts_word =
            at == 0 || !code.as_bytes()[at - 1].is_ascii_alphanumeric() && code.as_bytes()[at - 1] != b'_';
        let named = code[from..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if starts_word
            && named
            && let Some((open, close)) = body(code, from)
        {
            let line = |at: usize| code[..at].matches('\n').count() + 1;
            found.push((line(at), line(close) - line(at) + 1));
            from = open;
        }
    }
    found
}

/// Where the body's braces are; None for a declaration.
fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let mut depth = 0;
    let mut open = None;
    let mut inside = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' if open.is_none() => inside += 1,
            b')' | b']' if open.is_none() => inside -= 1,
            b';' if open.is_none() && inside == 0 => return None,
            b'{' => {
                open.get_or_insert(at);
                depth += 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some((open?, at));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_no_code() {
        let source = split(
            "let a = \"unsafe { \\\" }\"; // why\nlet b = r#\"fn x() {\"# + '{' + '\\''; /* two\n */ fn f<'a>() {}",
        );
        assert!(!source.code.contains("unsafe") && !source.code.contains("why") && !source.code.contains("fn x"));
        assert!(source.code.contains("fn f<'a>() {}"));
        assert!(source.comments.contains("why") && source.comments.contains("two"));
        assert_eq!(source.code.matches('\n').count(), 2);
    }

    #[test]
    fn functions_are_measured_with_those_inside_them() {
        let code = "trait T { fn declared(&self) -> [u8; 2]; }\nfn outer() {\n    fn inner() {\n    }\n}\n";
        assert_eq!(functions(code), [(2, 4), (3, 2)]);
    }
}
