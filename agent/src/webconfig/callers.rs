//! The keys of a web configuration that say who may ask: users and hashes of tokens. No value is in a message.

use super::{
    search::Search,
    yaml::{At, Node},
};

/// More of these make every wrong password a burden on the host: 2^16 rounds take seconds.
const MOST_COST: u32 = 16;
const LEAST_COST: u32 = 4;
/// More users or tokens than a file is meant for.
const MOST_ENTRIES: usize = 1000;

impl Search<'_> {
    /// Names and bcrypt hashes.
    pub fn users(&mut self, at: &At) -> Vec<(String, String)> {
        let Some(entries) = self.map(at, "basic_auth_users") else { return Vec::new() };
        let mut users: Vec<(String, String)> = Vec::new();
        for (name, at) in entries {
            let hash = match &at.node {
                Node::Text(hash) if is_bcrypt(hash) => hash.clone(),
                _ => {
                    let wants = format!("a bcrypt hash of cost {LEAST_COST} to {MOST_COST} (htpasswd -nBC 10 NAME)");
                    self.report(at, format!("`basic_auth_users` wants {wants}"));
                    continue;
                }
            };
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                self.report(
                    at,
                    "a name in `basic_auth_users` is empty, or holds a colon or a control character".into(),
                );
            } else if users.iter().any(|(known, _)| known == name) {
                self.report(at, format!("the user `{name}` stands here twice"));
            } else {
                users.push((name.clone(), hash));
            }
        }
        if users.len() > MOST_ENTRIES {
            self.report(at, format!("`basic_auth_users` has more than {MOST_ENTRIES} users"));
        }
        users
    }

    /// SHA-256 of tokens.
    pub fn hashes(&mut self, at: &At) -> Vec<[u8; 32]> {
        const WANTS: &str = "`bearer_token_hashes` wants a list of SHA-256 hashes, 64 hexadecimal digits each \
            (printf %s \"$TOKEN\" | sha256sum)";
        let Node::List(list) = &at.node else {
            self.report(at, WANTS.to_owned());
            return Vec::new();
        };
        if list.is_empty() || list.len() > MOST_ENTRIES {
            self.report(at, format!("`bearer_token_hashes` wants 1 to {MOST_ENTRIES} hashes"));
        }
        let mut hashes = Vec::new();
        for item in list {
            match &item.node {
                Node::Text(text) if let Some(hash) = from_hex(text) => hashes.push(hash),
                _ => self.report(item, WANTS.to_owned()),
            }
        }
        hashes
    }
}

/// `$2a$`, `$2b$`, `$2x$` or `$2y$`, a cost that is bearable, 22 characters of salt and 31 of hash.
fn is_bcrypt(hash: &str) -> bool {
    let parts: Vec<&str> = hash.split('$').collect();
    let ["", "2a" | "2b" | "2x" | "2y", cost, rest] = parts[..] else { return false };
    let cost_fits = cost.len() == 2 && cost.parse::<u32>().is_ok_and(|cost| (LEAST_COST..=MOST_COST).contains(&cost));
    cost_fits && rest.len() == 53 && hash.parse::<bcrypt::HashParts>().is_ok()
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}
