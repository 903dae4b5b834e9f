//! One trial: load in quiet, the fault put in, load under it, the fault taken away, and a wait until the server is as fast
//! as it was.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use support::outcome::Outcome;

use super::faults::{Fault, Injected, Kind};
use super::load::Seen;
use super::matrix::{Given, UNSEEN, majority};
use super::records::has_record;
use super::report::Effect;
use super::rig::Rig;

const QUIET: Duration = Duration::from_millis(1000);
const FAULTY: Duration = Duration::from_millis(1500);

pub struct Trial {
    pub name: &'static str,
    pub quiet: Vec<Given>,
    pub faulty: Vec<Given>,
    pub effect: Effect,
    /// As fast as before once the fault was gone.
    pub recovered: bool,
}

pub fn run(rig: &Rig, kind: &Kind, fault: &mut dyn Fault, at_a_time: usize, quiet_s: f64) -> Result<Trial> {
    let load = (kind.quiet)(rig, rig.load(at_a_time));
    let before = load.run(QUIET, &rig.serial)?;
    let injected = Injected::new(fault, rig).with_context(|| format!("{} could not be made", kind.name))?;
    let during = (kind.faulty)(rig, load).run(FAULTY, &rig.serial)?;
    injected.lift()?;
    let (quiet, faulty) = {
        let mut records = rig.records.borrow_mut();
        let all: Vec<&Outcome> = before.iter().chain(&during).map(|sent| &sent.outcome).collect();
        let mut given = records.of(&all)?;
        let of_before = before.iter().filter(|sent| has_record(&sent.outcome)).count();
        let faulty = given.split_off(of_before);
        (given, faulty)
    };
    let recovered = rig.recovered(quiet_s)?;
    let failed = before.iter().chain(&during).filter(|sent| !sent.outcome.complete()).count();
    let effect = Effect { quiet: Seen::of(&before), times: Seen::times(&during, &before), failed };
    Ok(Trial { name: kind.name, quiet, faulty, effect, recovered })
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let said = |given: &[Given]| majority(given).unwrap_or(UNSEEN).to_owned();
        let [ttft, tpot, duration] = self.effect.times.words();
        write!(
            f,
            "{:<30} quiet {} ({}), then {} ({}); TTFT {ttft}, TPOT {tpot}, duration {duration}",
            self.name,
            said(&self.quiet),
            self.quiet.len(),
            said(&self.faulty),
            self.faulty.len(),
        )?;
        if self.effect.failed > 0 {
            write!(f, "; {} requests failed", self.effect.failed)?;
        }
        if self.recovered { Ok(()) } else { write!(f, "; still slow after it") }
    }
}
