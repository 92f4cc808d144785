//! Decisions about topics, remembered: what policies said of a topic holds for one access version.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use picket_model::ClientId;
use picket_mqtt::{TopicError, TopicFilter, TopicLimits, TopicName};
use picket_policy::{Action, Decision};
use picket_report::ReportTopic;

use crate::access::Access;
use crate::router::{Route, Router};
use crate::slices::{SliceMask, SliceSet};

/// Topics remembered by one session, each way. A device has a handful; a bridge with more pays for
/// a new decision now and then.
const TOPICS_REMEMBERED_MAX: usize = 256;

/// Proof that a message may be published: made by a decision, or by the server for itself.
///
/// Routing takes one, so that nothing is routed that was not decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishPermit {
    retain: bool,
}

impl PublishPermit {
    /// The server's own: it asks nobody. `retain` says whether it wants the message kept.
    pub(crate) const fn of_the_server(retain: bool) -> Self {
        Self { retain }
    }

    /// Decides a publish, without memory.
    ///
    /// # Errors
    /// What was denied and why.
    pub(crate) fn decide(access: &Access, topic: &TopicName, retain: bool) -> Result<Self, Denial> {
        let decide = |action: Action| match access.decide(action, topic.as_str()) {
            Decision::Allowed { .. } => Ok(()),
            decision @ (Decision::ExplicitDeny { .. } | Decision::ImplicitDeny) => {
                Err(Denial { action, decision: Arc::new(decision) })
            }
        };
        decide(Action::Publish)?;
        if retain {
            decide(Action::RetainPublish)?;
        }
        Ok(Self { retain })
    }

    /// Whether the message may be retained.
    pub(crate) const fn may_retain(self) -> bool {
        self.retain
    }
}

/// What was denied, and why.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) action: Action,
    pub(crate) decision: Arc<Decision>,
}

/// A topic name that clients may publish to, as far as its form goes.
///
/// Topics that begin with `$` are the server's, but for `$aws/`, which is left to the policies. There
/// too events and the answers to reports are the server's.
/// Source: AWS guide "Reserved topics".
pub(crate) fn publishable(text: &str, limits: &TopicLimits) -> Result<TopicName, TopicError> {
    let name = TopicName::parse(text, limits)?;
    let is_servers = || {
        !text.starts_with(AWS_TOPICS)
            || text.starts_with(EVENT_TOPICS)
            || ReportTopic::is_answer(text)
    };
    if name.is_hidden() && is_servers() {
        return Err(TopicError::Reserved { text: text.to_owned() });
    }
    Ok(name)
}

/// A topic filter that clients may subscribe to, as far as its form goes.
pub(crate) fn subscribable(text: &str, limits: &TopicLimits) -> Result<TopicFilter, TopicError> {
    let filter = TopicFilter::parse(text, limits)?;
    if filter.filter().starts_with('$') && !filter.filter().starts_with(AWS_TOPICS) {
        return Err(TopicError::Reserved { text: text.to_owned() });
    }
    Ok(filter)
}

const AWS_TOPICS: &str = "$aws/";

/// What the server tells of clients and of the registry.
const EVENT_TOPICS: &str = "$aws/events/";

/// What a session knows of the topics that it publishes to.
#[derive(Debug)]
pub(crate) struct PublishTopics {
    /// From the first one on: many connections only receive.
    topics: Option<Box<Remembered<PublishTopic>>>,
    limits: TopicLimits,
}

/// What a session knows of one topic that it publishes to.
#[derive(Debug)]
pub(crate) struct PublishTopic {
    pub(crate) name: TopicName,
    /// Set where it is that of reports.
    pub(crate) report: Option<Arc<ReportTopic>>,
    plain: Verdict,
    retained: Verdict,
    route: Option<Route>,
    slices: Option<(u64, SliceMask)>,
}

/// A decision and the access version that it was made under.
#[derive(Debug, Default)]
struct Verdict(Option<(u64, Result<PublishPermit, Denial>)>);

/// Whether a decision was made now or remembered: only a new one is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// It was made now.
    Yes,
    /// It was made before.
    No,
}

impl PublishTopics {
    pub(crate) fn new(limits: TopicLimits) -> Self {
        Self { topics: None, limits }
    }

    /// What is known of a topic given as bytes of UTF-8.
    ///
    /// # Errors
    /// Why it is no topic name that may be published to. `to_text` says what the bytes mean; it is
    /// asked only about topics that are not remembered.
    pub(crate) fn of<'t, E: From<TopicError>>(
        &mut self,
        bytes: &[u8],
        to_text: impl FnOnce() -> Result<TopicText<'t>, E>,
    ) -> Result<&mut PublishTopic, E> {
        let limits = &self.limits;
        self.topics.get_or_insert_default().entry(bytes, || {
            let name = match to_text()? {
                TopicText::Text(text) => publishable(text, limits)?,
                TopicText::Name(name) => name,
            };
            let (plain, retained) = Default::default();
            let report = ReportTopic::parse(name.as_str()).map(Arc::new);
            Ok(PublishTopic { name, report, plain, retained, route: None, slices: None })
        })
    }

    /// Of the topics that were allowed under an access before: whether there are any, and whether
    /// one of them still is.
    pub(crate) fn any_left(&mut self, access: &Access) -> Option<bool> {
        let mut had_any = false;
        for (_, topic) in self.topics.iter_mut().flat_map(|topics| &mut topics.entries) {
            if topic.plain.was_allowed() || topic.retained.was_allowed() {
                had_any = true;
                if topic.decide(access, false).0.is_ok() {
                    return Some(true);
                }
            }
        }
        had_any.then_some(false)
    }
}

