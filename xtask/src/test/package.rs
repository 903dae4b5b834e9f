//! The packages as test cases: the image packs, reads back and starts; the archive packs; systemd takes the unit.

use anyhow::Result;

use super::report::Verdict;
use crate::libtest::Counts;
use crate::package::proof::Proof;
use crate::{paths, process};

/// On the release build and the fake GPU library beside it.
pub fn run() -> Result<Verdict> {
    let release = paths::target().join("release");
    let proof = Proof::new(&release.join("inferscope"))?;
    let mut verdict = Verdict::done();
    case(&mut verdict, "the image packs and reads back", proof.image());
    let fake = release.join("libfake_nvml.so");
    if !process::is_root() {
        skip(&mut verdict, "the image was not started: a root directory of its own takes root");
    } else if !fake.exists() {
        skip(&mut verdict, "the image was not started: its GPU library comes with the live tests");
    } else {
        case(&mut verdict, "the image starts", proof.starts(&fake));
    }
    case(&mut verdict, "the archive packs", proof.archive());
    match paths::program("systemd-analyze") {
        Some(analyze) => case(&mut verdict, "systemd takes the unit", proof.unit(&analyze)),
        None => skip(&mut verdict, "the unit was not verified: this host has no systemd-analyze"),
    }
    Ok(verdict)
}

fn case(verdict: &mut Verdict, name: &str, done: Result<()>) {
    match &done {
        Ok(()) => println!("  ok       {name}"),
        Err(error) => println!("  FAILED   {name}: {error:#}"),
    }
    verdict.counts += Counts::one(done.is_ok());
}

fn skip(verdict: &mut Verdict, why: &str) {
    verdict.counts += Counts::one_skipped();
    verdict.reasons.push(why.to_owned());
}
