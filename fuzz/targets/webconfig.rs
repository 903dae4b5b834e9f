//! Web configuration files: a problem names a line that there is, and nothing that may be a secret is told.
#![no_main]

use std::path::Path;

use agent::webconfig::problems;
use libfuzzer_sys::fuzz_target;

const PLANTED: &str = "PLANTED0001";

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let folder = Path::new("/etc/inferscope");
    // As YAML counts them: a carriage return ends a line too.
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
    for problem in problems(&text, folder) {
        assert!((1..=lines).contains(&problem.line), "line {} of {lines}", problem.line);
    }
    // As a value: quotes and lines would end it.
    let value: String = text.chars().filter(|c| !c.is_control() && *c != '\'').collect();
    for secret in [
        format!("bearer_token_hashes: ['{PLANTED}{value}']\n"),
        format!("basic_auth_users:\n  ann: '{value}{PLANTED}'\n"),
        format!("tls_server_config:\n  key: '{PLANTED}{value}'\n"),
    ] {
        for problem in problems(&secret, folder) {
            assert!(!problem.text.contains(PLANTED), "{}", problem.text);
        }
    }
});
