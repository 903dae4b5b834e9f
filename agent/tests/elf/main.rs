//! Where probes go in files, and which files processes have mapped.
#![allow(clippy::unwrap_used)]

mod places;
