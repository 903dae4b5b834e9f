//! `cargo xtask image`: the agent as a container image in one file, made without a container engine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::oci::{self, Image};
use super::rootfs::{self, Parts};
use super::source::Source;
use crate::{build, paths};

/// What a node has to fetch, at most.
const LAYER_BYTES: usize = 40_000_000;
const LARGEST_SHOWN: usize = 5;

/// Make a container image (OCI, for docker load, podman load, ctr images import, skopeo) without a container engine
#[derive(clap::Args)]
pub struct Args {
    /// The file to write [default: dist/inferscope-VERSION-ARCH.oci.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The name it is loaded under [default: inferscope:VERSION]
    #[arg(long, value_name = "NAME:VERSION", value_parser = oci::check_tag)]
    tag: Option<String>,
    /// Where the source is published: a label of the image
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// Certificate authorities (PEM) to put in, instead of this host's
    #[arg(long, value_name = "FILE")]
    ca_certificates: Option<PathBuf>,
    /// Pack this program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Print the digest and the sizes as JSON, in the last line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let program = args.binary.clone().map_or_else(build::packaged, Ok)?;
    let source = Source { url: args.source.clone(), ..Source::read()? };
    let parts = Parts { program, certificates: args.ca_certificates.clone() };
    let (rootfs, processor) = rootfs::assemble(&parts, &source)?;
    let tag = args.tag.clone().unwrap_or_else(|| format!("inferscope:{}", source.version));
    let image = oci::pack(&rootfs, processor, &source, &tag)?;
    let largest = rootfs.largest();
    if !args.json {
        largest.iter().take(LARGEST_SHOWN).for_each(|(path, bytes)| println!("{:>10}  {path}", mb(*bytes)));
    }
    if image.layer > LAYER_BYTES {
        let (path, bytes) = largest.first().copied().unwrap_or_default();
        bail!("the image has {}, and {} at most: {path} has {}", mb(image.layer), mb(LAYER_BYTES), mb(bytes));
    }
    let output = args.output.clone().map_or_else(
        || Ok(super::folder()?.join(format!("inferscope-{}-{}.oci.tar", source.version, processor.name))),
        anyhow::Ok,
    )?;
    fs::write(&output, &image.archive).with_context(|| format!("cannot write {}", output.display()))?;
    let output = output.strip_prefix(paths::workspace()).unwrap_or(&output).display().to_string();
    tell(args.json, &output, &tag, &image);
    Ok(())
}

fn tell(as_json: bool, output: &str, tag: &str, image: &Image) {
    let Image { digest, layer, unpacked, archive } = image;
    if as_json {
        let bytes = archive.len();
        let said = json!({
            "file": output, "tag": tag, "digest": digest,
            "archive_bytes": bytes, "layer_bytes": layer, "unpacked_bytes": unpacked,
        });
        println!("{said}");
    } else {
        println!("{output}  {tag}  {} compressed, {} unpacked", mb(*layer), mb(*unpacked));
        println!("{digest}");
    }
}

fn mb(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
