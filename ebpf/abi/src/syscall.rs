//! What kind of call each system call is. The numbers come from the architecture's table in the agent.

/// Numbers from here on are counted in the last slot.
pub const SYSCALL_NUMBERS: usize = 512;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)+) => {
        $($(#[$doc])* pub const $name: u8 = $n;)+
    };
}

classes! {
    /// Nothing special; blocks for reason "other".
    SYS_OTHER = 0;
    /// read(fd, buf, len)
    SYS_READ = 1;
    /// write(fd, buf, len)
    SYS_WRITE = 2;
    /// readv(fd, iov, n)
    SYS_READV = 3;
    SYS_WRITEV = 4;
    /// recvfrom(fd, buf, len, flags)
    SYS_RECVFROM = 5;
    /// sendto(fd, buf, len, flags)
    SYS_SENDTO = 6;
    /// recvmsg(fd, msghdr, flags)
    SYS_RECVMSG = 7;
    SYS_SENDMSG = 8;
    /// recvmmsg(fd, mmsghdr, n, flags)
    SYS_RECVMMSG = 9;
    SYS_SENDMMSG = 10;
    /// close(fd)
    SYS_CLOSE = 11;
    /// shutdown(fd, how)
    SYS_SHUTDOWN = 12;
    /// accept, accept4, connect: block for reason "socket", carry no payload.
    SYS_SOCKET_WAIT = 13;
    SYS_FUTEX = 14;
    SYS_POLL = 15;
    SYS_SLEEP = 16;
    /// File calls without payload of interest (fsync, pread64, openat, ...).
    SYS_FILE = 17;
    /// sendfile, splice: move bytes that are not seen.
    SYS_UNSEEN = 18;
    /// dup2(fd, new), dup3(fd, new, flags): close `new`.
    SYS_DUP = 20;
    /// io_uring_enter: sets in_iowait while it waits for anything.
    SYS_IO_URING = 19;
    /// pwrite64(fd, buf, len, at)
    SYS_PWRITE = 21;
    /// pwritev(fd, iov, n, at), pwritev2
    SYS_PWRITEV = 22;
    /// futex_wait, futex_waitv: their arguments do not tell a lock from work.
    SYS_FUTEX_WAITS = 23;
    /// restart_syscall: goes on with a call that a signal or a debugger interrupted.
    SYS_RESTART = 24;
}

/// The reason for which a thread blocks inside a call of this class.
#[inline(always)]
pub const fn blocking_state(class: u8) -> usize {
    match class {
        SYS_READ | SYS_WRITE | SYS_READV | SYS_WRITEV | SYS_PWRITE | SYS_PWRITEV | SYS_FILE | SYS_UNSEEN => {
            crate::STATE_FILE
        }
        SYS_RECVFROM | SYS_RECVMSG | SYS_RECVMMSG | SYS_SHUTDOWN | SYS_SOCKET_WAIT => crate::STATE_SOCKET,
        SYS_SENDTO | SYS_SENDMSG | SYS_SENDMMSG => crate::STATE_SEND,
        SYS_FUTEX | SYS_FUTEX_WAITS => crate::STATE_FUTEX,
        SYS_POLL | SYS_IO_URING => crate::STATE_POLL,
        SYS_SLEEP => crate::STATE_SLEEP,
        _ => crate::STATE_OTHER,
    }
}
