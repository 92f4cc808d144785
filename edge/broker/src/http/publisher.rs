//! A client that publishes by HTTPS: who it is, what it may, and what it is counted for.
//!
//! It has no client id and no session. Its rights are watched for as long as its connection is open,
//! as a session's are; each message is decided, counted, routed and, where it is a report, judged as
//! a session's would be. For Detect it goes by its device's name, for policies by none.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hyper::body::Bytes;
use hyper::http::request::Parts;
use picket_model::{ClientId, DeviceName, Timestamp};
use picket_mqtt::http::HttpMessage;
use picket_mqtt::session::{Pace, PublishPace};
use picket_mqtt::{Message, QoS, TopicLimits};
use picket_policy::Action;
use picket_report::ReportTopic;

use super::refusal::Refusal;
use crate::access::{Access, AccessWatch, Standing};
use crate::admission::AdmittedPublisher;
use crate::authorize::{Denial, PublishPermit, publishable};
use crate::broker::Shared;
use crate::metrics::{Dropped, Reported};
use crate::reports::{self, Arrived, DenialPace, Judged};
use crate::retained::{ClientOwner, Owner};
use crate::router::Flags;
use crate::slices::SliceMask;
use crate::tally::{Flush, Tally};

/// What a publisher is allowed and counted for.
pub(super) struct Publisher {
    watch: AccessWatch,
    expires_at: Timestamp,
    /// Never held while something is waited for.
    counting: Mutex<Counting>,
    /// As owner of retained messages, from its first one on.
    owner: OnceLock<Arc<ClientOwner>>,
}

struct Counting {
    tally: Tally,
    /// How fast it publishes, where that is bounded.
    pace: Option<PublishPace>,
    denials: DenialPace,
    /// The device, as those know it who know clients.
    client: ClientId,
    /// Of the access that the above follow from.
    access_version: u64,
}

impl Publisher {
    pub(super) fn new(shared: &Shared, admitted: AdmittedPublisher, source: IpAddr) -> Self {
        let AdmittedPublisher { client, watch, expires_at } = admitted;
        let access = watch.get();
        let wires = shared.tripwires.wires(&access.device);
        let slices = Arc::clone(&shared.slices.current());
        let per_s_max = NonZeroU32::new(shared.config.limits.publishes_per_s_max);
        let now = shared.monotonic.now();
        let counting = Counting {
            tally: Tally::new(access.device.clone(), source, wires, slices),
            pace: per_s_max.map(|per_s_max| PublishPace::new(per_s_max, now)),
            denials: DenialPace::default(),
            client: client_of(&access.device).unwrap_or(client),
            access_version: access.version,
        };
        Self { watch, expires_at, counting: Mutex::new(counting), owner: OnceLock::new() }
    }

    /// Whom it is counted for.
    pub(super) fn device(&self) -> DeviceName {
        self.watch.get().device.clone()
    }

    /// How long what was counted may wait; `None` if there is nothing.
    pub(super) fn flush_wait_ms(&self, now: Timestamp) -> Option<u64> {
        let due = self.counting().tally.due()?;
        Some(u64::try_from(due.millis_since(now)).unwrap_or(0))
    }

    /// Hands what was counted on. Waits for room.
    pub(super) async fn flush(&self, shared: &Shared) {
        let counted = self.counting().tally.flush();
        for observation in counted {
            shared.observe(observation).await;
        }
    }

    fn counting(&self) -> MutexGuard<'_, Counting> {
        // A poisoned lock still guards counts.
        self.counting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides a message, routes it, and returns once it may be acknowledged.
    ///
    /// # Errors
    /// [`Refusal`] if it goes nowhere.
    pub(super) async fn publish(
        &self,
        shared: &Shared,
        head: &Parts,
        topic: &str,
        payload: Bytes,
    ) -> Result<(), Refusal> {
        let at = (shared.clock)();
        let access = self.watch.get();
        self.may_be_here(&access, at)?;
        let query: Vec<_> =
            form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).collect();
        let said = HttpMessage::read(
            |name| query.iter().find(|(key, _)| key == name).map(|(_, value)| &**value),
            |name| head.headers.get(name).and_then(|value| value.to_str().ok()),
        );
        let HttpMessage { qos, retain, properties } =
            said.map_err(|bad| Refusal::Invalid(bad.to_string()))?;
        let topic = publishable(topic, &TopicLimits::from(&shared.config.limits))
            .map_err(|error| Refusal::Invalid(format!("topic: {error}")))?;

