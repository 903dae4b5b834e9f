//! What the agent tells the kernel programs before they load: where fields of kernel structs lie (from the running
//! kernel's BTF) and the operator's settings. One read-only global, `CONFIG`; the verifier treats it as constants.

/// Offsets in bytes; a name is `<struct>_<field>` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    pub task_pid: u32,
    pub task_tgid: u32,
    /// `__state` since 5.14, `state` before.
    pub task_state: u32,
    pub task_exit_code: u32,
    pub task_signal: u32,
    pub task_files: u32,
    /// Byte that holds the bit-field `in_iowait`, and its mask in that byte.
    pub task_in_iowait: u32,
    pub task_in_iowait_mask: u32,
    /// Byte of the bit-field `in_memstall` and its mask in it; [`NO_OFFSET`] without CONFIG_PSI.
    pub task_in_memstall: u32,
    pub task_in_memstall_mask: u32,
    /// `se.cfs_rq`, and how many of a run queue's control groups are out of quota; [`NO_OFFSET`] without quotas.
    pub task_cfs_rq: u32,
    pub cfs_rq_throttle_count: u32,
    /// `thread_info.cpu` since 5.16, `cpu` before; [`NO_OFFSET`] where it is in neither.
    pub task_cpu: u32,
    /// `signal_struct.live`, an atomic_t.
    pub signal_live: u32,
    pub files_fdt: u32,
    pub fdt_max_fds: u32,
    pub fdt_fd: u32,
    pub file_inode: u32,
    pub file_private_data: u32,
    pub file_flags: u32,
    /// `f_ref` since 6.13 (one reference reads 0), `f_count` before (one reference reads 1).
    pub file_count: u32,
    pub file_count_of_one: u32,
    pub inode_mode: u32,
    pub inode_ino: u32,
    pub inode_sb: u32,
    pub inode_generation: u32,
    /// `super_block.s_dev`
    pub super_dev: u32,
    pub socket_sk: u32,
    pub socket_type: u32,
    pub socket_file: u32,
    /// `sk_socket`
    pub sock_socket: u32,
    /// `__sk_common.skc_net.net`; [`NO_OFFSET`] without network namespaces.
    pub sock_net: u32,
    /// `ns.inum`
    pub net_inum: u32,
    pub sock_family: u32,
    pub sock_dport: u32,
    pub sock_num: u32,
    pub sock_daddr: u32,
    pub sock_v6_daddr: u32,
    pub sock_sndbuf: u32,
    pub sock_wmem_queued: u32,
    pub sock_protocol: u32,
    /// `rack.rtt_us`
    pub tcp_rtt_us: u32,
    pub tcp_window: u32,
    pub tcp_total_retrans: u32,
    pub tcp_dsack_dups: u32,
    pub binprm_filename: u32,
    pub request_data_len: u32,
    pub request_cmd_flags: u32,
    /// `rq_disk` before 5.17, else [`NO_OFFSET`]; then the way is `q` and its `disk`.
    pub request_disk: u32,
    pub request_queue: u32,
    pub queue_disk: u32,
    pub disk_major: u32,
    pub disk_first_minor: u32,
    /// pt_regs: the first six arguments of a system call, there from its beginning to its end, and its number.
    pub regs_args: [u32; 6],
    pub regs_number: u32,
    /// `sp`
    pub regs_stack: u32,
}

/// Values for absent fields.
pub const NO_OFFSET: u32 = u32::MAX;

/// The read-only global `CONFIG` of the kernel programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    pub offsets: Offsets,
    /// Position of `prev_state` among sched_switch's arguments (5.18 and later), or [`NO_OFFSET`].
    pub switch_prev_state_arg: u32,
    /// Position of the `struct request *` among block_rq_issue's arguments: 0 since 5.11, 1 before.
    pub block_issue_request_arg: u32,
    /// Bytes of one call's payload that are captured from its beginning; a multiple of the record size.
    pub capture_head_bytes: u32,
    /// Bytes captured from its end when it is longer than that.
    pub capture_tail_bytes: u32,
    /// Of a request that has moved so many bytes only the end of each further call is captured.
    pub capture_request_bytes: u32,
    /// 1 where the kernel has bpf_get_current_task_btf() (5.11 and later). Elsewhere the call is dead code, which the
    /// verifier takes out.
    pub typed_current_task: u32,
    /// 1 where it has bpf_task_pt_regs() (5.15 and later).
    pub task_registers: u32,
    /// 1 if each run of a watched thread is an event, and what else a timeline shows.
    pub timeline: u32,
    /// System calls that take so long are events of it.
    pub timeline_syscall_us: u32,
    /// Ring fill in bytes from which the agent is woken at once.
    pub wake_bytes: u32,
    /// Services there is room for.
    pub services: u32,
    /// 1 if what is written to outputs and log files is looked at.
    pub logs: u32,
    /// Nanoseconds for which a byte of it uses the limit of its service up.
    pub log_byte_ns: u32,
    /// 1 if a metric of the configuration counts the events of every process.
    pub custom_host: u32,
    /// The agent itself, never watched.
    pub agent_tgid: u32,
    /// Class of each system call number: a `SYS_*` such as [`crate::SYS_READ`].
    pub syscall_class: [u8; crate::SYSCALL_NUMBERS],
}

const _: () = assert!(size_of::<Offsets>() == 4 * 61);

/// Slots of the tgids in a row: value of the array WATCHED, index `tgid / WATCH_ROW`. 0 is "not watched", `s` is slot
/// `s - 1` of the array PROCESS. Array look-ups are inlined by the kernel, so an unwatched process pays two nanoseconds.
pub const WATCH_ROW: usize = 32;
/// One row of the array WATCHED.
pub type WatchRow = [u16; WATCH_ROW];
