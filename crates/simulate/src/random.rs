//! Numbers that look random and are always the same for the same seed (SplitMix64, Steele et al. 2014).

use crate::amount::Range;

#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed and purpose.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut first = Self(seed ^ purpose.wrapping_mul(0xa076_1d64_78bd_642f));
        first.next();
        first
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Any number of the range, each as likely as the others.
    pub fn within(&mut self, range: Range) -> i64 {
        let width = range.most.abs_diff(range.least);
        let step = if width == u64::MAX { self.next() } else { self.next() % (width + 1) };
        range.least.wrapping_add_unsigned(step)
    }
}
