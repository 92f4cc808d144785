//! One client's connection from CONNACK to its end: a task that waits for bytes, mail, a change of
//! rights, a kick, or a deadline, and then does all that there is to do before it writes once.
//!
//! Rights come first. Every turn of the loop begins with them, they are looked at again between
//! packets, and nothing is taken in or handed out under rights that were replaced.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use picket_model::{DisconnectReason, Timestamp};
use picket_mqtt::TopicLimits;
use picket_mqtt::codec;
use picket_mqtt::packet::{Packet, Version};
use picket_mqtt::session::{NotResent, Output, Session, packet_bytes_max};
use picket_policy::Action;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;
use tracing::{debug, info, warn};

use crate::access::{Access, AccessWatch, Standing};
use crate::authorize::{PublishTopics, ReceiveTopics};
use crate::broker::Shared;
use crate::greeting::drop_denied_filters;
use crate::journal::{Journal, Ticket};
use crate::mailbox::Mailbox;
use crate::metrics::Dropped;
use crate::presence::Presence;
use crate::reports::{self, Arrived, DenialPace, Judged};
use crate::retained::ClientOwner;
use crate::sessions::Lease;
use crate::tally::{Flush, Tally};
use crate::will::LastWill;
use crate::wire::{OUTPUT_HIGH_BYTES, Turn, Wire};

use self::answer::Awaited;
use self::close::{Close, Ended};
use self::withheld::Withheld;

mod answer;
mod close;
mod deliver;
mod publish;
mod subscribe;
mod withheld;

#[cfg(test)]
mod measure;
#[cfg(test)]
mod tests;

/// Time for the last words. The session is over by then; only the socket waits.
const FAREWELL: Duration = Duration::from_millis(500);

/// The longest that a client is held up, in milliseconds, because a subscriber of its messages has
/// no room. Long enough for a busy subscriber's turn to come, and not felt by anybody.
const HOLD_MS: i64 = 20;

thread_local! {
    /// The memory of a turn's outputs. Shared by the connections of a thread: one that is idle holds
    /// none.
    static SPARE: Cell<Vec<Output>> = const { Cell::new(Vec::new()) };
}

/// A session's connection.
pub(crate) struct Connection<IO> {
    shared: Arc<Shared>,
    wire: Wire<IO>,
    session: Session,
    watch: AccessWatch,
    /// The rights in force, as [`Connection::watch`] last gave them.
    access: Arc<Access>,
    publishing: PublishTopics,
    /// From the first message for the client on: many connections only send.
    receiving: Option<Box<ReceiveTopics>>,
    tally: Tally,
    /// Whether the tally has to be handed on before anything else happens.
    flush_now: bool,
    /// A report that has to be judged before anything else is taken in.
    arrived: Option<Box<Arrived>>,
    denials: DenialPace,
    /// Set while the client is held up: nothing is taken in from it.
    held: Option<Held>,
    /// Who waits for the client to acknowledge a message.
    awaited: Vec<Awaited>,
    /// Set while something must not be sent that is not on the disk yet. Small where it is not set:
    /// most connections never need it.
    withheld: Option<Box<Withheld>>,
    /// This client as owner of retained messages, from its first one on.
    owner: Option<Arc<ClientOwner>>,
    /// When its certificate ends.
    expires_at: Option<Timestamp>,
    /// This turn's moment, for deadlines.
    now: Timestamp,
    /// This turn's moment, for data.
    at: Timestamp,
    /// Empty between turns, when its memory is [`SPARE`].
    out: Vec<Output>,
    counts: Counts,
    // Dropped in this order: the end is told before the client id is free again.
    presence: Presence,
    lease: Lease,
}

/// What a client is held up by.
struct Held {
    /// Has no room for its messages.
    mailbox: Arc<Mailbox>,
    until: Timestamp,
}

/// Counted in the connection, added to the shared counters once per turn, which has no more than
/// one read's packets and one mailbox's messages.
#[derive(Debug, Default)]
struct Counts {
    packets_in: u32,
    messages_in: u32,
    bytes_in: u64,
    messages_out: u32,
}

