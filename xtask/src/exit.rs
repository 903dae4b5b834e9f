//! How xtask ends: well, with a message, or with the exit code of a program that it ran, passed on without a message.

use std::process::ExitCode;

/// Ends xtask with the exit code of a program that it ran, and without a message: the program has given its own.
#[derive(Debug)]
pub struct Exit(pub i32);

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// The process' exit code for DONE; prints what there is to say.
pub fn code(done: anyhow::Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(Exit(code)) = error.downcast_ref() {
        return ExitCode::from(u8::try_from(*code).unwrap_or(1));
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
