//! Whether a call's first bytes begin an HTTP request. Until then nothing of a connection is copied.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use inferscope_abi::Lost;

use super::{Call, walk::first_buffer};
use crate::emit::lost;

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

/// A first piece shorter than its method is taken if it agrees as far as it goes.
#[inline(always)]
pub fn begins_http(call: &Call) -> bool {
    if call.blind != 0 {
        return false;
    }
    let Some((base, len)) = first_buffer(call) else { return false };
    let len = if len < call.result || call.result == 0 { len } else { call.result };
    let have = if len > 8 { 8 } else { len as u32 };
    if have == 0 {
        return false;
    }
    let mut first = 0u64;
    // SAFETY: eight bytes of stack; the helper checks the address.
    if unsafe { bpf_probe_read_user((&raw mut first).cast(), have, base as *const core::ffi::c_void) } != 0 {
        lost(Lost::UserRead);
        return false;
    }
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
