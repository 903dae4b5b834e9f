//! Whether a call's first bytes begin an HTTP request, or a message between the front of an engine and its core. Until
//! then nothing of a connection is copied.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use inferscope_abi::{DIR_TX, Lost, PROTOCOL_HTTP, PROTOCOL_ZMTP, TRAIT_ZMTP};

use super::{Call, walk::first_buffer};
use crate::{emit::lost, watch};

/// Neither.
pub const NONE: u8 = u8::MAX;

/// The first eight bytes of a request in little-endian order, and how many of them count.
const BEGINNINGS: [(u64, u32); 9] = [
    (word(b"POST "), 5),
    (word(b"GET "), 4),
    (word(b"PUT "), 4),
    (word(b"HEAD "), 5),
    (word(b"DELETE "), 7),
    (word(b"OPTIONS "), 8),
    (word(b"PATCH "), 6),
    (word(b"CONNECT "), 8),
    // The HTTP/2 preface.
    (word(b"PRI * HT"), 8),
];

/// A TLS handshake record of version 3.x that carries a ClientHello.
const TLS_CLIENT_HELLO: (u64, u64) = (0x01_00_00_00_03_16, 0xff_00_00_00_ff_ff);

/// The same where only the record's header is read, as OpenSSL does: the first one of a connection says version 3.1.
const TLS_FIRST_RECORD: (u64, u64) = (0x0001_0316, 0x00ff_ffff);

const fn word(bytes: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = 0;
    while at < bytes.len() {
        word |= (bytes[at] as u64) << (8 * at);
        at += 1;
    }
    word
}

/// The lowest `bytes` bytes.
#[inline(always)]
const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// A `PROTOCOL_*` or [`NONE`].
#[inline(always)]
pub fn protocol(call: &Call, mark: u16) -> u8 {
    if call.blind != 0 {
        return NONE;
    }
    let Some((base, len)) = first_buffer(call) else { return NONE };
    let len = if len < call.result || call.result == 0 { len } else { call.result };
    let have = if len > 16 { 16 } else { len as u32 };
    if have == 0 {
        return NONE;
    }
    let mut begin = [0u64; 2];
    // SAFETY: sixteen bytes of stack; the helper checks the address.
    if unsafe { bpf_probe_read_user((&raw mut begin).cast(), have, base as *const core::ffi::c_void) } != 0 {
        lost(Lost::UserRead);
        return NONE;
    }
    let [first, second] = begin;
    // A server may take an empty line before a request (RFC 9112, 2.2).
    let (head, left) =
        if first & 0xffff == 0x0a0d && have > 2 { (first >> 16 | second << 48, have - 2) } else { (first, have) };
    if begins_http(head, if left > 8 { 8 } else { left }) {
        return PROTOCOL_HTTP;
    }
    if have == 16 && begins_message(first, second, call.direction) && watch::expects(mark, TRAIT_ZMTP) {
        return PROTOCOL_ZMTP;
    }
    NONE
}

/// A first piece shorter than its method is taken if it agrees as far as it goes.
#[inline(always)]
fn begins_http(first: u64, have: u32) -> bool {
    let hello = have >= 6 && first & TLS_CLIENT_HELLO.1 == TLS_CLIENT_HELLO.0;
    if hello || have == 5 && first & TLS_FIRST_RECORD.1 == TLS_FIRST_RECORD.0 {
        lost(Lost::Ciphertext);
        return false;
    }
    // The bytes that were not there are zeroes; shifted out, they agree with anything.
    let shift = 64 - 8 * u64::from(have);
    for (beginning, bytes) in BEGINNINGS {
        if ((first ^ beginning) & mask(bytes)) << shift == 0 {
            return true;
        }
    }
    false
}

/// The flags of a ZMTP frame (RFC 23): more frames follow, its length has eight bytes.
const MORE: u64 = 1;
const LONG: u64 = 2;

/// Whether the bytes begin what the front of vLLM or SGLang writes to its core or reads from it. Its own side alone is
/// looked at, so that nothing is captured twice; the other side has the same bytes in the other direction. Connections
/// have no greeting here that could be waited for: most of them are older than the watch.
#[inline(always)]
fn begins_message(first: u64, second: u64, direction: u8) -> bool {
    let flags = first & 0xff;
    if flags > MORE | LONG {
        return false;
    }
    // Of a long frame the length's upper half must be 0.
    if flags & LONG != 0 && (first >> 8) as u32 != 0 {
        return false;
    }
    let body = if flags & LONG != 0 { second >> 8 } else { first >> 16 };
    // A pickle of protocol 4 or 5 in one frame, or a MessagePack array that begins with the name of a type: SGLang.
    let pickle = body & 0xffff == 0x0480 || body & 0xffff == 0x0580;
    let inside = if body & 0xff == 0xdc { body >> 24 } else { body >> 8 };
    let (one, two) = (inside & 0xff, (inside >> 8) & 0xff);
    let array = is_array(body & 0xff);
    let capital = (0x41..=0x5a).contains(&two);
    if flags & MORE == 0 && (pickle || array && one & 0xe0 == 0xa0 && capital) {
        return true;
    }
    if direction == DIR_TX {
        // A frame of one byte, the type of the request, and another frame: vLLM.
        return first & 0xffff == 0x0101 && body & 0xff <= 5 && (body >> 8) & 0xff <= MORE | LONG;
    }
    // An array whose first is a small number and whose second is an array, or whose first is an array: vLLM.
    array && (is_array(one) || one < 0x80 && is_array(two))
}

/// The first byte of a MessagePack array with fewer than 65536 elements.
#[inline(always)]
const fn is_array(byte: u64) -> bool {
    byte & 0xf0 == 0x90 || byte == 0xdc
}
