//! What of a command line and of an environment may be shown. A value is masked whole if its name or its look says that
//! it may be a secret: rather one too many.

/// Stands for a value that is not shown.
pub const MASK: &str = "***";
/// Parts of names whose values are secrets.
const NAMES: [&str; 13] = [
    "key",
    "token",
    "secret",
    "passw",
    "pwd",
    "passphrase",
    "credential",
    "auth",
    "cookie",
    "bearer",
    "header",
    "signature",
    "dsn",
];
/// Segments of names that look like those and are not.
const HARMLESS: [&str; 3] = ["author", "authors", "bypass"];
/// Beside `tokens`, they say that these are counted.
const COUNTS: [&str; 16] = [
    "max",
    "min",
    "num",
    "new",
    "total",
    "prompt",
    "completion",
    "input",
    "output",
    "cached",
    "batched",
    "context",
    "special",
    "reasoning",
    "speculative",
    "draft",
];
/// How well-known secrets begin.
const PREFIXES: [&str; 29] = [
    "sk-",
    "sk_",
    "pk_live",
    "rk_live",
    "hf_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "akia",
    "asia",
    "aiza",
    "ya29.",
    "eyj",
    "nvapi-",
    "gsk_",
    "sg.",
    "npm_",
    "dop_v1_",
    "r8_",
    "bearer",
    "basic",
];
/// Begins a key or a certificate.
const PEM: &str = "-----begin";
/// Words before a long number that say what it is.
const DIGESTS: [&str; 4] = ["sha256", "sha512", "gpu", "mig"];
/// Letters and digits in one run, both of them, of which so many are taken for a secret.
const RUN: usize = 20;

/// Whether the value of this name must not be shown.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let segments = || name.split(|c: char| !c.is_ascii_alphanumeric());
    let counted = |segment: &str| {
        segment.ends_with("tokens")
            && COUNTS.iter().any(|word| segment.starts_with(word) || segments().any(|other| other == *word))
    };
    segments().any(|segment| {
        let harmless = HARMLESS.contains(&segment) || segment.contains("tokeniz") || counted(segment);
        !harmless && (NAMES.iter().any(|word| segment.contains(word)) || segment.ends_with("pass"))
    })
}

/// An option's name, as against a value that begins with a hyphen: words of small letters.
fn is_option_name(arg: &str) -> bool {
    let Some(name) = arg.strip_prefix("--") else { return false };
    let name = name.split('=').next().unwrap_or_default();
    name.len() > 1
        && name.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

/// Whether a value looks like a secret, or holds one.
pub fn looks_secret(value: &str) -> bool {
    let lower = value.to_lowercase();
    let word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let mut parts = lower.split(|c| !word(c)).map(|part| part.trim_start_matches(['-', '.', '_']));
    let begins = parts.any(|part| PREFIXES.iter().any(|prefix| is_known(part, prefix))) || lower.contains(PEM);
    begins || has_user_info(&lower) || has_secret_pair(&lower) || has_long_run(value) || has_uuid(&lower)
}

/// A word that begins as secrets do, and is more than that.
fn is_known(part: &str, prefix: &str) -> bool {
    let Some(rest) = part.strip_prefix(prefix) else { return false };
    match prefix {
        "bearer" | "basic" => rest.is_empty(),
        // Letters alone begin many a word.
        "akia" | "asia" | "aiza" | "eyj" => rest.len() >= 12,
        _ => rest.len() >= 6,
    }
}

/// `scheme://user:password@host`, in which the password may have a slash: what is no port behind a colon.
fn has_user_info(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
        let parts = host.split_once(':').filter(|_| !host.starts_with('['));
        let password = parts.is_some_and(|(user, behind)| user.is_empty() || !is_port(behind));
        host.contains('@') || password && rest.contains('@')
    })
}

/// `name=value`, `name: value` or `"name": "value"` of a secret's name, anywhere in it.
fn has_secret_pair(value: &str) -> bool {
    let mut parts = value.split_inclusive(['=', ':']);
    parts.any(|part| {
        let Some(before) = part.strip_suffix(['=', ':']) else { return false };
        let name = before.trim_end_matches(['"', '\'', ' ', '\\']);
        let from = name.rfind(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)));
        is_secret_name(&name[from.map_or(0, |at| at + name[at..].chars().next().map_or(1, char::len_utf8))..])
    })
}

fn has_long_run(value: &str) -> bool {
    let mut before = "";
    value.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let digest = DIGESTS.contains(&before.to_lowercase().as_str());
        before = run;
        let both = run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic());
        run.len() >= RUN && both && !digest
    })
}

/// 8-4-4-4-12 hexadecimal digits that name no GPU.
fn has_uuid(value: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let runs: Vec<&str> = value.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    runs.windows(GROUPS.len()).enumerate().any(|(at, window)| {
        let fits =
            window.iter().zip(GROUPS).all(|(run, len)| run.len() == len && run.bytes().all(|b| b.is_ascii_hexdigit()));
        fits && !(at > 0 && DIGESTS.contains(&runs[at - 1]))
    })
}

