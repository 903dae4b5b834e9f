//! What secrets and personal data look like. One automaton holds all patterns, so that a text is read once and in time
//! linear in its length: no pattern looks far ahead and then gives up. Prefixes are enough where a kind of key has one:
//! a key whose end is cut off is found all the same.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex_automata::{
    meta::{Config, Regex},
    util::syntax,
};

use super::{
    checks::{self, Check},
    values,
};

/// What a pattern finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never kept in any mode.
    Secret,
    /// Personal data: kept in mode `full` only.
    Personal,
    /// Neither, though other patterns would take it for one.
    Harmless,
}

/// One row of the table.
pub struct Pattern {
    pub label: &'static str,
    pub class: Class,
    pub check: Check,
    /// The name in front of the match belongs to it. A pattern that began with it would begin at every word.
    pub with_name: bool,
    regex: &'static str,
}

const fn secret(label: &'static str, regex: &'static str) -> Pattern {
    Pattern { label, class: Class::Secret, check: checks::whole, with_name: false, regex }
}

const fn checked(label: &'static str, check: Check, regex: &'static str) -> Pattern {
    Pattern { label, class: Class::Secret, check, with_name: false, regex }
}

const fn personal(label: &'static str, check: Check, regex: &'static str) -> Pattern {
    Pattern { label, class: Class::Personal, check, with_name: false, regex }
}

const fn email(regex: &'static str) -> Pattern {
    Pattern { label: "[email]", class: Class::Personal, check: checks::whole, with_name: true, regex }
}

const fn harmless(regex: &'static str) -> Pattern {
    Pattern { label: "", class: Class::Harmless, check: checks::whole, with_name: false, regex }
}

