//! What is handed out: a container image (`image`) and an archive (`dist`), the same bytes from the same commit.

pub mod dist;
pub mod image;
mod libraries;
mod oci;
pub mod proof;
mod readback;
mod rootfs;
mod source;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{kubernetes, paths};

#[derive(clap::Subcommand)]
pub enum Command {
    Image(image::Args),
    Dist(dist::Args),
    Kubernetes(kubernetes::Args),
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Image(args) => image::run(args),
        Command::Dist(args) => dist::run(args),
        Command::Kubernetes(args) => kubernetes::run(args),
    }
}

/// Packs PROGRAM, stripped as a package is, as an image, reads the archive back as an engine does and unpacks it at ROOT.
pub fn unpack(program: &Path, root: &Path) -> Result<()> {
    let proof = proof::Proof::new(program)?;
    proof.image_at(root)
}

/// `dist`, where packages go.
fn folder() -> Result<PathBuf> {
    let folder = paths::workspace().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
