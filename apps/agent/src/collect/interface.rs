//! What network interfaces count, and what was counted since the last time.

use std::collections::BTreeMap;

use picket_model::NetworkStats;

use crate::limits::INTERFACES_MAX;

/// What one interface has counted since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

/// The counters of all interfaces at one moment, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<Box<str>, Counters>);

impl Interfaces {
    /// Takes the counters of one interface; those beyond [`INTERFACES_MAX`] are left out, and
    /// `false` says so.
    pub fn insert(&mut self, name: &str, counters: Counters) -> bool {
        let has_room = self.0.len() < INTERFACES_MAX;
        if has_room {
            self.0.insert(name.into(), counters);
        }
        has_room
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// What all interfaces together have counted since `earlier`.
    ///
    /// An interface that came in between counts from its zero, one that went is not counted at all:
    /// never is anything negative, and never does a counter since boot go out as an increment.
    pub fn since(&self, earlier: &Self) -> NetworkStats {
        let mut sum = Counters::default();
        for (name, now) in &self.0 {
            let then = earlier.0.get(name).copied().unwrap_or_default();
            let grown = now.since(then);
            sum.bytes_in = sum.bytes_in.saturating_add(grown.bytes_in);
            sum.bytes_out = sum.bytes_out.saturating_add(grown.bytes_out);
            sum.packets_in = sum.packets_in.saturating_add(grown.packets_in);
            sum.packets_out = sum.packets_out.saturating_add(grown.packets_out);
        }
        NetworkStats {
            bytes_in: Some(sum.bytes_in),
            bytes_out: Some(sum.bytes_out),
            packets_in: Some(sum.packets_in),
            packets_out: Some(sum.packets_out),
        }
    }
}

impl Counters {
    fn all(self) -> [u64; 4] {
        [self.bytes_in, self.bytes_out, self.packets_in, self.packets_out]
    }

