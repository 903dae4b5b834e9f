//! The forms in which a password or a key stands beside its name, and what looks like one of them and has to stay.

use crate::privacy::{cut_end, name, redact, scrub};

/// Values that have signs of code within, beside code that says where a value comes from.
const SIGNS: &[(&str, &str)] = &[
    ("password: Pa$$w0rd123", "password: [secret]"),
    ("DB_PASSWORD=\"S3cr3t$Pass9\"", "DB_PASSWORD=\"[secret]\""),
    ("passwd = \"x<y>Zk19pq\"", "passwd = \"[secret]\""),
    ("password=abc(def)123x", "password=[secret]"),
    ("password='call(me)'", "password='[secret]'"),
    ("password=$ecret{9}", "password=[secret]"),
    ("password: !@#$%^&*", "password: [secret]"),
    ("token=ab$12(cd)34[ef", "token=[secret]"),
    ("password: [label]x9", "password: [secret]"),
];

/// Values that are not of ASCII alone.
const LETTERS: &[(&str, &str)] = &[
    ("Passwort: Müllers-Geheimnis1 und mehr", "Passwort: [secret] und mehr"),
    ("password: 🔥hunter2secret, ok", "password: [secret], ok"),
    ("password=пароль123; next", "password=[secret]; next"),
    ("password=密码是这个。然后", "password=[secret]。然后"),
    ("password: naïve", "password: [secret]"),
    ("contraseña: ñandú", "contraseña: [secret]"),
];

const URLS: &[(&str, &str)] = &[
    ("postgresql://admin:pässw0rt@db/x", "postgresql://[url-password]@db/x"),
    ("postgres://admin:S3cr/etPw@db.internal", "postgres://[url-password]@db.internal"),
    ("see amqp://admin:a/b?c#d@mq:5672/v and", "see amqp://[url-password]@mq:5672/v and"),
    ("redis://:1/2@cache", "redis://[url-password]@cache"),
    ("mysql://me:a/b@c@db/x?y=z@w", "mysql://[url-password]@db/x?y=z@w"),
    (
        "{\"url\": \"http://me:p/w@h/\", \"mail\": \"x@y\"}",
        "{\"url\": \"http://[url-password]@h/\", \"mail\": \"x@y\"}",
    ),
    ("postgres://me:12345@db/x", "postgres://[url-password]@db/x"),
    ("x://me:p/w%40db", "x://[url-password]%40db"),
];

/// Addresses with a port, and a sign that could be the end of a password.
const PORTS: &[&str] = &[
    "http://localhost:8080/users/@me and http://db:80/a@b",
    "http://[::1]:80/a@b, https://h:/a@b, http://[::1]/x:y@z",
    "https://example.com/@scope/pkg:1@2 and http://h/x:y@z",
    "http://h:8000 (me@home), {\"url\": \"http://h:8000/v1\", \"to\": \"a@b\"}",
    "见http://h:8000，问a@b",
];

