//! Classic tracepoints: which fields a program relies on, and whether this kernel has them where the program reads them.
//!
//! From 7.0 on kernels run typed and raw tracepoints with preemption on, and leave a program out on a CPU where it is
//! running already. Behind a classic tracepoint preemption is off, so that no event is missed; it costs some tens of
//! nanoseconds more, and wants tracefs.

use std::path::Path;

/// A classic tracepoint and the fields that its program reads.
#[derive(Debug)]
pub struct Classic {
    pub category: &'static str,
    pub name: &'static str,
    /// Name, offset and size in bytes.
    pub fields: &'static [(&'static str, usize, usize)],
}

/// Where tracefs is mounted, if it is.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

impl Classic {
    /// Says why the program cannot rely on this kernel's record, if it cannot.
    pub fn check(&self) -> Result<(), String> {
        let Self { category, name, .. } = self;
        let path = |root: &&str| Path::new(root).join("events").join(category).join(name).join("format");
        let format = TRACEFS.iter().map(path).find_map(|path| std::fs::read_to_string(path).ok());
        let format = format.ok_or_else(|| format!("no format of {category}:{name}: tracefs is not mounted"))?;
        self.agrees(&format)
    }

    fn agrees(&self, format: &str) -> Result<(), String> {
        for (field, offset, size) in self.fields {
            if place(format, field) != Some((*offset, *size)) {
                return Err(format!("{}:{} has its field {field} elsewhere", self.category, self.name));
            }
        }
        Ok(())
    }
}

/// Offset and size of a field in a tracepoint's format, whose lines are
/// `field:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;`.
fn place(format: &str, field: &str) -> Option<(usize, usize)> {
    format.lines().find_map(|line| {
        let mut parts = line.trim().split(';').map(str::trim);
        let declaration = parts.next()?.strip_prefix("field:")?;
        let name = declaration.rsplit([' ', '*']).next()?.split('[').next()?;
        if name != field {
            return None;
        }
        let offset = parts.next()?.strip_prefix("offset:")?.parse().ok()?;
        let size = parts.next()?.strip_prefix("size:")?.parse().ok()?;
        Some((offset, size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: sys_enter\nID: 349\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
        \tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n\
        \tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;\n";

    #[test]
    fn a_field_is_known_by_its_name() {
        assert_eq!(place(FORMAT, "id"), Some((8, 8)));
        assert_eq!(place(FORMAT, "args"), Some((16, 48)));
        assert_eq!(place(FORMAT, "ret"), None);
    }

    #[test]
    fn another_layout_is_refused() {
        let classic = |fields| Classic { category: "raw_syscalls", name: "sys_enter", fields };
        assert_eq!(classic(&[("id", 8, 8), ("args", 16, 48)]).agrees(FORMAT), Ok(()));
        assert!(classic(&[("id", 16, 8)]).agrees(FORMAT).is_err());
        assert!(classic(&[("flags", 8, 8)]).agrees(FORMAT).is_err());
    }
}
