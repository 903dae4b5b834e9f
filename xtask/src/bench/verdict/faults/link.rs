//! A link that delays every packet and loses some, under streams large enough to feel it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Fault, Kind, anywhere};
use crate::bench::verdict::load::Load;
use crate::bench::verdict::rig::Rig;
use crate::process;

const SOON: Duration = Duration::from_secs(5);

pub const BAD_LINK: Kind = Kind {
    name: "link with delay and loss",
    expected: "network_bound",
    missing: anywhere,
    fault: || Box::new(BadLink),
    quiet: |rig, load| {
        let target = rig.target(rig.network().link());
        Load { target, large: Some(rig.large()), at_a_time: load.at_a_time.min(2), ..load }
    },
    faulty: super::same,
};

struct BadLink;

impl Fault for BadLink {
    fn inject(&mut self, rig: &Rig) -> Result<()> {
        rig.network().bad()
    }

    fn lift(&mut self, rig: &Rig) -> Result<()> {
        rig.network().good()?;
        let deadline = Instant::now() + SOON;
        while rig.network().counts()?.1 > 0 && Instant::now() < deadline {
            process::pause(Duration::from_millis(10))?;
        }
        Ok(())
    }
}