/// The word stands beside it in the ways of configurations, command lines and prose.
const BESIDE: &[(&str, &str)] = &[
    ("SMTP_PASS=hunter2secret", "SMTP_PASS=[secret]"),
    ("SMTP_PASS=swordfish next", "SMTP_PASS=[secret] next"),
    ("ansible_become_pass: swordfish", "ansible_become_pass: [secret]"),
    ("pass: hunter2secret", "pass: [secret]"),
    ("{\"pass\": \"swordfish\"}", "{\"pass\": \"[secret]\"}"),
    ("GET /x?pass=swordfish&a=1 HTTP", "GET /x?pass=[secret] HTTP"),
    ("<password>hunter2</password>", "<password>[secret]</password>"),
    (
        "<db:adminPassword enc=\"no\">\n correct horse\n</db:adminPassword>",
        "<db:adminPassword enc=\"no\">\n [secret]\n</db:adminPassword>",
    ),
    ("<password>hunter2secret", "<password>[secret]"),
    ("<password>correct horse batt", "<password>[secret]"),
    ("<api_key>abcd1234</api_key>", "<api_key>[secret]</api_key>"),
    ("**Password:** hunter2", "**Password:** [secret]"),
    ("**Password**: `hunter2`", "**Password**: `[secret]"),
    ("__Password__ is hunter2", "__Password__ is [secret]"),
    ("password is: hunter2", "password is: [secret]"),
    ("the password is : swordfish", "the password is : [secret]"),
    ("{\"password\":\n    \"correct horse\"}", "{\"password\":\n    \"[secret]\"}"),
    ("password -> swordfish", "password -> [secret]"),
    ("password->hunter2", "password->[secret]"),
    ("| password | hunter2 |", "| password | [secret] |"),
    ("| bob | | **db password** | `h!nter` |", "| bob | | **db password** | `[secret]` |"),
    ("password：swordfish", "password：[secret]"),
    ("machine h.example login me password swordfish", "machine h.example login me password [secret]"),
    ("machine h\n  login me\n  password swordfish\n", "machine h\n  login me\n  password [secret]\n"),
    ("default login me password swordfish", "default login me password [secret]"),
    ("password hunter2secret", "password [secret]"),
    ("mysqldump --password swordfish --all", "mysqldump --password [secret] --all"),
    ("x --db-pass 'correct horse' --client-secret swordfish", "x --db-pass '[secret]' --client-secret [secret]"),
    ("args: [\"--password\", \"swordfish\"]", "args: [\"--password\", \"[secret]\"]"),
    ("password = b\"swordfish\"", "password = b\"[secret]\""),
    ("password=SecretStr('swordfish')", "password=SecretStr('[secret]')"),
    ("passwords: [\"swordfish\", \"hunter2\"]", "passwords: [\"[secret]\"]"),
    ("password: \"Tr0\\\"ub4dor\", x", "password: \"[secret]\", x"),
    ("mot de passe : swordfish", "mot de passe : [secret]"),
    ("CREATE USER bob WITH PASSWORD 'swordfish';", "CREATE USER bob WITH PASSWORD '[secret]';"),
    ("alter role x password \"correct horse\"", "alter role x password \"[secret]\""),
    ("CREATE USER b IDENTIFIED BY 'swordfish'", "CREATE USER b IDENTIFIED BY '[secret]'"),
    (
        "IDENTIFIED WITH 'caching_sha2_password' BY 'it is \"x\" swordfish' REQUIRE NONE",
        "IDENTIFIED WITH 'caching_sha2_password' BY '[secret]' REQUIRE NONE",
    ),
    ("{\"sql\": \"SET PASSWORD \\\"swordfish\\\"\"}", "{\"sql\": \"SET PASSWORD \\\"[secret]\\\"\"}"),
    ("curl -u admin:hunter2secret https://host/x", "curl -u admin:[secret] https://host/x"),
    (
        "curl --user 'admin:hunter2secret' x; --proxy-user=a:swordfish",
        "curl --user 'admin:[secret]' x; --proxy-user=a:[secret]",
    ),
    ("[\"curl\", \"-u\", \"admin:hunter2secret\", \"x\"]", "[\"curl\", \"-u\", \"admin:[secret]\", \"x\"]"),
];

/// Prose, code and logs with the word in them.
const PROSE: &[&str] = &[
    "the password is required, reset password now, a password manager, the password field",
    "your password must have 12 characters; password length, password 12345678",
    "password hashing with password SHA-256 or password pbkdf2_sha256",
    "a second pass: collect the names; the first pass is over; two-pass: the table",
    "--- PASS: TestParse2 (0.00s)\nPASS: tests/test_a.py::test_2 [ 50%]",
    "a password 'required' or \"...\"; identified by 'null'; identified by name, as 'x'",
    "docker run -u 1000:1000 -u nobody:nogroup x; docker run --user 1000:1000 y; sort -u a:b; --user a:${X}",
    "passing: 12345, passed: 1234 tests, passenger: Johnson2, compass: north24",
    "forward_pass: 0.0123s, backward_pass = None, bypass: always",
    "use the --password flag, --password to log in, --password, --password option, --password --user me",
    "| Password | description |\n|---|---|\n| password | string |",
    "echo $password | sha256sum, {{ password | b64encode }}",
    "write <password> there, or <token> in the header; <password></password>, <password>${PW}</password>",
    "Enter your password:\nThen press return",
    "def get_password() -> str: return input(\"Enter your password: \")",
    "password = getenv(\"DB_PASSWORD\"), password = input(\"Enter your password: \")",
    "password: [\"required\", \"string\"]",
    "machine learning and the login of users; default login page",
];

