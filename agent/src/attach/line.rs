//! One finished request as one line of text. Clients and servers choose some of its words: none of them steers the
//! terminal.

use std::io::{self, Write as _};

use super::{progress, summary::seconds};
use crate::{correlate::Verdict, events::Record, shown::shown};

/// The line, for requests; nothing for other records.
pub fn request_line(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let Record::Request(request, _) = record else { return Ok(()) };
    let tokens = |tokens: Option<u64>| tokens.map_or("-".to_owned(), |t| t.to_string());
    writeln!(
        out,
        "{:<16} {:>3} {:<24} in {:>6} out {:>6}{} ttft {:>9} tpot {:>9} total {:>9} cpu {:>9} runq {:>9} {:<10} {}",
        request.operation.unwrap_or("-"),
        request.status,
        shown(request.model.as_deref().unwrap_or("-")),
        tokens(request.input_tokens),
        tokens(request.output_tokens),
        if request.tokens_estimated { "~" } else { " " },
        seconds(request.ttft_s),
        seconds(request.tpot_s),
        seconds(Some(request.duration_s)),
        seconds(request.host.total.map(|host| host.oncpu_s)),
        seconds(request.host.total.map(|host| host.runqueue_s)),
        shown(request.error_type.as_deref().or(request.finish_reason.as_deref()).unwrap_or("-")),
        request.finding.verdict.map_or("-", Verdict::name),
    )
}

/// The same over whatever progress stands in the line.
pub fn request_line_on_terminal(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(progress::CLEAR.as_bytes());
    request_line(record, out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::correlate::Request;

    #[test]
    fn no_word_of_a_client_steers_the_terminal() {
        let hostile = "m\u{1b}[2J\u{1b}[H\nverdict: host_ok (100 %)\n\u{1b}]52;c;eA==\u{7}\u{202e}";
        let plain = Request { model: Some("tiny".into()), finish_reason: Some("stop".into()), ..Request::default() };
        for request in [
            Request { model: Some(hostile.into()), ..plain.clone() },
            Request { finish_reason: Some(hostile.into()), ..plain.clone() },
            Request { error_type: Some(hostile.into()), ..plain.clone() },
            plain,
        ] {
            let mut line = Vec::new();
            request_line(&Record::Request(Arc::new(request), None), &mut line).unwrap();
            let line = String::from_utf8(line).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
            assert!(line.contains("tiny ") || line.contains("m\u{fffd}[2J\u{fffd}[H\u{fffd}verdict"), "{line:?}");
        }
    }
}
