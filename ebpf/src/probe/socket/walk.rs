//! The way through the buffers of one call: one buffer, an iovec array, a msghdr, or an array of those.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use inferscope_abi::{
    SYS_READ, SYS_READV, SYS_RECVFROM, SYS_RECVMMSG, SYS_RECVMSG, SYS_SENDMMSG, SYS_SENDMSG, SYS_SENDTO, SYS_WRITE,
    SYS_WRITEV,
};

use super::Call;
use crate::kernel::read_user;

/// Messages of one recvmmsg or sendmmsg call that are added up.
const MESSAGES: u64 = 32;

/// Vectors of a write that are added up to see whether it wrote all.
const VECTORS: u64 = 8;

/// struct iovec, msghdr and mmsghdr of the 64-bit system call interface.
const IOVEC_BYTES: u64 = 16;
const MSGHDR_IOV: u64 = 16;
const MMSGHDR_BYTES: u64 = 64;
const MMSGHDR_LEN: u64 = 56;

/// Where the loop stands. It lives in map memory: what the verifier reads from there it takes for any number, so that
/// each step looks to it like the one before, and it need not walk all the ways of getting there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walk {
    /// The rest of the present buffer.
    pub base: u64,
    pub left: u64,
    /// The next iovec, and how many there are still.
    pub iov: u64,
    pub iovs: u64,
    /// The next mmsghdr, and how many there are still.
    pub message: u64,
    pub messages: u64,
    /// Bytes of the present message that are not taken yet.
    pub message_left: u64,
    /// Bytes still to be captured before those left out, to be left out, and in all.
    pub head_left: u64,
    pub skip_left: u64,
    pub total_left: u64,
    /// Bytes left out so far that no record stands for yet.
    pub skipped: u64,
    /// Bytes in the record that is being put together.
    pub filled: u64,
}

impl Walk {
    #[inline(always)]
    pub fn new(call: &Call) -> Option<Self> {
        let mut at = Walk {
            base: 0,
            left: 0,
            iov: 0,
            iovs: 0,
            message: 0,
            messages: 0,
            message_left: call.result,
            head_left: 0,
            skip_left: 0,
            total_left: 0,
            skipped: 0,
            filled: 0,
        };
        match call.class {
            SYS_READ | SYS_WRITE | SYS_RECVFROM | SYS_SENDTO => (at.base, at.left) = (call.buffer, call.result),
            // The third argument, the number of vectors, bounds nothing here: the bytes moved do.
            SYS_READV | SYS_WRITEV => (at.iov, at.iovs) = (call.buffer, u64::MAX),
            SYS_RECVMSG | SYS_SENDMSG => at.header(call.buffer)?,
            SYS_RECVMMSG | SYS_SENDMMSG => {
                let messages = if call.result < MESSAGES { call.result } else { MESSAGES };
                (at.message, at.messages, at.message_left) = (call.buffer, messages, 0);
                at.next_message()?;
            }
            _ => return None,
        }
        Some(at)
    }

    #[inline(always)]
    fn header(&mut self, msghdr: u64) -> Option<()> {
        let [iov, iovs]: [u64; 2] = read_user(msghdr + MSGHDR_IOV)?;
        (self.iov, self.iovs) = (iov, iovs);
        Some(())
    }

    #[inline(always)]
    pub fn next_message(&mut self) -> Option<()> {
        self.header(self.message)?;
        self.message_left = message_bytes(self.message);
        self.left = 0;
        self.messages -= 1;
        self.message += MMSGHDR_BYTES;
        Some(())
    }

    #[inline(always)]
    pub fn next_buffer(&mut self) -> Option<()> {
        let [base, len]: [u64; 2] = read_user(self.iov)?;
        self.base = base;
        self.left = if len < self.message_left { len } else { self.message_left };
        self.iov += IOVEC_BYTES;
        self.iovs -= 1;
        Some(())
    }
}

/// The call's first buffer that holds anything; what `sniff` looks at.
#[inline(always)]
pub fn first_buffer(call: &Call) -> Option<(u64, u64)> {
    let mut at = Walk::new(call)?;
    for _ in 0..4 {
        if at.left != 0 {
            return Some((at.base, at.left));
        }
        if at.iovs == 0 {
            return None;
        }
        at.next_buffer()?;
    }
    None
}

/// Bytes that a call was to write; 0 where that is not known: of several messages, and beyond the vectors that are looked
/// at. Costs a read of each vector.
#[inline(always)]
pub fn asked_bytes(call: &Call) -> u64 {
    let (mut iov, iovs) = match call.class {
        SYS_WRITE | SYS_SENDTO => return call.asked,
        SYS_WRITEV => (call.buffer, call.asked),
        SYS_SENDMSG => match read_user::<[u64; 2]>(call.buffer + MSGHDR_IOV) {
            Some([iov, iovs]) => (iov, iovs),
            None => return 0,
        },
        _ => return 0,
    };
    let mut total = 0;
    for vector in 0..VECTORS {
        if vector >= iovs {
            return total;
        }
        let Some([_, len]) = read_user::<[u64; 2]>(iov) else { return 0 };
        total += len;
        iov += IOVEC_BYTES;
    }
    total
}

/// Bytes that the call moved.
#[inline(always)]
pub fn moved_bytes(call: &Call) -> u64 {
    if call.class != SYS_RECVMMSG && call.class != SYS_SENDMMSG {
        return call.result;
    }
    let mut total = 0;
    for message in 0..MESSAGES {
        if message >= call.result {
            break;
        }
        total += message_bytes(call.buffer + message * MMSGHDR_BYTES);
    }
    // How much the messages beyond these moved is not known. One byte that never comes stands for them, so that the
    // loss is counted and the agent sees a gap.
    if call.result > MESSAGES { total + 1 } else { total }
}

/// `msg_len` of a struct mmsghdr; 0 where it can't be read.
#[inline(always)]
fn message_bytes(mmsghdr: u64) -> u64 {
    let mut bytes = 0u32;
    let from = (mmsghdr + MMSGHDR_LEN) as *const core::ffi::c_void;
    // SAFETY: four bytes of stack, which the helper zeroes where it fails.
    unsafe { bpf_probe_read_user((&raw mut bytes).cast(), 4, from) };
    u64::from(bytes)
}
