//! Keeps whoever makes the server log from filling its disk.
//!
//! Strangers cause a line with each connection that is refused, devices with each that is made.
//! Thousands a second would fill the disk, and on a full disk no verdict can be stored.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one kind that may come at once: a thousand devices come back after a network failure.
const BURST: u32 = 2_000;

/// Time after which one more may come. Twenty a second, day and night, are about 300 MB a day.
const REFILL: Duration = Duration::from_millis(50);

/// Lets each place in the code write so many lines. What was asked for by name, levels debug and
/// trace, is not limited.
#[derive(Default)]
pub(super) struct FloodGate {
    buckets: Mutex<HashMap<Identifier, Bucket>>,
}

impl<S: Subscriber> Layer<S> for FloodGate {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let now = Instant::now();
        let verdict = {
            let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.entry(metadata.callsite()).or_insert_with(|| Bucket::full(now)).take(now)
        };
        // The lock is free again: this is an event too, and comes back here.
        if verdict == Verdict::FirstLeftOut {
            warn!(
                event.target = metadata.target(),
                event.line = metadata.line(),
                "too many lines of one kind; from here on at most 20 a second are written"
            );
        }
        verdict == Verdict::Written
    }
}

/// What may be written of one kind.
#[derive(Debug)]
struct Bucket {
    lines: u32,
    /// Up to when lines were added.
    filled_at: Instant,
    is_flooded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// Left out, and none was before since the bucket was full.
    FirstLeftOut,
    LeftOut,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { lines: BURST, filled_at: now, is_flooded: false }
    }

    fn take(&mut self, now: Instant) -> Verdict {
        let elapsed = now.saturating_duration_since(self.filled_at);
        let new = u32::try_from(elapsed.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if new >= BURST - self.lines {
            *self = Self::full(now);
        } else {
            self.lines += new;
            self.filled_at += REFILL * new;
        }
        match self.lines.checked_sub(1) {
            Some(rest) => {
                self.lines = rest;
                Verdict::Written
            }
            None if std::mem::replace(&mut self.is_flooded, true) => Verdict::LeftOut,
            None => Verdict::FirstLeftOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing::{debug, info};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_burst_is_written_and_a_flood_is_not() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        let mut take = |after: Duration| bucket.take(start + after);
        assert!((0..BURST).all(|_| take(Duration::ZERO) == Verdict::Written));
        assert_eq!(take(Duration::ZERO), Verdict::FirstLeftOut);
        assert_eq!(take(REFILL / 2), Verdict::LeftOut);
        assert_eq!(take(REFILL), Verdict::Written);
        assert_eq!(take(REFILL), Verdict::LeftOut);
        let later = REFILL * (BURST + 1);
        assert!((0..BURST).all(|_| take(later) == Verdict::Written));
        assert_eq!(take(later), Verdict::FirstLeftOut);
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_one_kind_is_told_once_and_hides_no_other() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        // For the whole process, as in the program: a subscriber of one thread alone does not hear
        // what is said while it listens.
        tracing::subscriber::set_global_default(lines.with(FloodGate::default())).unwrap();
        for _ in 0..2 * BURST {
            info!("somebody knocked");
            debug!("how somebody knocked");
        }
        info!("nobody knocked");
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        let knocked = u32::try_from(count(": somebody knocked")).unwrap();
        // A slow machine gives a few more their turn.
        assert!((BURST..2 * BURST).contains(&knocked), "{knocked}");
        assert_eq!(count("how somebody knocked"), 2 * BURST as usize);
        assert_eq!((count("too many lines of one kind"), count("nobody knocked")), (1, 1));
    }
}
