//! Timed sources, each on its own thread.
