//! Whether what has the form of a number, a header or an address is one: check digits and ranges. Each check gets the
//! text that its pattern matched and says which part of it must go.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::words::{STOPS, mixed, random};

/// The part of a match that is replaced; None if it is not what it looks like.
pub type Check = fn(&str) -> Option<Range<usize>>;

pub fn whole(text: &str) -> Option<Range<usize>> {
    Some(0..text.len())
}

/// A payment card: 13 to 19 digits in groups, of an issuer's range, with a right check digit. Of a longer run of groups
/// the longest part that is one.
pub fn card(text: &str) -> Option<Range<usize>> {
    let digits: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()).map(|(at, b)| (at, b - b'0')).collect();
    (13..=digits.len().min(19)).rev().find_map(|count| {
        let end = digits[count - 1].0 + 1;
        let ends = text.as_bytes().get(end).is_none_or(|b| !b.is_ascii_digit());
        let number: Vec<u8> = digits[..count].iter().map(|(_, digit)| *digit).collect();
        (ends && of_an_issuer(&number) && luhn(&number)).then_some(0..end)
    })
}

fn of_an_issuer(digits: &[u8]) -> bool {
    let two = digits[0] * 10 + digits[1];
    match two {
        40..=69 => digits.len() >= 13,
        22..=27 => digits.len() == 16,
        34 | 37 => digits.len() == 15,
        30 | 35 | 36 | 38 | 39 => digits.len() >= 14,
        _ => false,
    }
}

/// ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != digits[0])
}

/// ISO 13616: the country and check digits moved to the end, letters as numbers, modulo 97 is 1. Of a longer run the
/// longest part that is one.
pub fn iban(text: &str) -> Option<Range<usize>> {
    let signs: Vec<(usize, u8)> = text.bytes().enumerate().filter(|(_, b)| b.is_ascii_alphanumeric()).collect();
    (15..=signs.len().min(34)).rev().find_map(|count| {
        let end = signs[count - 1].0 + 1;
        let ends = text.as_bytes().get(end).is_none_or(|b| !b.is_ascii_alphanumeric());
        let moved = signs[4..count].iter().chain(&signs[..4]);
        let rest = moved.fold(0u32, |rest, (_, sign)| match sign {
            b'0'..=b'9' => (rest * 10 + u32::from(sign - b'0')) % 97,
            _ => (rest * 100 + u32::from(sign.to_ascii_uppercase() - b'A') + 10) % 97,
        });
        (ends && rest == 1).then_some(0..end)
    })
}

/// An address that is somebody's: neither loopback nor unspecified, nor a netmask.
pub fn ipv4(text: &str) -> Option<Range<usize>> {
    let ip: Ipv4Addr = text.parse().ok()?;
    let nobodys = ip.is_loopback() || ip.is_unspecified() || ip.octets()[0] == 255;
    // `1.2.0.0` and the like are versions as often as networks.
    (!nobodys && ip.octets()[2..] != [0, 0]).then_some(0..text.len())
}

/// The text is a run of hex digits, colons and dots. Times, `a::b` in code and the loopback are no one's address.
pub fn ipv6(text: &str) -> Option<Range<usize>> {
    let text = text.trim_end_matches('.');
    let text = if text.ends_with("::") { text } else { text.trim_end_matches(':') };
    let ip: Ipv6Addr = text.parse().ok()?;
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    let global = matches!(ip.segments()[0], 0x2000..=0x3fff | 0xfc00..=0xfeff);
    let plausible = text.bytes().any(|b| b.is_ascii_digit()) && (groups >= 4 || global);
    (plausible && !ip.is_loopback() && !ip.is_unspecified()).then_some(0..text.len())
}

/// Areas, groups and serial numbers that are not given out make no social security number. Words may stand before it.
pub fn ssn(text: &str) -> Option<Range<usize>> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let number = |digits: &[u32]| digits.iter().fold(0, |number, digit| number * 10 + digit);
    let (area, group, serial) = (number(digits.get(..3)?), number(digits.get(3..5)?), number(digits.get(5..9)?));
    let given_out = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    text.find(|c: char| c.is_ascii_digit()).filter(|_| given_out).map(|from| from..text.len())
}

/// The date behind the words that say whose it is.
pub fn birth_date(text: &str) -> Option<Range<usize>> {
    let mut rest = text;
    // Longer ones first: `birthday` before none, `date of birth` before its parts.
    const WORDS: &[&str] =
        &["date of birth", "birth date", "birth day", "birthdate", "birthday", "dob", "born", "is", "was", "on"];
    loop {
        rest = rest.trim_start_matches([' ', '\t', ':', '=']);
        let begins = |word: &&&str| {
            let behind = rest.get(word.len()..).filter(|behind| !behind.starts_with(char::is_alphanumeric));
            behind.is_some() && rest[..word.len()].eq_ignore_ascii_case(word)
        };
        let Some(word) = WORDS.iter().find(begins) else { break };
        rest = &rest[word.len()..];
    }
    (!rest.is_empty()).then_some(text.len() - rest.len()..text.len())
}

/// Eight to fifteen digits (E.164), and not a date.
pub fn phone(text: &str) -> Option<Range<usize>> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    ((8..=15).contains(&digits)).then_some(0..text.len())
}

/// The words after `Bearer` or `Basic`, if they can be a token.
pub fn scheme(text: &str) -> Option<Range<usize>> {
    let at = text.rfind(|c: char| c.is_whitespace())? + 1;
    (random(&text[at..]) || mixed(&text[at..])).then_some(at..text.len())
}

/// All of a header line after its name.
pub fn header(text: &str) -> Option<Range<usize>> {
    let at = text.find([':', '='])? + 1;
    let spaces = text[at..].len() - text[at..].trim_start().len();
    (at + spaces < text.len()).then_some(at + spaces..text.len())
}

/// The user and password of `scheme://user:password@`, which has no slash before its last `@`.
pub fn url_password(text: &str) -> Option<Range<usize>> {
    url_user(text, STOPS)
}

/// The same with a slash in the password. A port that a path follows is none.
pub fn url_password_with_slash(text: &str) -> Option<Range<usize>> {
    url_user(text, &[&['/', '?', '#'], STOPS].concat())
}

/// What is no user but a host is followed by a port, and that by one of these.
fn url_user(text: &str, behind_port: &[char]) -> Option<Range<usize>> {
    let from = "://".len();
    let colon = from + text[from..].find(':')?;
    let end = text.rfind('@').or_else(|| text.rfind("%40")).filter(|end| *end > colon)?;
    let digits = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let is_port = text[colon + 1..end].split_once(behind_port).is_some_and(|(port, _)| digits(port));
    (colon == from || !is_port).then_some(from..end)
}
