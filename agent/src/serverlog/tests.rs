//! Lines as the engines write them, by level; and any bytes, cut anywhere.

use inferscope_abi::{LOG_OUTPUT, LogEvent};
use proptest::prelude::*;

use super::{
    Level, Message, STREAMS, ServerLogs, Torn,
    level::{self, LEVELS},
    lines::{LINE_BYTES, Lines},
    message::Messages,
};
use crate::{decode::LogWrite, export::requests::OTHER};

/// Level of each message of a text.
fn levels(text: &str) -> Vec<&'static str> {
    let (mut lines, mut messages, mut out) = (Lines::default(), Messages::default(), Vec::new());
    lines.push(text.as_bytes(), |line| out.extend(messages.line(line)));
    lines.end(|line| out.extend(messages.line(line)));
    out.into_iter().map(Level::label).collect()
}

fn one(line: &str) -> &'static str {
    let found = levels(line);
    assert_eq!(found.len(), 1, "{line:?}");
    found[0]
}

/// Lines of each engine and logger, with their level.
const SAMPLES: &[(&str, &str)] = &[
    // Python's logging.
    ("ERROR:root:could not open the file", "error"),
    ("WARNING:py.warnings:deprecated", "warning"),
    ("2025-11-24 12:00:00,123 - my.server - ERROR - connection lost", "error"),
    ("2025-11-24 12:00:00,123 INFO [server.py:42] ready", "info"),
    ("[2025-11-24 12:00:00 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:9)", "critical"),
    ("2025-11-24 12:00:00.123 | WARNING  | server:run:12 - slow", "warning"),
    ("2025-11-24 12:00:00 [debug    ] cache hit  key=1", "debug"),
    // uvicorn
    ("INFO:     Started server process [7]", "info"),
    ("INFO:     127.0.0.1:5000 - \"POST /v1/completions HTTP/1.1\" 500 Internal Server Error", "info"),
    ("ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000)", "error"),
    ("\u{1b}[33mWARNING\u{1b}[0m:  Invalid HTTP request received.", "warning"),
    // vLLM
    ("INFO 11-24 12:00:00 [api_server.py:1712] vLLM API server version 0.11.0", "info"),
    ("(EngineCore_DP0 pid=123) ERROR 11-24 12:00:00 [core.py:718] EngineCore failed to start.", "error"),
    ("(APIServer pid=7) INFO:     Application startup complete.", "info"),
    (
        "\u{1b}[1;36m(Worker_TP1 pid=9)\u{1b}[0;0m WARNING 11-24 12:00:00 [fused_moe.py:886] Using default config",
        "warning",
    ),
    ("(RayWorkerWrapper pid=12, ip=10.0.0.2) ERROR 11-24 12:00:00 [worker.py:1] x", "error"),
    ("\u{1b}[31mERROR\u{1b}[0m \u{1b}[90m11-24 12:00:00\u{1b}[0m \u{1b}[90m[core.py:7]\u{1b}[0m x", "error"),
    // SGLang writes no levels.
    ("[2025-11-24 12:00:00] server_args=ServerArgs(model_path='x', log_level='info')", "unknown"),
    ("[2025-11-24 12:00:00 TP0] Decode batch. #running-req: 1, gen throughput (token/s): 80.1", "unknown"),
    ("[2025-11-24 12:00:00 TP0] Scheduler hit an exception: Traceback (most recent call last):", "error"),
    ("[2025-11-24 12:00:00] WARNING server.py:9: slow", "warning"),
    // llama.cpp
    ("0.00.123.456 I main: server is listening on http://127.0.0.1:8080", "info"),
    ("0.01.002.003 W srv  update_slots: context shift", "warning"),
    ("0.01.002.003 E srv    load_model: failed to load model, 'x.gguf'", "error"),
    ("\u{1b}[35m0.00.000.100\u{1b}[0m \u{1b}[34mD \u{1b}[0mslot get_available: id 0", "debug"),
    ("E srv    load_model: failed to load model, 'x.gguf'", "error"),
    ("llama_model_load: error loading model: invalid magic characters: 'xxxx', expected 'GGUF'", "error"),
    ("srv  log_server_r: request: POST /completion 127.0.0.1 200", "unknown"),
    ("/src/ggml.c:123: GGML_ASSERT(ne[0] > 0) failed", "critical"),
    ("ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected", "error"),
    // Ollama, Go
    ("time=2025-11-24T12:00:00.000Z level=INFO source=routes.go:1234 msg=\"Listening on 127.0.0.1:11434\"", "info"),
    ("time=2025-11-24T12:00:00.000Z level=WARN source=sched.go:1 msg=\"level=INFO is no level here\"", "warning"),
    ("[GIN] 2025/11/24 - 12:00:00 | 500 |  1.2s | 127.0.0.1 | POST     \"/api/chat\"", "info"),
    ("[GIN-debug] [WARNING] Running in \"debug\" mode.", "warning"),
    ("[GIN-debug] GET    /                         --> x (5 handlers)", "debug"),
    ("t=2025-11-24T12:00:00+0000 lvl=eror msg=gone", "error"),
    ("2025-11-24T12:00:00.000Z\terror\tserver/server.go:12\tgone\t{\"level\": \"info\"}", "error"),
    ("2025-11-24T12:00:00.000Z\tDPANIC\tserver/server.go:12\tgone", "critical"),
    ("E1124 12:00:00.123456       7 reflector.go:150] Failed to watch", "error"),
    ("E20251124 12:00:00.123456     7 transfer_engine.cc:12] connection lost", "error"),
    ("W20251124 12:00:00.123456     7 transfer_engine.cc:12] slow", "warning"),
    ("F20251124 12:00:00.123456     7 transfer_engine.cc:12] Check failed", "critical"),
    ("I20251124 12:00:00.123456     7 transfer_engine.cc:12] error is no level here", "info"),
    // TensorFlow, XLA
    ("2025-11-24 12:00:00.123456: E external/local_xla/xla/cuda_fft.cc:485] Unable to register cuFFT factory", "error"),
    (
        "2025-11-24 12:00:00.123456: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] Could not find TensorRT",
        "warning",
    ),
    ("2025-11-24 12:00:00.123456: I am no level, see x.cc:12] there", "unknown"),
    // TGI, Rust
    ("2025-11-24T12:00:00.000000Z  INFO text_generation_router: router/src/main.rs:1: Connected", "info"),
    ("\u{1b}[2m2025-11-24T12:00:00.000000Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m \u{1b}[2mtgi\u{1b}[0m: gone", "error"),
    ("[2025-11-24T12:00:00Z WARN  mistralrs::engine] slow", "warning"),
    // Triton, TensorRT-LLM
    ("I1124 12:00:00.123456 1 server.cc:676] started", "info"),
    ("W1124 12:00:00.123456 1 metrics.cc:798] no GPU", "warning"),
    ("2025-11-24T12:00:00Z E 7 model_lifecycle.cc:12] failed to load", "error"),
    ("[TensorRT-LLM][WARNING] Device 0 peer access", "warning"),
    ("[11/24/2025-12:00:00] [TRT-LLM] [E] gone", "error"),
    // PyTorch, NCCL, CUDA
    ("[rank0]:[W1124 12:00:00.123456789 ProcessGroupNCCL.cpp:1250] Warning: not destroyed", "warning"),
    ("[E1124 12:00:00.123456789 ProcessGroupNCCL.cpp:616] Watchdog caught collective operation timeout", "error"),
    ("node1:123:456 [0] misc/socket.cc:123 NCCL WARN Net : Call to recv failed", "warning"),
    ("node1:123:456 [0] NCCL INFO Bootstrap : Using eth0", "info"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "error"),
    ("RuntimeError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error", "error"),
    ("CUDA error: an illegal memory access was encountered", "error"),
    // JSON
    ("{\"timestamp\":\"2025\",\"level\":\"ERROR\",\"fields\":{\"message\":\"x\"},\"target\":\"tgi\"}", "error"),
    ("{\"level\":30,\"time\":1764000000000,\"pid\":7,\"msg\":\"hello\"}", "info"),
    ("{\"time\":1,\"msg\":\"x\",\"level\":60}", "critical"),
    ("{\"severity\":\"WARNING\",\"message\":\"slow\"}", "warning"),
    ("{\"asctime\": \"x\", \"levelname\": \"DEBUG\", \"message\": \"level\"}", "debug"),
    ("{\"message\":\"a \\\"level\\\":\\\"error\\\"\",\"extra\":{\"level\":\"error\"},\"lvl\":\"info\"}", "info"),
    ("{\"log\":{\"logger\":\"x\",\"level\":\"warn\"},\"message\":\"x\"}", "warning"),
    ("{\"version\":\"1.1\",\"level\":3,\"short_message\":\"x\"}", "error"),
    ("{\"message\":\"no level\"}", "unknown"),
    // Others
    ("[12:00:00.123] [error] gone", "error"),
    ("<3>gone", "error"),
    ("error: unable to open the file", "error"),
    ("terminate called after throwing an instance of 'std::runtime_error'", "critical"),
    ("/usr/lib/python3/x.py:12: UserWarning: deprecated", "warning"),
    // print() and prose
    ("loading the model", "unknown"),
    ("There was an error in the night, and Warning signs", "unknown"),
    ("this is an ERROR in prose", "unknown"),
    ("100%|##########| 10/10 [00:01<00:00,  9.1it/s]", "unknown"),
    ("\u{0}\u{1}\u{2}binary\u{ff}", "unknown"),
];

