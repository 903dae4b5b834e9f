//! What a host may withhold from a program: root, calls, locked memory, mounts. Each takes effect in the child, between
//! fork and exec, so that the program meets the kernel's own refusal and knows nothing of a test.

use anyhow::{Context, Result};
use std::ffi::CString;
use std::io::{Error, Result as IoResult};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

const NOBODY: u32 = 65534;
const CAP_SYS_RESOURCE: libc::c_ulong = 24;

/// Runs the program as nobody, without a capability.
pub fn as_nobody(command: &mut Command) {
    command.uid(NOBODY).gid(NOBODY);
}

/// Runs the program with these capabilities (a mask of capability.h's numbers) and no others; as root, or as nobody with
/// ambient capabilities.
pub fn only(command: &mut Command, capabilities: u64, root: bool) {
    // SAFETY: system calls only, on values that the closure owns.
    unsafe {
        command.pre_exec(move || {
            for number in (0..64).filter(|number| capabilities & (1 << number) == 0) {
                // A number that the kernel does not know is none that it has.
                libc::prctl(libc::PR_CAPBSET_DROP, number as libc::c_ulong, 0, 0, 0);
            }
            if root {
                return Ok(());
            }
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setgid(NOBODY))?;
            check(libc::setuid(NOBODY))?;
            // struct __user_cap_header_struct of version 3, and effective, permitted, inheritable for each half.
            let header = [0x2008_0522_u32, 0];
            let (low, high) = (capabilities as u32, (capabilities >> 32) as u32);
            let sets = [low, low, low, high, high, high];
            if libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) != 0 {
                return Err(Error::last_os_error());
            }
            (0..64).filter(|number| capabilities & (1 << number) != 0).try_for_each(|number: u64| {
                check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number as libc::c_ulong, 0, 0))
            })
        });
    }
}

/// Locked memory of 64 KiB, and no right to raise it.
pub fn little_locked_memory(command: &mut Command) {
    let limit = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
    // SAFETY: system calls only, on values that outlive them.
    unsafe {
        command.pre_exec(move || {
            check(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit))?;
            check(libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0))
        });
    }
}

/// Files of so many bytes at most, as on a disk that is full; until [`lift_file_size`].
pub fn small_files(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: system calls only, on a value that the closure owns. Ignored, the signal leaves the call its error.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            check(libc::setrlimit(libc::RLIMIT_FSIZE, &limit))
        });
    }
}

/// Ends [`small_files`] for a running program.
pub fn lift_file_size(pid: u32) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: one valid limit, and no room for the old one.
    check(unsafe { libc::prlimit(pid as i32, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) })
        .context("prlimit")
}

/// The kernel answers EPERM to this call, or only where its first argument is `first`: as a container's seccomp does.
pub fn refuse_call(command: &mut Command, number: libc::c_long, first: Option<u32>) {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, jf, value);
    let answer = |value| step(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let refusal = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    // Offsets of struct seccomp_data: the number at 0, the low half of the first argument at 16.
    let filter = match first {
        Some(first) => {
            vec![load(0), equal(number as u32, 3), load(16), equal(first, 1), refusal, answer(libc::SECCOMP_RET_ALLOW)]
        }
        None => vec![load(0), equal(number as u32, 1), refusal, answer(libc::SECCOMP_RET_ALLOW)],
    };
    // SAFETY: system calls only; the filter belongs to the closure.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0))
        });
    }
}

/// An empty directory in place of `path`, for this program alone.
pub fn hide(command: &mut Command, path: &str) -> Result<()> {
    let path = CString::new(path)?;
    // SAFETY: system calls only, on strings that the closure owns.
    unsafe {
        command.pre_exec(move || {
            own_mounts()?;
            check(libc::mount(c"none".as_ptr(), path.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()))
        });
    }
    Ok(())
}

/// No file system of this kind is mounted, for this program alone.
pub fn unmount(command: &mut Command, kind: &str) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let of_kind = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, its_kind) = (fields.next()?, fields.next()?);
        (its_kind == kind).then(|| CString::new(path).ok())?
    });
    let mut paths: Vec<CString> = of_kind.collect();
    // What was mounted last lies on top.
    paths.reverse();
    // SAFETY: system calls only, on strings that the closure owns.
    unsafe {
        command.pre_exec(move || {
            own_mounts()?;
            paths.iter().try_for_each(|path| check(libc::umount2(path.as_ptr(), libc::MNT_DETACH)))
        });
    }
    Ok(())
}

/// Gives the program a network of its own, of which there is only the loopback.
pub fn own_network(command: &mut Command) {
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(|| {
            check(libc::unshare(libc::CLONE_NEWNET))?;
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            let mut loopback: libc::ifreq = std::mem::zeroed();
            loopback.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
            loopback.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
            check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const loopback))
        });
    }
}

/// Runs this in the network namespace of a process, on a thread of its own.
pub fn within_network<T: Send>(pid: u32, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
    let entered = || {
        // SAFETY: a descriptor that is open.
        check(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) })?;
        run()
    };
    std::thread::scope(|scope| scope.spawn(entered).join().expect("what is run does not panic"))
}

/// Mounts from here on are this process' own.
fn own_mounts() -> IoResult<()> {
    // SAFETY: constant strings and null pointers where mount(2) takes them.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()))
    }
}

fn check(result: libc::c_int) -> IoResult<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