        let client = self.see(shared, &access);
        let permit = match PublishPermit::decide(&access, &topic, retain) {
            Ok(permit) => permit,
            Err(Denial { action, decision }) => {
                shared.metrics.deny(action);
                let count =
                    |tally: &mut Tally, mask| tally.denied(at, action, topic.as_str(), mask);
                self.count(shared, |tally| tally.slices().of_name(&topic, &client), count).await;
                let detail = format!("{action} {decision} for {}", topic.as_str());
                return Err(Refusal::Denied(detail));
            }
        };
        let bytes = payload.len() as u64;
        let count = |tally: &mut Tally, mask| tally.published(at, bytes, &topic, mask);
        self.count(shared, |tally| tally.slices().of_name(&topic, &client), count).await;
        let now = shared.monotonic.now();
        let pace = self.counting().pace.as_mut().map_or(Pace::Kept, |pace| pace.publish(now));
        if pace == Pace::Exceeded {
            // Decided and counted all the same, as of a session.
            shared.metrics.drop_message(Dropped::TooFast);
            return Err(Refusal::TooFast);
        }
        let report = ReportTopic::parse(topic.as_str()).map(Arc::new);
        if report.is_some() && retain {
            // As of a session: nobody reports again what was so once.
            shared.metrics.report(Reported::Retained);
            return Err(Refusal::Invalid("a report cannot be retained".to_owned()));
        }
        shared.metrics.messages_in.inc();
        shared.metrics.message_bytes_in.inc_by(bytes);

        let arrived = report.map(|report| Arrived {
            name: topic.clone(),
            topic: report,
            payload: payload.clone(),
        });
        let properties = (!properties.is_empty()).then(|| Box::new(properties));
        let message = Arc::new(Message::received(topic, payload, qos, properties, now));
        let flags = Flags { publisher: None, retain };
        shared.publish(permit, message, flags, || {
            let owner = self.owner.get_or_init(|| shared.retained.owner(self.watch.clone()));
            Owner::Client(Arc::clone(owner))
        });
        if let Some(arrived) = arrived {
            self.report(shared, &client, &access, &arrived, at).await;
        }
        if qos > QoS::AtMostOnce {
            shared.committed().await;
        }
        Ok(())
    }

    /// Whether its certificate is still one that may be used.
    fn may_be_here(&self, access: &Access, at: Timestamp) -> Result<(), Refusal> {
        if self.expires_at <= at {
            return Err(Refusal::NoRight("its certificate has expired".to_owned()));
        }
        match &access.standing {
            // What these deny is denied, and counted, topic by topic.
            Standing::Stays | Standing::ConnectDenied(_) | Standing::NothingAllowed => Ok(()),
            standing @ (Standing::CertificateNotActive | Standing::CertificateRevoked) => {
                Err(Refusal::NoRight(standing.to_string()))
            }
            standing @ Standing::Unavailable(_) => Err(Refusal::Unavailable(standing.to_string())),
        }
    }

    /// Counts for whom the rights of now say, by the slices of now; gives the name that clients
    /// are known by.
    fn see(&self, shared: &Shared, access: &Access) -> ClientId {
        let mut counting = self.counting();
        if counting.access_version != access.version {
            counting.access_version = access.version;
            let wires = shared.tripwires.wires(&access.device);
            counting.tally.recount_for(access.device.clone(), wires);
            if let Some(client) = client_of(&access.device) {
                counting.client = client;
            }
        }
        let current = shared.slices.current();
        if !Arc::ptr_eq(&current, counting.tally.slices()) {
            counting.tally.slice_by(Arc::clone(&current));
        }
        counting.client.clone()
    }

    async fn count(
        &self,
        shared: &Shared,
        slices: impl FnOnce(&Tally) -> SliceMask,
        count: impl FnOnce(&mut Tally, SliceMask) -> Flush,
    ) {
        let flush = {
            let mut counting = self.counting();
            let mask = slices(&counting.tally);
            count(&mut counting.tally, mask)
        };
        if flush == Flush::Now {
            self.flush(shared).await;
        }
    }

    /// Judges a report, and hands on what came of it.
    async fn report(
        &self,
        shared: &Shared,
        client: &ClientId,
        access: &Access,
        arrived: &Arrived,
        at: Timestamp,
    ) {
        let judged = reports::judge(shared, client, access, arrived, at).await;
        match &judged {
            // What the device did before its report is observed before it.
            Judged::Accepted(_) | Judged::Refused(_) => self.flush(shared).await,
            Judged::Denied(_) => {
                let topic = arrived.name.as_str();
                let count =
                    |tally: &mut Tally, mask| tally.denied(at, Action::Publish, topic, mask);
                let slices = |tally: &Tally| tally.slices().of_name(&arrived.name, client);
                self.count(shared, slices, count).await;
            }
            Judged::TooSoon { .. } => {}
        }
        let mut denials = std::mem::take(&mut self.counting().denials);
        reports::conclude(shared, client, arrived, judged, at, &mut denials).await;
        self.counting().denials = denials;
    }
}

/// A device's name as a client id: each is one.
fn client_of(device: &DeviceName) -> Option<ClientId> {
    ClientId::parse(device.as_str()).ok()
}
