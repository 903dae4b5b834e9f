//! Changes that come as HTTP requests: a model or an adapter that is loaded, taken out, fetched or made through a server's
//! own API. Reads finished requests only; names of models and adapters are masked where they look like secrets.

use rustc_hash::FxHashMap;

use super::secrets::{self, MASK};
use crate::correlate::Request;

/// Models of one service of which it is known that they were used.
const MODELS: usize = 64;

/// Method, end of the path by whole segments (`*` is any one), and what it changes.
const CALLS: [(&str, &str, &str); 17] = [
    // vLLM, SGLang.
    ("POST", "/load_lora_adapter", "lora_loaded"),
    ("POST", "/load_lora_adapter_from_tensors", "lora_loaded"),
    ("POST", "/unload_lora_adapter", "lora_unloaded"),
    // llama.cpp: the scales of adapters; and its router's models.
    ("POST", "/lora-adapters", "lora_scaled"),
    ("POST", "/models/load", "model_loaded"),
    ("POST", "/models/unload", "model_unloaded"),
    // Ollama.
    ("POST", "/api/pull", "model_pulled"),
    ("POST", "/api/create", "model_created"),
    ("POST", "/api/copy", "model_created"),
    ("DELETE", "/api/delete", "model_deleted"),
    // Triton.
    ("POST", "/repository/models/*/load", "model_loaded"),
    ("POST", "/repository/models/*/unload", "model_unloaded"),
    // SGLang: other weights for the same model.
    ("POST", "/update_weights_from_disk", "weights_updated"),
    ("POST", "/update_weights_from_tensor", "weights_updated"),
    ("POST", "/update_weights_from_distributed", "weights_updated"),
    // vLLM's sleep mode.
    ("POST", "/sleep", "model_unloaded"),
    ("POST", "/wake_up", "model_loaded"),
];
/// One of them that the server refused, or that failed.
pub const FAILED: &str = "load_failed";

/// A change that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub change: &'static str,
    pub path: String,
    pub status: u16,
    /// The model or adapter, if the request names it.
    pub subject: Option<String>,
}

/// Which models were used, by the index of their service.
#[derive(Debug, Default)]
pub struct Used(FxHashMap<u32, Vec<String>>);

fn ends_with(path: &str, pattern: &str) -> bool {
    let (mut path, pattern) = (path.rsplit('/'), pattern.rsplit('/').filter(|segment| !segment.is_empty()));
    pattern.into_iter().all(|wanted| path.next().is_some_and(|is| is == wanted || wanted == "*" && !is.is_empty()))
}

/// Of a path like Triton's, the model.
fn in_path(path: &str) -> Option<&str> {
    path.rsplit('/').nth(1).filter(|_| path.contains("/repository/models/"))
}

fn safe(name: &str) -> String {
    if secrets::looks_secret(name) { MASK.to_owned() } else { name.to_owned() }
}

/// The change that a finished request was, if it was one.
pub fn asked(request: &Request) -> Option<Asked> {
    let call = CALLS.iter().find(|(method, path, _)| *method == request.method && ends_with(&request.path, path));
    let of = |change, subject: Option<&str>| Asked {
        change,
        path: request.path.clone(),
        status: request.status,
        subject: subject.map(safe),
    };
    if let Some((_, _, change)) = call {
        let named = request.subject.as_ref().and_then(|subject| subject.name.as_deref());
        let failed = request.http_error.is_some() || request.subject.as_ref().is_some_and(|subject| subject.failed);
        let subject = named.or(in_path(&request.path));
        return match request.status {
            // No answer was seen.
            0 => None,
            200..300 if !failed => Some(of(change, subject)),
            _ => Some(of(FAILED, subject)),
        };
    }
    // Ollama answers a prompt of nothing so: the model is there, or, with `keep_alive` 0, gone.
    let change = match (request.engine.as_str(), request.finish_reason.as_deref()) {
        ("ollama", Some("load")) => "model_loaded",
        ("ollama", Some("unload")) => "model_unloaded",
        _ => return None,
    };
    Some(of(change, request.model.as_deref()))
}

