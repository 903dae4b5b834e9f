//! The profile of an `attach`: fed while it records, written at the end in the form that was asked for.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    cli::AttachFormat,
    export::{
        flamegraph,
        perfetto::{self, samples},
        pprof,
        prometheus::Sources,
    },
    profile::{Feed, Profile, Profiler},
    tasks::Tasks,
};

/// A profile that is being recorded.
pub struct Profiling {
    profiler: Profiler,
    format: AttachFormat,
    path: PathBuf,
    /// The file that the profile alone goes into; none where it stands behind a timeline.
    file: Option<File>,
}

impl Profiling {
    /// Makes the file, unless the timeline does. Errors: it cannot be made, or there is no room for it.
    pub fn start(path: &Path, format: AttachFormat, frequency_hz: u32, tasks: &Tasks) -> Result<Self> {
        let file = match format {
            AttachFormat::Pprof | AttachFormat::Flamegraph => Some(
                perfetto::create(path)
                    .with_context(|| format!("cannot make {}: choose a file that can be written", path.display()))?,
            ),
            AttachFormat::Perfetto | AttachFormat::Json => None,
        };
        Ok(Self { profiler: Profiler::start(frequency_hz, tasks)?, format, path: path.to_owned(), file })
    }

    /// Where samples and requests go.
    pub fn feed(&self) -> Feed {
        self.profiler.feed()
    }

    /// Tells which processes there are; to be called often.
    pub fn sample(&mut self, sources: &Sources) {
        self.profiler.services(sources.services.table());
    }

    /// Writes it; what to say of it. A timeline has to be written by then. Errors: the disk's.
    pub fn end(self) -> Result<String> {
        let Self { profiler, format, path, file } = self;
        let profile = profiler.finish()?;
        let written = match (format, file) {
            (AttachFormat::Pprof, Some(file)) => written(file, |out| pprof::write(&profile, out)),
            (AttachFormat::Flamegraph, Some(file)) => written(file, |out| flamegraph::write(&profile, out)),
            _ => samples::append(&path, &profile),
        };
        let bytes = written.with_context(|| format!("{} is not whole: is the disk full?", path.display()))?;
        Ok(words(&path, format, bytes, &profile))
    }
}

fn written(file: File, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<u64> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()?;
    Ok(out.get_ref().metadata()?.len())
}

fn words(path: &Path, format: AttachFormat, bytes: u64, profile: &Profile) -> String {
    let (samples, ticks) = profile.counts();
    let what = match format {
        AttachFormat::Perfetto | AttachFormat::Json => "stacks",
        AttachFormat::Pprof => "pprof profile",
        AttachFormat::Flamegraph => "flame graph",
    };
    let of_python = if ticks == 0 { String::new() } else { format!(" and {ticks} of Python threads") };
    let size = bytes as f64 / 1e6;
    format!("{what}: {} ({size:.1} MB: {samples} samples{of_python})\n{}", path.display(), profile.words())
}
