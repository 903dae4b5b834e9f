//! A figure with and without something, in turn. A machine's speed drifts, so each figure with it is held against the
//! mean of the two without it around it.

use std::fmt;

use anyhow::Result;

use super::table::median;

pub struct Ratios(Vec<f64>);

/// So many times with it, and once more without.
pub fn ratios(
    rounds: usize,
    mut without: impl FnMut() -> Result<f64>,
    mut with: impl FnMut() -> Result<f64>,
) -> Result<Ratios> {
    let mut before = without()?;
    let mut all = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let during = with()?;
        let after = without()?;
        all.push(during / ((before + after) / 2.0));
        before = after;
    }
    all.sort_by(f64::total_cmp);
    Ok(Ratios(all))
}

impl Ratios {
    pub fn median(&self) -> f64 {
        median(&self.0)
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let count = self.0.len();
        let (from, to) = (self.0[count / 4], self.0[count - 1 - count / 4]);
        write!(f, "{:.3} of without (median of {count} turns; half of them {from:.3} to {to:.3})", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_no_difference() {
        let speed = std::cell::Cell::new(10.0);
        let slower = || {
            speed.set(speed.get() - 0.5);
            Ok(speed.get())
        };
        let ratios = ratios(4, slower, slower).unwrap();
        assert_eq!(ratios.to_string(), "1.000 of without (median of 4 turns; half of them 1.000 to 1.000)");
    }
}
