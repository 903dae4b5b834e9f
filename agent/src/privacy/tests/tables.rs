//! What goes, with its name, and what has to stay.

use crate::privacy::{name, redact, scrub};

/// Text, and what is left of it. Values are made up; keys are split so that no scanner takes this file for a leak.
fn secrets() -> Vec<(String, &'static str)> {
    let rows: &[(&[&str], &str)] = &[
        (&["AK", "IAIOSFODNN7EXAMPLE"], "[aws-key]"),
        (&["aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"], "aws_secret_access_key = [secret]"),
        (&["AI", "zaSyA1234567890abcdefghijklmnopqrstuv"], "[gcp-key]"),
        (&["ya", "29.a0AfH6SMBxyz123456"], "[gcp-key]"),
        (&["GOC", "SPX-abcdefghijKLMNOP12"], "[gcp-key]"),
        (&["abc8", "Q~dEfGhIjKlMnOpQrStUvWxYz012345"], "[azure-key]"),
        (&["AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq=="], "AccountKey=[secret]"),
        (&["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"], "[github-token]"),
        (&["github", "_pat_11ABCDEFG0abcdefghij_KLMNOP"], "[github-token]"),
        (&["gl", "pat-AbCdEfGhIjKlMnOpQrSt"], "[gitlab-token]"),
        (&["xox", "b-123456789012-abcdefABCDEF"], "[slack-token]"),
        (&["https://hooks.", "slack.com/services/T0000/B0000/XXXXXXXX"], "https://[slack-token]"),
        (&["sk_", "live_4eC39HqLyjWDarjtT1zdp7dc"], "[stripe-key]"),
        (&["sk-", "proj-abcDEF123456ghiJKL"], "[openai-key]"),
        (&["sk-", "abcdefghijklmnop1234567890"], "[openai-key]"),
        (&["sk-", "ant-api03-Qw3rTy7UiOp"], "[anthropic-key]"),
        (&["hf", "_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEf"], "[hf-token]"),
        (&["nv", "api-abcDEF123456"], "[nvidia-key]"),
        (&["np", "m_abcdefghijklmnopqrstuvwxyz0123456789"], "[npm-token]"),
        (&["pyp", "i-AgEIcHlwaS5vcmcCJDAwMDAwMDAw"], "[pypi-token]"),
        (&["SG", ".abcdefghijklmnop.qrstuvwxyz0123456789"], "[api-key]"),
        (&["gs", "k_abcdefghijklmnopqrstuvwx"], "[api-key]"),
        (&["hv", "s.CAESIJabcdefghijklmnop"], "[api-key]"),
        (
            &["https://discord.", "com/api/webhooks/1234567890123456789/abcdefghijklmnopqrstuvwxyzabcdefgh"],
            "https://[api-key]",
        ),
        (
            &["https://x.webhook.", "office.com/webhookb2/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f@0a1b2c3d/x"],
            "https://x[api-key]",
        ),
        (&["123456789:AA", "HdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"], "[api-key]"),
        (&["ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"], "[jwt]"),
        (
            &["-----BEGIN RSA PRIV", "ATE KEY-----\nMIIEow\nIBAA==\n-----END RSA PRIVATE KEY----- ok"],
            "[private-key] ok",
        ),
        (&["-----BEGIN OPENSSH PRIV", "ATE KEY-----\nb3BlbnNzaC1r and no end"], "[private-key]"),
        (&["postgres://admin:hunter2@db:5432/x"], "postgres://[url-password]@db:5432/x"),
        (&["postgres://u:p@ssw0rdXYZ@db/x?a=b"], "postgres://[url-password]@db/x?a=b"),
        (&["redis://:s3cr3t@cache"], "redis://[url-password]@cache"),
        (&["Authorization: Bearer abc.def.ghi and more\nnext"], "Authorization: [secret]\nnext"),
        (&["Cookie: session=abc123; theme=dark"], "Cookie: [secret]"),
        (&["{\"Cookie\": \"session=s3cr3tvalue99\", \"a\": 1}"], "{\"Cookie\": \"[secret]\", \"a\": 1}"),
        (
            &["{'Authorization': 'Digest username=\"x\", response=\"y\"', 'a': 1}"],
            "{'Authorization': '[secret]', 'a': 1}",
        ),
        (&["token=ab12-cd34-ef56-gh78"], "token=[secret]"),
        (&["x-api-key: 0123456789abcdef"], "x-api-key: [secret]"),
        (&["curl -H 'Bearer a1b2c3d4e5f6g7h8'"], "curl -H 'Bearer [secret]'"),
        (&["password=hunter2 next"], "password=[secret] next"),
        (&["my password is correcthorse, ok"], "my password is [secret], ok"),
        (
            &["client_secret = swordfish; password: \"correct horse battery\""],
            "client_secret = [secret]; password: \"[secret]\"",
        ),
        (&["{\"db_password\":\"Tr0ub4dor\"}"], "{\"db_password\":\"[secret]\"}"),
        (&["{\\\"password\\\": \\\"Tr0ub4dor\\\"}"], "{\\\"password\\\": \\\"[secret]\\\"}"),
        (&["api_key: 'f00dbabe12345678'"], "api_key: '[secret]'"),
        (&["GET /x?user=1&token=a1b2c3d4e5 HTTP"], "GET /x?user=1&token=[secret] HTTP"),
        (&["Server=db;Uid=sa;Pwd=Pa55w0rd;Encrypt=yes"], "Server=db;Uid=sa;Pwd=[secret];Encrypt=yes"),
        (&["at https://x/a-long/path/to/kJ8sLq2ZpX9vTb4RnY7wEe3MhUc6Fd1g"], "at https://x/a-long/path/to/[secret]"),
        (&["value kJ8sLq2ZpX9vTb4RnY7wEe3MhUc6Fd1g"], "value [secret]"),
        (&["see data:image/png;base64,iVBORw0KGgo= here"], "see [image] here"),
    ];
    rows.iter().map(|(parts, left)| (parts.concat(), *left)).collect()
}

