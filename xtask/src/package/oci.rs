//! A file tree as an OCI image layout in one tar file, which container engines load. Reads no file, asks no clock.
//!
//! manifest.json stands beside it for `docker load` before 25.0, which knows no index.json.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
    ImageIndex, ImageIndexBuilder, ImageManifest, ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder,
    Sha256Digest,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::libraries::Processor;
use super::source::Source;
use super::tree::{Tree, gzip};

const PORT: &str = "9770/tcp";

/// A packed image.
pub struct Image {
    /// The file that is loaded.
    pub archive: Vec<u8>,
    /// Of the manifest, which is what a registry calls the image's.
    pub digest: String,
    /// The only layer, in bytes.
    pub layer: usize,
    pub unpacked: usize,
}

/// Packs ROOTFS. TAG is the name it is loaded under, such as `inferscope:0.1.0`.
pub fn pack(rootfs: &Tree, processor: Processor, source: &Source, tag: &str) -> Result<Image> {
    let mut layout = Tree::default();
    let tar = rootfs.tar(source.time_s)?;
    let layer = blob(&mut layout, MediaType::ImageLayerGzip, gzip(&tar)?)?;
    let config = json(&configuration(processor, source, &sha256(&tar))?)?;
    let config = blob(&mut layout, MediaType::ImageConfig, config)?;
    let manifest = blob(&mut layout, MediaType::ImageManifest, json(&manifest(&config, &layer, source)?)?)?;
    let digest = manifest.digest().to_string();
    layout.file("index.json", 0o644, json(&index(manifest, processor, tag)?)?);
    layout.file("oci-layout", 0o644, json(&json!({ "imageLayoutVersion": "1.0.0" }))?);
    let docker = json!([{ "Config": path(&config), "RepoTags": [tag], "Layers": [path(&layer)] }]);
    layout.file("manifest.json", 0o644, json(&docker)?);
    Ok(Image { archive: layout.tar(source.time_s)?, digest, layer: layer.size() as usize, unpacked: tar.len() })
}

fn blob(layout: &mut Tree, media_type: MediaType, bytes: Vec<u8>) -> Result<Descriptor> {
    let digest: Sha256Digest = sha256(&bytes).parse().context("a digest of SHA-256 is none")?;
    let descriptor = Descriptor::new(media_type, bytes.len() as u64, digest);
    layout.file(&path(&descriptor), 0o644, bytes);
    Ok(descriptor)
}

fn path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest().digest())
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys in order, which the maps that it is made of have not.
fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&serde_json::to_value(value)?)?)
}

fn labels(source: &Source) -> HashMap<String, String> {
    let label = |(name, value): (&str, &str)| (format!("org.opencontainers.image.{name}"), value.to_owned());
    let url = source.url.as_deref().map(|url| ("source", url));
    [
        ("title", "inferscope"),
        ("description", "watches LLM inference servers from the kernel"),
        ("version", source.version),
        ("revision", &source.revision),
        ("created", &source.created()),
        ("licenses", "Apache-2.0"),
    ]
    .into_iter()
    .chain(url)
    .map(label)
    .collect()
}

fn configuration(processor: Processor, source: &Source, layer: &str) -> Result<ImageConfiguration> {
    let config = ConfigBuilder::default()
        .entrypoint(vec![format!("/{}", super::rootfs::PROGRAM)])
        .cmd(vec!["run".to_owned()])
        // `kubectl exec POD -- inferscope top` looks for it there.
        .env(vec!["PATH=/usr/bin".to_owned()])
        .exposed_ports(vec![PORT.to_owned()])
        .working_dir("/")
        .labels(labels(source))
        .build()?;
    let history = HistoryBuilder::default().created(source.created()).created_by("cargo xtask image").build()?;
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![format!("sha256:{layer}")]).build()?;
    Ok(ImageConfigurationBuilder::default()
        .created(source.created())
        .architecture(Arch::from(processor.oci))
        .os(Os::Linux)
        .config(config)
        .rootfs(rootfs)
        .history(vec![history])
        .build()?)
}

fn manifest(config: &Descriptor, layer: &Descriptor, source: &Source) -> Result<ImageManifest> {
    Ok(ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(config.clone())
        .layers(vec![layer.clone()])
        .annotations(labels(source))
        .build()?)
}

fn index(manifest: Descriptor, processor: Processor, tag: &str) -> Result<ImageIndex> {
    let platform = PlatformBuilder::default().architecture(Arch::from(processor.oci)).os(Os::Linux).build()?;
    let version = tag.rsplit_once(':').map_or(tag, |(_, version)| version);
    let names = [("org.opencontainers.image.ref.name", version.to_owned()), ("io.containerd.image.name", full(tag))];
    let manifest = DescriptorBuilder::default()
        .media_type(MediaType::ImageManifest)
        .digest(manifest.digest().clone())
        .size(manifest.size())
        .platform(platform)
        .annotations(names.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<HashMap<_, _>>())
        .build()?;
    Ok(ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![manifest])
        .build()?)
}

/// The name as containerd wants it: with a registry, of which Docker's is the one that is left out.
fn full(tag: &str) -> String {
    match tag.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => tag.to_owned(),
        Some(_) => format!("docker.io/{tag}"),
        None => format!("docker.io/library/{tag}"),
    }
}

/// A name and a version, of the characters that registries take. Errors: what it is not.
pub fn check_tag(tag: &str) -> Result<String, String> {
    let (name, version) = tag.rsplit_once(':').unwrap_or((tag, ""));
    let good_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let good_version = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good =
        !name.is_empty() && name.chars().all(good_name) && !version.is_empty() && version.chars().all(good_version);
    good.then(|| tag.to_owned()).ok_or_else(|| "write a name and a version, such as inferscope:0.1.0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_registry() {
        assert_eq!(full("inferscope:1"), "docker.io/library/inferscope:1");
        assert_eq!(full("me/inferscope:1"), "docker.io/me/inferscope:1");
        assert_eq!(full("registry.example.org/inferscope:1"), "registry.example.org/inferscope:1");
        assert_eq!(full("localhost:5000/x:1"), "localhost:5000/x:1");
    }

    #[test]
    fn a_name_without_a_version_is_refused() {
        assert!(check_tag("inferscope:0.1.0").is_ok() && check_tag("localhost:5000/x:1").is_ok());
        for bad in ["inferscope", "Inferscope:1", "x:", ":1", "localhost:5000/x"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }
}
