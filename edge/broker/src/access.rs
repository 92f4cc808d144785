//! Access: what each live session may do at this moment, watched by the session itself.
//!
//! Cutting a device off is no special call. Whatever changes rights - a policy version, an
//! attachment, a group membership, a certificate's status - is a [`Change`]; [`AccessBook::changed`]
//! finds the sessions whose rights follow from it, reads them again and hands each its new
//! [`Access`]. The session, waiting on its [`AccessWatch`], decides again and closes itself when
//! [`Access::standing`] says so.
//!
//! Two invariants, each kept in one place:
//!
//! INVARIANT (no stale rights): rights enter the book only if nothing that they follow from changed
//! since before they were read. Otherwise they are read again.
//!
//! INVARIANT (no idle wake-up): a session is told of new access only if its access is different.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use picket_model::{Account, Change, ClientId, DeviceName, ThingName};
use picket_policy::{
    Action, CertificateFacts, ConnectAttributes, ConnectionFacts, Decision, Permissions, ThingFacts,
};
use tracing::warn;

use crate::mailbox::Mailbox;
use crate::ports::{Directory, Principal, Rights, Unavailable};
use crate::revocation::{IssuedAs, Revocations};

use self::followers::Followers;

mod followers;

/// Changes remembered while rights are being read. A reader that falls further behind reads again,
/// so the number trades memory (about 100 bytes each) against reads.
const RECENT_CHANGES_MAX: usize = 4096;

/// What one session may do, from one change of its rights to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Another number with every change and for every session: a cached decision is good for one
    /// version. Later ones are larger.
    pub version: u64,
    /// Whom Detect counts the session for.
    pub device: DeviceName,
    /// Whether a thing of the device's name exists.
    pub registered: bool,
    /// Whether a thing exists whose name is the client id.
    pub is_client_registered: bool,
    /// The things that the certificate is attached to.
    pub things: Arc<BTreeSet<ThingName>>,
    /// The thing that the session speaks for. What it is like matters only through its rights.
    pub thing: Option<ThingName>,
    /// Whether the session may stay.
    pub standing: Standing,
    /// Whether anything but connecting may be allowed.
    pub allows_anything: bool,
    permissions: Arc<Permissions>,
}

/// Whether a session may go on at all.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It may.
    Stays,
    /// Its certificate is not active, or not registered any more.
    CertificateNotActive,
    /// A revocation list of its issuer takes its certificate back.
    CertificateRevoked,
    /// The policies deny `iot:Connect` for its client id.
    ConnectDenied(Decision),
    /// The policies let it do nothing any more but be connected. A session that never could do
    /// anything stays: its rights may be about to come.
    NothingAllowed,
    /// The registry cannot be read, so nobody can say what it may do.
    Unavailable(Unavailable),
}

/// The access of every live session, kept in step with the registry.
pub struct AccessBook {
    account: Account,
    directory: Arc<dyn Directory>,
    revocations: ArcSwap<Revocations>,
    /// Of a certificate that is attached to none.
    no_things: Arc<BTreeSet<ThingName>>,
    /// The permissions that were made last. Under policies without variables they are the same for
    /// all, and kept once.
    made_last: ArcSwap<Permissions>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next_session: u64,
    last_version: u64,
    sessions: HashMap<u64, Live>,
    /// Which sessions' rights follow from what.
    by_change: HashMap<Change, Followers>,
    recent: RecentChanges,
}

/// The changes that readers may have missed: those since the oldest read that is under way.
#[derive(Default)]
struct RecentChanges {
    /// Number of the next change.
    next: u64,
    /// Number of the first one in `kept`.
    first_kept: u64,
    kept: VecDeque<Change>,
    /// Reads under way, by the number that was next when they began.
    readers: BTreeMap<u64, usize>,
}

/// A live session, and what its rights follow from.
struct Live {
    entry: Arc<Entry>,
    /// Sorted.
    depends_on: Box<[Change]>,
}

