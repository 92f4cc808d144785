//! Reports: what devices say of themselves, on their way from a PUBLISH to Detect.
//!
//! A report is an ordinary message first: decided, counted, routed to whoever subscribed. Then it
//! comes here. [`judge`] asks who may report, whether the device's turn has come and whether the
//! report can be read, in this order, so that nobody can use up another device's turn and a flood
//! costs no reading; [`conclude`] hands what came of it to Detect and answers the device.
//!
//! Whatever brings a report in takes this way, a connection's PUBLISH or another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use picket_model::{ClientId, DeviceName, Fact, Observation, Report, ThingName, Timestamp};
use picket_mqtt::{Message, QoS, TopicLimits, TopicName};
use picket_report::limits::{REJECTION_INTERVAL_MS, REPORTERS_MAX};
use picket_report::{
    Authority, ErrorCode, REPORTED_BY, Refusal, Reply, ReportRate, ReportTopic, Reporter,
    TokenBucket, Turn, decode_with_losses, encode_reply, may_report,
};
use tracing::{info, warn};

use crate::access::Access;
use crate::authorize::PublishPermit;
use crate::broker::Shared;
use crate::metrics::Reported;
use crate::retained::Owner;
use crate::router::Flags;

/// How reports are taken, as an operator sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportConfig {
    /// Shortest time between two reports of one device, in seconds; a tenth less is let pass. 0: no
    /// limit, for tests.
    pub min_interval_s: u32,
    /// Who may report for every device whose topic its policies allow: names of things, or client
    /// ids of unregistered devices.
    pub delegates: Vec<DeviceName>,
}

impl Default for ReportConfig {
    /// Ten seconds, and no delegates. AWS takes a report in 5 minutes (guide "Device-side metrics");
    /// what is seen sooner is judged sooner, and ten seconds are no flood.
    fn default() -> Self {
        Self { min_interval_s: 10, delegates: Vec::new() }
    }
}

/// A report that arrived and was not judged yet.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Where it was published.
    pub(crate) name: TopicName,
    /// What the name says.
    pub(crate) topic: Arc<ReportTopic>,
    pub(crate) payload: Bytes,
}

/// What came of a report.
#[derive(Debug)]
pub(crate) enum Judged {
    /// It is taken.
    Accepted(Arc<Report>),
    /// It cannot be read.
    Refused(Refusal),
    /// It came too soon.
    TooSoon {
        /// When the next one may come.
        next_at: Timestamp,
        /// Whether the device is told.
        tell: bool,
    },
    /// Who gave it may not.
    Denied(NoAuthority),
}

/// Why somebody may not report for a device.
#[derive(Debug)]
pub(crate) enum NoAuthority {
    /// Nothing gives it the right.
    None,
    /// Whether something does cannot be found out.
    Unavailable(String),
}

/// The buckets of the devices that reported lately.
pub(crate) struct ReportPace {
    rate: ReportRate,
    inner: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_device: HashMap<DeviceName, TokenBucket>,
    /// When full buckets are looked for again, where there is no room.
    next_sweep_at: Timestamp,
}

impl ReportPace {
    pub(crate) fn new(config: &ReportConfig) -> Self {
        Self { rate: ReportRate::of_interval_s(config.min_interval_s), inner: Mutex::default() }
    }

    /// Takes a device's turn, if it has come.
    fn take(&self, device: &DeviceName, now: Timestamp) -> Turn {
        if self.rate.spacing_ms() == 0 {
            return Turn::Now;
        }
        let mut buckets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_device.get_mut(device) {
            return bucket.take(now, self.rate);
        }
        if !buckets.has_room(now, REPORTERS_MAX) {
            return Turn::TooSoon { next_at: now + self.rate.spacing_ms(), tell: false };
        }
        let mut bucket = TokenBucket::new();
        let turn = bucket.take(now, self.rate);
        buckets.by_device.insert(device.clone(), bucket);
        turn
    }

    /// Gives a turn back that was taken for a report that could not be read.
    fn put_back(&self, device: &DeviceName, now: Timestamp) {
        let mut buckets = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_device.get_mut(device) {
            bucket.put_back(now, self.rate);
        }
    }
}

