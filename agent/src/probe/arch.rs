//! What differs between processors: system call numbers and the registers of their arguments. A new processor is a
//! new table here.

use inferscope_abi as abi;
use inferscope_abi::SYSCALL_NUMBERS;

/// The field of `struct pt_regs` that holds the number of the system call from its beginning to its end.
#[cfg(target_arch = "x86_64")]
pub const NUMBER_REGISTER: &str = "orig_ax";
#[cfg(target_arch = "aarch64")]
pub const NUMBER_REGISTER: &str = "syscallno";

/// Offsets in `struct pt_regs` of the first six arguments of a system call, where they lie until its end; `field` gives
/// the offset of the `index`th eight-byte word behind a field.
#[cfg(target_arch = "x86_64")]
pub fn argument_registers<E>(field: impl Fn(&str, u32) -> Result<u32, E>) -> Result<[u32; 6], E> {
    Ok([field("di", 0)?, field("si", 0)?, field("dx", 0)?, field("r10", 0)?, field("r8", 0)?, field("r9", 0)?])
}

#[cfg(target_arch = "aarch64")]
pub fn argument_registers<E>(field: impl Fn(&str, u32) -> Result<u32, E>) -> Result<[u32; 6], E> {
    let regs = |index| field("regs", index);
    // The result takes the place of the first.
    Ok([field("orig_x0", 0)?, regs(1)?, regs(2)?, regs(3)?, regs(4)?, regs(5)?])
}

/// Class and numbers; libc knows the numbers of every processor.
const CLASSES: &[(u8, &[libc::c_long])] = &[
    (abi::SYS_READ, &[libc::SYS_read]),
    (abi::SYS_WRITE, &[libc::SYS_write]),
    (abi::SYS_READV, &[libc::SYS_readv]),
    (abi::SYS_WRITEV, &[libc::SYS_writev]),
    (abi::SYS_RECVFROM, &[libc::SYS_recvfrom]),
    (abi::SYS_SENDTO, &[libc::SYS_sendto]),
    (abi::SYS_RECVMSG, &[libc::SYS_recvmsg]),
    (abi::SYS_SENDMSG, &[libc::SYS_sendmsg]),
    (abi::SYS_RECVMMSG, &[libc::SYS_recvmmsg]),
    (abi::SYS_SENDMMSG, &[libc::SYS_sendmmsg]),
    (abi::SYS_PWRITE, &[libc::SYS_pwrite64]),
    (abi::SYS_PWRITEV, &[libc::SYS_pwritev, libc::SYS_pwritev2]),
    (abi::SYS_CLOSE, &[libc::SYS_close]),
    (abi::SYS_SHUTDOWN, &[libc::SYS_shutdown]),
    (abi::SYS_DUP, &[libc::SYS_dup3]),
    #[cfg(target_arch = "x86_64")]
    (abi::SYS_DUP, &[libc::SYS_dup2]),
    (abi::SYS_SOCKET_WAIT, &[libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect]),
    (abi::SYS_FUTEX, &[libc::SYS_futex]),
    (abi::SYS_FUTEX_WAITS, &[SYS_FUTEX_WAITV, SYS_FUTEX_WAIT]),
    (abi::SYS_RESTART, &[libc::SYS_restart_syscall]),
    (abi::SYS_POLL, &[libc::SYS_epoll_pwait, SYS_EPOLL_PWAIT2, libc::SYS_ppoll, libc::SYS_pselect6]),
    #[cfg(target_arch = "x86_64")]
    (abi::SYS_POLL, &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_select]),
    (abi::SYS_SLEEP, &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep]),
    (
        abi::SYS_FILE,
        &[
            libc::SYS_pread64,
            libc::SYS_preadv,
            libc::SYS_preadv2,
            libc::SYS_openat,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
            libc::SYS_sync_file_range,
            libc::SYS_ftruncate,
            libc::SYS_fallocate,
            libc::SYS_getdents64,
            libc::SYS_statx,
            libc::SYS_flock,
            libc::SYS_copy_file_range,
        ],
    ),
    (abi::SYS_UNSEEN, UNSEEN),
    (abi::SYS_IO_URING, &[libc::SYS_io_uring_enter]),
];

/// Calls that move bytes whose content no hook here sees, with the word that the metrics say for it.
pub const UNSEEN: &[libc::c_long] = &[libc::SYS_sendfile, libc::SYS_splice, libc::SYS_tee, libc::SYS_vmsplice];

// The same numbers on every processor from here on; libc lacks some.
const SYS_EPOLL_PWAIT2: libc::c_long = 441;
const SYS_FUTEX_WAITV: libc::c_long = 449;
const SYS_FUTEX_WAIT: libc::c_long = 455;

/// Class of every system call number.
pub fn syscall_classes() -> [u8; SYSCALL_NUMBERS] {
    let mut classes = [abi::SYS_OTHER; SYSCALL_NUMBERS];
    for (class, numbers) in CLASSES {
        for number in *numbers {
            classes[*number as usize] = *class;
        }
    }
    classes
}

/// The kernel's name of a system call; its number where this build does not know it.
pub fn syscall_name(number: u32) -> std::borrow::Cow<'static, str> {
    match syscalls::Sysno::new(number as usize) {
        Some(known) => known.name().into(),
        None => number.to_string().into(),
    }
}

/// Whether a call receives what it moves; else it sends.
pub fn receives(number: u32) -> bool {
    const RECEIVING: [libc::c_long; 5] =
        [libc::SYS_read, libc::SYS_readv, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg];
    RECEIVING.contains(&libc::c_long::from(number))
}

/// Whether a call can move payload that is not visible.
pub fn is_unseen(number: u32) -> bool {
    let number = libc::c_long::from(number);
    UNSEEN.contains(&number) || number == libc::SYS_io_uring_enter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_has_two_classes() {
        let mut seen = std::collections::HashSet::new();
        for (_, numbers) in CLASSES {
            for number in *numbers {
                assert!(seen.insert(*number), "{number} stands twice");
            }
        }
    }
}
