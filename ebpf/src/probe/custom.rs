//! Metrics of the configuration: any tracepoint, any function or USDT probe of a user program, added up by labels.
//!
//! There is no cookie of an attachment before 5.15, so each slot is a program of its own that knows its number; only those
//! in use are loaded. Nothing is kept between helpers but on the stack: from 6.0 on a program behind a uprobe can be
//! preempted by another one on the same CPU.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_comm, bpf_get_smp_processor_id, bpf_probe_read_kernel, bpf_probe_read_kernel_str,
            bpf_probe_read_user, bpf_probe_read_user_str,
        },
    },
    macros::{tracepoint, uprobe},
    programs::{ProbeContext, TracePointContext},
};
use inferscope_abi::{
    CUSTOM_ALL, CUSTOM_ANYONE, CUSTOM_EDGES, CUSTOM_GAUGE, CUSTOM_HISTOGRAM, CUSTOM_HOST, CUSTOM_LABELS, CUSTOM_OTHER,
    CUSTOM_RISING, CUSTOM_TEXT_BYTES, CUSTOM_VALUED, CustomKey, CustomRule, CustomSums, Lost, PLACE_COMM,
    PLACE_CONSTANT, PLACE_CPU, PLACE_DATA_LOC, PLACE_MEMORY, PLACE_NONE, PLACE_REL_LOC, PLACE_SIGNED, PLACE_TEXT,
    PLACE_USER_TEXT, Place,
};

use crate::{
    config,
    emit::lost,
    kernel::{now_ns, number, opaque, read},
    maps::{CUSTOM, CUSTOM_COUNT, CUSTOM_OF, CUSTOM_RULE},
    state::add,
    watch,
};

/// The value, among the places of a rule; labels follow.
const VALUE: u64 = 0;
/// In place of a number that could not be read: none that a kernel or a program counts with.
const UNREAD: u64 = 1 << 63;

macro_rules! slots {
    ($macro:ident, $context:ident: $($name:ident = $slot:literal),+) => { $(
        #[$macro]
        pub fn $name(ctx: $context) -> u32 {
            // Most events are of processes that nobody watches: they pay for one look-up and no call.
            let mark = watch::mark((bpf_get_current_pid_tgid() >> 32) as u32);
            if mark != 0 || config!(custom_host) != 0 {
                custom_event(number(ctx.as_ptr()), $slot, u64::from(mark));
            }
            0
        }
    )+ };
}

slots!(tracepoint, TracePointContext:
    custom_tp0 = 0, custom_tp1 = 1, custom_tp2 = 2, custom_tp3 = 3,
    custom_tp4 = 4, custom_tp5 = 5, custom_tp6 = 6, custom_tp7 = 7);
slots!(uprobe, ProbeContext:
    custom_up0 = 8, custom_up1 = 9, custom_up2 = 10, custom_up3 = 11,
    custom_up4 = 12, custom_up5 = 13, custom_up6 = 14, custom_up7 = 15,
    custom_up8 = 16, custom_up9 = 17, custom_up10 = 18, custom_up11 = 19,
    custom_up12 = 20, custom_up13 = 21, custom_up14 = 22, custom_up15 = 23);

/// An event of a slot. `ctx` is the address of the tracepoint's record or of the registers, `mark` is the process's.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn custom_event(ctx: u64, slot: u64, mark: u64) -> u64 {
    let Some(rule) = CUSTOM_RULE.get_ptr(slot as u32) else { return 0 };
    // SAFETY: a map value.
    let rule = unsafe { &*rule };
    let mut key = CustomKey {
        rule: rule.rule as u16,
        bucket: CUSTOM_ALL,
        service: CUSTOM_ANYONE,
        labels: [[0; CUSTOM_TEXT_BYTES / 8]; CUSTOM_LABELS],
    };
    if rule.flags & CUSTOM_HOST == 0 {
        let Some(sums) = watch::sums(mark as u16) else { return 0 };
        let Some(wanted) = CUSTOM_OF.get_ptr(sums.service_index) else { return 0 };
        // SAFETY: a map value.
        if unsafe { *wanted } & (1 << (rule.rule & 63)) == 0 {
            return 0;
        }
        key.service = sums.service_index;
    }
    let mut value = 0;
    if rule.flags & CUSTOM_VALUED != 0 {
        value = custom_number(ctx, slot, VALUE);
        if value == UNREAD || rule.flags & CUSTOM_RISING != 0 && (value as i64) < 0 {
            lost(Lost::CustomRead);
            return 0;
        }
    }
    let [a, b, c, d] = &mut key.labels;
    let read = label(ctx, slot, 1, &rule.labels[0], a)
        && label(ctx, slot, 2, &rule.labels[1], b)
        && label(ctx, slot, 3, &rule.labels[2], c)
        && label(ctx, slot, 4, &rule.labels[3], d);
    if !read {
        lost(Lost::CustomRead);
        return 0;
    }
    add_up(rule, slot, &mut key, value);
    0
}