const PERSONAL: &[(&str, &str)] = &[
    (r"a\njohn@example.com\tb", r"a\n[email]\tb"),
    ("mail john.doe+x@mail.example.co.uk now", "mail [email] now"),
    ("jürgen@müller.de", "[email]"),
    ("john%40example.com", "[email]"),
    (r"john\u0040example.com", "[email]"),
    ("pay 4111 1111 1111 1111 now", "pay [card] now"),
    ("5500-0000-0000-0004", "[card]"),
    ("378282246310005", "[card]"),
    ("order 123 4111111111111111", "order 123 [card]"),
    ("DE89 3704 0044 0532 0130 00", "[iban]"),
    ("GB29NWBK60161331926819", "[iban]"),
    ("from 203.0.113.77:5000", "from [ip]:5000"),
    ("at 2001:db8::8a2e:370:7334.", "at [ip]."),
    ("fe80::1ff:fe23:4567:890a", "[ip]"),
    ("00:1B:44:11:3A:B7", "[mac]"),
    ("SSN 219-09-9999", "SSN [ssn]"),
    ("ssn: 219 09 9999, social security number is 219099999", "ssn: [ssn], social security number is [ssn]"),
    ("call +49 30 901820", "call [phone]"),
    ("(415) 555-2671", "[phone]"),
    ("415-555-2671", "[phone]"),
    ("phone: 030 1234567", "[phone]"),
    ("NINO QQ123456C and AB123456C", "NINO QQ123456C and [national-id]"),
    ("passport no: X1234567", "passport no: [passport]"),
    ("dob: 1980-02-29", "dob: [birth-date]"),
    ("DOB: March 12, 1985; Date of Birth is 12.3.1985", "DOB: [birth-date]; Date of Birth is [birth-date]"),
    (
        "born on the 4th? born 12 March 1985, born on Mar 4th 1985",
        "born on the 4th? born [birth-date], born on [birth-date]",
    ),
    ("my birthday is 3/12/85", "my birthday is [birth-date]"),
];

/// What must not be touched.
const PLAIN: &[&str] = &[
    "version 1.2.3, v10.0.19041.1, python-3.12.4, llama.cpp b4400, 2.0.0.0",
    "at 12:30:45 on 2026-11-29, 2026-11-29T13:13:30.123Z, 29.11.2026, 11/29/2026",
    "550e8400-e29b-41d4-a716-446655440000",
    "commit 80ba9aaf3b1d2c4e5f60718293a4b5c6d7e8f901",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "1234567890123456 and 1732888888123456789 and 3.14159265358979",
    "max_tokens: 4096, token = 5, tokens per second: 123.45, n_ctx=8192",
    "let password: String = read_password(); password = None",
    "the password must be changed, password: required, no password is needed",
    "std::fs::read(a::b)?; Foo::<u8>::bar(); fn main() { println!(\"{}\", x[0]); }",
    "127.0.0.1:8000 and [::1]:9770 and 0.0.0.0",
    "https://example.com/a/b?page=2&sort=asc#top",
    "/usr/lib/python3.12/site-packages/vllm/entrypoints/openai/api_server.py",
    "getUserByIdAndNameFromDatabaseV2, MAX_CONCURRENT_REQUESTS_PER_WORKER, snake_case_function_name_2",
    "meta-llama/Llama-3.1-8B-Instruct, Qwen2.5-Coder-32B-Instruct-AWQ, gpt-4o-2024-08-06",
    "Bearer of good news, a basic understanding, token authentication, cookie: a small cake",
    "room 415, 555 people, 2671 chairs; 100 200 300 400",
    "import numpy as np; x = [1, 2, 3]; y = {'a': 1}; @app.route('/x'); assert x == y",
    "Der Schlüssel liegt unter der Matte. 你好,世界。 Привет, мир!",
    "chapter 12.5.3.1.2, section 4.2.1, ratio 16:9, score 3:2, 10:00-12:00",
    "0x7ffd9a2b3c4d, 0xdeadbeef, 1e-9, +1.5, -40, 50%",
    "author: Jane, authored by, authentication failed, keyboard: qwerty, secretary: present",
    "git@v2, user@host, a@b",
    "born in 1985 or 1986, born 3 times, ssn: 219, a newborn 12 March 1985 times",
    "models/DeepSeek-R1-Distill-Qwen-14B-GGUF/DeepSeek-R1-Distill-Qwen-14B-Q4_K_M, s3://b/Mixtral-8x22B-Instruct-v0_1-AWQ",
    "/discord.com/api/webhooks/about, /build/x86_64-linux-gnu/libLLVM-18/lib/Target/AMDGPU/MCTargetDesc",
];