/// One session.
struct Entry {
    id: u64,
    principal: Principal,
    client: ClientId,
    errand: Errand,
    /// In a box: who shows no certificate need not be as large.
    issued_as: Option<Box<IssuedAs>>,
    current: ArcSwap<Access>,
    /// Of `current`, and set after it.
    version: AtomicU64,
    /// Whose session is woken after both.
    mailbox: OnceLock<Arc<Mailbox>>,
    /// What policies can ask about it besides.
    facts: OwnFacts,
    /// Held while the session's rights are read and handed on, so that two changes at once cannot
    /// overtake each other.
    reading: Mutex<()>,
}

/// What policies can ask about a session that stays the same as long as it lives. The rest is read
/// with its rights, and not kept: the attributes of a thing may be many.
struct OwnFacts {
    source_ip: Option<IpAddr>,
    certificate: Option<Arc<CertificateFacts>>,
    connect: ConnectAttributes,
}

/// A session's view of its access. A clone sees the same and is told on its own; dropping the last
/// one takes the session out of the book.
#[derive(Clone)]
pub struct AccessWatch {
    /// The version that was last seen here.
    seen: u64,
    registration: Arc<Registration>,
}

/// Keeps a session in the book.
struct Registration {
    book: Arc<AccessBook>,
    entry: Arc<Entry>,
}

/// What is known of a session that begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Who it is.
    pub principal: Principal,
    /// The client id that it asks for; of one that asks for none, the name that it goes by here.
    pub client: ClientId,
    /// What it is there for.
    pub errand: Errand,
    /// Who issued its certificate; `None` if it has none.
    pub issued_as: Option<IssuedAs>,
    /// What policies can ask about it. The thing comes from its rights, the client id from `client`
    /// where it asks for one.
    pub facts: ConnectionFacts,
}

/// What somebody is there for, and so what its rights must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To be connected under its client id: `iot:Connect` must be allowed for it.
    Connect,
    /// To publish by HTTPS, which has no client id: policies know of none, and nobody needs to be
    /// allowed to connect. Who is denied it outright may not publish either, lest quarantine by a
    /// denied `iot:Connect` end at the next port.
    Publish,
}

impl Access {
    /// Decides one request. Denies everything where [`Access::standing`] is not to stay.
    ///
    /// `resource` is a topic, a filter (without `$share/group/`) or a client id.
    pub fn decide(&self, action: Action, resource: &str) -> Decision {
        self.permissions.decide(action, resource)
    }
}

impl Standing {
    /// Whether the session may go on.
    pub const fn stays(&self) -> bool {
        match self {
            Self::Stays => true,
            Self::CertificateNotActive
            | Self::CertificateRevoked
            | Self::ConnectDenied(_)
            | Self::NothingAllowed
            | Self::Unavailable(_) => false,
        }
    }
}

