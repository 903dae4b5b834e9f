//! Seconds in logarithmic buckets, for quantiles of a few seconds' requests: only buckets that hold something take memory,
//! and a quiet one takes none from the heap.

use smallvec::SmallVec;

/// Upper edge of the first bucket.
const LEAST_S: f64 = 0.000_1;
/// Each bucket's upper edge over the one below: a quantile is off by less than this factor.
pub const GROWTH: f64 = 1.15;
/// The last one takes all from 1,600 s on.
const BUCKETS: usize = 120;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    bucket: u8,
    /// No more than 65,535: as many in one bucket are told from none by nothing.
    count: u16,
}

/// Buckets that hold something, ascending.
#[derive(Debug, Clone, Default)]
pub struct Histogram(SmallVec<[Cell; 4]>);

/// Several histograms added up.
#[derive(Debug, Clone)]
pub struct Sum([u32; BUCKETS]);

fn bucket(seconds: f64) -> u8 {
    if seconds.is_nan() || seconds <= LEAST_S {
        return 0;
    }
    let above = (seconds / LEAST_S).ln() / GROWTH.ln();
    above.ceil().min((BUCKETS - 1) as f64) as u8
}

/// Upper edge in seconds.
fn edge(bucket: usize) -> f64 {
    LEAST_S * GROWTH.powi(bucket as i32)
}

impl Histogram {
    /// Adds an observation.
    pub fn add(&mut self, seconds: f64) {
        let bucket = bucket(seconds);
        match self.0.binary_search_by_key(&bucket, |cell| cell.bucket) {
            Ok(at) => self.0[at].count = self.0[at].count.saturating_add(1),
            Err(at) => self.0.insert(at, Cell { bucket, count: 1 }),
        }
    }

    /// The quantile in seconds, 0 < q <= 1; None without observations.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        Sum::default().plus(self).quantile(q)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        if self.0.spilled() { self.0.capacity() * size_of::<Cell>() } else { 0 }
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Sum {
    /// Adds a histogram.
    pub fn add(&mut self, histogram: &Histogram) {
        for cell in &histogram.0 {
            self.0[usize::from(cell.bucket)] += u32::from(cell.count);
        }
    }

    fn plus(mut self, histogram: &Histogram) -> Self {
        self.add(histogram);
        self
    }

    /// The quantile in seconds, linear within its bucket; None without observations.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count: u64 = self.0.iter().copied().map(u64::from).sum();
        let rank = q * count as f64;
        let mut below = 0.0;
        for (at, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if below + count >= rank {
                let low = if at == 0 { 0.0 } else { edge(at - 1) };
                return Some(low + (edge(at) - low) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quantile_of_nothing_is_none() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Sum::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_beyond_the_range_is_kept_at_its_ends() {
        for (seconds, least, most) in [(0.0, 0.0, LEAST_S), (f64::NAN, 0.0, LEAST_S), (1e9, 1_400.0, 1_700.0)] {
            let mut histogram = Histogram::default();
            histogram.add(seconds);
            let got = histogram.quantile(0.5).expect("one");
            assert!((least..=most).contains(&got), "{seconds}: {got}");
        }
    }

    #[test]
    fn a_few_alike_take_no_heap() {
        let mut histogram = Histogram::default();
        (0..1000).for_each(|n| histogram.add(0.1 + f64::from(n) / 1e6));
        assert_eq!((histogram.heap_bytes(), histogram.0.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_bucket_of_the_exact_ones(
            mut values in prop::collection::vec(0.000_2..1_000.0f64, 1..300), q in 0.01..1.0f64
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_by(f64::total_cmp);
            let rank = (q * values.len() as f64).ceil() as usize;
            let exact = values[rank.clamp(1, values.len()) - 1];
            let got = histogram.quantile(q).expect("some");
            prop_assert!(got <= exact * GROWTH + 1e-9 && got >= exact / GROWTH - 1e-9, "{got} for {exact}");
        }
    }
}
