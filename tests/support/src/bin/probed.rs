//! A program to hang probes into: a function with arguments and a result, a USDT probe with a semaphore (as
//! SystemTap's sys/sdt.h writes it), and a few system calls that nothing else makes. Says `ready pid N`; each line with a
//! number on standard input is so many rounds, answered with one line of JSON.

use std::ffi::CString;
use std::hint::black_box;
use std::io::BufRead;

/// Names that rounds take in turn.
const NAMES: [&std::ffi::CStr; 3] = [c"alpha", c"beta", c"gamma"];

/// Above zero while anybody looks at the USDT probe; the kernel counts here, in a page of the program's data.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".probes")]
pub static mut probed_item_semaphore: u16 = 0;

/// What the uprobes hang at: who asked, by what name, for how much. Gives back a negative 32-bit number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn probed_call(who: i32, name: *const libc::c_char, amount: u64) -> i32 {
    black_box((who, name, amount));
    black_box(-(amount as i32))
}

/// The USDT probe probed:item(who: i32, name: char *, amount: u64); reached only while its semaphore says so.
#[inline(never)]
fn item(who: i32, name: *const libc::c_char, amount: u64) -> u64 {
    // SAFETY: a static of this program; nobody but the kernel writes to it.
    if unsafe { std::ptr::read_volatile(&raw const probed_item_semaphore) } == 0 {
        return 0;
    }
    // SAFETY: one instruction without effect; the rest is a note for whoever looks for probes.
    unsafe { note(who, name, amount) };
    1
}

macro_rules! note {
    ($arguments:literal, $($operands:tt)+) => {
        std::arch::asm!(
            "990: nop",
            ".pushsection .note.stapsdt,\"\",%note",
            ".balign 4",
            ".4byte 992f-991f, 994f-993f, 3",
            "991: .asciz \"stapsdt\"",
            "992: .balign 4",
            "993: .8byte 990b",
            ".8byte _.stapsdt.base",
            ".8byte probed_item_semaphore",
            ".asciz \"probed\"",
            ".asciz \"item\"",
            concat!(".asciz \"", $arguments, "\""),
            "994: .balign 4",
            ".popsection",
            ".ifndef _.stapsdt.base",
            ".pushsection .stapsdt.base,\"aGR\",%progbits,.stapsdt.base,comdat",
            ".weak _.stapsdt.base",
            ".hidden _.stapsdt.base",
            "_.stapsdt.base: .space 1",
            ".size _.stapsdt.base, 1",
            ".popsection",
            ".endif",
            $($operands)+
        )
    };
}

/// The amount lies in memory, as what a compiler keeps on its stack does; the last argument is a constant.
///
/// # Safety
/// None is needed: the one instruction does nothing.
#[inline(never)]
unsafe fn note(who: i32, name: *const libc::c_char, amount: u64) {
    let kept = black_box([0, amount]);
    // SAFETY: one instruction without effect, and registers that it is told of.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        note!("-4@%ecx 8@%rsi 8@8(%rdx) -4@$-7", in("ecx") who, in("rsi") name, in("rdx") kept.as_ptr(),
            options(att_syntax, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        note!("-4@w1 8@x2 8@[x3, 8] -4@-7", in("w1") who, in("x2") name, in("x3") kept.as_ptr(),
            options(nostack, preserves_flags));
    }
}

/// One round: each of the places once.
fn round(at: u64) -> u64 {
    let (who, name, amount) = ((at % 3) as i32, NAMES[(at % 3) as usize].as_ptr(), 100 * at);
    probed_call(who - 1, name, amount);
    let reached = item(who - 1, name, amount);
    // Gives back what it was set to before: the number of the round before this one.
    // SAFETY: an integer.
    unsafe { libc::umask((at % 8) as libc::mode_t) };
    // SAFETY: integers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let renamed = CString::new(format!("round-{}", at % 3)).expect("a name without a zero");
    // SAFETY: a text with its end.
    unsafe { libc::prctl(libc::PR_SET_NAME, renamed.as_ptr()) };
    reached
}

fn main() {
    println!("ready pid {}", std::process::id());
    for line in std::io::stdin().lock().lines() {
        let Ok(rounds) = line.unwrap_or_default().trim().parse::<u64>() else { break };
        // SAFETY: an integer. Each row of rounds begins with the same mask.
        let before = unsafe { libc::umask(0) };
        let reached: u64 = (0..rounds).map(round).sum();
        println!("{{\"rounds\": {rounds}, \"reached\": {reached}, \"mask_before\": {before}}}");
    }
}
