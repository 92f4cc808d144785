//! Figures: which number of a window is kept, tested or ranked.

use picket_model::Metric;

use crate::judge::tests_largest;
use crate::measured::Measured;
use crate::tally::Tally;
use crate::watch::Watch;

/// Which figure of a window is asked for. Only message sizes have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// The one that people look at: the largest message.
    Kept,
    /// The one that an absolute criteria tests: the most extreme message, since each is judged by
    /// itself.
    Tested,
    /// The one that devices are ranked by: all messages together.
    Ranked,
    /// The smallest message.
    Smallest,
}

/// What a window comes to; `None` where there is nothing, as in a window without messages for a
/// message size.
///
/// `tally` is none for a window in which nothing was counted: that is zero, where there is a zero.
pub(crate) fn measure<'a>(
    watch: &Watch,
    figure: Figure,
    tally: Option<&'a Tally>,
) -> Option<Measured<'a>> {
    match (&watch.metric, tally) {
        (Metric::MessageByteSize, Some(Tally::Messages(messages))) => {
            if messages.span.count == 0 {
                return None;
            }
            let is_smallest = match figure {
                Figure::Kept => false,
                Figure::Smallest => true,
                Figure::Ranked => return Some(Measured::count(messages.bytes_total)),
                Figure::Tested => !watch.comparison().is_some_and(tests_largest),
            };
            let bytes = if is_smallest { messages.bytes_min } else { messages.bytes_max };
            Some(Measured::count(u64::from(bytes)))
        }
        (Metric::MessageByteSize | Metric::SourceIpAddress, None) => None,
        (_, Some(Tally::Addresses(addresses))) => {
            let list = addresses.list();
            (!list.is_empty()).then_some(Measured::Addresses(list))
        }
        (_, Some(Tally::Total(total))) => Some(Measured::count(*total)),
        (_, Some(Tally::Last(last))) => {
            last.and_then(|reading| reading.quantity()).map(Measured::Quantity)
        }
        (_, tally) => Some(Measured::count(tally.map_or(0, |tally| tally.span().count))),
    }
}