impl Buckets {
    /// Whether there is room for another device. A full bucket says no more than none, so full ones
    /// make room; that is a walk over all, made once a second at most.
    fn has_room(&mut self, now: Timestamp, n_max: usize) -> bool {
        if self.by_device.len() < n_max {
            return true;
        }
        if now < self.next_sweep_at {
            return false;
        }
        self.by_device.retain(|_, bucket| !bucket.is_full(now));
        self.next_sweep_at = now + SWEEP_INTERVAL_MS;
        let has_room = self.by_device.len() < n_max;
        if !has_room {
            warn!("reports of new devices are refused: {n_max} devices report already");
        }
        has_room
    }
}

/// Memory of the reports that Detect has not taken yet, in all.
///
/// The queue to Detect is bounded by count, for facts of a few hundred bytes; a report of the largest
/// size takes about two megabytes once it is read, and sixteen thousand of them would be all there is.
pub(crate) struct ReportsUnderWay {
    /// In the order of the queue, which lets go of them in the same.
    inner: Mutex<UnderWay>,
    bytes_max: usize,
}

#[derive(Default)]
struct UnderWay {
    reports: VecDeque<(Weak<Report>, usize)>,
    bytes: usize,
}

impl ReportsUnderWay {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { inner: Mutex::default(), bytes_max }
    }

    /// Waits until there is room for a report of so many bytes on the wire. One alone always has it.
    async fn enter(&self, report: &Arc<Report>, wire_bytes: usize) {
        let bytes = wire_bytes.saturating_mul(BYTES_READ_PER_BYTE);
        while !self.try_enter(report, bytes) {
            tokio::time::sleep(ROOM_INTERVAL).await;
        }
    }

    fn try_enter(&self, report: &Arc<Report>, bytes: usize) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((first, gone)) = inner.reports.front()
            && first.strong_count() == 0
        {
            let gone = *gone;
            inner.bytes -= gone;
            inner.reports.pop_front();
        }
        let fits = inner.reports.is_empty() || inner.bytes.saturating_add(bytes) <= self.bytes_max;
        if fits {
            inner.reports.push_back((Arc::downgrade(report), bytes));
            inner.bytes = inner.bytes.saturating_add(bytes);
        }
        fits
    }
}

/// Memory of all reports on their way to Detect: 256 MiB, a thousand of the largest JSON and many
/// more than there are of usual ones.
pub(crate) const UNDER_WAY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that a byte of a report takes once it is read, at the most: a string of one letter is two
/// bytes of CBOR, 16 bytes of pointer and length and 16 of allocation.
const BYTES_READ_PER_BYTE: usize = 16;

/// How long to wait before room is looked for again. Detect takes what is there in less.
const ROOM_INTERVAL: Duration = Duration::from_millis(10);

/// Least time between two walks over all buckets, in milliseconds: a walk over a million takes some
/// tens of them.
const SWEEP_INTERVAL_MS: i64 = 1_000;

/// Judges a report: who gives it, whether the device's turn has come, what it says.
///
/// Waits for the registry only where nothing else gives the right to report.
pub(crate) async fn judge(
    shared: &Shared,
    client: &ClientId,
    access: &Access,
    arrived: &Arrived,
    now: Timestamp,
) -> Judged {
    let device = &arrived.topic.device;
    if let Err(no) = authority(shared, client, access, device).await {
        return Judged::Denied(no);
    }
    match shared.report_pace.take(device, now) {
        Turn::TooSoon { next_at, tell } => return Judged::TooSoon { next_at, tell },
        Turn::Now => {}
    }
    match decode_with_losses(arrived.topic.format, &arrived.payload) {
        Ok((report, n_lost)) => {
            shared.metrics.report_values_lost.inc_by(n_lost.into());
            Judged::Accepted(Arc::new(report))
        }
        Err(refusal) => {
            shared.report_pace.put_back(device, now);
            Judged::Refused(refusal)
        }
    }
}

