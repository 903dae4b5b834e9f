//! Speaks OpenAI's chat to whoever asks and says what the request tells it to, in its `say`: as a stream in pieces of
//! three letters, in one document, or in an error. Says it in a cookie too, and on standard output where it listens. With
//! `--wait` it says `ready` and does not listen until it is told to by a line on standard input.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--wait") {
        println!("ready");
        std::io::stdin().read_line(&mut String::new())?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {} (http)", listener.local_addr()?);
    for connection in listener.incoming() {
        let connection = connection?;
        std::thread::spawn(move || {
            if let Err(error) = serve(&connection) {
                eprintln!("{error:#}");
            }
        });
    }
    Ok(())
}

/// Answers requests until the client closes.
fn serve(connection: &TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    loop {
        let (mut length, mut line) = (0, String::new());
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        while line.trim() != "" {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            line.clear();
            reader.read_line(&mut line)?;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        // A compressed one is answered all the same.
        answer(connection, &serde_json::from_slice(&body).unwrap_or(Value::Null))?;
    }
}

fn answer(mut out: &TcpStream, asked: &Value) -> Result<()> {
    let say = asked["say"].as_str().unwrap_or("nothing");
    let cookie = asked["cookie"].as_str().unwrap_or("none");
    if asked["stream"] == true {
        return stream(out, say, cookie);
    }
    let (status, reply) = if asked["fail"] == true {
        ("400 Bad Request", json!({"error": {"message": say, "type": "invalid_request_error", "param": say}}))
    } else {
        let message = json!({"role": "assistant", "content": say, "reasoning_content": say});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 4});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        ("200 OK", json!({"id": "echo-1", "model": "echo", "choices": [choice], "usage": usage}))
    };
    let reply = reply.to_string();
    let length = reply.len();
    write!(
        out,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nset-cookie: s={cookie}\r\ncontent-length: {length}\r\n\r\n{reply}"
    )
    .context("the answer")
}

fn stream(mut out: &TcpStream, say: &str, cookie: &str) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
    write!(out, "{head}\r\nset-cookie: s={cookie}\r\n\r\n")?;
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        format!("data: {}\n\n", json!({"id": "echo-2", "model": "echo", "choices": [choice]}))
    };
    let letters: Vec<char> = say.chars().collect();
    let pieces = || letters.chunks(3).map(|piece| piece.iter().collect::<String>());
    for piece in pieces() {
        send(out, &chunk(json!({"content": piece}), Value::Null))?;
    }
    for piece in pieces() {
        let call = json!({"index": 0, "function": {"name": "f", "arguments": piece}});
        send(out, &chunk(json!({"tool_calls": [call]}), Value::Null))?;
    }
    send(out, &chunk(json!({}), json!("stop")))?;
    send(out, "data: [DONE]\n\n")?;
    out.write_all(b"0\r\n\r\n").context("the end")
}

fn send(mut out: &TcpStream, event: &str) -> Result<()> {
    out.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).context("a chunk")
}
