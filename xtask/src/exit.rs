//! The one error that is no message: another program's exit code, passed on.

/// Ends xtask with the exit code of a program that it ran, and without a message: the program has given its own.
#[derive(Debug)]
pub struct Exit(pub i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}
