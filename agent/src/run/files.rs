//! How many files the agent may have open: two for each Python thread while stacks are taken, one for each program, map,
//! connection and module.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one. The soft one is mostly 1024 for the sake of select(2), which
/// cannot wait for files with higher numbers: nothing here calls it, and no program is started that would inherit this.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files cannot be raised: a server of many threads may not be seen whole");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_as_are_allowed() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // One less hurts no test that runs beside this one.
        let current = maximum.map(|files| files - 1).or(Some(1 << 20));
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
