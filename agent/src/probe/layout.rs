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

const STRUCTS: [&str; 21] = [
    "task_struct",
    "signal_struct",
    "files_struct",
    "fdtable",
    "file",
    "inode",
    "super_block",
    "socket",
    "sock",
    "tcp_sock",
    "net",
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

fn byte(btf: &Btf, structure: &str, path: &[&str]) -> Result<u32> {
    field(btf, structure, path).map(|field| field.byte())
}

/// Of a field that some kernels have.
fn optional(btf: &Btf, structure: &str, path: &[&str]) -> Result<u32> {
    Ok(btf.field(structure, path)?.map_or(NO_OFFSET, |field| field.byte()))
}

/// Of a field that changed its name or place.
fn either(btf: &Btf, structure: &str, new: &[&str], old: &[&str]) -> Result<u32> {
    match optional(btf, structure, new)? {
        NO_OFFSET => optional(btf, structure, old),
        found => Ok(found),
    }
}

fn tasks(btf: &Btf) -> Result<Offsets> {
    let iowait = field(btf, "task_struct", &["in_iowait"])?;
    let memstall = btf.field("task_struct", &["in_memstall"])?;
    let quota = btf.field("task_struct", &["se", "cfs_rq"])?.zip(btf.field("cfs_rq", &["throttle_count"])?);
    let state = match optional(btf, "task_struct", &["__state"])? {
        NO_OFFSET => byte(btf, "task_struct", &["state"])?,
        found => found,
    };
    Ok(Offsets {
        task_state: state,
        task_pid: byte(btf, "task_struct", &["pid"])?,
        task_tgid: byte(btf, "task_struct", &["tgid"])?,
        task_exit_code: byte(btf, "task_struct", &["exit_code"])?,
        task_signal: byte(btf, "task_struct", &["signal"])?,
        task_files: byte(btf, "task_struct", &["files"])?,
        task_in_iowait: iowait.byte(),
        task_in_iowait_mask: 1 << (iowait.bit_offset % 8),
        task_in_memstall: memstall.map_or(NO_OFFSET, |f| f.byte()),
        task_in_memstall_mask: memstall.map_or(0, |f| 1 << (f.bit_offset % 8)),
        task_cfs_rq: quota.map_or(NO_OFFSET, |(queue, _)| queue.byte()),
        cfs_rq_throttle_count: quota.map_or(NO_OFFSET, |(_, count)| count.byte()),
        task_cpu: either(btf, "task_struct", &["thread_info", "cpu"], &["cpu"])?,
        signal_live: byte(btf, "signal_struct", &["live"])?,
        binprm_filename: byte(btf, "linux_binprm", &["filename"])?,
        ..Offsets::default()
    })
}

fn files(btf: &Btf, offsets: Offsets) -> Result<Offsets> {
    let (file_count, file_count_of_one) = match btf.field("file", &["f_ref"])? {
        Some(field) => (field.byte(), 0),
        None => (byte(btf, "file", &["f_count"])?, 1),
    };
    Ok(Offsets {
        file_count,
        file_count_of_one,
        files_fdt: byte(btf, "files_struct", &["fdt"])?,
        fdt_max_fds: byte(btf, "fdtable", &["max_fds"])?,
        fdt_fd: byte(btf, "fdtable", &["fd"])?,
        file_inode: byte(btf, "file", &["f_inode"])?,
        file_private_data: byte(btf, "file", &["private_data"])?,
        file_flags: byte(btf, "file", &["f_flags"])?,
        inode_sb: byte(btf, "inode", &["i_sb"])?,
        inode_generation: byte(btf, "inode", &["i_generation"])?,
        super_dev: byte(btf, "super_block", &["s_dev"])?,
        inode_mode: byte(btf, "inode", &["i_mode"])?,
        inode_ino: byte(btf, "inode", &["i_ino"])?,
        socket_sk: byte(btf, "socket", &["sk"])?,
        socket_type: byte(btf, "socket", &["type"])?,
        socket_file: byte(btf, "socket", &["file"])?,
        ..offsets
    })
}

fn sockets(btf: &Btf, offsets: Offsets) -> Result<Offsets> {
    Ok(Offsets {
        sock_family: byte(btf, "sock", &["__sk_common", "skc_family"])?,
        sock_dport: byte(btf, "sock", &["__sk_common", "skc_dport"])?,
        sock_num: byte(btf, "sock", &["__sk_common", "skc_num"])?,
        sock_daddr: byte(btf, "sock", &["__sk_common", "skc_daddr"])?,
        sock_v6_daddr: optional(btf, "sock", &["__sk_common", "skc_v6_daddr"])?,
        sock_socket: byte(btf, "sock", &["sk_socket"])?,
        sock_net: optional(btf, "sock", &["__sk_common", "skc_net", "net"])?,
        net_inum: optional(btf, "net", &["ns", "inum"])?,
        sock_sndbuf: byte(btf, "sock", &["sk_sndbuf"])?,
        sock_wmem_queued: byte(btf, "sock", &["sk_wmem_queued"])?,
        sock_protocol: byte(btf, "sock", &["sk_protocol"])?,
        tcp_rtt_us: byte(btf, "tcp_sock", &["rack", "rtt_us"])?,
        tcp_window: byte(btf, "tcp_sock", &["snd_wnd"])?,
        tcp_dsack_dups: byte(btf, "tcp_sock", &["dsack_dups"])?,
        tcp_total_retrans: byte(btf, "tcp_sock", &["total_retrans"])?,
        ..offsets
    })
}

fn disks(btf: &Btf, offsets: Offsets) -> Result<Offsets> {
    Ok(Offsets {
        request_data_len: byte(btf, "request", &["__data_len"])?,
        request_cmd_flags: byte(btf, "request", &["cmd_flags"])?,
        request_disk: optional(btf, "request", &["rq_disk"])?,
        request_queue: byte(btf, "request", &["q"])?,
        queue_disk: optional(btf, "request_queue", &["disk"])?,
        disk_major: byte(btf, "gendisk", &["major"])?,
        disk_first_minor: byte(btf, "gendisk", &["first_minor"])?,
        ..offsets
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
        let regs_args =
            arch::argument_registers(|path, index| byte(&btf, "pt_regs", &[path]).map(|at| at + 8 * index))?;
        let offsets = disks(&btf, sockets(&btf, files(&btf, tasks(&btf)?)?)?)?;
        let register = |name| byte(&btf, "pt_regs", &[name]);
        let (regs_number, regs_stack) = (register(arch::NUMBER_REGISTER)?, register("sp")?);
        let offsets = Offsets { regs_args, regs_number, regs_stack, ..offsets };
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
