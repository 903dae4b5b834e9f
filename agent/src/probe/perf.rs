//! Perf events that run a program: a tracepoint, or a place in a file of programs, for all processes. Dropping one takes
//! the program off. Written out, for aya's ways neither take a USDT probe's semaphore nor a program on many places.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// PERF_TYPE_TRACEPOINT of linux/perf_event.h.
const TYPE_TRACEPOINT: u32 = 2;
/// PERF_ATTR_SIZE_VER1: all that is wanted here.
const SIZE: u32 = 72;
const FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// PERF_EVENT_IOC_ENABLE and PERF_EVENT_IOC_SET_BPF: _IO('$', 0) and _IOW('$', 8, __u32).
const ENABLE: u64 = 0x2400;
const SET_BPF: u64 = 0x4004_2408;
/// Where the kernel says the number of its perf event type for probes in programs (4.17), and that it counts a semaphore
/// (4.20).
const UPROBE: &str = "/sys/bus/event_source/devices/uprobe";

/// The first part of `struct perf_event_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint: u32,
    /// Address of a probe's path.
    config1: u64,
    /// Offset of a probe in its file.
    config2: u64,
}

const _: () = assert!(size_of::<Attributes>() == SIZE as usize);

/// A program that hangs somewhere.
#[derive(Debug)]
pub struct Attached(#[expect(dead_code, reason = "closing it takes the program off")] OwnedFd);

/// A place in a file of programs.
#[derive(Debug, Clone, Copy)]
pub struct FilePlace<'a> {
    pub path: &'a Path,
    pub offset: u64,
    /// Where its semaphore lies in the file, if it has one: it is above zero while anybody looks at the probe.
    pub semaphore: Option<u64>,
    /// At the function's return, not at its beginning.
    pub returns: bool,
}

fn open(attributes: &Attributes, program: BorrowedFd<'_>) -> io::Result<Attached> {
    // One event on one CPU: a program hangs on the tracepoint or the probe, not on the event, and runs on every CPU.
    let (all_processes, cpu, no_group) = (-1, 0, -1);
    // SAFETY: the attributes are as long as they say, and what they point to outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attributes),
            all_processes,
            cpu,
            no_group,
            FLAG_FD_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both take an integer, and both descriptors are open.
        if unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(Attached(fd))
}

/// Runs a program at a tracepoint, which has this number in tracefs. Errors: the kernel's.
pub fn tracepoint(id: u64, program: BorrowedFd<'_>) -> io::Result<Attached> {
    let attributes =
        Attributes { kind: TYPE_TRACEPOINT, size: SIZE, config: id, sample_period: 1, ..Attributes::default() };
    open(&attributes, program)
}

/// Runs a program whenever any process comes by a place in a file. Errors: the kernel's; it has no probes in programs;
/// it has them and counts no semaphore.
pub fn uprobe(place: FilePlace<'_>, program: BorrowedFd<'_>) -> io::Result<Attached> {
    let unsupported = |what| io::Error::new(io::ErrorKind::Unsupported, what);
    let kind = fs::read_to_string(format!("{UPROBE}/type")).ok().and_then(|text| text.trim().parse().ok());
    let kind = kind.ok_or_else(|| {
        unsupported("this kernel has no probes in programs (CONFIG_UPROBE_EVENTS), or /sys is not mounted")
    })?;
    let mut config = 0;
    if place.returns {
        config |= 1 << bit(&fs::read_to_string(format!("{UPROBE}/format/retprobe")).unwrap_or_default()).unwrap_or(0);
    }
    if let Some(semaphore) = place.semaphore {
        let first = bit(&fs::read_to_string(format!("{UPROBE}/format/ref_ctr_offset")).unwrap_or_default())
            .ok_or_else(|| unsupported("this kernel (before 4.20) does not count the semaphore of a USDT probe"))?;
        if semaphore >> (64 - first) != 0 {
            return Err(unsupported("the probe's semaphore lies too far behind in its file"));
        }
        config |= semaphore << first;
    }
    let path = CString::new(place.path.as_os_str().as_bytes())?;
    let attributes = Attributes {
        kind,
        size: SIZE,
        config,
        sample_period: 1,
        config1: path.as_ptr() as u64,
        config2: place.offset,
        ..Attributes::default()
    };
    open(&attributes, program)
}

/// The first bit of a format such as `config:32-63`.
fn bit(format: &str) -> Option<u32> {
    let bits = format.trim().strip_prefix("config:")?;
    bits.split('-').next()?.parse().ok().filter(|bit| (0..64).contains(bit) && (*bit != 0 || !bits.contains('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_the_attributes() {
        assert_eq!(bit("config:0\n"), Some(0));
        assert_eq!(bit("config:32-63\n"), Some(32));
        for wrong in ["", "config1:0", "config:", "config:64-70", "config:0-63"] {
            assert_eq!(bit(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ioctl_numbers_are_those_of_the_header() {
        assert_eq!(ENABLE, u64::from(b'$') << 8);
        assert_eq!(SET_BPF, 1 << 30 | 4 << 16 | u64::from(b'$') << 8 | 8);
    }
}