/// A command line in units, each an option with what follows it or a word by itself, with what must not be seen masked.
/// At the same places the units as they are, to be compared and not to be shown.
pub fn units(args: &[String]) -> Vec<(String, String)> {
    let mut units: Vec<(String, String)> = Vec::new();
    let (mut masks_next, mut wants_value) = (false, false);
    for arg in args {
        let hyphen = arg.starts_with('-') && arg.len() > 1 && arg.parse::<f64>().is_err();
        // Right behind a secret's option it may be the secret.
        let behind = std::mem::take(&mut wants_value);
        let option = hyphen && (!behind || is_option_name(arg));
        if !option {
            let shown = if masks_next || looks_secret(arg) { MASK } else { arg };
            match units.last_mut().filter(|(raw, _)| raw.starts_with('-')) {
                Some((raw, text)) => {
                    raw.extend([" ", arg]);
                    text.extend([" ", shown]);
                }
                None => units.push((arg.clone(), shown.to_owned())),
            }
            continue;
        }
        let (name, value) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
        masks_next = is_secret_name(name);
        wants_value = masks_next && value.is_none();
        // A name that is a secret itself is no name.
        let named = if looks_secret(name) { MASK } else { name };
        let text = match value {
            Some(value) if masks_next || looks_secret(value) => format!("{named}={MASK}"),
            Some(value) => format!("{named}={value}"),
            None => named.to_owned(),
        };
        units.push((arg.clone(), text));
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &[&str]) -> String {
        let args: Vec<String> = line.iter().map(|arg| (*arg).to_owned()).collect();
        units(&args).into_iter().map(|(_, shown)| shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_engines_are_started_with_is_shown() {
        for line in [
            "vllm serve Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4 --max-model-len 8192 --tokenizer-mode auto --port=8000",
            "llama-server -m /models/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf -ngl 99 --max-tokens -1 --keep 5",
            "python3 -m sglang.launch_server --model-path /m --tp 8 --lora-paths a=/l/a b=/l/b --mem-fraction-static 0.9",
            "ollama runner --model /root/.ollama/models/blobs/sha256-6a0746a1ec1aef3e7ec53868f220ff6e389f6f8ef87a01d77c96807de94ca2aa --port 4",
            "x --authors me --skip-tokenizer-init --max-total-tokens 9 --maxtokens 1 --bypass-cache 1",
            "x --device GPU-5d4ab2c1-1c2d-4e5f-8a9b-0c1d2e3f4a5b --url http://localhost:8000/v1 --max-num-batched-tokens 2048",
            "x --peers http://a:80/@me http://a/x:y@z http://[::1]:80/a@b http://a,http://b:80",
        ] {
            assert_eq!(shown(&line.split(' ').collect::<Vec<_>>()), line);
        }
    }

    #[test]
    fn secrets_are_not() {
        for (line, want) in [
            (&["--api-key", "abc"][..], "--api-key ***"),
            (&["--api-key=abc", "x"], "--api-key=*** ***"),
            (&["--api-key", "a", "b", "--port", "1"], "--api-key *** *** --port 1"),
            (&["--hf-token", "x"], "--hf-token ***"),
            (&["--OPENAI_API_KEY=x"], "--OPENAI_API_KEY=***"),
            (&["-H", "Authorization: Bearer x"], "-H ***"),
            (&["--extra-headers", "x"], "--extra-headers ***"),
            (&["sk-0123456789"], "***"),
            (&["--x", "hf_abcdefgh"], "--x ***"),
            (&["--url", "https://me:pw@example.com/x"], "--url ***"),
            (&["--url", "https://example.com/x?token=1"], "--url ***"),
            (&["--db", "postgres://u:pa/ss@h/x"], "--db ***"),
            (&["--db=postgres://u:p?s#s@h/x"], "--db=***"),
            (&["--cache", "redis://:1/2@h"], "--cache ***"),
            (&["--db", "http://a:80,http://u:x1/pä@h"], "--db ***"),
            (&["--json", "{\"api_key\": \"x\"}"], "--json ***"),
            (&["--x", "d41d8cd98f00b204e9800998ecf8427e"], "--x ***"),
            (&["--x", "1c2d3e4f-1c2d-4e5f-8a9b-0c1d2e3f4a5b"], "--x ***"),
            (&["--x", "eyJhbGciOiJIUzI1NiJ9.e30.abc"], "--x ***"),
            (&["--sk-0123456789abcdef"], "***"),
            (&["-c", "export TOKEN=1; run"], "-c ***"),
            (&["--authorization", "hunter2"], "--authorization ***"),
            (&["-H", "Authorization: Token abc123"], "-H ***"),
            (&["--access-tokens", "x"], "--access-tokens ***"),
            (&["--db-pass", "x", "--port", "1"], "--db-pass *** --port 1"),
            (&["--api-key", "-abc", "--port", "1"], "--api-key *** --port 1"),
            (&["--api-key", "--Abc1", "--port", "1"], "--api-key *** --port 1"),
            (&["--disable-auth", "--port", "1"], "--disable-auth --port 1"),
        ] {
            assert_eq!(shown(line), want, "{line:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_value_behind_a_secret_option_is_never_seen(args in proptest::collection::vec("\\PC{0,12}", 0..6), value in "[a-z]{9}") {
            let mut line = args.clone();
            line.extend(["--api-key".to_owned(), value.clone()]);
            line.push(format!("--password={value}"));
            let seen: String = units(&line).into_iter().map(|(_, shown)| shown).collect();
            proptest::prop_assert!(args.iter().any(|arg| arg.contains(&value)) || !seen.contains(&value));
        }
    }
}
