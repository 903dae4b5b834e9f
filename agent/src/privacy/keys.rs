//! The key of the hashes: random, in memory only, another one after each interval. Its id says which hashes can be
//! compared with each other, and nothing about the key.

use std::{
    fmt,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a hash that are told: more than enough to tell texts apart.
const TOLD: usize = 16;

/// A hash under way. Begun with the key of then, whatever comes to take its place.
#[derive(Clone)]
pub struct Hashing {
    mac: Hmac<Sha256>,
    id: [u8; 4],
}

/// A finished hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Hexadecimal.
    pub hash: String,
    pub key_id: String,
}

/// The key of now.
pub struct Keys {
    secret: Zeroizing<[u8; 32]>,
    id: [u8; 4],
    since: Instant,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &hex(&self.id)).finish_non_exhaustive()
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashing").field("id", &hex(&self.id)).finish_non_exhaustive()
    }
}

impl Keys {
    pub fn new(now: Instant) -> Self {
        let (mut secret, mut id) = (Zeroizing::new([0; 32]), [0; 4]);
        fill(&mut secret[..]);
        fill(&mut id);
        Self { secret, id, since: now }
    }

    /// A hash with the key of `now`, which may be a new one.
    pub fn begin(&mut self, now: Instant, interval: Duration) -> Hashing {
        if now.saturating_duration_since(self.since) >= interval {
            *self = Self::new(now);
        }
        let mac = Hmac::new_from_slice(&self.secret[..]).expect("HMAC takes keys of any length");
        Hashing { mac, id: self.id }
    }
}

impl Hashing {
    pub fn add(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
    }

    pub fn end(self) -> Hash {
        Hash { hash: hex(&self.mac.finalize().into_bytes()[..TOLD]), key_id: hex(&self.id) }
    }
}

/// The kernel's random numbers. Before it has any at boot this waits.
fn fill(mut out: &mut [u8]) {
    while !out.is_empty() {
        match getrandom(&mut *out, GetRandomFlags::empty()) {
            Ok(count) => out = &mut out[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the kernel has no random numbers: {error}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