async fn authority(
    shared: &Shared,
    client: &ClientId,
    access: &Access,
    device: &DeviceName,
) -> Result<Authority, NoAuthority> {
    let reporter = Reporter {
        client,
        is_client_registered: access.is_client_registered,
        things: &access.things,
    };
    let delegates = &shared.config.reports.delegates;
    let authority = may_report(&reporter, device, delegates, None);
    if authority.is_given() {
        return Ok(authority);
    }
    // Only a thing can name somebody.
    let Ok(thing) = ThingName::parse(device.as_str()) else { return Err(NoAuthority::None) };
    let directory = Arc::clone(&shared.directory);
    let read = tokio::task::spawn_blocking(move || directory.attribute(&thing, REPORTED_BY));
    let reported_by = match read.await {
        Ok(Ok(reported_by)) => reported_by,
        Ok(Err(unavailable)) => return Err(NoAuthority::Unavailable(unavailable.to_string())),
        Err(failed) => return Err(NoAuthority::Unavailable(failed.to_string())),
    };
    let authority = may_report(&reporter, device, delegates, reported_by.as_deref());
    if authority.is_given() { Ok(authority) } else { Err(NoAuthority::None) }
}

/// How often a connection is told that it may not report: once a second, as the answers go to a
/// device that perhaps asked for nothing.
#[derive(Debug)]
pub(crate) struct DenialPace {
    next_at: Timestamp,
}

impl Default for DenialPace {
    fn default() -> Self {
        Self { next_at: Timestamp::EPOCH }
    }
}

impl DenialPace {
    fn may_tell(&mut self, now: Timestamp) -> bool {
        let wait_ms = self.next_at.millis_since(now);
        let may_tell = wait_ms <= 0 || wait_ms > REJECTION_INTERVAL_MS;
        if may_tell {
            self.next_at = now + REJECTION_INTERVAL_MS;
        }
        may_tell
    }
}

/// Hands what came of a report to Detect, and answers the device.
///
/// Waits for room among the observations; that a report is accepted is told once it is among them.
/// Where the client had no right to report, the caller counts an authorization failure.
pub(crate) async fn conclude(
    shared: &Shared,
    client: &ClientId,
    arrived: &Arrived,
    judged: Judged,
    at: Timestamp,
    denials: &mut DenialPace,
) {
    let device = &arrived.topic.device;
    let observe = async |fact| {
        let observation = Observation { at, device: device.clone(), slice: None, fact };
        shared.observe(observation).await;
    };
    let log = |why: &str| {
        info!(
            client.id = %client.as_str().escape_debug(),
            device.id = %device.as_str().escape_debug(),
            "report refused: {why}"
        );
    };
    let answer = |report_id, reply| answer(shared, &arrived.topic, report_id, reply, at);
    match judged {
        Judged::Accepted(report) => {
            let id = report.id;
            shared.reports_under_way.enter(&report, arrived.payload.len()).await;
            observe(Fact::Reported(report)).await;
            shared.metrics.report(Reported::Accepted);
            answer(Some(id), Reply::Accepted);
        }
        Judged::Refused(refusal) => {
            let ran_backward = refusal.is_negative_increment();
            observe(Fact::ReportRefused { ran_backward }).await;
            shared.metrics.report(Reported::Refused);
            let message = refusal.to_string();
            log(&message);
            let reply = Reply::Rejected { code: refusal.code(), message: &message };
            answer(refusal.report_id, reply);
        }
        Judged::TooSoon { next_at, tell } => {
            shared.metrics.report(Reported::TooSoon);
            if tell {
                let wait_s = (next_at.millis_since(at).max(0) + 999) / 1000;
                let message = format!("the report comes too soon; the next may come in {wait_s} s");
                log(&message);
                answer(None, Reply::Rejected { code: ErrorCode::Throttled, message: &message });
            }
        }
        Judged::Denied(no) => {
            shared.metrics.report(Reported::Denied);
            match no {
                NoAuthority::None => log(&Authority::None.to_string()),
                NoAuthority::Unavailable(reason) => log(&reason),
            }
            if denials.may_tell(at) {
                let message = "who sent the report may not report for this device";
                answer(None, Reply::Rejected { code: ErrorCode::AccessDenied, message });
            }
        }
    }
}

