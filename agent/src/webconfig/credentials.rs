//! Who may ask: users with bcrypt hashes, and bearer tokens, of which only hashes are kept. Says yes or no and takes as
//! long for a name that there is not as for a wrong password.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::{HeaderMap, header::AUTHORIZATION};
use rustls::crypto::ring;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;

/// Shorter tokens could be guessed: nothing slows a guess at a token.
pub const SHORTEST_TOKEN: usize = 16;
/// Passwords whose bcrypt is computed at a time: it takes a CPU, which the servers need.
static TURN: Semaphore = Semaphore::const_new(1);
/// A wrong password is answered late: whoever guesses on one connection does not guess fast. Only that caller waits.
const PENALTY: Duration = Duration::from_millis(100);
/// Salt and hash of no password that anyone knows.
const NOBODY: &str = "C6UzMDM.H6dfI/f/IKcEeO...............................";

type Hash = [u8; 32];

/// Users and tokens of one file.
pub struct Credentials {
    users: BTreeMap<String, Arc<User>>,
    /// Held against what is given for a name that there is not.
    nobody: Arc<User>,
    tokens: Vec<Hash>,
}

struct User {
    bcrypt: String,
    /// Secret of this process, so that what is remembered is of no use elsewhere.
    pepper: Hash,
    /// Of the password that was right last: bcrypt is not computed for every scrape.
    right: Mutex<Option<Hash>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials {{ {} users, {} tokens }}", self.users.len(), self.tokens.len())
    }
}

impl Credentials {
    /// None if there are none. Errors: the system has no random numbers.
    pub fn new(users: &[(String, String)], tokens: Vec<Hash>) -> Result<Option<Self>, rustls::crypto::GetRandomFailed> {
        if users.is_empty() && tokens.is_empty() {
            return Ok(None);
        }
        let mut pepper = Hash::default();
        ring::default_provider().secure_random.fill(&mut pepper)?;
        let user = |bcrypt: String| Arc::new(User { bcrypt, pepper, right: Mutex::new(None) });
        let cost = users.iter().filter_map(|(_, hash)| hash.split('$').nth(2)).max().unwrap_or("10");
        let nobody = user(format!("$2b${cost}${NOBODY}"));
        let users = users.iter().map(|(name, hash)| (name.clone(), user(hash.clone()))).collect();
        Ok(Some(Self { users, nobody, tokens }))
    }

    /// For the header `WWW-Authenticate`, one each.
    pub fn challenges(&self) -> impl Iterator<Item = &'static str> {
        let basic = (!self.users.is_empty()).then_some("Basic realm=\"inferscope\"");
        let bearer = (!self.tokens.is_empty()).then_some("Bearer realm=\"inferscope\"");
        basic.into_iter().chain(bearer)
    }

    /// Whether a request with these headers may be answered. Waits for its turn where a password is new.
    pub async fn admit(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, rest)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else { return false };
        if scheme.eq_ignore_ascii_case("bearer") {
            self.is_token(rest.trim())
        } else if scheme.eq_ignore_ascii_case("basic") && !self.users.is_empty() {
            self.is_user(rest.trim()).await
        } else {
            false
        }
    }

    fn is_token(&self, given: &str) -> bool {
        let hash = hash_of(given.as_bytes());
        let is_one = |any: Choice, token: &Hash| any | token.ct_eq(&hash);
        self.tokens.iter().fold(Choice::from(0), is_one).into()
    }

    async fn is_user(&self, encoded: &str) -> bool {
        let Ok(given) = BASE64_STANDARD.decode(encoded) else { return false };
        let Some(colon) = given.iter().position(|byte| *byte == b':') else { return false };
        let (name, password) = (&given[..colon], given[colon + 1..].to_vec());
        let known = std::str::from_utf8(name).ok().and_then(|name| self.users.get(name));
        let user = Arc::clone(known.unwrap_or(&self.nobody));
        if user.remembers(&password) {
            return known.is_some();
        }
        // It is never closed. Work whose caller has gone keeps its turn until it is done.
        let turn = TURN.acquire().await;
        let work = move || (user.is_right(&password), turn);
        let is_right = tokio::task::spawn_blocking(work).await.map(|(is_right, _turn)| is_right);
        let is_good = is_right.unwrap_or(false) && known.is_some();
        if !is_good {
            tokio::time::sleep(PENALTY).await;
        }
        is_good
    }
}

impl User {
    fn mark(&self, password: &[u8]) -> Hash {
        Sha256::new().chain_update(self.pepper).chain_update(&self.bcrypt).chain_update(password).finalize().into()
    }

    fn remembers(&self, password: &[u8]) -> bool {
        let mark = self.mark(password);
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.is_some_and(|right| right.ct_eq(&mark).into())
    }

    fn is_right(&self, password: &[u8]) -> bool {
        let is_right = bcrypt::verify(password, &self.bcrypt).unwrap_or(false);
        if is_right {
            *self.right.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.mark(password));
        }
        is_right
    }
}

/// Tokens of a file, one a line; empty lines and those that begin with `#` are none. Errors: what is wrong, with the line.
pub fn tokens(bytes: &[u8]) -> Result<Vec<Hash>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.len() < SHORTEST_TOKEN || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            let wants = format!("a token is at least {SHORTEST_TOKEN} visible ASCII characters without a space");
            return Err(format!("line {}: {wants}", at + 1));
        }
        tokens.push(hash_of(line.as_bytes()));
    }
    if tokens.is_empty() { Err("it holds no token".to_owned()) } else { Ok(tokens) }
}

