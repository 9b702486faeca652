//! Distributions that workers count: how many values fell below each power of two, and their sum. Knows no units.

use super::counts::Counter;

/// Counts by power of two that one thread writes and any thread reads, of `N` bounds from `2^SHIFT` up.
///
/// Place `n` counts values above `2^(SHIFT + n - 1)` and up to `2^(SHIFT + n)`, the first one those below too; what is
/// above the last bound is in `above`.
#[derive(Debug)]
pub struct Distribution<const SHIFT: u32, const N: usize> {
    places: [Counter; N],
    above: Counter,
    sum: Counter,
}

/// The sum of distributions of the same bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distributed<const SHIFT: u32, const N: usize> {
    places: [u64; N],
    above: u64,
    sum: u64,
}

impl<const SHIFT: u32, const N: usize> Default for Distribution<SHIFT, N> {
    fn default() -> Self {
        Distribution {
            places: std::array::from_fn(|_| Counter::default()),
            above: Counter::default(),
            sum: Counter::default(),
        }
    }
}

impl<const SHIFT: u32, const N: usize> Default for Distributed<SHIFT, N> {
    fn default() -> Self {
        Distributed { places: [0; N], above: 0, sum: 0 }
    }
}

impl<const SHIFT: u32, const N: usize> Distribution<SHIFT, N> {
    /// Counts a value. Only the owning worker calls this.
    pub fn record(&self, value: u64) {
        self.record_times(value, 1, value);
    }

    /// Counts a value `times` times and adds `sum` to the sum, which may be finer than the places are. Only the owning
    /// worker calls this.
    pub fn record_times(&self, value: u64, times: u64, sum: u64) {
        let length = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.places.get(length.saturating_sub(SHIFT) as usize).unwrap_or(&self.above).add(times);
        self.sum.add(sum);
    }
}

impl<const SHIFT: u32, const N: usize> Distributed<SHIFT, N> {
    /// Adds one worker's counts.
    pub fn add(&mut self, counts: &Distribution<SHIFT, N>) {
        for (total, place) in self.places.iter_mut().zip(&counts.places) {
            *total = total.wrapping_add(place.value());
        }
        self.above = self.above.wrapping_add(counts.above.value());
        self.sum = self.sum.wrapping_add(counts.sum.value());
    }

    /// Takes away what had been counted when `earlier` was summed.
    pub fn since(&mut self, earlier: &Distributed<SHIFT, N>) {
        for (total, earlier) in self.places.iter_mut().zip(&earlier.places) {
            *total = total.wrapping_sub(*earlier);
        }
        self.above = self.above.wrapping_sub(earlier.above);
        self.sum = self.sum.wrapping_sub(earlier.sum);
    }

    /// Each bound with the number of values above the one before and up to it.
    pub fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        (SHIFT..).zip(self.places).map(|(exponent, count)| (1 << exponent, count))
    }

    /// The number of values above the last bound.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// The number of all values.
    pub fn count(&self) -> u64 {
        self.places.iter().sum::<u64>() + self.above
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_the_highest_value_of_its_place() {
        let counts = Distribution::<2, 3>::default();
        for (value, times) in [(0, 1), (4, 1), (5, 10), (8, 10), (9, 100), (16, 100), (17, 1000)] {
            counts.record_times(value, times, value * times);
        }
        let mut total = Distributed::default();
        total.add(&counts);
        assert_eq!(total.places().collect::<Vec<_>>(), [(4, 2), (8, 20), (16, 200)]);
        assert_eq!((total.above(), total.count()), (1000, 1222));
        assert_eq!(total.sum(), 4 + 50 + 80 + 900 + 1600 + 17_000);
        let earlier = total;
        counts.record_times(6, 5, 30);
        let mut total = Distributed::default();
        total.add(&counts);
        total.since(&earlier);
        assert_eq!((total.count(), total.sum()), (5, 30));
        assert_eq!(total.places().nth(1), Some((8, 5)));
    }
}
