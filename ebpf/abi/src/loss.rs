//! Where the kernel side can lose something. Each place owns a per-CPU counter in the map LOST, exported as
//! `inferscope_events_lost_total{where=...}`.

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident = $n:literal, $label:literal;)+) => {
        /// A place; the number indexes the map LOST.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Lost { $($(#[$doc])* $name = $n),+ }
        /// Every place with its label, in the order of their numbers.
        pub const LOSSES: [(Lost, &str); LOSS_PLACES] = [$((Lost::$name, $label)),+];
        const _: () = { $(assert!($n < LOSS_PLACES);)+ };
    };
}

/// Number of places.
pub const LOSS_PLACES: usize = 23;

losses! {
    /// The ring had no room for an exec event.
    RingExec = 0, "ring_exec";
    RingFork = 1, "ring_fork";
    RingExit = 2, "ring_exit";
    /// The ring had no room for a payload record.
    RingPayload = 3, "ring_payload";
    RingClose = 4, "ring_close";
    /// More watched processes than the map holds.
    MapProcess = 5, "map_process";
    /// More watched threads than the map holds.
    MapThread = 6, "map_thread";
    /// More (process, system call) pairs than the map holds.
    MapSyscall = 7, "map_syscall";
    /// More open HTTP connections than the map holds.
    MapConnection = 8, "map_connection";
    /// The user's buffer could not be read (paged out between the call and the probe).
    UserRead = 9, "user_read";
    /// A call had more buffers or messages than the program walks; its tail was left out.
    IovecTail = 10, "iovec_tail";
    /// Payload beyond the capture cap of one call, left out on purpose: counted in calls.
    CaptureCap = 11, "capture_cap";
    /// Kernel data could not be read.
    KernelRead = 12, "kernel_read";
    /// A watched connection began with a TLS handshake: its payload is not visible here. Counted in connections.
    Ciphertext = 13, "ciphertext";
    /// A watched process exited and its slot could not be given back.
    SlotReturn = 14, "slot_return";
    /// The ring had no room for an event that is only made while a timeline is recorded.
    RingSched = 15, "ring_sched";
    /// More block requests under way than the map holds; only while a timeline is recorded.
    MapBlock = 16, "map_block";
    /// The ring had no room for a stack sample; only while stacks are recorded.
    RingSample = 17, "ring_sample";
    /// A service wrote more to its logs than its limit allows: counted in writes.
    LogRate = 18, "log_rate";
    /// The ring had no room for what was written to a log: counted in writes.
    RingLog = 19, "ring_log";
    /// The ring had no room to tell that a process began to listen.
    RingListen = 20, "ring_listen";
    /// More series of metrics of the configuration than the map holds: counted in events.
    MapCustom = 21, "map_custom";
    /// A value or a label of such a metric could not be read, or a counter's value was less than nothing: counted in
    /// events.
    CustomRead = 22, "custom_read";
}