fn differences(rows: impl Iterator<Item = (String, String)>) -> Vec<String> {
    rows.filter(|(is, wanted)| is != wanted).map(|(is, wanted)| format!("{is:?} is not {wanted:?}")).collect()
}

#[test]
fn secrets_go_in_each_mode() {
    let rows = secrets()
        .into_iter()
        .flat_map(|(text, left)| [redact(&text), scrub(&text)].map(|is| (is.into_owned(), left.to_owned())));
    assert_eq!(differences(rows), Vec::<String>::new());
}

#[test]
fn personal_data_goes_where_it_must_and_stays_where_it_may() {
    let gone = PERSONAL.iter().map(|(text, left)| (redact(text).into_owned(), (*left).to_owned()));
    assert_eq!(differences(gone), Vec::<String>::new());
    let plain = PERSONAL.iter().filter(|(text, _)| !text.contains('\\'));
    let stays = plain.map(|(text, _)| (scrub(text).into_owned(), (*text).to_owned()));
    assert_eq!(differences(stays), Vec::<String>::new());
}

#[test]
fn ordinary_texts_stay() {
    let rows =
        PLAIN.iter().flat_map(|text| [redact(text), scrub(text)].map(|is| (is.into_owned(), (*text).to_owned())));
    assert_eq!(differences(rows), Vec::<String>::new());
}

/// Where nothing but the beginning is left of a key, the rest of it must not be needed to know it.
#[test]
fn a_key_whose_end_is_missing_is_known_by_its_beginning() {
    let known = secrets().into_iter().filter(|(_, left)| left.starts_with('[') && left.ends_with(']'));
    let left = known.map(|(text, _)| (redact(&text[..text.len() * 4 / 5]).into_owned(), text));
    let told: Vec<(String, String)> = left.filter(|(left, text)| left.contains(&text[..8])).collect();
    assert_eq!(told, Vec::new());
}

/// What marks a name as worth a look is in each kind of key.
#[test]
fn keys_go_from_names() {
    // Random letters stay in names.
    let keys = secrets().into_iter().filter(|(text, _)| !text.starts_with("value ") && !text.starts_with("at "));
    let more: [(&[&str], &str); 9] = [
        (&["token:abc123def456ghij"], "token:[secret]"),
        (&["API_TOKEN:abc123def456ghij"], "API_TOKEN:[secret]"),
        (&["apikey:k9Jx72hQpz41aa"], "apikey:[secret]"),
        (&["password:swordfish"], "password:[secret]"),
        (&["DB_PWD->swordfish"], "DB_PWD->[secret]"),
        (&["Kennwort：geheim"], "Kennwort：[secret]"),
        (&["SK", "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"], "[api-key]"),
        (&["call/AC", "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a/x"], "call/[api-key]/x"),
        (&["MTk4NjIyNDgzNDcx", "OTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs"], "[api-key]"),
    ];
    let keys = keys.chain(more.map(|(parts, left)| (parts.concat(), left)));
    let rows = keys.map(|(text, left)| (name(&text).into_owned(), left.to_owned()));
    assert_eq!(differences(rows), Vec::<String>::new());
}

#[test]
fn ids_keep_their_random_letters() {
    for id in [
        "chatcmpl-kJ8sLq2ZpX9vTb4RnY7wEe3MhUc6Fd1g",
        "/v1/chat/completions",
        "0af7651916cd43dd8448eb211c80319c",
        "token-classification/llama-3.1-8b",
        "keyword-v1.2.3",
        "org/Passage-Reranker-2",
        "SKU-0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
        "a-model-with-a-name-that-is-quite-long.v1.2-instruct-awq-int4",
    ] {
        assert_eq!(name(id), id);
    }
    assert_eq!(name("john@example.com"), "[email]");
    assert_eq!(name("4111111111111111"), "[card]");
}
