//! Arrays that the kernel programs and the agent both see: mapped, so that reading a counter is a load.

use std::{
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result};
use inferscope_abi::{Counters, Process, STATES, StateSum};

/// Types of the ABI as aya and these arrays want them.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Wire<T: Copy>(pub T);

/// Plain integers without padding.
///
/// # Safety
/// Every bit pattern must be a value, and there must be no padding.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($t:ty),+) => { $(
        // SAFETY: defined in the ABI crate as integers and byte arrays with explicit padding.
        unsafe impl Plain for $t {}
        // SAFETY: as above; `Wire` is transparent.
        unsafe impl aya::Pod for Wire<$t> {}
    )+ };
}
plain!(
    inferscope_abi::Config,
    inferscope_abi::Connection,
    Counters,
    inferscope_abi::CustomCount,
    inferscope_abi::CustomKey,
    inferscope_abi::CustomRule,
    inferscope_abi::CustomSums,
    inferscope_abi::FileKey,
    inferscope_abi::LogRow,
    Process,
    inferscope_abi::SyscallKey,
    inferscope_abi::SyscallStats,
    inferscope_abi::Thread
);
// SAFETY: an integer.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}

/// A BPF array (BPF_F_MMAPABLE, 5.5) as memory. Values may change at any time: they are read word by word.
pub struct SharedArray<T: Plain> {
    base: NonNull<u8>,
    bytes: usize,
    len: usize,
    _values: PhantomData<T>,
}

// SAFETY: all access is by volatile loads and stores of plain integers.
unsafe impl<T: Plain> Send for SharedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Plain> Sync for SharedArray<T> {}

impl<T: Plain> SharedArray<T> {
    const STRIDE: usize = size_of::<T>();

    /// Maps `len` values of `T`, which must lie without gaps in the array's memory.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> Result<Self> {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = (len * Self::STRIDE).next_multiple_of(page);
        // SAFETY: a new mapping of a file descriptor that is open; the result is checked.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("cannot map a BPF array (kernels before 5.5 cannot)");
        }
        let base = NonNull::new(base.cast()).context("mmap returned a null pointer")?;
        Ok(Self { base, bytes, len, _values: PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of an element; None beyond the end. Each word of it is read at once, the whole is not.
    pub fn get(&self, index: usize) -> Option<T> {
        if index >= self.len {
            return None;
        }
        // SAFETY: within the mapping; `T` is plain, so a value torn between words is still a value.
        Some(unsafe { self.base.as_ptr().add(index * Self::STRIDE).cast::<T>().read_volatile() })
    }

    /// Stores a value; atomic in the kernel's eyes only for types of one machine word or less.
    pub fn set(&self, index: usize, value: T) -> bool {
        if index >= self.len {
            return false;
        }
        // SAFETY: within the mapping.
        unsafe { self.base.as_ptr().add(index * Self::STRIDE).cast::<T>().write_volatile(value) };
        true
    }
}

impl SharedArray<Process> {
    /// Makes a process another service's, with one store: its counters go on meanwhile.
    pub fn set_service(&self, index: usize, service: u32) -> bool {
        if index >= self.len {
            return false;
        }
        let at = index * Self::STRIDE + std::mem::offset_of!(Process, service);
        // SAFETY: within the mapping, and aligned as the field is.
        unsafe { self.base.as_ptr().add(at).cast::<u32>().write_volatile(service) };
        true
    }
}

/// Holds the time of threads by state.
pub trait States: Plain {
    /// Where in it its [`Counters`] are.
    const COUNTERS: usize;
}

impl States for Counters {
    const COUNTERS: usize = 0;
}

impl States for Process {
    const COUNTERS: usize = std::mem::offset_of!(Process, counters);
}

impl<T: States> SharedArray<T> {
    /// A thread leaves a state for good, as the kernel side would count it. Nothing where there is no such state.
    pub fn leave(&self, index: usize, state: usize, now_ns: u64) {
        if index >= self.len || state >= STATES {
            return;
        }
        let states = T::COUNTERS + std::mem::offset_of!(Counters, states);
        let at = index * Self::STRIDE + states + state * size_of::<StateSum>();
        let word = |offset: usize| {
            // SAFETY: within the mapping, of which the kernel side too adds to these words only atomically.
            unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at + offset).cast()) }
        };
        word(std::mem::offset_of!(StateSum, packed)).fetch_add(StateSum::leaving(now_ns), Ordering::Relaxed);
        word(std::mem::offset_of!(StateSum, n)).fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: Plain> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
