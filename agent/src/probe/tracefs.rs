//! Tracepoints as tracefs describes them: number, fields with their places, and which there are. Reads where tracefs is
//! mounted; where it is not, from a mount of its own that no path leads to and that ends with its descriptor.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Dir, Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

/// Where tracefs is mounted, if it is.
const MOUNTED: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// The longest description that a kernel gives is a few kilobytes.
const MOST_BYTES: u64 = 256 << 10;

/// A way to read tracefs.
#[derive(Debug)]
pub struct Tracefs {
    events: OwnedFd,
}

/// A field of a tracepoint's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// With modifiers, without the name: `unsigned long`, `__data_loc char[]`.
    pub kind: String,
    /// Elements, if it is an array.
    pub elements: Option<usize>,
    pub offset: u32,
    pub size: u32,
    pub signed: bool,
}

/// A tracepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub id: u64,
    /// Its own, without those that every record begins with.
    pub fields: Vec<Field>,
}

impl Tracefs {
    /// Errors: in words, with what to do.
    pub fn open() -> Result<Self, String> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mounted = |root: &&str| openat(CWD, format!("{root}/events"), flags, Mode::empty()).ok();
        if let Some(events) = MOUNTED.iter().find_map(mounted) {
            return Ok(Self { events });
        }
        let own = || -> rustix::io::Result<OwnedFd> {
            let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(context.as_fd())?;
            let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
            openat(root.as_fd(), "events", flags, Mode::empty())
        };
        let events = own().map_err(|error| {
            format!("tracefs is not mounted ({error}): mount -t tracefs none /sys/kernel/tracing, and start again")
        })?;
        Ok(Self { events })
    }

    /// A tracepoint's description. Errors: in words; there is none of this name, and which is alike.
    pub fn format(&self, category: &str, name: &str) -> Result<Format, String> {
        let text = |file: &str| self.text(&format!("{category}/{name}/{file}"));
        match (text("id"), text("format")) {
            (Ok(id), Ok(format)) => {
                let id = id.trim().parse().map_err(|_| format!("tracepoint {category}:{name} has no number"))?;
                Ok(Format { id, fields: fields(&format) })
            }
            (Err(rustix::io::Errno::NOENT), _) => Err(self.unknown(category, name)),
            (Err(error), _) | (_, Err(error)) => {
                Err(format!("tracepoint {category}:{name} cannot be read ({error}): root's, or CAP_DAC_READ_SEARCH's"))
            }
        }
    }

    fn text(&self, path: &str) -> rustix::io::Result<String> {
        let file = openat(self.events.as_fd(), path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        match File::from(file).take(MOST_BYTES).read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)),
        }
    }

    fn names(&self, below: &str) -> Vec<String> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(folder) = openat(self.events.as_fd(), below, flags, Mode::empty()) else { return Vec::new() };
        let Ok(entries) = Dir::read_from(folder) else { return Vec::new() };
        let name = |entry: rustix::fs::DirEntry| entry.file_name().to_str().ok().map(str::to_owned);
        entries.flatten().filter_map(name).filter(|name| !name.starts_with('.')).collect()
    }

    fn unknown(&self, category: &str, name: &str) -> String {
        let alike = |known: &[String], given: &str| {
            let score = |known: &&String| strsim::jaro_winkler(known, given);
            let nearest = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
            (score(&nearest) > 0.8).then(|| nearest.clone())
        };
        let categories = self.names(".");
        if !categories.iter().any(|known| known == category) {
            let advice = alike(&categories, category).map(|known| format!("; did you mean `{known}`?"));
            return format!("this kernel has no tracepoints `{category}:...`{}", advice.unwrap_or_default());
        }
        let advice = alike(&self.names(category), name).map(|known| format!("; did you mean `{category}:{known}`?"));
        format!("this kernel has no tracepoint `{category}:{name}`{}", advice.unwrap_or_default())
    }
}

/// Fields of a description, whose lines are `field:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;`.
fn fields(format: &str) -> Vec<Field> {
    format.lines().filter_map(field).filter(|field| !field.name.starts_with("common_")).collect()
}

fn field(line: &str) -> Option<Field> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?;
    let mut number = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix(':')?.parse::<u32>().ok();
    let (offset, size, signed) = (number("offset")?, number("size")?, number("signed")? == 1);
    let end = declaration.rfind([' ', '*']).map(|at| at + 1)?;
    let (kind, last) = declaration.split_at(end);
    let (name, elements) = match last.split_once('[') {
        Some((name, elements)) => (name, Some(elements.strip_suffix(']')?.parse().unwrap_or(0))),
        None => (last, None),
    };
    Some(Field { name: name.to_owned(), kind: kind.trim().to_owned(), elements, offset, size, signed })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMAT: &str = "name: sched_wakeup\nID: 349\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
        \tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
        \tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;\n\
        \tfield:const char * file;\toffset:32;\tsize:8;\tsigned:0;\n\
        \tfield:__data_loc char[] name;\toffset:40;\tsize:4;\tsigned:0;\n\nprint fmt: \"%d\", REC->pid\n";

    #[test]
    fn a_description_gives_fields_with_their_places() {
        let fields = fields(FORMAT);
        let one = |name: &str| fields.iter().find(|field| field.name == name).unwrap().clone();
        assert_eq!(fields.len(), 4);
        assert_eq!((one("comm").elements, one("comm").offset, one("comm").size), (Some(16), 8, 16));
        assert_eq!((one("pid").kind.as_str(), one("pid").signed), ("pid_t", true));
        assert_eq!(one("file").kind, "const char *");
        assert_eq!(one("name").kind, "__data_loc char[]");
    }

    proptest! {
        #[test]
        fn no_description_is_too_strange(text in "(field:)?[ -~\n\t;\\[\\]*]{0,200}") {
            fields(&text);
        }
    }
}
