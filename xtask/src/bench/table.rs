//! Medians and ratios, and the rows they are printed in.

/// The median of VALUES; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile AT (0 to 1) of VALUES, between neighbours in proportion; NaN of none.
pub fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = at.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let (Some(low), Some(high)) = (sorted.get(place.floor() as usize), sorted.get(place.ceil() as usize)) else {
        return f64::NAN;
    };
    low + (high - low) * place.fract()
}

/// A target for a measured number.
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// Prints one row, `what  value  target  ok`; whether the target was met.
pub fn row(what: &str, value: f64, unit: &str, target: &Target) -> bool {
    let (met, words) = match *target {
        Target::AtMost(most) => (value <= most, format!("at most {most}")),
        Target::AtLeast(least) => (value >= least, format!("at least {least}")),
    };
    println!("{what:<48}{value:>12.3} {unit:<10}{words:<18}{}", if met { "ok" } else { "MISSED" });
    met
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
        assert_eq!(quantile(&[0.0, 10.0], 0.95), 9.5);
    }
}