/// Of two that begin at the same place the first row is taken.
#[rustfmt::skip]
pub const PATTERNS: &[Pattern] = &[
    // Bodies of their own.
    secret("[private-key]", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[^-]{0,20}-----(?:[^-]|-[^-])*(?:-----END[^-]{0,60}-----)?"),
    secret("[private-key]", r"AGE-SECRET-KEY-1[A-Z0-9]{10,}"),
    secret("[image]", r"data:[a-z]{1,20}/[A-Za-z0-9.+-]{1,60}(?:;[a-z0-9=-]{1,40}){0,3}(?:;|%3[bB])base64,[A-Za-z0-9+/=_%-]*"),
    // Tokens by their prefix.
    secret("[jwt]", r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"),
    secret("[aws-key]", r"\b(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{12,}"),
    secret("[gcp-key]", r"\bAIza[A-Za-z0-9_-]{20,}|\bya29\.[A-Za-z0-9_.-]{10,}|\bGOCSPX-[A-Za-z0-9_-]{10,}|\b1//0[A-Za-z0-9_-]{20,}"),
    secret("[azure-key]", r"\b[A-Za-z0-9]{3}[78]Q~[A-Za-z0-9_.~-]{20,}"),
    secret("[github-token]", r"\bgh[pousr]_[A-Za-z0-9]{10,}|\bgithub_pat_[A-Za-z0-9_]{10,}"),
    secret("[gitlab-token]", r"\bgl(?:pat|ptt|dt|rt|cbt|soat|ffct|imt|agent|oas)-[A-Za-z0-9_.-]{10,}"),
    secret("[slack-token]", r"\bxox[abeoprs]-[A-Za-z0-9-]{8,}|\bxapp-[0-9]-[A-Za-z0-9-]{8,}|hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9_/-]{8,}"),
    secret("[stripe-key]", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{8,}|\bwhsec_[A-Za-z0-9+/=]{8,}"),
    secret("[anthropic-key]", r"\bsk-ant-[A-Za-z0-9_-]{8,}"),
    secret("[openai-key]", r"\bsk-(?:proj|svcacct|admin|or-v1|lf)-[A-Za-z0-9_-]{8,}|\bsk-[A-Za-z0-9]{16,}|\bsess-[A-Za-z0-9]{20,}"),
    secret("[hf-token]", r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    secret("[nvidia-key]", r"\bnvapi-[A-Za-z0-9_-]{8,}"),
    secret("[npm-token]", r"\bnpm_[A-Za-z0-9]{20,}"),
    secret("[pypi-token]", r"\bpypi-[A-Za-z0-9_-]{16,}"),
    secret("[api-key]", r"\b(?:gsk_|xai-|r8_|pplx-|fw_|tgp_v1_|lsv2_(?:pt|sk)_|csk-|dop_v1_|doo_v1_|dckr_(?:pat|oat)_|hvs\.|hvb\.|glsa_|glc_|NRAK-|sntry[su]_|ATATT3|lin_api_|ntn_|shp(?:at|ca|pa|ss)_|sq0(?:atp|csp)-|EAAA|PMAK-|dp\.(?:pt|st)\.|tskey-[a-z]{2,8}-|figd_|pul-|rubygems_|cio|phc_|phx_|sbp_|pscale_(?:tkn|pw)_|FLWSECK)[A-Za-z0-9_=.-]{16,}"),
    secret("[api-key]", r"discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{10,}/[A-Za-z0-9_-]{20,}|\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/-]{20,}"),
    secret("[api-key]", r"\bSG\.[A-Za-z0-9_-]{10,}\.?[A-Za-z0-9_-]*|\bkey-[0-9a-f]{32}|\bdapi[0-9a-f]{32}|\b(?:AC|SK)[0-9a-f]{32}\b|\b[0-9]{8,10}:AA[A-Za-z0-9_-]{20,}|\b[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{20,}"),
    // Places in which secrets stand.
    checked("[url-password]", checks::url_password, r"://(?-u:[^\s/]{1,256})(?:@|%40)"),
    checked("[url-password]", checks::url_password_with_slash, r#"://(?-u:[^\s/@:"'<>\[]{0,128}:[^\s@"'<>]{1,256})(?:@|%40)(?:(?-u:[^\s/?\#"'<>]{0,128})@)?"#),
    checked("[secret]", checks::header, r"(?i)\b(?:proxy-)?authorization[ \t]{0,4}[:=][ \t]{0,4}(?:basic|bearer|digest|negotiate|token|apikey|aws4-hmac-sha256|[!-~]{12})[^\r\n]*"),
    checked("[secret]", checks::header, r#"(?i)\b(?:set-)?cookie2?[ \t]{0,4}[:=][ \t]{0,4}["']?[A-Za-z0-9_.-]{1,64}=[^\r\n]*"#),
    checked("[secret]", values::value_of, r#"(?i)\b(?:(?:proxy-)?authorization|(?:set-)?cookie2?)\\?["'][ \t]{0,4}[:=][ \t]{0,4}b?(?:\\?"(?:[^"\\\r\n]|\\[^\r\n]){4,}|'(?:[^'\\\r\n]|\\[^\r\n]){4,})"#),
    checked("[secret]", values::value_of, r#"(?i)\b(?&header)\\?["'][ \t]{0,4}[:=]\s{0,20}\[\s{0,20}(?&text)(?:\s{0,20},\s{0,20}(?&text)){0,8}"#),
    checked("[secret]", checks::header, r#"(?i)\b(?:x-(?:goog-|amz-security-|auth-|vault-|gitlab-|csrf-)?(?:api-key|token|key)|api-key|ocp-apim-subscription-key|private-token)["']?[ \t]{0,4}[:=][ \t]{0,4}["']?[!#-&(-~]{6,512}"#),
    checked("[secret]", checks::scheme, r"(?i)\b(?:bearer|basic|token)[ \t]{1,4}[A-Za-z0-9._~+/=-]{8,}"),
    checked("[secret]", values::password, r#"(?i)(?:(?:passwor[dt]|passwd|passphrase|passcode|pwd|kennwort|contraseña|mot de passe|[a-z0-9][_-]secret|secret[_-]?key)[A-Za-z0-9_]{0,20}(?&sign)|(?:\b|[_-])pass\b(?&sign)|--(?:(?:[a-z0-9]{1,20}[_-]){0,4}(?:password|passwd|passphrase|pwd|pass)|(?:[a-z0-9]{1,20}[_-]){1,4}secret)(?&gap)|\b(?&header)\\?["'][ \t]{0,4},)(?:(?&list)|(?&quoted)|(?&bare))"#),
    checked("[secret]", values::cell, r#"(?i)\|[ \t]{0,20}[*_`"]{0,3}(?:[a-z0-9]{1,20}[ _-]){0,3}(?:passwor[dt]|passwd|passphrase|passcode|pwd|kennwort|contraseña|pass)[*_`"]{0,3}[ \t]{0,20}\|(?-u:[ \t]{0,20}[^\s|]{4,256})"#),
    checked("[secret]", values::netrc, r"(?i)\b(?-u:(?:machine\s{1,20}\S{1,128}|default)\s{1,20}login\s{1,20}\S{1,128}\s{1,20}password\s{1,20}\S{1,256})"),
    checked("[secret]", values::beside, r#"(?i)passwor[dt](?-u:[ \t]{1,4}[^\s"',;]{8,256})"#),
    checked("[secret]", values::element, r#"(?i)(?-u:<[a-z0-9_:.-]{0,40}(?:password|passwd|passphrase|pwd|token|secret|api[_-]?key)(?:\s[^<>]{0,60})?>(?:[^<]{1,256}</[a-z0-9_:.-]{0,60}|(?:\r?\n[ \t]{0,40})?[^<\s,.;:)\]"'`](?:[^<]{3,255}\z|[^<\s]{3,255})))"#),
    checked("[secret]", values::token, r"(?i)(?:(?:secret|token|(?:api|access|account|private|signing|encryption|client)[ _-]?key|sharedaccesskey|credential|session[_-]?id|sessid|signature|auth|nonce|x-amz-[a-z-]{1,20})[A-Za-z0-9_]{0,20}(?&sign)|--(?:[a-z0-9]{1,20}[_-]){0,4}(?:key|apikey|token|secret|auth|credentials?)(?&gap))(?:(?&list)|(?&token))"),
    checked("[secret]", values::token, r#"(?i)\b(?:key|sig|code|sid|jwt|otp)=[A-Za-z0-9%._~+/-]{8,512}"#),
    checked("[secret]", values::quoted, r#"(?i)\b(?:password|identified (?:with [a-z0-9_"'`]{1,40} )?(?:by|as))(?-u:[ \t]{1,4}\\{0,2}(?:'[^'\r\n]{4,256}|"[^"\r\n]{4,256}))"#),
    checked("[secret]", values::user_password, r#"(?-u:(?:[\s"']-u|--(?:proxy-)?user)(?:=|(?&gap))["']?[^\s:"'/=]{1,128}:[^\s"']{4,256})"#),
    // Personal data.
    harmless(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"),
    harmless(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]{1,9})?"),
    email(r"(?:@|%40|&#64;|\(at\)|\[at\])[A-Za-z0-9À-ɏ-]{1,63}(?:\.[A-Za-z0-9À-ɏ-]{1,63}){0,8}\.[A-Za-z]{2,24}"),
    personal("[mac]", checks::whole, r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"),
    personal("[iban]", checks::iban, r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}\b"),
    personal("[card]", checks::card, r"\b[2-6][0-9](?:[ .-]?[0-9]){11,29}\b"),
    personal("[ssn]", checks::ssn, r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b"),
    personal("[ssn]", checks::ssn, r"(?i)\b(?:ssn|social security(?: (?:number|no\.?))?)[ \t]{0,2}[:=#]?[ \t]{0,2}(?:is[ \t])?[0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4}\b"),
    personal("[national-id]", checks::whole, r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b"),
    personal("[passport]", checks::header, r"(?i)\bpassport(?: ?(?:no|number|nr|#))?\.?[ \t]{0,2}[:=#][ \t]{0,2}[A-Z0-9]{6,12}\b"),
    personal("[birth-date]", checks::birth_date, r"(?i)\b(?:dob|date of birth|birth ?da(?:te|y)|born)(?:[ \t]{0,2}[:=][ \t]{0,2}[0-9]{1,4}[-/. ][0-9a-z]{1,9}[-/. ][0-9]{1,4}|(?:[ \t]{0,2}[:=][ \t]{0,2}|[ \t]{1,2}(?:(?:is|was|on)[ \t]{1,2}){0,2})(?:[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]{1,2}(?:st|nd|rd|th)?[ -](?:of )?(?&month),?[ -][0-9]{2,4}|(?&month) [0-9]{1,2}(?:st|nd|rd|th)?,? [0-9]{4}))\b"),
    harmless(r"\b[0-9]{1,5}(?:\.[0-9]{1,5}){4,9}\b"),
    personal("[ip]", checks::ipv4, r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"),
    personal("[ip]", checks::ipv6, r"(?:\b[0-9A-Fa-f]{1,4}:|::)(?::{0,2}[0-9A-Fa-f]{1,4}){1,8}(?:::)?(?:\.[0-9]{1,3}){0,3}"),
    personal("[phone]", checks::phone, r"\+[0-9]{1,3}[ .-]?(?:\(0?\)[ .-]?)?(?:\([0-9]{1,5}\)[ .-]?)?[0-9]{1,5}(?:[ ./-]?[0-9]{1,6}){1,6}\b"),
    personal("[phone]", checks::phone, r"(?:\([0-9]{3}\) ?|\b[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}\b"),
    personal("[phone]", checks::phone, r"(?i)\b(?:tel|phone|mobile|cell|fax|handy)[a-z]{0,6}\.?[:=]?[ \t]{1,2}\(?0[0-9]{1,5}\)?(?:[ ./-]?[0-9]{1,6}){1,5}\b"),
];

/// Parts of patterns.
const PARTS: &[(&str, &str)] = &[
    // Boundaries of words by Unicode would want a slower automaton.
    (r"\b", r"(?-u:\b)"),
    // Between a name and its value, with what closes the name, as in `**name**: value` and `**name:** value`.
    (
        "(?&sign)",
        r#"["'\\]{0,3}[*_`]{0,3}(?:[ \t]{0,20}(?::=|=>|->|[:=：])(?:[*_`]{1,3}[ \t])?|[ \t]is(?:[ \t]?[:：]|[ \t]))"#,
    ),
    // Between an option and its value, in a line or in a list.
    ("(?&gap)", r#"(?:[ \t]{1,20}|\\{0,2}["'],\s{0,20})"#),
    // The value: of a list to the end of that (no list begins in it, so that no text is read over and over), or one with its quotes, which may be in a call, or one without.
    ("(?&list)", r#"(?-u:\s{0,20}\[\s{0,20}[bfru]{0,2}\\{0,2}["'](?:\[[^"'\s\]]|[^"'\s\[\]]\]|[^\[\]]){4,512})"#),
    (
        "(?&quoted)",
        r#"(?-u:\s{0,20}(?:\[\s{0,20}|[A-Za-z0-9_.:]{1,30}\([ \t]{0,4})?[bfru]{0,2}(?:\\{1,2}"[^"\r\n]{4,256}|"(?:[^"\\\r\n]|\\[^\r\n]){4,256}|'(?:[^'\\\r\n]|\\[^\r\n]){4,256}))"#,
    ),
    (
        "(?&token)",
        r#"(?-u:(?:\s{0,20}(?:\[\s{0,20}|[A-Za-z0-9_.:]{1,30}\([ \t]{0,4})?[bfru]{0,2}\\{0,2}["']|[ \t]{0,20}[`\\]{0,2})[!#-&(-+.-:<-~-]{8,512})"#,
    ),
    // Headers whose values are secrets, and a text with its quotes.
    (
        "(?&header)",
        r"(?:(?:proxy-)?authorization|(?:set-)?cookie2?|x-(?:goog-|amz-security-|auth-|vault-|gitlab-|csrf-)?(?:api-key|token|key)|api-key|ocp-apim-subscription-key|private-token)",
    ),
    ("(?&text)", r#"(?-u:b?(?:\\?"(?:[^"\\\r\n]|\\[^\r\n]){4,}"?|'(?:[^'\\\r\n]|\\[^\r\n]){4,}'?))"#),
    ("(?&month)", r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"),
    ("(?&bare)", r#"(?-u:[ \t]{0,20}`?[^\s"',;]{4,256})"#),
];

/// The size that one thread's states may take, bytes. What does not fit is made again.
const STATES: usize = 4 << 20;

/// Pattern `n` of an automaton is row `rows[n]`.
pub struct Finder {
    pub regex: Regex,
    pub rows: Vec<&'static Pattern>,
}

impl Finder {
    fn new(wanted: impl Fn(Class) -> bool) -> Self {
        let rows: Vec<&Pattern> = PATTERNS.iter().filter(|pattern| wanted(pattern.class)).collect();
        let whole = |regex: &str| PARTS.iter().fold(regex.to_owned(), |regex, (name, part)| regex.replace(name, part));
        let regexes: Vec<String> = rows.iter().map(|pattern| whole(pattern.regex)).collect();
        let config = Config::new().hybrid_cache_capacity(STATES).nfa_size_limit(Some(64 << 20));
        // What a value may have is told by bytes: by characters of Unicode each would take many states.
        let words = syntax::Config::new().unicode(true).utf8(false);
        let regex = Regex::builder().configure(config).syntax(words).build_many(&regexes);
        Finder { regex: regex.expect("the patterns are constants that a test compiles"), rows }
    }
}

/// Secrets and personal data.
pub static ALL: LazyLock<Finder> = LazyLock::new(|| Finder::new(|_| true));
/// Secrets.
pub static SECRETS: LazyLock<Finder> = LazyLock::new(|| Finder::new(|class| class == Class::Secret));

/// Parts of which each key and address has one. A name without any of them need not be looked through, which spares an
/// agent that keeps no texts the whole automaton.
#[rustfmt::skip]
const MARKS: &[&str] = &[
    "@", "%40", "(at)", "[at]", "://", "=", " ", "PRIVATE KEY", "AGE-SECRET", "base64,", "eyJ", "AKIA", "ASIA", "ABIA", "ACCA",
    "AROA", "AIDA", "AIza", "ya29.", "GOCSPX-", "1//0", "7Q~", "8Q~", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
    "glpat-", "glptt-", "gldt-", "glrt-", "glcbt-", "glsoat-", "glffct-", "glimt-", "glagent-", "gloas-", "xox", "xapp-",
    "slack.com/", "/webhook", "sk_", "rk_", "whsec_", "sk-", "sess-", "hf_", "api_org_", "nvapi-", "npm_", "pypi-", "gsk_", "xai-", "r8_",
    "pplx-", "fw_", "tgp_v1_", "lsv2_", "csk-", "dop_v1_", "doo_v1_", "dckr_", "hvs.", "hvb.", "glsa_", "glc_", "NRAK-", "sntry",
    "ATATT3", "lin_api_", "ntn_", "shpat_", "shpca_", "shppa_", "shpss_", "sq0", "EAAA", "PMAK-", "dp.pt.", "dp.st.", "tskey-",
    "figd_", "pul-", "rubygems_", "cio", "phc_", "phx_", "sbp_", "pscale_", "FLWSECK", "SG.", "key-", "dapi", ":AA",
];

static MARKED: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(MARKS).expect("the marks are constants that a test compiles"));

/// Parts of the names beside which secrets stand, in letters of either case, and what stands between (`=` and blanks are
/// marks anyway). Names alone, as in `/tokenize`, are no marks.
const NAMES: &[&str] = &[
    "pass", "pwd", "kennwort", "contrase", "secret", "token", "key", "cred", "sess", "signat", "auth", "nonce",
    "cookie", "x-amz-",
];

const BETWEEN: &[char] = &[':', '：', '>', '|', ','];

static NAMED: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let built = AhoCorasick::builder().ascii_case_insensitive(true).build(NAMES);
    built.expect("the names are constants that a test compiles")
});

/// Whether a name may have a secret or an address in it, or a card's number.
pub fn marked(name: &str) -> bool {
    let mut digits = 0;
    let long = name.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits >= 13
    });
    long || MARKED.is_match(name) || name.contains(BETWEEN) && NAMED.is_match(name) || has_form(name)
}

/// Keys that have no part in common: two letters with 32 hex digits (Twilio), and three parts with dots between (Discord).
fn has_form(name: &str) -> bool {
    let is_hex = |b: &u8| b.is_ascii_digit() || (b'a'..=b'f').contains(b);
    let hex = name
        .as_bytes()
        .windows(2 + 32)
        .any(|part| matches!(part[..2], [b'A', b'C'] | [b'S', b'K']) && part[2..].iter().all(is_hex));
    hex || name.len() >= 50 && name.bytes().filter(|b| *b == b'.').count() >= 2
}

/// What stands in place of what was found, by class: secrets first.
pub fn labels() -> impl Iterator<Item = (&'static str, bool)> {
    PATTERNS
        .iter()
        .filter(|pattern| pattern.class != Class::Harmless)
        .map(|pattern| (pattern.label, pattern.class == Class::Secret))
}
