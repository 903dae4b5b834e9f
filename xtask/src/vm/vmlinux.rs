//! From the kernel image that a package holds to the ELF file that qemu boots directly.
//!
//! Layout: the kernel's Documentation/arch/x86/boot.rst (setup_sects, payload_offset, payload_length).

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

const SETUP_SECTS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const ELF: &[u8] = b"\x7fELF";

/// Writes the ELF kernel inside the bzImage IMAGE to OUT.
pub fn extract(image: &Path, out: &Path) -> Result<()> {
    let bytes = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let payload = payload(&bytes).with_context(|| format!("{} is no x86 kernel image", image.display()))?;
    if payload.starts_with(ELF) {
        return fs::write(out, payload).with_context(|| format!("cannot write {}", out.display()));
    }
    let [tool, args @ ..] = decompressor(payload).context("the kernel is compressed in a way that is not known")?;
    let packed = out.with_extension("packed");
    fs::write(&packed, payload).with_context(|| format!("cannot write {}", packed.display()))?;
    let mut unpack = Command::new(tool);
    unpack.args(args).stdin(File::open(&packed)?).stdout(File::create(out)?).stderr(Stdio::null());
    // The four bytes of length after the payload make some tools end with an error: what counts is the ELF file.
    unpack.status().with_context(|| format!("cannot start {tool}: run `cargo xtask setup --only vm`"))?;
    fs::remove_file(&packed)?;
    let mut magic = [0; 4];
    File::open(out)?.read_exact(&mut magic).context("the kernel did not unpack")?;
    if magic != ELF {
        bail!("what {tool} unpacked is no ELF kernel");
    }
    Ok(())
}

/// The compressed part of a bzImage, or None if the header is not one.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    let sectors = match *bytes.get(SETUP_SECTS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(bytes, PAYLOAD_OFFSET)?;
    bytes.get(start..start.checked_add(number(bytes, PAYLOAD_LENGTH)?)?)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

fn decompressor(payload: &[u8]) -> Option<[&'static str; 3]> {
    let known: [(&[u8], [&str; 3]); 4] = [
        (b"\x1f\x8b", ["gzip", "-d", "-c"]),
        (b"\xfd7zXZ\0", ["xz", "-dc", "--single-stream"]),
        (b"\x28\xb5\x2f\xfd", ["zstd", "-d", "-c"]),
        (b"\x02\x21\x4c\x18", ["lz4", "-d", "-c"]),
    ];
    known.into_iter().find(|(magic, _)| payload.starts_with(magic)).map(|(_, tool)| tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[SETUP_SECTS] = 1;
        bytes[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        bytes[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16u32.to_le_bytes());
        bytes[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(payload);
        bytes.extend(b"what follows the payload");
        bytes
    }

    #[test]
    fn finds_the_payload() {
        assert_eq!(payload(&image(b"\x7fELF and more")), Some(&b"\x7fELF and more"[..]));
    }

    #[test]
    fn a_cut_or_foreign_file_is_no_kernel() {
        let whole = image(b"\x7fELF");
        assert_eq!(payload(&whole[..1030]), None);
        assert_eq!(payload(b"MZ"), None);
        assert_eq!(payload(&[0; 4096]), None);
    }
}