#[test]
fn lines_of_every_engine_have_their_level() {
    let wrong = SAMPLES.iter().filter(|(line, level)| one(line) != *level);
    let wrong: Vec<String> = wrong.map(|(line, level)| format!("{} and not {level}: {line}", one(line))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PYTHON: &str = "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\n    ~^^\n\
    KeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\n\
    Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    raise ValueError(\"ERROR: y\")\n\
    ValueError: ERROR: y\n";

#[test]
fn a_traceback_is_one_error() {
    assert_eq!(levels(PYTHON), ["error"]);
    assert_eq!(levels(&format!("INFO: begins\n{PYTHON}INFO: goes on\n")), ["info", "error", "info"]);
    // After an error it is part of that.
    assert_eq!(levels(&format!("ERROR:root:failed\n{PYTHON}hello\n")), ["error", "unknown"]);
    assert_eq!(levels(&format!("{PYTHON}{PYTHON}")), ["error", "error"]);
    let ranked: String = PYTHON.lines().map(|line| format!("[rank0]: {line}\n")).collect();
    assert_eq!(levels(&ranked), ["error"]);
}

#[test]
fn vllm_puts_its_head_before_every_line_of_a_traceback() {
    let head = "(EngineCore_DP0 pid=123) ERROR 11-24 12:00:00 [core.py:718] ";
    let told: String = PYTHON.lines().map(|line| format!("{head}{line}\n")).collect();
    assert_eq!(levels(&format!("{head}EngineCore failed to start.\n{told}")), ["error"]);
    let info = "INFO 11-24 12:00:01 [core.py:1] ends\n";
    let process = "(EngineCore_DP0 pid=123) Process EngineCore_DP0:\n";
    let bare: String = PYTHON.lines().map(|line| format!("(EngineCore_DP0 pid=123) {line}\n")).collect();
    assert_eq!(levels(&format!("{head}x\n{told}{process}{bare}{info}")), ["error", "unknown", "error", "info"]);
}

#[test]
fn sglang_and_cuda_go_on_for_more_lines() {
    let text = "[2025-11-24 12:00:00 TP0] Scheduler hit an exception: Traceback (most recent call last):\n  \
        File \"s.py\", line 1, in run\n    f()\ntorch.AcceleratorError: CUDA error: device-side assert triggered\n\
        CUDA kernel errors might be asynchronously reported at some other API call.\n\
        For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n\
        Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n\n\
        [2025-11-24 12:00:01] Killed\n";
    assert_eq!(levels(text), ["error", "unknown"]);
}

#[test]
fn panics_are_one_message() {
    let go = "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\
        \t/src/main.go:9 +0x1d\ncreated by main.start in goroutine 1\n\t/src/x.go:3\nexit status 2\n\
        level=INFO msg=again\n";
    assert_eq!(levels(go), ["critical", "info"]);
    let rust = "thread 'tokio-runtime-worker' panicked at src/main.rs:2:5:\nindex out of bounds\n\
        note: run with `RUST_BACKTRACE=1`\n2025-11-24T12:00:00Z  INFO x: again\n";
    assert_eq!(levels(rust), ["error", "info"]);
    let old = "thread 'main' panicked at 'boom', src/main.rs:2:5\nstack backtrace:\n   0: rust_begin_unwind\nhello\n";
    assert_eq!(levels(old), ["error", "unknown"]);
    let cpp = "terminate called after throwing an instance of 'std::runtime_error'\n  what():  gone\n";
    assert_eq!(levels(cpp), ["critical"]);
}

#[test]
fn progress_bars_blank_lines_and_ends_of_lines() {
    assert_eq!(levels("\r 10%|#  |\r 50%|## |\rERROR: x\rINFO: done\n"), ["info"]);
    assert_eq!(levels("INFO: a\r\nERROR: b\r\n\r\n\n   \n"), ["info", "error"]);
    assert_eq!(levels("ERROR: never ends"), ["error"]);
    let long = format!("ERROR: {}\nINFO: b\n", "x".repeat(1 << 20));
    assert_eq!(levels(&long), ["error", "info"]);
}

fn write(tgid: u32, fd: u32, data: &[u8]) -> LogWrite<'_> {
    let mut head = LogEvent { fd, kind: LOG_OUTPUT, captured: data.len() as u32, ..LogEvent::default() };
    head.header.tgid = tgid;
    head.written = data.len() as u64;
    LogWrite { head, data }
}

fn push(logs: &mut ServerLogs, write: &LogWrite<'_>) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    let mut each = |service: &str, message: Message<'_>| {
        heard.push((service.to_owned(), String::from_utf8_lossy(message.line).into_owned()));
    };
    logs.write(write, "svc", |_, _| panic!("no file"), &mut each);
    heard
}

fn count(logs: &ServerLogs, level: Level) -> u64 {
    logs.counts.get("svc").map_or(0, |count| count.messages[level as usize])
}

#[test]
fn each_descriptor_of_each_process_has_its_lines() {
    let mut logs = ServerLogs::default();
    assert!(push(&mut logs, &write(1, 1, b"ERR")).is_empty());
    assert!(push(&mut logs, &write(2, 1, b"INFO: of another process\n")).len() == 1);
    assert!(push(&mut logs, &write(1, 2, b"WARNING: of another descriptor\n")).len() == 1);
    assert_eq!(push(&mut logs, &write(1, 1, b"OR: x\nlast")), [("svc".to_owned(), "ERROR: x".to_owned())]);
    let mut heard = Vec::new();
    logs.process_exit(1, |service, fd, message| heard.push((service.to_owned(), fd, message.level)));
    assert_eq!(heard, [("svc".to_owned(), 1, Level::Unknown)]);
    assert_eq!(LEVELS.map(|(level, _)| count(&logs, level)), [1, 0, 1, 1, 1, 0]);
    logs.process_exit(1, |_, _, _| panic!("it has ended"));
}

#[test]
fn lines_say_what_is_missing_of_them() {
    let mut logs = ServerLogs::default();
    let (whole, begin, end) = (Torn::default(), Torn { begin: true, end: false }, Torn { begin: false, end: true });
    let mut torn = |data: &[u8], skipped: u64, more: u64| {
        let (mut write, mut heard) = (write(1, 2, data), Vec::new());
        write.head.skipped = skipped;
        write.head.written += more;
        logs.write(&write, "svc", |_, _| panic!("no file"), &mut |_, message| heard.push(message.torn));
        heard
    };
    assert_eq!(torn(b"ERROR: a\nERROR: b", 0, 0), [whole]);
    // A write was left out: nobody knows how the line went on, nor where the next one began.
    assert_eq!(torn(b"rest\nERROR: c\n", 1, 0), [end, begin, whole]);
    assert_eq!(torn(b"ERROR: long", 1, 100), []);
    assert_eq!(torn(b"rest of it\nERROR: d\n", 1, 0), [end, begin, whole]);
    assert_eq!(torn(b"ERROR: at the end", 1, 0), []);
    let mut heard = Vec::new();
    logs.process_exit(1, |_, _, message| heard.push(message.torn));
    assert_eq!(heard, [whole]);
}

#[test]
fn what_was_left_out_joins_no_lines() {
    let mut logs = ServerLogs::default();
    push(&mut logs, &write(1, 1, b"ERROR: begin"));
    let mut after = write(1, 1, b"INFO: whole\n");
    after.head.skipped = 3;
    push(&mut logs, &after);
    assert_eq!((count(&logs, Level::Error), count(&logs, Level::Info)), (1, 1));
    // The rest of a long write is not seen.
    let mut long = write(1, 1, b"ERROR: long");
    (long.head.written, long.head.skipped) = (100_000, 3);
    push(&mut logs, &long);
    after.data = b"WARNING: next\n";
    after.head.captured = after.data.len() as u32;
    push(&mut logs, &after);
    assert_eq!((count(&logs, Level::Error), count(&logs, Level::Warning)), (2, 1));
}

#[test]
fn the_number_of_descriptors_is_bounded_and_nothing_of_them_is_lost() {
    let mut logs = ServerLogs::default();
    let all = 2 * STREAMS as u32;
    (0..all).for_each(|tgid| drop(push(&mut logs, &write(tgid, 1, b"ERROR: no end"))));
    assert_eq!(count(&logs, Level::Error), u64::from(all) - STREAMS as u64);
    assert_eq!(logs.streams.len(), STREAMS);
    (0..all).for_each(|tgid| logs.process_exit(tgid, |_, _, _| {}));
    assert_eq!((count(&logs, Level::Error), logs.streams.len()), (u64::from(all), 0));
}

#[test]
fn the_number_of_services_is_bounded() {
    let mut logs = ServerLogs::default();
    for n in 0..=super::SERVICES {
        logs.write(&write(1, 1, b"x\n"), &n.to_string(), |_, _| {}, &mut |_, _| {});
    }
    assert_eq!((logs.counts[OTHER].messages[0], logs.overflow), (1, 1));
    logs.forget("7");
    assert_eq!(logs.counts.get("7"), None);
}

/// Lines of any bytes, and of what levels are made of.
fn log_bytes() -> impl Strategy<Value = Vec<u8>> {
    let sample = (0..SAMPLES.len()).prop_map(|at| SAMPLES[at].0.as_bytes().to_vec());
    let ends = prop_oneof![Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"\r".to_vec()), Just(Vec::new())];
    let any = proptest::collection::vec(any::<u8>(), 0..40);
    let python = Just(PYTHON.as_bytes().to_vec());
    let long = (1..4000usize).prop_map(|len| vec![b'x'; len]);
    let part = (prop_oneof![4 => sample, 2 => any, 1 => python, 1 => long], ends).prop_map(|(a, b)| [a, b].concat());
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn cut(bytes: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
    let (mut lines, mut out) = (Lines::default(), Vec::new());
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        let (head, tail) = rest.split_at((*piece).min(rest.len()));
        lines.push(head, |line| out.push(line.to_vec()));
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    lines.end(|line| out.push(line.to_vec()));
    out
}

proptest! {
    #[test]
    fn lines_are_the_same_wherever_writes_are_cut(
        bytes in log_bytes(), pieces in proptest::collection::vec(1..50usize, 1..8)
    ) {
        let whole = cut(&bytes, &[usize::MAX]);
        prop_assert_eq!(&whole, &cut(&bytes, &pieces));
        prop_assert_eq!(&whole, &cut(&bytes, &[1]));
        prop_assert!(whole.iter().all(|line| line.len() <= LINE_BYTES && !line.contains(&b'\n')));
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
        prop_assert!(whole.len() == ends || whole.len() == ends + 1);
    }

    #[test]
    fn any_bytes_have_a_level(bytes in log_bytes()) {
        let mut messages = Messages::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            messages.line(line);
            level::read(line);
            level::by_words(line);
        }
    }

    #[test]
    fn a_cut_line_of_json_has_the_level_that_stands_in_it(len in 0..200usize) {
        let line = format!("{{\"level\":\"error\",\"message\":\"{}\"}}", "y".repeat(150));
        let cut = &line.as_bytes()[..len.min(line.len())];
        let known = level::read(cut).level;
        prop_assert_eq!(known, (cut.len() >= "{\"level\":\"error\"".len()).then_some(Level::Error));
    }
}
