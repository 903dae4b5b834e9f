//! Probes that only a timeline needs: they are loaded while one is recorded, and by `check`.

use super::programs::{Attachment, Probe};

/// What ends something stands before what begins it.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "block_done",
        gives: "how long block devices took, in a timeline",
        required: false,
        asked_for: false,
        since: "4.17",
        attachments: &[Attachment::Tracepoint { name: "block_complete", tracepoint: "block_rq_complete" }],
    },
    Probe {
        name: "waking",
        gives: "who wakes up a thread on another CPU, in a timeline",
        required: false,
        asked_for: false,
        since: "4.17",
        attachments: &[Attachment::Tracepoint { name: "sched_waking", tracepoint: "sched_waking" }],
    },
];