impl std::fmt::Display for Standing {
    /// Writes the reason for the log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stays => f.write_str("may stay"),
            Self::CertificateNotActive => f.write_str("its certificate is not active"),
            Self::CertificateRevoked => f.write_str("its issuer has revoked its certificate"),
            Self::ConnectDenied(decision) => write!(f, "iot:Connect is {decision}"),
            Self::NothingAllowed => f.write_str("its policies allow nothing but connecting"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl AccessBook {
    /// Starts with no session.
    pub fn new(account: Account, directory: Arc<dyn Directory>) -> Arc<Self> {
        let (revocations, no_things, inner) = Default::default();
        let made_last = ArcSwap::from_pointee(Permissions::none());
        Arc::new(Self { account, directory, revocations, no_things, made_last, inner })
    }

    /// Reads a session's rights and keeps them in step from then on.
    ///
    /// Never fails: where the registry cannot be read, the access denies everything and says why.
    /// Whether the session is let in is the caller's to tell from [`Access::standing`]. Blocks for
    /// the time of a read.
    pub fn open(self: &Arc<Self>, opening: Opening) -> AccessWatch {
        let Opening { principal, client, errand, issued_as, facts } = opening;
        let ConnectionFacts { client_id: _, source_ip, thing: _, certificate, connect } = facts;
        let facts = OwnFacts { source_ip, certificate, connect };
        // Says no until the rights are read, which is before anybody else sees it.
        let nothing = Access {
            version: 0,
            device: DeviceName::from(&client),
            registered: false,
            is_client_registered: false,
            things: Arc::clone(&self.no_things),
            thing: None,
            standing: Standing::CertificateNotActive,
            allows_anything: false,
            permissions: Arc::new(Permissions::none()),
        };
        let entry = {
            let mut inner = self.lock();
            inner.next_session += 1;
            let id = inner.next_session;
            let entry = Arc::new(Entry {
                id,
                principal,
                client,
                errand,
                issued_as: issued_as.map(Box::new),
                current: ArcSwap::from_pointee(nothing),
                version: AtomicU64::new(0),
                mailbox: OnceLock::new(),
                facts,
                reading: Mutex::new(()),
            });
            let live = Live { entry: Arc::clone(&entry), depends_on: Box::default() };
            inner.sessions.insert(id, live);
            entry
        };
        // From here on the watch takes the session out again, whatever happens.
        let registration = Arc::new(Registration { book: Arc::clone(self), entry });
        let mut watch = AccessWatch { seen: 0, registration };
        self.read_again(&watch.registration.entry);
        watch.see();
        watch
    }

    /// Reads the rights of exactly those sessions again that may be concerned, and wakes those
    /// whose access is different now. When it returns, they all have been told.
    ///
    /// To be called after the changes are committed. Blocks for the time of a read per session
    /// concerned: not for an async task.
    pub fn changed(&self, changes: &[Change]) {
        let concerned: Vec<Arc<Entry>> = {
            let mut inner = self.lock();
            inner.recent.note(changes);
            let ids = changes.iter().filter_map(|change| inner.by_change.get(change));
            let ids: BTreeSet<u64> = ids.flat_map(Followers::iter).collect();
            let live = ids.iter().filter_map(|id| inner.sessions.get(id));
            live.map(|live| Arc::clone(&live.entry)).collect()
        };
        for entry in concerned {
            self.read_again(&entry);
        }
    }

    /// Reads the rights of every session again: for an owner that missed changes.
    pub fn changed_everything(&self) {
        let live: Vec<Arc<Entry>> = {
            let mut inner = self.lock();
            inner.recent.lose();
            inner.sessions.values().map(|live| Arc::clone(&live.entry)).collect()
        };
        for entry in live {
            self.read_again(&entry);
        }
    }

    /// Puts other revocation lists in force, and reads the rights of exactly those sessions again
    /// whose certificates they judge otherwise than those before. When it returns, they all have
    /// been told. Blocks like [`AccessBook::changed`].
    pub fn revoke(&self, revocations: Revocations) {
        // First of all: whoever comes later is judged by the new lists, and who came before is found
        // below.
        self.revocations.store(Arc::new(revocations));
        let live: Vec<Arc<Entry>> =
            self.lock().sessions.values().map(|live| Arc::clone(&live.entry)).collect();
        for entry in live {
            let was_revoked = entry.current.load().standing == Standing::CertificateRevoked;
            if was_revoked != self.is_revoked(&entry) {
                self.read_again(&entry);
            }
        }
    }

    fn is_revoked(&self, entry: &Entry) -> bool {
        let revocations = self.revocations.load();
        entry.issued_as.as_ref().is_some_and(|issued_as| revocations.revoke(issued_as))
    }

    /// Live sessions.
    pub fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Whether there is no live session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a session's rights and hands on what became of them.
    fn read_again(&self, entry: &Entry) {
        let _reading = lock(&entry.reading);
        let rights = self.read_settled(entry);
        let before = entry.current.load_full();
        let after = match rights {
            Ok(rights) => self.access(entry, &before, rights),
            Err(unavailable) => {
                warn!(client.id = %entry.client.as_str().escape_debug(), error = %unavailable,
                    "denying everything: rights cannot be read");
                Access {
                    standing: Standing::Unavailable(unavailable),
                    permissions: Arc::new(Permissions::none()),
                    ..Access::clone(&before)
                }
            }
        };
        // INVARIANT (no idle wake-up): kept here. `after` still has the version of `before`.
        if before.version == 0 || after != *before {
            let version = self.lock().new_version();
            entry.current.store(Arc::new(Access { version, ..after }));
            entry.version.store(version, Ordering::Release);
            if let Some(mailbox) = entry.mailbox.get() {
                mailbox.wake();
            }
        }
    }

    /// Reads until nothing that the rights follow from changed meanwhile, and notes what that is.
    ///
    /// INVARIANT (no stale rights): kept here. The check and the note are one step under the
    /// book's lock, which every change takes: a change comes before the check and is seen by it,
    /// or after the note and finds the session.
    fn read_settled(&self, entry: &Entry) -> Result<Rights, Unavailable> {
        loop {
            let begun = self.lock().recent.begin();
            let rights = self.directory.rights(&entry.principal, &entry.client);
            let mut inner = self.lock();
            let is_settled = match &rights {
                Ok(rights) => !inner.recent.has_met(begun, &rights.depends_on),
                Err(_) => true,
            };
            inner.recent.end(begun);
            if is_settled {
                if let Ok(rights) = &rights {
                    inner.watch_for(entry.id, &rights.depends_on);
                }
                return rights;
            }
        }
    }

    /// What a session may do by its rights; under the version of `before`.
    fn access(&self, entry: &Entry, before: &Access, rights: Rights) -> Access {
        let Rights {
            active,
            documents,
            thing,
            device,
            registered,
            is_client_registered,
            things,
            depends_on: _,
        } = rights;
        let facts = entry.facts(thing);
        let permissions = Permissions::compile(&self.account, &documents, &facts);
        let thing = facts.thing.map(|thing| thing.name);
        let connect = match entry.errand {
            Errand::Connect => permissions.decide(Action::Connect, entry.client.as_str()),
            Errand::Publish => permissions.decide(Action::Connect, device.as_str()),
        };
        let may_come = match (&connect, entry.errand) {
            (Decision::Allowed { .. }, _) | (Decision::ImplicitDeny, Errand::Publish) => true,
            (Decision::ImplicitDeny, Errand::Connect) | (Decision::ExplicitDeny { .. }, _) => false,
        };
        let allows_anything = active && permissions.allows_anything();
        let had_something = before.allows_anything || before.standing == Standing::NothingAllowed;
        let standing = if !active {
            Standing::CertificateNotActive
        } else if self.is_revoked(entry) {
            Standing::CertificateRevoked
        } else if !may_come {
            Standing::ConnectDenied(connect)
        } else if had_something && !allows_anything {
            Standing::NothingAllowed
        } else {
            Standing::Stays
        };
        // Who may not stay may do nothing, also in the moment before it is gone.
        let permissions = match standing.stays() {
            true => self.shared(permissions),
            false => Arc::new(Permissions::none()),
        };
        let things = if things.is_empty() { Arc::clone(&self.no_things) } else { things };
        let version = before.version;
        Access {
            version,
            device,
            registered,
            is_client_registered,
            things,
            thing,
            standing,
            allows_anything,
            permissions,
        }
    }

    /// Permissions as others have them already, if they are equal to those made last.
    fn shared(&self, permissions: Permissions) -> Arc<Permissions> {
        let last = self.made_last.load();
        if **last == permissions {
            return Arc::clone(&last);
        }
        let permissions = Arc::new(permissions);
        self.made_last.store(Arc::clone(&permissions));
        permissions
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Entry {
    /// What policies can ask about it while it speaks for a thing.
    fn facts(&self, thing: Option<ThingFacts>) -> ConnectionFacts {
        let client_id = match self.errand {
            Errand::Connect => Some(self.client.clone()),
            Errand::Publish => None,
        };
        let OwnFacts { source_ip, certificate, connect } = &self.facts;
        let (source_ip, certificate, connect) = (*source_ip, certificate.clone(), *connect);
        ConnectionFacts { client_id, source_ip, thing, certificate, connect }
    }
}

/// A poisoned lock still guards whole values here: every critical section writes last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// Notes what a session's rights follow from now. A session that is gone follows from nothing.
    fn watch_for(&mut self, id: u64, depends_on: &BTreeSet<Change>) {
        let Some(live) = self.sessions.get_mut(&id) else { return };
        // Policies and groups are many sessions' nouns: their names are kept once.
        let known =
            |noun: &Change| self.by_change.get_key_value(noun).map(|(known, _)| known.clone());
        let now =
            depends_on.iter().map(|noun| known(noun).unwrap_or_else(|| noun.clone())).collect();
        let before = std::mem::replace(&mut live.depends_on, now);
        self.forget(id, before.iter().filter(|noun| !depends_on.contains(noun)));
        for new in depends_on.iter().filter(|noun| before.binary_search(noun).is_err()) {
            self.by_change.entry(new.clone()).or_default().insert(id);
        }
    }

    fn forget<'a>(&mut self, id: u64, nouns: impl Iterator<Item = &'a Change>) {
        for noun in nouns {
            if let Some(sessions) = self.by_change.get_mut(noun) {
                sessions.remove(id);
                if sessions.is_empty() {
                    self.by_change.remove(noun);
                }
            }
        }
    }

    fn new_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }
}

impl RecentChanges {
    /// Notes that a read begins; gives the number to end it with.
    fn begin(&mut self) -> u64 {
        *self.readers.entry(self.next).or_default() += 1;
        self.next
    }

