//! Reads an image back as an engine does: every blob by its digest, the layer by its digest unpacked.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use flate2::read::GzDecoder;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout};
use serde_json::Value;

use super::oci::sha256;
use super::rootfs::PROGRAM;

/// Checks ARCHIVE and returns its layer as a tar archive. Errors: what an engine would refuse, or could not start.
pub fn layer(archive: &[u8]) -> Result<Vec<u8>> {
    let files = files(archive)?;
    let file = |name: &str| files.get(name).map(Vec::as_slice).with_context(|| format!("{name} is missing"));
    let layout = OciLayout::from_reader(file("oci-layout")?)?;
    ensure!(layout.image_layout_version() == "1.0.0", "a layout of version {}", layout.image_layout_version());
    let blob = |descriptor: &Descriptor, wanted: MediaType| {
        ensure!(*descriptor.media_type() == wanted, "{} instead of {wanted}", descriptor.media_type());
        let digest = descriptor.digest().digest();
        let bytes = file(&format!("blobs/sha256/{digest}"))?;
        ensure!(bytes.len() as u64 == descriptor.size(), "{digest} has {} bytes", bytes.len());
        ensure!(sha256(bytes) == digest, "{digest} has another digest");
        Ok(bytes)
    };
    let index = ImageIndex::from_reader(file("index.json")?)?;
    let [manifest] = index.manifests().as_slice() else { anyhow::bail!("not one manifest in the index") };
    let manifest = ImageManifest::from_reader(blob(manifest, MediaType::ImageManifest)?)?;
    let config = ImageConfiguration::from_reader(blob(manifest.config(), MediaType::ImageConfig)?)?;
    let [packed] = manifest.layers().as_slice() else { anyhow::bail!("not one layer in the manifest") };
    let mut tar = Vec::new();
    GzDecoder::new(blob(packed, MediaType::ImageLayerGzip)?).read_to_end(&mut tar).context("the layer")?;
    ensure!(config.rootfs().diff_ids() == &[format!("sha256:{}", sha256(&tar))], "the layer has another diff_id");
    let run = config.config().as_ref().and_then(|config| config.entrypoint().clone()).unwrap_or_default();
    ensure!(run == [format!("/{PROGRAM}")], "it starts {run:?}");
    ensure!(modes(&tar)?.get(PROGRAM).is_some_and(|mode| mode & 0o111 == 0o111), "{PROGRAM} cannot be run");
    let docker: Value = serde_json::from_slice(file("manifest.json")?)?;
    for path in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
        file(path.as_str().context("manifest.json names no blob")?)?;
    }
    Ok(tar)
}

fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
    }
    Ok(files)
}

fn modes(tar: &[u8]) -> Result<BTreeMap<String, u32>> {
    let mut modes = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries()? {
        let entry = entry?;
        modes.insert(entry.path()?.to_string_lossy().into_owned(), entry.header().mode()?);
    }
    Ok(modes)
}

#[cfg(test)]
mod tests {
    use super::super::oci;
    use super::super::rootfs::{Parts, assemble};
    use super::super::source::Source;
    use super::*;

    /// An image of a small program, with a certificate that is none.
    fn image(time_s: u64) -> oci::Image {
        let dir = tempfile::tempdir().unwrap();
        let certificates = dir.path().join("ca.pem");
        std::fs::write(&certificates, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let parts = Parts { program: "/bin/sh".into(), certificates: Some(certificates) };
        let url = Some("https://example.org/source".to_owned());
        let source = Source { version: "1.2.3", revision: "abc".into(), time_s, url };
        let (tree, processor) = assemble(&parts, &source).unwrap();
        oci::pack(&tree, processor, &source, "inferscope:1.2.3").unwrap()
    }

    #[test]
    fn what_is_packed_is_read_back() {
        let tar = layer(&image(1).archive).unwrap();
        let modes = modes(&tar).unwrap();
        for path in ["etc/passwd", "etc/ssl/certs/ca-certificates.crt", "usr/share/doc/inferscope/LICENSE", "lib64"] {
            assert!(modes.contains_key(path), "{path} is missing");
        }
        assert!(modes.keys().any(|path| path.ends_with("/libdl.so.2")));
    }

    #[test]
    fn the_same_parts_have_the_same_digest() {
        let (first, second, later) = (image(1), image(1), image(2));
        assert_eq!((first.digest.as_str(), first.archive), (second.digest.as_str(), second.archive));
        assert_ne!(first.digest, later.digest);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let image = image(1);
        let mut archive = image.archive;
        // In the middle of the layer, which is most of it.
        let middle = archive.len() / 2;
        archive[middle] ^= 1;
        assert!(layer(&archive).unwrap_err().to_string().contains("another digest"));
    }
}