/// A topic as it was given.
#[derive(Debug)]
pub(crate) enum TopicText<'t> {
    /// Not yet checked.
    Text(&'t str),
    /// Checked before, when its alias was set up.
    Name(TopicName),
}

impl PublishTopic {
    /// Decides a publish, from memory where it was decided under this access before.
    pub(crate) fn decide(
        &mut self,
        access: &Access,
        retain: bool,
    ) -> (Result<PublishPermit, Denial>, Fresh) {
        let verdict = if retain { &mut self.retained } else { &mut self.plain };
        match &verdict.0 {
            Some((version, decided)) if *version == access.version => (decided.clone(), Fresh::No),
            _ => {
                let decided = PublishPermit::decide(access, &self.name, retain);
                verdict.0 = Some((access.version, decided.clone()));
                (decided, Fresh::Yes)
            }
        }
    }

    /// The slices that a client's messages of it lie in.
    pub(crate) fn slices(&mut self, set: &SliceSet, client: &ClientId) -> SliceMask {
        match self.slices {
            Some((version, slices)) if version == set.version => slices,
            _ => {
                let slices = set.of_name(&self.name, client);
                self.slices = Some((set.version, slices));
                slices
            }
        }
    }

    /// Where its messages go at this moment.
    pub(crate) fn route(&mut self, router: &Router) -> &Route {
        if self.route.as_ref().is_some_and(|route| !router.is_current(route)) {
            self.route = None;
        }
        self.route.get_or_insert_with(|| router.route(&self.name))
    }
}

impl Verdict {
    fn was_allowed(&self) -> bool {
        matches!(self.0, Some((_, Ok(_))))
    }
}

/// What a session knows of the topics that it is delivered messages of.
#[derive(Debug, Default)]
pub(crate) struct ReceiveTopics(Remembered<Option<Receipt>>);

/// What is remembered of a topic, and for which rights and slices that holds.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    access_version: u64,
    slices_version: u64,
    receives: Receives,
}

/// What a delivery is to a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receives {
    /// Whether it may have it.
    pub(crate) is_allowed: bool,
    /// The slices that it lies in.
    pub(crate) slices: SliceMask,
}

impl ReceiveTopics {
    /// Whether the session may be delivered messages of a topic now, and where they count.
    pub(crate) fn of(
        &mut self,
        topic: &TopicName,
        access: &Access,
        set: &SliceSet,
        client: &ClientId,
    ) -> Receives {
        let (access_version, slices_version) = (access.version, set.version);
        let holds = |receipt: &Receipt| {
            receipt.access_version == access_version && receipt.slices_version == slices_version
        };
        let found: Result<_, std::convert::Infallible> =
            self.0.entry(topic.as_str().as_bytes(), || Ok(None));
        let Ok(remembered) = found;
        let receipt = remembered.filter(holds).unwrap_or_else(|| Receipt {
            access_version,
            slices_version,
            receives: Receives {
                is_allowed: access.decide(Action::Receive, topic.as_str()).is_allowed(),
                slices: set.of_name(topic, client),
            },
        });
        *remembered = Some(receipt);
        receipt.receives
    }
}

/// A bounded memory by topic.
#[derive(Debug)]
struct Remembered<T> {
    /// A client that finds topics whose hashes collide slows itself down, by what is bounded: the
    /// hash may be a quick one.
    index: HashMap<Arc<[u8]>, usize, RandomState>,
    entries: Vec<(Arc<[u8]>, T)>,
    /// Where the last one asked for is: messages come in runs.
    last: usize,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { index: HashMap::default(), entries: Vec::new(), last: 0 }
    }
}

impl<T> Remembered<T> {
    /// The entry of a topic, made if it is missing. A full memory forgets everything: simpler than
    /// knowing what is old, and as good for all but those with more topics than fit.
    fn entry<E>(&mut self, bytes: &[u8], make: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        let is_last = self.entries.get(self.last).is_some_and(|(last, _)| **last == *bytes);
        if !is_last {
            self.last = match self.index.get(bytes) {
                Some(&at) => at,
                None => self.insert(bytes, make()?),
            };
        }
        Ok(&mut self.entries[self.last].1)
    }

    fn insert(&mut self, bytes: &[u8], made: T) -> usize {
        if self.entries.len() >= TOPICS_REMEMBERED_MAX {
            self.index.clear();
            self.entries.clear();
        }
        let key: Arc<[u8]> = bytes.into();
        self.index.insert(Arc::clone(&key), self.entries.len());
        self.entries.push((key, made));
        self.entries.len() - 1
    }
}