    fn end(&mut self, begun: u64) {
        if let Some(readers) = self.readers.get_mut(&begun) {
            *readers -= 1;
            if *readers == 0 {
                self.readers.remove(&begun);
            }
        }
        let oldest = self.readers.keys().next().copied().unwrap_or(self.next);
        while self.first_kept < oldest && self.kept.pop_front().is_some() {
            self.first_kept += 1;
        }
    }

    fn note(&mut self, changes: &[Change]) {
        for change in changes {
            self.next += 1;
            if self.readers.is_empty() {
                self.first_kept = self.next;
                continue;
            }
            self.kept.push_back(change.clone());
            if self.kept.len() > RECENT_CHANGES_MAX {
                self.kept.pop_front();
                self.first_kept += 1;
            }
        }
    }

    /// Notes that changes went by unseen: whoever reads at the moment has to read again.
    fn lose(&mut self) {
        self.next += 1;
        self.kept.clear();
        self.first_kept = self.next;
    }

    /// Whether one of the nouns changed since the read began, or may have.
    fn has_met(&self, begun: u64, nouns: &BTreeSet<Change>) -> bool {
        let Some(skip) = begun.checked_sub(self.first_kept) else { return true };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        self.kept.iter().skip(skip).any(|change| nouns.contains(change))
    }
}

impl AccessWatch {
    /// The access in force.
    pub fn get(&self) -> Arc<Access> {
        self.registration.entry.current.load_full()
    }

    /// Has a session woken from here on whenever the access is another. The first one given stays.
    pub(crate) fn wake(&self, mailbox: &Arc<Mailbox>) {
        self.registration.entry.mailbox.get_or_init(|| Arc::clone(mailbox));
    }

    /// Whether the access is another than the one last seen by [`AccessWatch::see`]. Costs one
    /// atomic read: cheap enough to ask with every message.
    pub fn has_changed(&self) -> bool {
        self.registration.entry.version.load(Ordering::Acquire) != self.seen
    }

    /// The access in force, noted as seen.
    pub fn see(&mut self) -> Arc<Access> {
        let access = self.get();
        self.seen = access.version;
        access
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut inner = self.book.lock();
        if let Some(live) = inner.sessions.remove(&self.entry.id) {
            inner.forget(self.entry.id, live.depends_on.iter());
        }
    }
}

#[cfg(test)]
mod tests;
