//! Metrics of the configuration that are made of tracepoints and probes in user programs: what the agent tells a program
//! to take of an event, and the series that the kernel adds up.

/// Programs that can hang on tracepoints, each on one.
pub const CUSTOM_TRACEPOINTS: usize = 8;
/// Programs that can hang on places in user programs, each on any number of places with arguments in the same registers.
pub const CUSTOM_UPROBES: usize = 16;
/// All of them: tracepoints first.
pub const CUSTOM_SLOTS: usize = CUSTOM_TRACEPOINTS + CUSTOM_UPROBES;
/// Labels of a series.
pub const CUSTOM_LABELS: usize = 4;
/// Room for the value of a label; texts end with a zero.
pub const CUSTOM_TEXT_BYTES: usize = 32;
/// Edges of a histogram.
pub const CUSTOM_EDGES: usize = 32;

/// No such place: a label that the metric has not.
pub const PLACE_NONE: u8 = 0;
/// A number in the context: a field of the tracepoint's record, or a register.
pub const PLACE_CONTEXT: u8 = 1;
/// [`Place::number`] itself.
pub const PLACE_CONSTANT: u8 = 2;
pub const PLACE_CPU: u8 = 3;
/// Name of the current thread.
pub const PLACE_COMM: u8 = 4;
/// A text in the context.
pub const PLACE_TEXT: u8 = 5;
/// A text of the record whose offset stands in the lower half of four bytes in the context (`__data_loc`).
pub const PLACE_DATA_LOC: u8 = 6;
/// The same, counted from the end of those four bytes (`__rel_loc`, 5.17).
pub const PLACE_REL_LOC: u8 = 7;

/// The number has a sign.
pub const PLACE_SIGNED: u8 = 1;
/// The number is an address of the process; what is wanted lies there, [`Place::number`] bytes on.
pub const PLACE_MEMORY: u8 = 2;
/// The number is the address of a text of the process.
pub const PLACE_USER_TEXT: u8 = 4;

/// Where a value is when an event comes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A `PLACE_*` without flags.
    pub from: u8,
    /// Bytes of the number: 1, 2, 4 or 8.
    pub size: u8,
    /// `PLACE_SIGNED` and so on.
    pub flags: u8,
    pub reserved: u8,
    /// In the context, bytes.
    pub offset: u32,
    pub number: u64,
}

/// Events of every process, not of watched services only.
pub const CUSTOM_HOST: u32 = 1;
/// There is a value.
pub const CUSTOM_VALUED: u32 = 2;
pub const CUSTOM_HISTOGRAM: u32 = 4;
/// The last value is what is wanted.
pub const CUSTOM_GAUGE: u32 = 8;
/// The sum of the values is what is wanted, and never falls: what is less than nothing is not counted.
pub const CUSTOM_RISING: u32 = 16;

/// What a program does with an event: value of the array CUSTOM_RULE, index its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomRule {
    /// `CUSTOM_*` bits.
    pub flags: u32,
    /// Which metric, below [`CUSTOM_SLOTS`]; several slots can serve one.
    pub rule: u32,
    /// Edges in use.
    pub edges: u32,
    pub max_series: u32,
    pub value: Place,
    pub labels: [Place; CUSTOM_LABELS],
    /// Upper edges, ascending, as the kernel's numbers are; of a histogram.
    pub bucket_edges: [i64; CUSTOM_EDGES],
}

/// Bucket of the row that counts all events of a series.
pub const CUSTOM_ALL: u16 = u16::MAX;
/// In place of a service: every process of the host.
pub const CUSTOM_ANYONE: u32 = u32::MAX;
/// In place of a service: what was over the metric's cap of series.
pub const CUSTOM_OTHER: u32 = u32::MAX - 1;

/// Key of the map CUSTOM.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CustomKey {
    /// [`CustomRule::rule`]
    pub rule: u16,
    /// Bucket of a histogram, or [`CUSTOM_ALL`].
    pub bucket: u16,
    /// Index of the array SERVICE, or [`CUSTOM_ANYONE`], or [`CUSTOM_OTHER`].
    pub service: u32,
    /// Numbers in the first word, texts as bytes in memory order.
    pub labels: [[u64; CUSTOM_TEXT_BYTES / 8]; CUSTOM_LABELS],
}

/// Value of the map CUSTOM: one of each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomSums {
    pub events: u64,
    /// Of the values, with their sign; it wraps.
    pub sum: u64,
    pub last: u64,
    pub last_at_ns: u64,
}

/// Of one metric: value of the array CUSTOM_COUNT, index its rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomCount {
    /// Series that there are.
    pub series: u64,
    /// Events over the cap of series.
    pub overflow: u64,
}

const _: () = {
    assert!(size_of::<Place>() == 16);
    assert!(size_of::<CustomRule>() == 16 + 5 * 16 + 8 * CUSTOM_EDGES);
    assert!(size_of::<CustomKey>() == 8 + CUSTOM_LABELS * CUSTOM_TEXT_BYTES);
    assert!(size_of::<CustomSums>() == 32 && size_of::<CustomCount>() == 16);
    assert!(CUSTOM_SLOTS <= u64::BITS as usize, "a service's mark has a bit for each metric");
};
