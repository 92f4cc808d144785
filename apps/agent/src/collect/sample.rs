//! A fair sample of a list that is never held as a whole.

/// A random sample of what it is offered, every item with the same chance, and the number of items.
///
/// It holds the sample alone, so 10,000 connections cost no more memory than 50.
/// Source: Vitter, "Random Sampling with a Reservoir", algorithm R.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    items: Vec<T>,
    max: usize,
    total: u64,
}

impl<T> Sample<T> {
    /// An empty sample of at most `max` items.
    pub fn new(max: usize) -> Self {
        Self { items: Vec::new(), max, total: 0 }
    }

    /// Counts an item, and keeps it or not.
    pub fn offer(&mut self, item: T, random: &mut fastrand::Rng) {
        self.total += 1;
        if self.items.len() < self.max {
            self.items.push(item);
        } else if let Some(place) = self.items.get_mut(random.u64(..self.total) as usize) {
            *place = item;
        }
    }

    /// How many items were offered.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The sample, in no particular order.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(max: usize, n: u32, seed: u64) -> Sample<u32> {
        let mut sample = Sample::new(max);
        let mut random = fastrand::Rng::with_seed(seed);
        for item in 0..n {
            sample.offer(item, &mut random);
        }
        sample
    }

    proptest! {
        #[test]
        fn a_sample_has_its_size_its_items_come_from_the_list_and_the_total_is_true(
            max in 0usize..60, n in 0u32..500, seed: u64,
        ) {
            let sample = sample(max, n, seed);
            prop_assert_eq!(sample.total(), u64::from(n));
            let mut items = sample.into_items();
            prop_assert_eq!(items.len(), max.min(n as usize));
            items.sort_unstable();
            items.dedup();
            prop_assert_eq!(items.len(), max.min(n as usize));
            prop_assert!(items.iter().all(|item| *item < n));
        }
    }

    #[test]
    fn every_item_has_the_same_chance() {
        // 5 of 20, 8,000 times: each item 2,000 times give or take; ten standard deviations are 390.
        let mut n_seen = [0u32; 20];
        for seed in 0..8_000 {
            for item in sample(5, 20, seed).into_items() {
                n_seen[item as usize] += 1;
            }
        }
        assert!(n_seen.iter().all(|n| (1_610..2_390).contains(n)), "{n_seen:?}");
    }
}
