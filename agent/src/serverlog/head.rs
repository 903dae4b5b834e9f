//! The heads that loggers write before a message: where the level stands in each, and where the message begins.

use memchr::memmem::find;

use super::level::Level;

fn digits(text: &[u8], at: usize, count: usize) -> bool {
    text.get(at..at + count).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
}

/// Takes off what names the process: `(EngineCore_DP0 pid=123) ` of vLLM, `(RayWorker pid=1, ip=10.0.0.1) `,
/// `[rank0]: ` and `[rank0]:` of PyTorch.
pub fn without_process(line: &[u8]) -> &[u8] {
    let mut text = line;
    if text.first() == Some(&b'(')
        && let Some(end) = text.iter().take(96).position(|byte| *byte == b')')
        && find(&text[..end], b" pid=").is_some()
    {
        text = &text[end + 1..];
        text = text.strip_prefix(b" ").unwrap_or(text);
    }
    if text.starts_with(b"[rank")
        && let Some(end) = text.iter().take(16).position(|byte| *byte == b']')
        && text.get(end + 1) == Some(&b':')
    {
        text = &text[end + 2..];
        text = text.strip_prefix(b" ").unwrap_or(text);
    }
    text
}

/// `<3>text`: the severity that sd-daemon(3) and the kernel's log write.
pub fn syslog(text: &[u8]) -> Option<Level> {
    match text {
        [b'<', severity @ b'0'..=b'7', b'>', ..] => Level::of_number(u64::from(severity - b'0')),
        _ => None,
    }
}

/// One letter: `E1124 12:00:00.123456 7 file.cc:12] text` of glog and klog, also with the year as glog has it since 0.5, and
/// in brackets as PyTorch has it; `0.00.123.456 E text` of llama.cpp; `[TRT-LLM] [E] text`;
/// `2025-11-24T12:00:00Z E 7 file.cc:12] text` of Triton; `2025-11-24 12:00:00.123456: E path/file.cc:12] text` of TensorFlow.
pub fn letter(text: &[u8]) -> Option<Level> {
    let glog = text.strip_prefix(b"[").unwrap_or(text);
    let dated = |date: usize| {
        let time = date + 2;
        let spaced = glog.get(date + 1) == Some(&b' ') && glog.get(time + 2) == Some(&b':');
        spaced && digits(glog, 1, date) && digits(glog, time, 2)
    };
    if dated("MMDD".len()) || dated("YYYYMMDD".len()) {
        return Level::of_letter(glog[0]);
    }
    let begin = &text[..text.len().min(80)];
    for (at, byte) in begin.iter().enumerate() {
        let Some(level) = Level::of_letter(*byte) else { continue };
        let before = at.checked_sub(1).and_then(|before| begin.get(before));
        let (after, next) = (begin.get(at + 1), begin.get(at + 2));
        if before == Some(&b'[') && after == Some(&b']') {
            return Some(level);
        }
        let spaced = before == Some(&b' ') && after == Some(&b' ');
        let time = at >= 2 && is_time(&begin[..at - 1]);
        if !spaced || !time {
            continue;
        }
        let sourced = begin[at - 2] == b':' && names_source(&text[at + 2..]);
        if is_llama_time(&begin[..at - 1]) || next.is_some_and(u8::is_ascii_digit) || sourced {
            return Some(level);
        }
    }
    bare_letter(text)
}

/// `path/file.cc:12] text`: a file in C++ and its line.
fn names_source(text: &[u8]) -> bool {
    let end = text.iter().take(200).position(|byte| *byte == b']');
    let place = text[..end.unwrap_or(0)].rsplitn(2, |byte| *byte == b':').collect::<Vec<_>>();
    let [line, file] = place[..] else { return false };
    let blank = file.contains(&b' ');
    !blank
        && !line.is_empty()
        && line.iter().all(u8::is_ascii_digit)
        && [".cc", ".cpp", ".cu", ".h"].iter().any(|end| file.ends_with(end.as_bytes()))
}