fn hash_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const TOKEN: &str = "0123456789abcdef";

    fn credentials() -> Credentials {
        let hash = |password: &str| bcrypt::hash(password, 4).unwrap();
        let users = [("ann".to_owned(), hash("right")), ("böb".to_owned(), hash("other:with colon"))];
        Credentials::new(&users, tokens(format!("# of the old\n{TOKEN}\n\nfedcba9876543210\n").as_bytes()).unwrap())
            .unwrap()
            .unwrap()
    }

    async fn admits(credentials: &Credentials, value: &str) -> bool {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        credentials.admit(&headers).await
    }

    fn basic(name: &str, password: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
    }

    #[tokio::test]
    async fn right_passwords_and_tokens_are_let_in_and_nothing_else() {
        let credentials = credentials();
        for good in [
            basic("ann", "right"),
            basic("böb", "other:with colon"),
            basic("ann", "right").replace("Basic", "bAsIc"),
            format!("Bearer {TOKEN}"),
            "bearer fedcba9876543210".to_owned(),
        ] {
            // The second time it is remembered.
            assert!(admits(&credentials, &good).await && admits(&credentials, &good).await, "{good}");
        }
        for bad in [
            basic("ann", "wrong"),
            basic("ann", ""),
            basic("ann", "other:with colon"),
            basic("nobody", "right"),
            basic("", ""),
            "Basic !!".to_owned(),
            format!("Basic {}", BASE64_STANDARD.encode("ann")),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer {TOKEN}x"),
            format!("Basic {TOKEN}"),
            TOKEN.to_owned(),
            String::new(),
        ] {
            assert!(!admits(&credentials, &bad).await, "{bad}");
        }
        assert!(!credentials.admit(&HeaderMap::new()).await);
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, HeaderValue::from_str(&basic("ann", "right")).unwrap());
        twice.append(AUTHORIZATION, HeaderValue::from_str(&basic("ann", "right")).unwrap());
        assert!(!credentials.admit(&twice).await);
    }

    #[tokio::test]
    async fn only_the_right_password_is_remembered_and_one_a_user() {
        let credentials = credentials();
        let remembers = |name: &str| credentials.users[name].right.lock().unwrap().is_some();
        for n in 0..5 {
            assert!(!admits(&credentials, &basic("ann", &n.to_string())).await);
            assert!(!admits(&credentials, &basic(&format!("user{n}"), "right")).await);
        }
        assert!(!remembers("ann") && credentials.nobody.right.lock().unwrap().is_none());
        assert!(admits(&credentials, &basic("ann", "right")).await && remembers("ann") && !remembers("böb"));
    }

    #[test]
    fn a_name_that_there_is_not_costs_as_much_as_the_dearest() {
        let hash = |cost| bcrypt::hash("x", cost).unwrap();
        let users = [("a".to_owned(), hash(4)), ("b".to_owned(), hash(6))];
        let credentials = Credentials::new(&users, Vec::new()).unwrap().unwrap();
        let nobody: bcrypt::HashParts = credentials.nobody.bcrypt.parse().unwrap();
        assert_eq!(nobody.get_cost(), 6);
        assert!(matches!(bcrypt::verify("x", &credentials.nobody.bcrypt), Ok(false)));
        assert!(Credentials::new(&[], Vec::new()).unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_keeps_nobody_else_waiting() {
        let credentials = Arc::new(credentials());
        let asks = |value: String| {
            let credentials = Arc::clone(&credentials);
            tokio::spawn(async move { admits(&credentials, &value).await })
        };
        let began = tokio::time::Instant::now();
        let wrong: Vec<_> = (0..20).map(|n| asks(basic("ann", &n.to_string()))).collect();
        assert!(asks(basic("ann", "right")).await.unwrap());
        // The clock stands still while passwords are checked: it had to wait for no penalty.
        assert!(began.elapsed() < PENALTY);
        for guess in wrong {
            assert!(!guess.await.unwrap() && began.elapsed() >= PENALTY);
        }
    }

    #[tokio::test]
    async fn hashes_of_every_tool_are_known() {
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = bcrypt::hash("right", 4).unwrap().replace("$2b$", prefix);
            let credentials = Credentials::new(&[("ann".to_owned(), hash)], Vec::new()).unwrap().unwrap();
            assert!(admits(&credentials, &basic("ann", "right")).await, "{prefix}");
            assert!(!admits(&credentials, &basic("ann", "wrong")).await, "{prefix}");
        }
    }

    #[test]
    fn files_of_tokens() {
        assert_eq!(tokens(TOKEN.as_bytes()).unwrap(), [hash_of(TOKEN.as_bytes())]);
        assert_eq!(tokens(b"0123456789abcdef\r\n").unwrap(), [hash_of(TOKEN.as_bytes())]);
        for (bytes, says) in [
            (&b""[..], "no token"),
            (b"# none\n\n", "no token"),
            (b"\n0123456789abcde\n", "line 2: a token is at least 16"),
            (b"0123456789 abcdef0", "line 1"),
            (b"0123456789abcdef\xff", "no text"),
        ] {
            let error = tokens(bytes).unwrap_err();
            assert!(error.contains(says) && !error.contains("0123"), "{error}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        assert_eq!(format!("{:?}", credentials()), "Credentials { 2 users, 2 tokens }");
    }
}