    /// What was counted since `then`.
    ///
    /// Where every counter that was above zero fell, the interface began again: after a reboot, or
    /// because its driver was loaded anew. Then all that it shows is new. Where only some fell, those
    /// ran over their end, which in some drivers comes after 32 bits. Looking at one counter alone
    /// could not tell the two apart, and would make gigabytes of a restart.
    fn since(self, then: Self) -> Self {
        let pairs = self.all().into_iter().zip(then.all());
        let mut was_counting = pairs.clone().filter(|(_, then)| *then > 0).peekable();
        let began_again =
            was_counting.peek().is_some() && was_counting.all(|(now, then)| now < then);
        if began_again {
            return self;
        }
        Self {
            bytes_in: increment(self.bytes_in, then.bytes_in),
            bytes_out: increment(self.bytes_out, then.bytes_out),
            packets_in: increment(self.packets_in, then.packets_in),
            packets_out: increment(self.packets_out, then.packets_out),
        }
    }
}

/// How far a counter moved, over its end if need be.
fn increment(now: u64, then: u64) -> u64 {
    const WIDTH_32: u64 = 1 << 32;
    match now.checked_sub(then) {
        Some(grown) => grown,
        None if then < WIDTH_32 => now + (WIDTH_32 - then),
        None => now.wrapping_sub(then),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `eth0 10 20 1 2, lo 0 0 0 0`: bytes in, bytes out, packets in, packets out.
    fn interfaces(text: &str) -> Interfaces {
        let mut interfaces = Interfaces::default();
        for entry in text.split(", ").filter(|entry| !entry.is_empty()) {
            let mut words = entry.split(' ');
            let name = words.next().unwrap();
            let numbers: Vec<u64> = words.map(|word| word.parse().unwrap()).collect();
            let [bytes_in, bytes_out, packets_in, packets_out] = numbers[..] else {
                panic!("four numbers: {entry}")
            };
            interfaces.insert(name, Counters { bytes_in, bytes_out, packets_in, packets_out });
        }
        interfaces
    }

    /// The increments from one moment to the next, in the order of the text form.
    fn check(then: &str, now: &str, expected: [u64; 4]) {
        let found = interfaces(now).since(&interfaces(then));
        let found = [found.bytes_in, found.bytes_out, found.packets_in, found.packets_out];
        assert_eq!(found, expected.map(Some), "from `{then}` to `{now}`");
    }

    #[test]
    fn increments_are_summed_over_interfaces() {
        check("eth0 10 20 1 2", "eth0 15 29 3 5", [5, 9, 2, 3]);
        check("eth0 10 20 1 2, wlan0 1 1 1 1", "eth0 15 29 3 5, wlan0 2 3 4 5", [6, 11, 5, 7]);
        check("eth0 10 20 1 2", "eth0 10 20 1 2", [0, 0, 0, 0]);
        check("", "", [0, 0, 0, 0]);
    }

    #[test]
    fn a_counter_of_32_bits_runs_over_its_end() {
        check("eth0 4294967290 7 50 3", "eth0 4 9 52 4", [10, 2, 2, 1]);
        check("eth0 4294967295 4294967295 50 3", "eth0 0 0 52 3", [1, 1, 2, 0]);
    }

    #[test]
    fn a_counter_of_64_bits_runs_over_its_end() {
        check("eth0 18446744073709551615 7 50 3", "eth0 4 9 52 4", [5, 2, 2, 1]);
    }

    #[test]
    fn an_interface_that_begins_again_counts_from_zero() {
        check("eth0 3000000000 2000000 4000 900", "eth0 1500 100 3 1", [1500, 100, 3, 1]);
        check("eth0 3000000000 0 4000 0", "eth0 1500 100 3 1", [1500, 100, 3, 1]);
        check("eth0 3000000000 2000000 4000 900", "eth0 0 0 0 0", [0, 0, 0, 0]);
    }

    #[test]
    fn an_interface_that_is_gone_is_not_counted() {
        check("eth0 10 20 1 2, usb0 900 900 9 9", "eth0 11 22 2 4", [1, 2, 1, 2]);
        check("eth0 10 20 1 2", "", [0, 0, 0, 0]);
    }

    #[test]
    fn an_interface_that_is_new_counts_from_zero() {
        check("eth0 10 20 1 2", "eth0 10 20 1 2, usb0 900 800 9 8", [900, 800, 9, 8]);
    }

    #[test]
    fn more_interfaces_than_the_bound_are_left_out() {
        let mut interfaces = Interfaces::default();
        for n in 0..INTERFACES_MAX {
            assert!(interfaces.insert(&format!("veth{n}"), Counters::default()));
        }
        assert!(!interfaces.insert("one-more", Counters::default()));
        assert_eq!(interfaces.names().count(), INTERFACES_MAX);
    }

    proptest! {
        #[test]
        fn what_is_counted_in_steps_is_counted_in_all(
            steps in prop::collection::vec(any::<[u32; 4]>(), 1..8),
        ) {
            // A machine with 32-bit counters, which never begin again here: they start high.
            let mut counters = [u32::MAX / 2; 4];
            let mut true_sum = [0u64; 4];
            let mut sum = [0u64; 4];
            let moment = |c: [u32; 4]| Counters {
                bytes_in: c[0].into(),
                bytes_out: c[1].into(),
                packets_in: c[2].into(),
                packets_out: c[3].into(),
            };
            for step in steps {
                let then = moment(counters);
                for (i, by) in step.into_iter().enumerate() {
                    // The last one moves slowly, as the packets of a slow link do.
                    let by = if i == 3 { by % 1_000 } else { by };
                    counters[i] = counters[i].wrapping_add(by);
                    true_sum[i] += u64::from(by);
                }
                let grown = moment(counters).since(then).all();
                for (sum, grown) in sum.iter_mut().zip(grown) {
                    *sum += grown;
                }
            }
            prop_assert_eq!(sum, true_sum);
        }
    }
}
