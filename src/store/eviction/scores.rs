//! Which scores are among the best: a histogram of the scores seen lately, by bytes.

/// Buckets for each doubling of a score.
const PER_DOUBLING: f32 = 4.0;
const BUCKETS: usize = 256;

#[derive(Debug)]
pub(super) struct Scores {
    bytes: Box<[f32; BUCKETS]>,
    total: f32,
    seen: f32,
    threshold: usize,
}

impl Scores {
    pub fn new() -> Scores {
        Scores { bytes: Box::new([0.0; BUCKETS]), total: 0.0, seen: 0.0, threshold: 0 }
    }

    /// Adds an item's score, and says whether it is among those that make up the best `share` of the bytes of the
    /// last `memory` bytes or so.
    pub fn is_among_best(&mut self, score: f32, len: usize, share: f32, memory: f32) -> bool {
        let bucket = bucket(score);
        self.bytes[bucket] += len as f32;
        self.total += len as f32;
        self.seen += len as f32;
        if self.seen * 16.0 > memory.min(self.total) {
            self.seen = 0.0;
            self.find_threshold(share);
            if self.total > memory {
                self.bytes.iter_mut().for_each(|bytes| *bytes /= 2.0);
                self.total /= 2.0;
            }
        }
        bucket >= self.threshold
    }

    /// Whether an item with this score would be, going by those added so far.
    pub fn would_be_among_best(&self, score: f32) -> bool {
        self.total > 0.0 && bucket(score) >= self.threshold
    }

    fn find_threshold(&mut self, share: f32) {
        let mut best = 0.0;
        self.threshold = BUCKETS;
        while self.threshold > 0 && best + self.bytes[self.threshold - 1] <= share * self.total {
            self.threshold -= 1;
            best += self.bytes[self.threshold];
        }
    }
}

fn bucket(score: f32) -> usize {
    (score.log2() * PER_DOUBLING + BUCKETS as f32 / 2.0).clamp(0.0, BUCKETS as f32 - 1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_asked_for_is_among_the_best_and_they_are_the_highest() {
        let mut scores = Scores::new();
        let mut among = [0; 100];
        for round in 0..1000 {
            for (score, count) in among.iter_mut().enumerate() {
                let best = scores.is_among_best(1.0 + score as f32 * score as f32, 50, 0.4, 100_000.0);
                if round >= 100 {
                    *count += usize::from(best);
                }
            }
        }
        let kept: usize = among.iter().sum();
        assert!((0.3..=0.4).contains(&(kept as f64 / 90_000.0)), "{kept} of 90000");
        assert!(among[..50].iter().all(|&count| count == 0) && among[80] == 900);
    }
}