/// Answers a report on the topic for it. Whether a subscriber may receive the answer its own
/// policies decide, as of any message.
fn answer(
    shared: &Shared,
    topic: &ReportTopic,
    report_id: Option<u64>,
    reply: Reply<'_>,
    at: Timestamp,
) {
    let name = match reply {
        Reply::Accepted => topic.accepted(),
        Reply::Rejected { .. } => topic.rejected(),
    };
    // The report's own topic was within the limits, and this one is little longer; where the limit
    // is that tight, nobody could have subscribed to it either.
    let Ok(name) = TopicName::parse(&name, &TopicLimits::from(&shared.config.limits)) else {
        return;
    };
    let payload = encode_reply(topic.format, topic.device.as_str(), report_id, reply, at);
    let now = shared.monotonic.now();
    let message = Message::received(name, Bytes::from(payload), QoS::AtMostOnce, None, now);
    let flags = Flags { publisher: None, retain: false };
    let permit = PublishPermit::of_the_server(false);
    shared.publish(permit, Arc::new(message), flags, || Owner::Server);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_700_000_000 + seconds)
    }

    fn device(number: usize) -> DeviceName {
        DeviceName::parse(format!("device-{number}")).unwrap()
    }

    #[test]
    fn each_device_has_turns_of_its_own() {
        let pace = ReportPace::new(&ReportConfig::default());
        assert_eq!(pace.take(&device(1), at(0)), Turn::Now);
        assert_eq!(pace.take(&device(2), at(1)), Turn::Now);
        assert!(matches!(pace.take(&device(1), at(2)), Turn::TooSoon { tell: true, .. }));
        assert_eq!(pace.take(&device(1), at(270)), Turn::Now);
    }

    #[test]
    fn without_an_interval_nothing_is_kept() {
        let pace = ReportPace::new(&ReportConfig { min_interval_s: 0, delegates: Vec::new() });
        for number in 0..3 {
            assert_eq!(pace.take(&device(number), at(0)), Turn::Now);
            assert_eq!(pace.take(&device(number), at(0)), Turn::Now);
        }
        assert!(pace.inner.lock().unwrap().by_device.is_empty());
    }

    #[test]
    fn devices_that_have_their_turn_back_make_room_for_others() {
        let rate = ReportRate::of_interval_s(300);
        let mut buckets = Buckets::default();
        for number in 0..3 {
            let mut bucket = TokenBucket::new();
            assert_eq!(bucket.take(at(number), rate), Turn::Now);
            buckets.by_device.insert(device(number as usize), bucket);
        }
        assert!(buckets.has_room(at(3), 4));
        assert!(!buckets.has_room(at(3), 3));
        // Two of them are full again.
        assert!(buckets.has_room(at(271), 3));
        assert_eq!(buckets.by_device.keys().collect::<Vec<_>>(), [&device(2)]);
        // No second walk within the second.
        assert!(!buckets.has_room(at(271), 1));
        assert!(!buckets.has_room(at(271), 1));
        assert!(buckets.has_room(at(272), 1));
    }

    #[test]
    fn reports_wait_until_others_are_taken() {
        let under_way = ReportsUnderWay::new(100);
        let reports: Vec<_> = (0..4).map(|_| Arc::new(Report::default())).collect();
        // One alone has room, however large it is.
        assert!(under_way.try_enter(&reports[0], 1_000));
        assert!(!under_way.try_enter(&reports[1], 1));
        let mut reports = reports.into_iter();
        drop(reports.next());
        let (one, two, three) =
            (reports.next().unwrap(), reports.next().unwrap(), reports.next().unwrap());
        assert!(under_way.try_enter(&one, 60));
        assert!(under_way.try_enter(&two, 40));
        assert!(!under_way.try_enter(&three, 1));
        // The queue lets go of them in its order.
        drop(one);
        assert!(under_way.try_enter(&three, 60));
        assert_eq!(under_way.inner.lock().unwrap().bytes, 100);
    }

    #[test]
    fn a_denial_is_told_once_a_second() {
        let mut denials = DenialPace::default();
        let told = [0, 0, 1, 1, 5].map(|seconds| denials.may_tell(at(seconds)));
        assert_eq!(told, [true, false, true, false, true]);
        // A clock that is set back silences nobody.
        assert!(denials.may_tell(at(-100)));
    }
}
