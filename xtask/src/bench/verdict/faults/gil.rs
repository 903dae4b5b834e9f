//! A thread in the server that holds Python's lock most of the time and computes nothing. It comes in as a `sitecustomize`
//! on PYTHONPATH, so the engine is what it always is; it holds the lock while a file is there.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Fault, Kind, same};
use crate::bench::verdict::rig::Rig;
use crate::servers::Engine;

const TRIGGER: &str = "hold-the-lock";
/// ctypes.PyDLL calls a function without giving the lock away.
const SITE: &str = r#"
import ctypes, os, threading, time

def hold(trigger):
    held = ctypes.PyDLL(None)
    while True:
        if os.path.exists(trigger):
            held.usleep(5000)
            time.sleep(0.0005)
        else:
            time.sleep(0.01)

threading.Thread(target=hold, args=(os.environ["INFERSCOPE_BENCH_TRIGGER"],), daemon=True).start()
"#;

pub const HOLDER: Kind = Kind {
    name: "thread that holds the GIL",
    expected: "lock_bound",
    missing: |rig| (rig.engine != Engine::Vllm).then(|| "this engine is no Python".into()),
    fault: || Box::new(Holder),
    quiet: same,
    faulty: same,
};

struct Holder;

impl Fault for Holder {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        fs::write(rig.path(TRIGGER), "").context("cannot trigger the holder of the lock")
    }

    fn lift(&mut self, rig: &Rig) -> Result<()> {
        match fs::remove_file(rig.path(TRIGGER)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("cannot end the holder"),
            _ => Ok(()),
        }
    }
}

/// What the server's environment must hold; its files lie in DIR.
pub fn environment(dir: &Path) -> Result<Vec<(String, OsString)>> {
    let site = dir.join("site");
    fs::create_dir_all(&site)?;
    fs::write(site.join("sitecustomize.py"), SITE).context("no room for sitecustomize.py")?;
    let trigger = dir.join(TRIGGER);
    Ok(vec![("PYTHONPATH".into(), site.into()), ("INFERSCOPE_BENCH_TRIGGER".into(), trigger.into())])
}
