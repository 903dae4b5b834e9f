//! Whatever goes wrong with a web configuration, and whoever is let in or not: no secret is in the log, at its finest.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent::webconfig::Current;

#[path = "web/made_up.rs"]
#[allow(dead_code)]
mod made_up;
#[path = "webconfig/rig.rs"]
#[allow(dead_code)]
mod rig;

use rig::{PASSWORD, Rig, TOKEN, basic, bearer, password_hash, request};

/// All that this process logs, at the finest level.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Self {
        let log = Self(Arc::default());
        let into = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Writer(into.clone()))
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer(Log);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_is_in_the_log_nor_in_an_error() {
    let log = Log::start();
    let hash = password_hash();
    let web = format!(
        "tls_server_config: {{cert_file: tls.crt, key_file: tls.key}}\nbearer_token_file: token\nbasic_auth_users: {{ann: {hash}}}\n"
    );
    let rig = Rig::serve(&web);
    let key = rig.renew().key;
    rig.door().current.look();
    for given in
        [basic("ann", PASSWORD), basic("ann", &format!("{PASSWORD}x")), bearer(TOKEN), bearer("hush-wrong-token")]
    {
        rig.get("/metrics", Some(&given));
        rig.get("/none", Some(&given));
        let _ = rig.plain(&request("GET", "/metrics", Some(&given)));
    }
    let mut errors = String::new();
    for broken in [
        format!("basic_auth_users: {{ann: {PASSWORD}}}\n"),
        format!("basic_auth_users: {{ann: {hash}x}}\n"),
        format!("basic_auth_users: {hash}\n"),
        format!("basic_auth_users:\n  ann: {hash}\n bad: [\n"),
        format!("bearer_token_hashes: [{TOKEN}]\n"),
        format!("bearer_token_file: {{a: {TOKEN}}}\n"),
        format!("tls_server_config:\n  cert: |\n    x\n  key: |\n{}\n", key.replace('\n', "\n    ")),
        format!("tls_server_config:\n  cert_file: tls.crt\n  key: \"{TOKEN}\"\n"),
        format!("{web}  {TOKEN}\n"),
    ] {
        let file = rig.put("web.yml", &broken);
        rig.door().current.look();
        errors +=
            &Current::open(Some(&file)).map(|_| broken).map_err(|error| format!("{error} {error:?}")).unwrap_err();
    }
    rig.put("web.yml", &web);
    for (name, text) in [("token", "hush short\n".to_owned()), ("tls.key", key.replace("PRIVATE", "hush"))] {
        rig.put(name, &text);
        rig.door().current.look();
    }
    let said = log.text();
    assert!(said.contains("is not taken over") && said.contains("a caller is turned away"), "{said}");
    let inside = key.lines().nth(1).unwrap();
    for secret in ["hush", PASSWORD, TOKEN, &hash, &hash[7..], inside] {
        for (where_, text) in [("the log", &said), ("an error", &errors)] {
            assert!(!text.contains(secret), "{secret} is in {where_}: {text}");
        }
        let encoded = basic("ann", secret);
        assert!(!said.contains(&encoded), "{encoded} is in the log: {said}");
    }
}