/// `E srv  load_model: text`: llama.cpp with prefixes and no times. A function's name follows.
fn bare_letter(text: &[u8]) -> Option<Level> {
    let [letter, b' ', rest @ ..] = text else { return None };
    let name = rest.iter().take(64).position(|byte| *byte == b':')?;
    let named =
        rest[..name].iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_ ()".contains(byte));
    (named && find(&rest[..name], b"_").is_some() && rest.get(name + 1) == Some(&b' '))
        .then(|| Level::of_letter(*letter))?
}

fn is_time(text: &[u8]) -> bool {
    text.len() >= 8
        && text[0].is_ascii_digit()
        && text.iter().all(|byte| byte.is_ascii_digit() || b"-:.,TZ+ /".contains(byte))
}

/// Minutes, seconds, milliseconds and microseconds: `0.00.123.456`.
fn is_llama_time(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'.').count() == 4 && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

/// `ERROR 11-24 12:00:00 [core.py:718] text` of vLLM; where the message begins.
pub fn vllm(text: &[u8]) -> Option<(Level, usize)> {
    let end = text.iter().take(10).position(|byte| *byte == b' ')?;
    let level = Level::of_word(&text[..end])?;
    let at = end + 1;
    let time = digits(text, at, 2) && text.get(at + 2) == Some(&b'-') && digits(text, at + 3, 2);
    if !time || text.get(at + 14..at + 16) != Some(b" [") {
        return None;
    }
    let bracket = at + 16 + text[at + 16..].iter().take(200).position(|byte| *byte == b']')?;
    let message = if text.get(bracket + 1) == Some(&b' ') { bracket + 2 } else { bracket + 1 };
    Some((level, message))
}

/// `level=error` of logfmt and Go's slog, with or without quotes.
pub fn pair(text: &[u8]) -> Option<Level> {
    const KEYS: [&[u8]; 4] = [b"level=", b"lvl=", b"severity=", b"loglevel="];
    KEYS.iter().find_map(|key| {
        let at = find(text, key)?;
        let begins = at == 0 || text[at - 1].is_ascii_whitespace();
        let value = text[at + key.len()..].strip_prefix(b"\"").unwrap_or(&text[at + key.len()..]);
        let end = value.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(value.len());
        begins.then(|| Level::of_word(&value[..end]))?
    })
}

/// The first word that is a level and stands where loggers put it: at the beginning, in brackets, between bars, dashes,
/// colons or tabs, behind a time, behind `NCCL`. In prose it is only a word.
pub fn word(text: &[u8]) -> Option<Level> {
    let mut at = 0;
    while at < text.len() {
        if !text[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let len = text[at..].iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
        let end = at + len.unwrap_or(text.len() - at);
        if let Some(level) = Level::of_word(&text[at..end])
            && is_placed(text, at, end)
        {
            return Some(level);
        }
        at = end;
    }
    None
}

fn is_placed(text: &[u8], at: usize, end: usize) -> bool {
    let (before, after) = (&text[..at], &text[end..]);
    let next = after.first().copied();
    let enclosed = before.ends_with(b"[") && after.trim_ascii_start().starts_with(b"]");
    let tabs = before.ends_with(b"\t") && matches!(next, Some(b'\t') | None);
    let colon = at == 0 && next == Some(b':');
    if enclosed || tabs || colon {
        return true;
    }
    if !text[at..end].iter().all(u8::is_ascii_uppercase) {
        return false;
    }
    // The last that is no blank: a time ends in a digit or Z, a name in a bracket, a bar, a dash or a colon.
    let last = before.trim_ascii_end();
    let behind = last.last().is_none_or(|byte| byte.is_ascii_digit() || b"])}|-:>,.=".contains(byte));
    let zone = last.ends_with(b"Z") && last.len() > 1 && last[last.len() - 2].is_ascii_digit();
    let ends = next.is_none_or(|byte| b" :]|)\t,>".contains(&byte));
    ends && (behind || zone || last.ends_with(b"NCCL") || next == Some(b':') && before.ends_with(b" "))
}

/// `[GIN] 2025/11/24 - 12:00:00 | 200 | ...`, the requests that Ollama's HTTP library tells of, and its other lines.
pub fn gin(text: &[u8]) -> Option<Level> {
    if text.starts_with(b"[GIN] ") {
        return Some(Level::Info);
    }
    text.starts_with(b"[GIN-debug] ").then_some(Level::Debug)
}
