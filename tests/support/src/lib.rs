//! What live tests, benches and the demo share: a raw-socket client, the agent and the small server as child
//! processes, the kernel's own scheduling figures, and the comparison of what a client saw with what was recorded.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod child;
pub mod client;
pub mod clock;
pub mod compare;
pub mod confine;
pub mod drain;
pub mod exposition;
pub mod held;
pub mod kubernetes;
pub mod live;
pub mod locate;
pub mod metrics;
pub mod outcome;
pub mod page;
pub mod plants;
pub mod priority;
pub mod record;
mod request;
pub mod schedstat;
pub mod server;
pub mod transport;
mod wire;
pub mod workload;
