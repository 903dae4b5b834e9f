//! Fills the kernel programs' `CONFIG.offsets` from BTF. A field that every kernel must have and this one lacks is
//! an error that names it; the ones that changed name are tried in turn.

use std::path::Path;

use anyhow::{Context, Result};
use inferscope_abi::{NO_OFFSET, Offsets};

use super::{
    arch,
    btf::{Btf, Field},
};

/// Where the running kernel shows its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const STRUCTS: [&str; 19] = [
    "task_struct",
    "signal_struct",
    "files_struct",
    "fdtable",
    "file",
    "inode",
    "socket",
    "sock",
    "tcp_sock",
    "sched_entity",
    "cfs_rq",
    "linux_binprm",
    "request",
    "request_queue",
    "gendisk",
    "pt_regs",
    "atomic_t",
    "btf_trace_sched_switch",
    "btf_trace_block_rq_issue",
];

/// What BTF tells the kernel programs.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub offsets: Offsets,
    pub switch_prev_state_arg: u32,
    pub block_issue_request_arg: u32,
}

fn field(btf: &Btf, structure: &str, path: &[&str]) -> Result<Field> {
    btf.field(structure, path)?.with_context(|| {
        format!("this kernel's struct {structure} has no {}: please report the kernel version", path.join("."))
    })
}

impl Layout {
    /// Reads the layout from the running kernel, or from a BTF file that fits it.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let path = path.unwrap_or(Path::new(KERNEL_BTF));
        let btf = Btf::read(path, |name| STRUCTS.contains(&name)).context(
            "the kernel's type information is needed: use a kernel with CONFIG_DEBUG_INFO_BTF=y, or give a BTF file \
             of this very kernel with --btf FILE",
        )?;
        let byte = |structure: &str, path: &[&str]| field(&btf, structure, path).map(|f| f.byte());
        let iowait = field(&btf, "task_struct", &["in_iowait"])?;
        let task_cpu = match btf.field("task_struct", &["thread_info", "cpu"])? {
            Some(field) => Some(field),
            None => btf.field("task_struct", &["cpu"])?,
        };
        let memstall = btf.field("task_struct", &["in_memstall"])?;
        let quota = btf.field("task_struct", &["se", "cfs_rq"])?.zip(btf.field("cfs_rq", &["throttle_count"])?);
        let state = btf
            .field("task_struct", &["__state"])?
            .map_or_else(|| byte("task_struct", &["state"]), |f| Ok(f.byte()))?;
        let (file_count, file_count_of_one) = match btf.field("file", &["f_ref"])? {
            Some(field) => (field.byte(), 0),
            None => (byte("file", &["f_count"])?, 1),
        };
        let optional = |structure: &str, name: &str| -> Result<u32> {
            Ok(btf.field(structure, &[name])?.map_or(NO_OFFSET, |field| field.byte()))
        };
        let regs_args = arch::argument_registers(|path, index| byte("pt_regs", &[path]).map(|at| at + 8 * index))?;
        let offsets = Offsets {
            task_pid: byte("task_struct", &["pid"])?,
            task_tgid: byte("task_struct", &["tgid"])?,
            task_state: state,
            task_exit_code: byte("task_struct", &["exit_code"])?,
            task_signal: byte("task_struct", &["signal"])?,
            task_files: byte("task_struct", &["files"])?,
            task_in_iowait: iowait.byte(),
            task_in_iowait_mask: 1 << (iowait.bit_offset % 8),
            task_in_memstall: memstall.map_or(NO_OFFSET, |f| f.byte()),
            task_in_memstall_mask: memstall.map_or(0, |f| 1 << (f.bit_offset % 8)),
            task_cfs_rq: quota.map_or(NO_OFFSET, |(queue, _)| queue.byte()),
            cfs_rq_throttle_count: quota.map_or(NO_OFFSET, |(_, count)| count.byte()),
            task_cpu: task_cpu.map_or(NO_OFFSET, |f| f.byte()),
            signal_live: byte("signal_struct", &["live"])?,
            files_fdt: byte("files_struct", &["fdt"])?,
            fdt_max_fds: byte("fdtable", &["max_fds"])?,
            fdt_fd: byte("fdtable", &["fd"])?,
            file_inode: byte("file", &["f_inode"])?,
            file_private_data: byte("file", &["private_data"])?,
            file_count,
            file_count_of_one,
            inode_mode: byte("inode", &["i_mode"])?,
            inode_ino: byte("inode", &["i_ino"])?,
            socket_sk: byte("socket", &["sk"])?,
            socket_type: byte("socket", &["type"])?,
            sock_family: byte("sock", &["__sk_common", "skc_family"])?,
            sock_dport: byte("sock", &["__sk_common", "skc_dport"])?,
            sock_num: byte("sock", &["__sk_common", "skc_num"])?,
            sock_daddr: byte("sock", &["__sk_common", "skc_daddr"])?,
            sock_v6_daddr: btf.field("sock", &["__sk_common", "skc_v6_daddr"])?.map_or(NO_OFFSET, |f| f.byte()),
            sock_sndbuf: byte("sock", &["sk_sndbuf"])?,
            sock_wmem_queued: byte("sock", &["sk_wmem_queued"])?,
            sock_protocol: byte("sock", &["sk_protocol"])?,
            tcp_rtt_us: byte("tcp_sock", &["rack", "rtt_us"])?,
            tcp_window: byte("tcp_sock", &["snd_wnd"])?,
            tcp_dsack_dups: byte("tcp_sock", &["dsack_dups"])?,
            tcp_total_retrans: byte("tcp_sock", &["total_retrans"])?,
            binprm_filename: byte("linux_binprm", &["filename"])?,
            request_data_len: byte("request", &["__data_len"])?,
            request_cmd_flags: byte("request", &["cmd_flags"])?,
            request_disk: optional("request", "rq_disk")?,
            request_queue: byte("request", &["q"])?,
            queue_disk: optional("request_queue", "disk")?,
            disk_major: byte("gendisk", &["major"])?,
            disk_first_minor: byte("gendisk", &["first_minor"])?,
            regs_args,
        };
        Ok(Self {
            offsets,
            switch_prev_state_arg: match btf.tracepoint_arguments("sched_switch")? {
                Some(arguments) if arguments > 3 => 3,
                _ => NO_OFFSET,
            },
            block_issue_request_arg: match btf.tracepoint_arguments("block_rq_issue")? {
                Some(1) | None => 0,
                Some(_) => 1,
            },
        })
    }
}
