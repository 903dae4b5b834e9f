//! Reading kernel memory, in the two ways that the two kinds of hook allow, and small wrappers of helpers.

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_probe_read_user};

/// How a program may read behind the pointers that its hook gives it.
pub trait Read {
    /// Four bytes at `base + offset`; 0 where they can't be read.
    ///
    /// # Safety
    /// `base` is a pointer that the hook handed over, `offset` a constant from CONFIG.
    unsafe fn u32(base: *const u8, offset: u32) -> u32;
    /// Eight bytes.
    ///
    /// # Safety
    /// As for `u32`.
    unsafe fn u64(base: *const u8, offset: u32) -> u64;
    /// One byte.
    ///
    /// # Safety
    /// As for `u32`.
    unsafe fn u8(base: *const u8, offset: u32) -> u8;
    /// Whether pointers that were read may be read from in the same way.
    const TYPED: bool;
}

/// tp_btf: the verifier knows the type, plain loads are allowed (5.5).
pub struct Typed;
/// Raw tracepoint: every read goes through a helper.
pub struct Untyped;

impl Read for Typed {
    const TYPED: bool = true;
    #[inline(always)]
    unsafe fn u32(base: *const u8, offset: u32) -> u32 {
        // SAFETY: a typed pointer of the hook.
        unsafe { core::ptr::read_volatile(base.add(offset as usize).cast()) }
    }
    #[inline(always)]
    unsafe fn u64(base: *const u8, offset: u32) -> u64 {
        // SAFETY: a typed pointer of the hook.
        unsafe { core::ptr::read_volatile(base.add(offset as usize).cast()) }
    }
    #[inline(always)]
    unsafe fn u8(base: *const u8, offset: u32) -> u8 {
        // SAFETY: a typed pointer of the hook.
        unsafe { core::ptr::read_volatile(base.add(offset as usize)) }
    }
}

impl Read for Untyped {
    const TYPED: bool = false;
    #[inline(always)]
    unsafe fn u32(base: *const u8, offset: u32) -> u32 {
        read(base as u64, offset).unwrap_or(0)
    }
    #[inline(always)]
    unsafe fn u64(base: *const u8, offset: u32) -> u64 {
        read(base as u64, offset).unwrap_or(0)
    }
    #[inline(always)]
    unsafe fn u8(base: *const u8, offset: u32) -> u8 {
        read(base as u64, offset).unwrap_or(0)
    }
}

/// Reads a `T`, an integer or an array of them, at a kernel address; any address is safe to ask for.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let from = (base + u64::from(offset)) as *const c_void;
    // SAFETY: room for a `T`; the helper checks the address.
    let failed = unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from) };
    // SAFETY: zeroes or what was read; both are values of an integer.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Like [`read`], at an address of the current process.
#[inline(always)]
pub fn read_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let from = address as *const c_void;
    // SAFETY: room for a `T`; the helper checks the address.
    let failed = unsafe { bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, from) };
    // SAFETY: zeroes or what was read; both are values of an integer.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Hides from the compiler what it knows about a number, so that it keeps the bounds check that follows: the verifier
/// does not know it.
#[inline(always)]
pub fn opaque(number: usize) -> usize {
    let mut number = number;
    // SAFETY: one register to itself.
    unsafe { asm!("{0} = {0}", inlateout(reg) number) };
    number
}

/// A pointer that the hook gave as a number, which a function of its own takes ("R1 is not a scalar" otherwise) and an
/// offset that is not constant may be added to. To the verifier the result of a negation is a number on every kernel.
#[inline(always)]
pub fn number(pointer: *const c_void) -> u64 {
    let mut number = pointer as u64;
    // SAFETY: one register to itself, negated twice.
    unsafe { asm!("{0} = -{0}", "{0} = -{0}", inlateout(reg) number) };
    number
}

/// CLOCK_MONOTONIC nanoseconds.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