/// Adds an event to its series.
#[inline(always)]
fn add_up(rule: &CustomRule, slot: u64, key: &mut CustomKey, value: u64) {
    let mut sums = find(key);
    if sums.is_null() {
        let Some(count) = CUSTOM_COUNT.get_ptr_mut(rule.rule) else { return };
        // SAFETY: a map value.
        unsafe {
            if (*count).series >= u64::from(rule.max_series) {
                add(&raw mut (*count).overflow, 1);
                key.service = CUSTOM_OTHER;
                key.labels = [[0; CUSTOM_TEXT_BYTES / 8]; CUSTOM_LABELS];
            }
            if insert(key) && key.service != CUSTOM_OTHER {
                add(&raw mut (*count).series, 1);
            }
        }
        sums = find(key);
    }
    if sums.is_null() {
        return lost(Lost::MapCustom);
    }
    // SAFETY: a map value, of this CPU; atomic, for another program can come between.
    unsafe {
        add(&raw mut (*sums).events, 1);
        add(&raw mut (*sums).sum, value);
        if rule.flags & CUSTOM_GAUGE != 0 {
            (*sums).last = value;
            (*sums).last_at_ns = now_ns();
        }
    }
    if rule.flags & CUSTOM_HISTOGRAM == 0 {
        return;
    }
    key.bucket = custom_bucket(slot, value) as u16;
    let mut sums = find(key);
    if sums.is_null() {
        insert(key);
        sums = find(key);
    }
    if sums.is_null() {
        return lost(Lost::MapCustom);
    }
    // SAFETY: as above.
    unsafe { add(&raw mut (*sums).events, 1) };
}

/// This CPU's sums of a series, null if there is no such series: a plain pointer, which the verifier follows from branch
/// to branch.
#[inline(always)]
fn find(key: &CustomKey) -> *mut CustomSums {
    match CUSTOM.get_ptr_mut(key) {
        Some(sums) => sums,
        None => core::ptr::null_mut(),
    }
}

/// Whether the series is new; of two CPUs at once it is to one of them.
#[inline(always)]
fn insert(key: &CustomKey) -> bool {
    CUSTOM.insert(key, CustomSums::default(), u64::from(BPF_NOEXIST)).is_ok()
}

/// Reads the value of a label into the key; false if it can't be read.
#[inline(always)]
fn label(ctx: u64, slot: u64, which: u64, place: &Place, into: &mut [u64; CUSTOM_TEXT_BYTES / 8]) -> bool {
    let to: *mut c_void = into.as_mut_ptr().cast();
    let room = CUSTOM_TEXT_BYTES as u32;
    if place.from == PLACE_NONE {
        return true;
    }
    if place.from == PLACE_COMM {
        // SAFETY: room for 16 bytes.
        return unsafe { bpf_get_current_comm(to, 16) } == 0;
    }
    let value = custom_number(ctx, slot, which);
    if value == UNREAD {
        return false;
    }
    if place.flags & PLACE_USER_TEXT != 0 {
        // No text is an empty one.
        // SAFETY: room for so many bytes; the helper checks the address.
        return value == 0 || unsafe { bpf_probe_read_user_str(to, room, value as *const c_void) } >= 0;
    }
    if place.from >= PLACE_TEXT {
        // SAFETY: as above.
        return unsafe { bpf_probe_read_kernel_str(to, room, value as *const c_void) } >= 0;
    }
    into[0] = value;
    true
}

/// The number in a place of a slot's rule, [`UNREAD`] if there is none; of a text in kernel memory its address.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn custom_number(ctx: u64, slot: u64, which: u64) -> u64 {
    let Some(rule) = CUSTOM_RULE.get_ptr(slot as u32) else { return UNREAD };
    let which = opaque(which as usize);
    if which > CUSTOM_LABELS {
        return UNREAD;
    }
    // The value stands right before the labels.
    // SAFETY: a map value; below its number of places.
    let place = unsafe { &*(&raw const (*rule).value).add(which) };
    let size = opaque(place.size as usize);
    if size == 0 || size > 8 {
        return UNREAD;
    }
    let at = ctx + u64::from(place.offset);
    let value = match place.from {
        PLACE_CONSTANT => place.number,
        // SAFETY: no arguments.
        PLACE_CPU => unsafe { u64::from(bpf_get_smp_processor_id()) },
        PLACE_TEXT => return at,
        PLACE_DATA_LOC => return located(at, ctx),
        PLACE_REL_LOC => return located(at, at + 4),
        _ => {
            let size = if place.flags & PLACE_MEMORY != 0 { 8 } else { size };
            let mut value = 0u64;
            let to: *mut u64 = &mut value;
            // SAFETY: room for eight bytes; the helper checks the address.
            if unsafe { bpf_probe_read_kernel(to.cast(), size as u32, at as *const c_void) } != 0 {
                return UNREAD;
            }
            value
        }
    };
    let value = if place.flags & PLACE_MEMORY != 0 { memory(value.wrapping_add(place.number), size) } else { value };
    let unused = 64 - 8 * size as u32;
    if value == UNREAD || unused & !63 != 0 {
        value
    } else if place.flags & PLACE_SIGNED != 0 {
        ((value << unused) as i64 >> unused) as u64
    } else {
        value << unused >> unused
    }
}

/// So many bytes of the process.
#[inline(always)]
fn memory(address: u64, size: usize) -> u64 {
    let mut value = 0u64;
    let to: *mut u64 = &mut value;
    let size = opaque(size);
    if size == 0 || size > 8 {
        return UNREAD;
    }
    // SAFETY: room for eight bytes; the helper checks the address.
    if unsafe { bpf_probe_read_user(to.cast(), size as u32, address as *const c_void) } != 0 { UNREAD } else { value }
}

/// Address of a text whose place is described at `at`, in bytes from `from`.
#[inline(always)]
fn located(at: u64, from: u64) -> u64 {
    match read::<u32>(at, 0) {
        Some(described) => from + u64::from(described & 0xffff),
        None => UNREAD,
    }
}

/// The bucket of a value; the one behind the last edge takes the rest.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn custom_bucket(slot: u64, value: u64) -> u64 {
    let Some(rule) = CUSTOM_RULE.get_ptr(slot as u32) else { return 0 };
    // SAFETY: a map value.
    let rule = unsafe { &*rule };
    let mut bucket = 0;
    for at in 0..CUSTOM_EDGES {
        if at as u32 >= rule.edges || value as i64 <= rule.bucket_edges[at] {
            break;
        }
        bucket += 1;
    }
    bucket
}