impl Used {
    /// A model that is used for the first time since its service, or the agent, began; of servers that load on demand.
    pub fn first(&mut self, service: u32, request: &Request) -> Option<Asked> {
        let model = request.model.as_deref().filter(|_| request.engine == "ollama" && request.error_type.is_none())?;
        let used = self.0.entry(service).or_default();
        if used.len() >= MODELS || used.iter().any(|used| used == model) {
            return None;
        }
        used.push(model.to_owned());
        let (path, subject) = (request.path.clone(), Some(safe(model)));
        Some(Asked { change: "model_first_used", path, status: request.status, subject })
    }

    /// The index is free for another service.
    pub fn forget(&mut self, service: u32) {
        self.0.remove(&service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::exchange::Subject;

    fn request(method: &str, path: &str, status: u16) -> Request {
        Request { method: method.into(), path: path.into(), status, ..Request::default() }
    }

    #[test]
    fn calls_that_change_something() {
        for (method, path, status, change) in [
            ("POST", "/v1/load_lora_adapter", 200, Some("lora_loaded")),
            ("POST", "/load_lora_adapter", 200, Some("lora_loaded")),
            ("POST", "/v1/unload_lora_adapter", 200, Some("lora_unloaded")),
            ("POST", "/v1/load_lora_adapter", 404, Some("load_failed")),
            ("GET", "/lora-adapters", 200, None),
            ("POST", "/lora-adapters", 200, Some("lora_scaled")),
            ("POST", "/models/load", 200, Some("model_loaded")),
            ("POST", "/v2/repository/models/m/load", 200, Some("model_loaded")),
            ("DELETE", "/api/delete", 200, Some("model_deleted")),
            ("POST", "/api/pull", 0, None),
            ("POST", "/xload_lora_adapter", 200, None),
            ("POST", "/v1/chat/completions", 200, None),
        ] {
            assert_eq!(asked(&request(method, path, status)).map(|asked| asked.change), change, "{method} {path}");
        }
        let triton = asked(&request("POST", "/v2/repository/models/m/load", 200)).unwrap();
        assert_eq!(triton.subject.as_deref(), Some("m"));
        let of = |name: &str, failed| Some(Subject { name: Some(name.into()), failed });
        let secret = Request { subject: of("hf_abcdefghijk", false), ..request("POST", "/load_lora_adapter", 200) };
        assert_eq!(asked(&secret).unwrap().subject.as_deref(), Some(MASK));
        let failed = Request { subject: of("m", true), ..request("POST", "/api/pull", 200) };
        assert_eq!(asked(&failed).map(|asked| asked.change), Some(FAILED));
        let given_up = Request { http_error: Some("cancelled".into()), ..request("POST", "/api/pull", 200) };
        assert_eq!(asked(&given_up).map(|asked| asked.change), Some(FAILED));
    }

    #[test]
    fn ollama_says_what_it_loads() {
        let chat = Request { engine: "ollama".into(), model: Some("m".into()), ..request("POST", "/api/chat", 200) };
        let said = |reason: &str| asked(&Request { finish_reason: Some(reason.into()), ..chat.clone() });
        assert_eq!(
            said("unload").map(|asked| (asked.change, asked.subject)),
            Some(("model_unloaded", Some("m".into())))
        );
        assert_eq!((said("load").map(|asked| asked.change), said("stop")), (Some("model_loaded"), None));
        let mut used = Used::default();
        assert_eq!(used.first(1, &chat).map(|asked| asked.change), Some("model_first_used"));
        assert_eq!(used.first(1, &chat), None);
        assert!(used.first(2, &chat).is_some());
        let many = |n: usize| Request { model: Some(n.to_string()), ..chat.clone() };
        assert_eq!((0..200).filter(|n| used.first(1, &many(*n)).is_some()).count(), MODELS - 1);
        used.forget(1);
        assert!(used.first(1, &chat).is_some());
    }
}