/// What a connection begins with.
pub(crate) struct Beginning<IO> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire<IO>,
    pub(crate) session: Session,
    pub(crate) lease: Lease,
    pub(crate) presence: Presence,
    pub(crate) watch: AccessWatch,
    pub(crate) access: Arc<Access>,
    pub(crate) source: IpAddr,
    pub(crate) expires_at: Option<Timestamp>,
    /// What was in flight and is dropped.
    pub(crate) not_resent: Vec<NotResent>,
    /// The first packet.
    pub(crate) connack: Packet,
    /// What it waits for.
    pub(crate) written_down: Ticket,
}

/// How far the packets were taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    /// As far as there are any.
    Done,
    /// Something else has to be done first; then there may be more.
    Interrupted,
    /// As far as there is room on the way to the disk.
    Full,
}

impl<IO> Connection<IO> {
    pub(crate) fn new(beginning: Beginning<IO>) -> Self {
        let Beginning {
            shared,
            wire,
            session,
            lease,
            presence,
            watch,
            access,
            source,
            expires_at,
            not_resent,
            connack,
            written_down,
        } = beginning;
        watch.wake(&lease.mailbox);
        let wires = shared.tripwires.wires(&access.device);
        let slices = Arc::clone(&shared.slices.current());
        let mut connection = Self {
            tally: Tally::new(access.device.clone(), source, wires, slices),
            flush_now: false,
            arrived: None,
            denials: DenialPace::default(),
            held: None,
            awaited: Vec::new(),
            withheld: None,
            publishing: PublishTopics::new(TopicLimits::from(&shared.config.limits)),
            receiving: None,
            owner: None,
            now: shared.monotonic.now(),
            at: (shared.clock)(),
            out: Vec::new(),
            counts: Counts::default(),
            shared,
            wire,
            session,
            watch,
            access,
            expires_at,
            presence,
            lease,
        };
        connection.withhold(written_down);
        connection.out.push(Output::Packet(connack));
        connection.tell_not_resent(not_resent);
        connection
    }

    /// Counts what was in flight and may not be sent again: nobody else says so to anybody.
    fn tell_not_resent(&mut self, not_resent: Vec<NotResent>) {
        let mut n_denied = 0;
        for dropped in not_resent {
            match dropped {
                NotResent::TooLarge(delivery) => {
                    self.session.forget(delivery.number, &mut self.out);
                    self.shared.metrics.drop_message(Dropped::TooLarge);
                }
                NotResent::Denied(delivery) => {
                    self.session.forget(delivery.number, &mut self.out);
                    let topic = &delivery.message.topic;
                    n_denied += 1;
                    self.shared.metrics.deny(Action::Receive);
                    self.shared.metrics.drop_message(Dropped::ReceiveDenied);
                    let slices = self.tally.slices().of_name(topic, &self.presence.who.client);
                    let flush = self.tally.denied(self.at, Action::Receive, topic.as_str(), slices);
                    self.flush_now |= flush == Flush::Now;
                }
            }
        }
        if n_denied > 0 {
            warn!(
                client.id = %self.presence.who.client.as_str().escape_debug(),
                "{n_denied} messages in flight are denied now and were dropped"
            );
        }
    }
}

impl<IO> Connection<IO> {
    /// Writes what is to be sent, and to the journal what is to be remembered before.
    fn encode(&mut self) {
        let version = self.session.version();
        for output in self.out.drain(..) {
            if let (Output::Record(record), Some(journal)) = (&output, &self.shared.journal) {
                let ticket = journal.note(self.lease.mailbox.session, *record);
                if record.is_awaited() {
                    self.withheld.get_or_insert_default().wait_for(ticket);
                }
                continue;
            }
            match &mut self.withheld {
                None => output.encode(version, self.wire.output()),
                Some(withheld) => withheld.append(|bytes| output.encode(version, bytes)),
            }
        }
        if let (Some(withheld), Some(journal)) = (&mut self.withheld, &self.shared.journal) {
            withheld.see_to_waking(journal, &self.lease.mailbox);
        }
    }

    /// Has what is sent from now on wait for the disk.
    fn withhold(&mut self, ticket: Ticket) {
        let is_pending = |journal: &Arc<Journal>| !journal.is_durable(ticket);
        if self.shared.journal.as_ref().is_some_and(is_pending) {
            self.withheld.get_or_insert_default().wait_for(ticket);
        }
    }

