//! Responses in one piece (JSON, errors, plain pages), and the way to end a response badly on purpose.

use crate::behaviour::{Behaviour, Framing, Turn};
use crate::socket::Socket;
use std::io::Result;

/// What becomes of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    KeepAlive,
    Close,
}

/// A response head; `length` None means chunked or until close, by the behaviour's framing.
pub fn head(how: &Behaviour, status: u16, content_type: &str, length: Option<usize>, more: &str) -> Vec<u8> {
    let framing = match (length, how.framing) {
        (Some(n), _) => format!("content-length: {n}\r\n"),
        (None, Framing::Close) => String::new(),
        (None, _) => String::from("transfer-encoding: chunked\r\n"),
    };
    let connection = if how.keep_alive { "" } else { "connection: close\r\n" };
    let reason = if status < 400 { "OK" } else { "Error" };
    format!("HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n{framing}{more}{connection}\r\n")
        .into_bytes()
}

/// One HTTP chunk, or the bytes as they are in the other framings.
pub fn frame(how: &Behaviour, bytes: &[u8]) -> Vec<u8> {
    if how.framing != Framing::Chunked {
        return bytes.to_vec();
    }
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

/// Whether the connection can carry another response after this one.
pub fn next(how: &Behaviour) -> Next {
    if how.keep_alive && how.framing != Framing::Close { Next::KeepAlive } else { Next::Close }
}

/// Writes a response whose body is complete.
pub fn whole(
    socket: &Socket,
    how: &Behaviour,
    status: u16,
    content_type: &str,
    more: &str,
    body: &[u8],
) -> Result<Next> {
    let length = (how.framing == Framing::Length || status >= 400).then_some(body.len());
    let mut first = head(how, status, content_type, length, more);
    let mut rest = if length.is_some() { body.to_vec() } else { frame(how, body) };
    if length.is_none() && how.framing == Framing::Chunked {
        rest.extend_from_slice(b"0\r\n\r\n");
    }
    if let Some(turn @ (Turn::Abort | Turn::Close | Turn::Replace | Turn::CloseRange | Turn::Kill)) = how.turn {
        first.extend_from_slice(&rest[..rest.len() / 2]);
        socket.write_all(how, &first)?;
        break_off(socket, turn);
        return Ok(Next::Close);
    }
    if how.head_together {
        first.append(&mut rest);
        socket.write_all(how, &first)?;
    } else {
        socket.write_all(how, &first)?;
        socket.write_all(how, &rest)?;
    }
    Ok(next(how))
}

/// Ends the response where it is: reset, close (both by the close that follows), another way to close, or death.
pub fn break_off(socket: &Socket, turn: Turn) {
    match turn {
        Turn::Abort => socket.reset_on_close(),
        Turn::Replace => socket.replace(),
        Turn::CloseRange => socket.close_range(),
        // SAFETY: a signal to this process.
        Turn::Kill => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
        _ => {}
    }
}

/// A chat completion of 3 input and 16 output tokens, compressed once.
#[rustfmt::skip]
pub const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xa5, 0x4f, 0xd1, 0x0a, 0xc2, 0x30, 0x0c, 0xfc, 0x95, 0x91,
    0x67, 0x27, 0x0e, 0x41, 0xd1, 0x5f, 0x11, 0x19, 0xb5, 0x8b, 0x5b, 0xb5, 0x6b, 0xc6, 0x12, 0x41, 0x1c, 0xfd, 0x77, 0xd3,
    0xea, 0xd4, 0x77, 0x0b, 0x85, 0xe4, 0x2e, 0x77, 0x97, 0x4c, 0xe0, 0x1a, 0xd8, 0x17, 0x60, 0x3b, 0x23, 0xb6, 0x1f, 0x7c,
    0xd9, 0x3e, 0xdc, 0x00, 0x8b, 0x02, 0xe8, 0x74, 0x41, 0x2b, 0x33, 0xb5, 0xb4, 0xa4, 0x24, 0x8a, 0xa3, 0x90, 0x48, 0x3b,
    0xa2, 0x11, 0x4c, 0xc2, 0x6a, 0xbb, 0x7a, 0x3f, 0x85, 0x7b, 0x6a, 0xd0, 0x27, 0x89, 0x20, 0x4b, 0xf9, 0xea, 0xd2, 0x74,
    0x47, 0xce, 0x22, 0x2b, 0x71, 0x98, 0xc0, 0x85, 0x06, 0xef, 0x5a, 0xa6, 0xf9, 0xb3, 0x0b, 0x8e, 0xbb, 0x5a, 0xcd, 0x58,
    0x7d, 0x55, 0xc7, 0x42, 0x39, 0xbc, 0x47, 0x66, 0xd3, 0xa2, 0x42, 0x13, 0x8c, 0xe4, 0x53, 0x01, 0x86, 0xd9, 0xb1, 0x98,
    0x20, 0xd9, 0x92, 0x82, 0x60, 0xc8, 0xeb, 0x09, 0x5d, 0x8b, 0x7f, 0x3e, 0xc4, 0x78, 0x54, 0xc7, 0xdb, 0x27, 0x70, 0x18,
    0xf5, 0x56, 0xa9, 0x95, 0xc3, 0x90, 0x96, 0x5e, 0xe7, 0xbc, 0xf9, 0xfc, 0x2f, 0x5e, 0x6d, 0x16, 0x29, 0x5d, 0x8c, 0xff,
    0xc1, 0x76, 0x31, 0x3e, 0x01, 0x3b, 0xf5, 0x5a, 0x80, 0x53, 0x01, 0x00, 0x00,
];