/// Keys in lists, in calls, in options and in pairs, and those that look like versions.
const KEYS: &[(&str, &str)] = &[
    ("{\"api_key\": [\"abc123def456ghi7\"]}", "{\"api_key\": [\"[secret]\"]}"),
    (
        "non-default args: {'api_key': ['team-secret-0815'], 'x': 1}",
        "non-default args: {'api_key': ['[secret]'], 'x': 1}",
    ),
    ("{'api_key': ['team-secret-0815', \"other-secret-4711\"]}", "{'api_key': ['[secret]\"]}"),
    ("ERROR --api-key abc123def456ghi7 is wrong", "ERROR --api-key [secret] is wrong"),
    ("args: ['--api-key', 'team-secret-0815', '--port', '1']", "args: ['--api-key', '[secret]', '--port', '1']"),
    ("--hf-token \"abc123def456ghi7\" --port 1", "--hf-token \"[secret]\" --port 1"),
    ("api_keys: ['a[1]b2c3d4e5', 'f6[g7]h8']", "api_keys: ['[secret]']"),
    ("api_key=SecretStr('abc123def456ghi7')", "api_key=SecretStr('[secret]')"),
    ("Namespace(api_key='team-secret-0815', port=1)", "Namespace(api_key='[secret]', port=1)"),
    ("client_credential: team-secret-0815", "client_credential: [secret]"),
    ("api_key is: abc123def456ghi7", "api_key is: [secret]"),
    ("**API_KEY:** abc123def456ghi7", "**API_KEY:** [secret]"),
    (
        "{\"headers\":{\"Authorization\":[\"Bearer abcdefghijklmnop\"]}}",
        "{\"headers\":{\"Authorization\":[\"[secret]\"]}}",
    ),
    ("{\"Cookie\": [\"a=swordfish\", \"b=hunter2\"], \"x\": [1]}", "{\"Cookie\": [\"[secret]\"], \"x\": [1]}"),
    ("{\"X-Api-Key\": [\"swordfish\"]}", "{\"X-Api-Key\": [\"[secret]\"]}"),
    ("('authorization', 'Bearer plaintokenplain')", "('authorization', '[secret]')"),
    (
        "[(b'authorization', b'Bearer plaintokenplain'), (b'x-api-key', b'team-secret-0815')]",
        "[(b'authorization', b'[secret]'), (b'x-api-key', b'[secret]')]",
    ),
    ("My API key: 8f14e45fceea167a5a36dedd4bea2543, thanks", "My API key: [secret], thanks"),
    ("the API key is 8f14e45fceea167a5a36dedd4bea2543", "the API key is [secret]"),
    ("**Secret Access Key:** wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "**Secret Access Key:** [secret]"),
    ("private key = 0x4c0883a69102937d6231471b5dbb6204", "private key = [secret]"),
    ("{\\\"api_key\\\": [\\\"abc123def456ghi7\\\"]}", "{\\\"api_key\\\": [\\\"[secret]\\\"]}"),
];

/// Lists, options and pairs that have none.
const NO_KEYS: &[&str] = &[
    "{\"tokens\": [\"Hello\", \" world\", \"2024\"], \"token_ids\": [151643, 151645]}",
    "allow_headers=[\"Authorization\", \"Content-Type\", \"X-Api-Key\", \"Accept\"]",
    "--api-key must be set, --hf-token is optional, --api-key --port 8000, --token-count 12345678",
    "api_key = os.getenv(\"OPENAI_API_KEY\"), api_key: [\"required\"], api_key=None",
    "token: gpt-4o-2024, key=llama-3-8b-q4, auth=oauth-2-0",
    "the API key is required; an access key is a name; account key: none; private key: see below",
    "('authorization', '${TOKEN}'), {'Authorization': []}",
];

const CODE: &[&str] = &[
    "password=${DB_PASSWORD} and password: $(cat /run/pw) and password=\"${DB_PASSWORD}\"",
    "password: {{ vault.password }}, password=$DB_PASSWORD; password = '$DB_PASSWORD'",
    "password=<password>, password: <your-password>, url(password={password})",
    "password = os.environ[\"PW\"]; password = getpass.getpass(); password = read(file)",
    "password = row[0].password; password = self.password, password = os.getenv('PW')",
    "password: ********, password = [secret], password: [your-password]",
];

fn assert_forms(gone: &[(&str, &str)], stay: &[&str]) {
    let rows = gone.iter().copied().chain(stay.iter().map(|text| (*text, *text)));
    let wrong = rows.flat_map(|(text, left)| {
        [redact(text), scrub(text), name(text)]
            .into_iter()
            .filter(move |is| is != left)
            .map(move |is| format!("{is:?} is not {left:?}"))
    });
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn signs_of_code_within_a_password_do_not_keep_it() {
    assert_forms(SIGNS, CODE);
}

#[test]
fn a_password_may_have_any_letters() {
    assert_forms(LETTERS, &["password：请", "Kennwort: ja", "passwords — the café's, for example"]);
}

#[test]
fn a_password_in_a_url_may_have_any_letters_and_a_slash() {
    assert_forms(URLS, PORTS);
}

#[test]
fn a_password_goes_wherever_its_name_stands() {
    assert_forms(BESIDE, PROSE);
}

/// Wherever a text is torn, no word of a secret is left: neither its beginning, which is the last word, nor what stands
/// before that.
#[test]
fn a_secret_that_is_torn_goes() {
    for (text, left) in [SIGNS, LETTERS, URLS, BESIDE, KEYS].concat() {
        let words =
            || text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() >= 4 && !left.contains(word));
        for (at, _) in text.char_indices() {
            let told = redact(cut_end(&text[..at]));
            assert!(!words().any(|word| told.contains(word)), "{told:?} is left of {:?}", &text[..at]);
        }
    }
}

#[test]
fn a_key_goes_from_lists_calls_options_and_pairs() {
    assert_forms(KEYS, NO_KEYS);
}
