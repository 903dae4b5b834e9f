//! Every dialect: request and response of any bytes, in any framing. However the response is cut, what comes out is the
//! same, the texts that are kept among it; and with bytes missing nothing breaks.
#![no_main]

use std::sync::LazyLock;

use agent::config::Privacy;
use agent::privacy::{Content, Guard, Mode};
use agent::session::exchange::LlmExchange;
use agent::session::llm::{LlmParser, Piece};
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 22] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/score",
    "/generate",
    "/encode",
    "/classify",
    "/completion",
    "/infill",
    "/embedding",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/generate_stream",
    "/",
    "/v2/models/m/generate_stream",
    "/v2/models/m/versions/1/infer",
    "/inference/v1/generate",
    "/invocations",
];
const TYPES: [&str; 4] = ["application/json", "text/event-stream", "application/x-ndjson", ""];

static GUARDS: LazyLock<[Guard; 2]> = LazyLock::new(|| {
    [Mode::Hash, Mode::Redacted].map(|mode| Guard::new(&Privacy { mode, max_bytes: 300, ..Privacy::default() }))
});

fn run(path: &str, kind: &str, pieces: &[Piece<'_>]) -> (LlmExchange, u32, Option<Content>) {
    let guard = &GUARDS[path.len() % 2];
    let mut parser = LlmParser::detect("POST", path).expect("the path is a dialect's");
    parser.keep_texts(guard);
    for piece in pieces {
        parser.request_body(*piece);
    }
    parser.request_end();
    parser.response_head(200, &[httparse::Header { name: "content-type", value: kind.as_bytes() }]);
    let mut content = 0;
    for piece in pieces {
        content += parser.response_body(*piece);
    }
    content += parser.response_end();
    let said = parser.take_texts(true, true).and_then(|said| guard.content(*said, None));
    assert_eq!(guard.held().bytes(), 0);
    (parser.finish(), content, said)
}

fuzz_target!(|input: &[u8]| {
    let [path, kind, at, body @ ..] = input else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let kind = TYPES[usize::from(*kind) % TYPES.len()];
    let (head, tail) = body.split_at(usize::from(*at).min(body.len()));

    let whole = run(path, kind, &[Piece::Bytes(body)]);
    assert_eq!(whole, run(path, kind, &[Piece::Bytes(head), Piece::Bytes(tail)]));
    assert_eq!(whole, run(path, kind, &body.chunks(1).map(Piece::Bytes).collect::<Vec<_>>()));
    run(path, kind, &[Piece::Bytes(head), Piece::Gap(9), Piece::Bytes(tail)]);

    let texts = [&whole.0.request_model, &whole.0.response_model, &whole.0.id, &whole.0.finish_reason, &whole.0.error];
    // A replacement character is three bytes for one.
    assert!(texts.into_iter().flatten().all(|text| text.len() <= 3 * 256));
});
