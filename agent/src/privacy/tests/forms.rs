//! The forms in which a password or a key stands beside its name, and what looks like one of them and has to stay.

use crate::privacy::{redact, scrub};

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
        [redact(text), scrub(text)]
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
