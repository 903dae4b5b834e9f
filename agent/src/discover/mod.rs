//! Which processes are inference servers.