    /// Sends what need not wait for the disk any more.
    fn let_out(&mut self) {
        if let (Some(withheld), Some(journal)) = (&mut self.withheld, &self.shared.journal)
            && withheld.let_out(journal, self.wire.output())
        {
            self.withheld = None;
        }
    }

    /// Gives the disk a moment for what the client was not sent yet.
    async fn await_disk(&mut self) {
        if let (Some(withheld), Some(journal)) = (&self.withheld, &self.shared.journal) {
            let committed = journal.committed(withheld.ticket());
            let _ = tokio::time::timeout(FAREWELL, committed).await;
        }
        self.let_out();
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Serves the connection to its end.
    pub(crate) async fn run(mut self: Box<Self>) {
        let close = self.converse().await;
        // In a box of its own: what the end needs is not kept ready for as long as the connection
        // lives.
        Box::pin(self.finish(close)).await;
    }

    async fn converse(&mut self) -> Close {
        let timer = tokio::time::sleep_until(
            self.shared.monotonic.instant(self.session.keep_alive_until()),
        );
        let mut timer = Box::pin(timer);
        self.session.resend(self.now, &mut self.out);
        loop {
            self.lease.mailbox.bell.answer();
            self.now = self.shared.monotonic.now();
            self.at = (self.shared.clock)();
            if self.watch.has_changed() {
                let access = self.watch.see();
                if let Err(close) = self.decide_again(access) {
                    return close;
                }
            }
            if let Some(kick) = self.lease.kicked() {
                return Close::Kicked(kick);
            }
            if self.expires_at.is_some_and(|end| end <= self.at) {
                let why = "its certificate has expired".to_owned();
                return Close::NoRight(DisconnectReason::AuthError, why);
            }
            if let Err(error) = self.session.tick(self.now) {
                return Close::ProtocolError(error);
            }
            self.see_slices();
            self.let_out();
            let intake = match self.take_in() {
                Ok(intake) => intake,
                Err(close) => return close,
            };
            if self.lease.mailbox.asks.any() {
                self.answer();
            }
            let tells_written = self.hand_out();
            self.encode();
            self.count();
            if self.flush_now || self.tally.due().is_some_and(|due| due <= self.at) {
                // In a box of its own: once a second at most, and the connection is smaller for it.
                Box::pin(self.flush()).await;
            }
            if let Some(arrived) = self.arrived.take() {
                // In a box of its own: few connections report, and seldom.
                Box::pin(self.report(&arrived)).await;
            }
            if intake == Intake::Interrupted {
                continue;
            }
            self.arm(timer.as_mut());
            // A congested wire reads nothing, so what lets it go on is that it has written; where too
            // much waits for the disk, mail comes when that has written.
            let is_congested = self.is_congested();
            let reads = !is_congested && self.held.is_none() && intake != Intake::Full;
            let tells_written = tells_written || self.wire.is_congested();
            SPARE.set(std::mem::take(&mut self.out));
            tokio::select! {
                biased;
                // Other rights, a kick, mail: the next turn looks for each.
                () = self.lease.mailbox.bell.rung() => {}
                turn = self.wire.turn(reads, tells_written) => match turn {
                    Ok(Turn::Read | Turn::Written) => {}
                    Ok(Turn::Closed) => return Close::Lost("closed by the peer".to_owned()),
                    Err(error) => return Close::Lost(error.to_string()),
                },
                () = room(self.held.as_ref()) => {}
                () = timer.as_mut() => {}
            }
            self.out = SPARE.take();
        }
    }

    /// Has the tally tell other slices apart if there are others now.
    fn see_slices(&mut self) {
        let current = self.shared.slices.current();
        if !Arc::ptr_eq(&current, self.tally.slices()) {
            self.tally.slice_by(Arc::clone(&current));
        }
    }

    /// Sets the timer to the next deadline, if that is earlier than what it is set to.
    ///
    /// Keep-alive moves on with every packet; the timer does not, and looks again when it fires.
    fn arm(&self, mut timer: Pin<&mut Sleep>) {
        let until = |at: Timestamp| self.now + at.millis_since(self.at).max(0);
        let flush_at = self.tally.due().map(until);
        let expires_at = self.expires_at.map(until);
        let keep_alive = self.session.keep_alive_until();
        let held_until = self.held.as_ref().map(|held| held.until);
        let others = [flush_at, held_until, expires_at].into_iter().flatten();
        let next = others.fold(keep_alive, Timestamp::min);
        let next = self.shared.monotonic.instant(next);
        if timer.is_elapsed() || next < timer.deadline() {
            timer.as_mut().reset(next);
        }
    }

    /// Whether so much waits to be sent that nothing should be added.
    fn is_congested(&self) -> bool {
        let is_full = |it: &Withheld| it.len() >= OUTPUT_HIGH_BYTES;
        self.wire.is_congested() || self.withheld.as_deref().is_some_and(is_full)
    }

    /// Lets the client go on if there is room by now, or if it was held up long enough.
    fn release(&mut self) {
        let Some(held) = &self.held else { return };
        if self.now >= held.until {
            held.mailbox.give_up();
            self.held = None;
        } else if !held.mailbox.is_crowded() {
            self.held = None;
        }
    }

    /// Whether a packet may bring more for the disk while as much waits for it as may. Then the session
    /// is woken when there may be room.
    fn is_too_much_for_the_disk(&self, frame: &codec::Frame<'_>) -> bool {
        const QOS_ABOVE_0: u8 = 0b0110;
        let Some(journal) = self.shared.journal.as_ref().filter(|it| it.is_crowded()) else {
            return false;
        };
        let is_kept =
            frame.packet_type == codec::PacketType::Publish && frame.flags & QOS_ABOVE_0 != 0;
        if is_kept {
            journal.wake_for_room(&self.lease.mailbox);
        }
        is_kept
    }

    /// Takes in every whole packet that was read, unless something has to be done first.
    fn take_in(&mut self) -> Result<Intake, Close> {
        self.release();
        let input = std::mem::take(&mut self.wire.input);
        let packet_bytes_max = packet_bytes_max(&self.shared.config.limits);
        let mut taken = 0;
        let result = loop {
            if self.flush_now || self.arrived.is_some() || self.watch.has_changed() {
                break Ok(Intake::Interrupted);
            }
            if self.is_congested() || self.held.is_some() {
                break Ok(Intake::Done);
            }
            match codec::frame(&input[taken..], packet_bytes_max) {
                Ok(None) => break Ok(Intake::Done),
                Ok(Some(frame)) if self.is_too_much_for_the_disk(&frame) => {
                    break Ok(Intake::Full);
                }
                Ok(Some(frame)) => {
                    taken += frame.len;
                    self.counts.packets_in += 1;
                    if let Err(close) = self.packet(&frame) {
                        break Err(close);
                    }
                }
                Err(error) => break Err(Close::ProtocolError(error.into())),
            }
        };
        self.wire.put_back(input, taken);
        result
    }

    fn packet(&mut self, frame: &codec::Frame<'_>) -> Result<(), Close> {
        if frame.packet_type == codec::PacketType::Publish {
            return self.publish(frame);
        }
        let packet = codec::decode(frame, self.session.version())
            .map_err(|error| Close::ProtocolError(error.into()))?;
        self.other_packet(packet)
    }

    fn count(&mut self) {
        let Counts { packets_in, messages_in, bytes_in, messages_out } =
            std::mem::take(&mut self.counts);
        let metrics = &self.shared.metrics;
        for (counter, n) in [
            (&metrics.packets_in, packets_in.into()),
            (&metrics.messages_in, messages_in.into()),
            (&metrics.message_bytes_in, bytes_in),
            (&metrics.messages_out, messages_out.into()),
        ] {
            if n > 0 {
                counter.inc_by(n);
            }
        }
    }

    /// Hands the tally on. Waits for room: Detect loses nothing, and a device that is too fast for
    /// it is slowed down by this.
    async fn flush(&mut self) {
        self.flush_now = false;
        for observation in self.tally.flush() {
            self.shared.observe(observation).await;
        }
    }

    /// Judges a report, and hands on what came of it.
    async fn report(&mut self, arrived: &Arrived) {
        let judged =
            reports::judge(&self.shared, &self.presence.who.client, &self.access, arrived, self.at)
                .await;
        match &judged {
            // What the device did before its report is observed before it.
            Judged::Accepted(_) | Judged::Refused(_) => self.flush().await,
            Judged::Denied(_) => {
                let slices = self.tally.slices().of_name(&arrived.name, &self.presence.who.client);
                let topic = arrived.name.as_str();
                let flush = self.tally.denied(self.at, Action::Publish, topic, slices);
                self.flush_now |= flush == Flush::Now;
            }
            Judged::TooSoon { .. } => {}
        }
        let denials = &mut self.denials;
        reports::conclude(
            &self.shared,
            &self.presence.who.client,
            arrived,
            judged,
            self.at,
            denials,
        )
        .await;
    }

    /// Decides again what this session may do, as its rights are others now.
    fn decide_again(&mut self, access: Arc<Access>) -> Result<(), Close> {
        let before = std::mem::replace(&mut self.access, access);
        let access = &self.access;
        debug!(client.id = %self.presence.who.client.as_str().escape_debug(), "rights changed");
        match &access.standing {
            Standing::Stays => {}
            standing @ (Standing::CertificateNotActive | Standing::CertificateRevoked) => {
                return Err(Close::NoRight(DisconnectReason::AuthError, standing.to_string()));
            }
            standing @ (Standing::ConnectDenied(_)
            | Standing::NothingAllowed
            | Standing::Unavailable(_)) => {
                return Err(Close::NoRight(DisconnectReason::Forbidden, standing.to_string()));
            }
        }
        if before.device != access.device {
            let wires = self.shared.tripwires.wires(&access.device);
            self.tally.recount_for(access.device.clone(), wires);
        }
        let had_filters = !self.lease.subscriptions.is_empty();
        let dropped = drop_denied_filters(&self.shared, access, &mut self.lease);
        if !dropped.is_empty() {
            info!(client.id = %self.presence.who.client.as_str().escape_debug(), "{} subscriptions removed: they are denied now", dropped.len());
            self.presence.unsubscribed(&dropped);
        }
        let has_filters = !self.lease.subscriptions.is_empty();
        let publishes = self.publishing.any_left(access);
        let did_something = had_filters || publishes.is_some();
        if did_something && !has_filters && publishes != Some(true) {
            let why = "all that it subscribed and published to is denied now".to_owned();
            return Err(Close::NoRight(DisconnectReason::Forbidden, why));
        }
        Ok(())
    }

    /// Ends the session, tells everybody, and closes the connection.
    async fn finish(mut self: Box<Self>, close: Close) {
        self.encode();
        self.count();
        self.await_disk().await;
        let Ended { reason, farewell, words, end, dismissal } =
            close.judge(&self.shared, &self.presence.who.client);
        let farewell = farewell.and_then(|code| self.session.farewell(code, words.as_deref()));
        // It is the last packet: what must still be withheld cannot follow.
        if let Some(packet) = farewell.filter(|_| self.withheld.is_none()) {
            codec::encode(&packet, Version::V5, self.wire.output());
        }
        // One try without waiting, so that the client hears it before anybody is waited for.
        let _ = tokio::time::timeout(Duration::ZERO, self.wire.turn(false, true)).await;

        let now = self.shared.monotonic.now();
        let ending = dismissal.leaves(self.session.end(end, now), now);
        let kept_until = ending.kept.as_ref().map(|kept| kept.until);
        if let Some(kept) = ending.kept {
            self.lease.keep(kept, self.presence.who.principal.clone());
        }
        if let Some((will, due)) = ending.will {
            let session = self.lease.mailbox.session;
            let (client, source) = (self.presence.who.client.clone(), self.tally.source());
            let last = LastWill { will, client, session, access: self.watch, source };
            let to_send = if due > now { self.shared.wills.wait(last, due) } else { Some(last) };
            match to_send {
                None => self.shared.janitor.notify_one(),
                Some(last) => {
                    if due > now {
                        self.shared.metrics.wills_hurried.inc();
                    }
                    crate::will::send(&self.shared, last).await;
                }
            }
        } else {
            drop(self.watch);
        }
        for observation in self.tally.flush() {
            self.shared.observe(observation).await;
        }
        self.presence.end(reason, kept_until).await;
        // The client id is free from here on.
        drop(self.lease);
        self.wire.close(FAREWELL).await;
    }
}

/// Waits until a client need not be held up any more; for ever, if it is not.
async fn room(held: Option<&Held>) {
    match held {
        // In a box of its own: it is seldom, and the connection is smaller for it.
        Some(held) => Box::pin(held.mailbox.room()).await,
        None => std::future::pending().await,
    }
}
