//! What is watched: profiles, what they are attached to, and the dimensions that narrow them.
//!
//! A commit names what it touched, and only that is read again: a fleet of a million devices must
//! not be gone through because somebody made a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_broker::Slice;
use picket_detect::targets;
use picket_model::limits::SLICES_MAX;
use picket_model::text::chain;
use picket_model::{
    Change, DeviceName, DimensionName, GroupName, MetricDimension, ProfileName, ProfileTarget,
    SecurityProfile, ThingName, Timestamp,
};
use picket_store::{ReadTx, StoreError, dimensions, profiles};
use tokio::sync::broadcast;
use tracing::error;

use super::{RETRY, Shard, exporting, millis};
use crate::clock;
use crate::limits::{ASSIGNED_AT_ONCE, DEVICES_MAX, UNREGISTERED_UP_TO};

/// Security profiles by their names.
pub(super) type Profiles = BTreeMap<ProfileName, Arc<SecurityProfile>>;

/// What is watched, as it was last read from the store.
#[derive(Default)]
pub(super) struct Watching {
    pub(super) profiles: Profiles,
    attachments: Vec<(ProfileName, ProfileTarget)>,
    /// The topic filters of every dimension.
    dimensions: BTreeMap<DimensionName, Vec<String>>,
    /// When reading last failed. Until it succeeds, devices are watched as before, and new ones not
    /// at all.
    pub(super) behind_since: Option<Timestamp>,
}

/// What commits touched that decides what is watched.
#[derive(Debug, Default, PartialEq, Eq)]
struct Touched {
    profiles: BTreeSet<ProfileName>,
    dimensions: BTreeSet<DimensionName>,
    things: BTreeSet<ThingName>,
}

impl Touched {
    fn note(&mut self, change: &Change) {
        match change {
            Change::Profile(profile) => {
                self.profiles.insert(profile.clone());
            }
            Change::Dimension(dimension) => {
                self.dimensions.insert(dimension.clone());
            }
            Change::Thing(thing) => {
                self.things.insert(thing.clone());
            }
            // Who is in a group is a change of the thing, what is attached to it one of the
            // profile; its place in its hierarchy is for good.
            Change::Group(_)
            | Change::Certificate(_)
            | Change::Policy(_)
            | Change::MitigationTask
            | Change::Function(_)
            | Change::Outbox
            | Change::RegistryEvent => {}
        }
    }
}

impl Shard {
    /// Catches up with what commits changed; `None` stands for "too much to say".
    pub(super) fn on_changes(
        &mut self,
        first: Option<&[Change]>,
        more: &mut broadcast::Receiver<Arc<[Change]>>,
    ) {
        let mut everything = first.is_none();
        let mut touched = Touched::default();
        first.unwrap_or_default().iter().for_each(|change| touched.note(change));
        loop {
            match more.try_recv() {
                Ok(changes) => changes.iter().for_each(|change| touched.note(change)),
                Err(broadcast::error::TryRecvError::Lagged(_)) => everything = true,
                Err(_) => break,
            }
        }
        let now = clock::now();
        let result =
            if everything { self.read_everything(now) } else { self.read_touched(now, &touched) };
        if let Err(error) = result {
            self.fall_behind(&error);
        }
    }

    /// Reads everything that is watched, and assigns every device anew.
    pub(super) fn read_everything(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.read_profiles(now)?;
        self.assign_all(now)
    }

    /// Reads everything that is watched and gives it to the engine. Devices are not assigned.
    pub(super) fn read_profiles(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let (profiles, attachments, dimensions) = self.store.read(|tx| {
            let attachments = profiles::attachments(tx)?;
            Ok::<_, StoreError>((profiles::all(tx)?, attachments, dimensions::all(tx)?))
        })?;
        self.watching.attachments = attachments;
        self.watching.dimensions = dimensions.into_iter().map(|it| (it.name, it.filters)).collect();
        let profiles = profiles.into_iter().map(|it| (it.name.clone(), Arc::new(it))).collect();
        self.set_profiles(now, profiles);
        Ok(())
    }

    /// Reads what was touched, and tells only those who are concerned.
    fn read_touched(&mut self, now: Timestamp, touched: &Touched) -> Result<(), StoreError> {
        if !touched.profiles.is_empty() || !touched.dimensions.is_empty() {
            let read = self.store.read(|tx| {
                let read_profile = |name| Ok((name, profiles::find(tx, name)?));
                let read_dimension = |name| Ok((name, dimensions::find(tx, name)?));
                Ok::<_, StoreError>((
                    touched
                        .profiles
                        .iter()
                        .map(read_profile)
                        .collect::<Result<Vec<_>, StoreError>>()?,
                    touched
                        .dimensions
                        .iter()
                        .map(read_dimension)
                        .collect::<Result<Vec<_>, StoreError>>()?,
                    profiles::attachments(tx)?,
                ))
            });
            let (changed_profiles, changed_dimensions, attachments) = read?;
            for (name, dimension) in changed_dimensions {
                match dimension {
                    Some(it) => self.watching.dimensions.insert(name.clone(), it.filters),
                    None => self.watching.dimensions.remove(name),
                };
            }
            let mut profiles = self.watching.profiles.clone();
            for (name, profile) in changed_profiles {
                match profile {
                    // The same again keeps its place: it was only attached or detached.
                    Some(it) if profiles.get(name).is_some_and(|known| **known == it) => {}
                    Some(it) => {
                        profiles.insert(name.clone(), Arc::new(it));
                    }
                    None => {
                        profiles.remove(name);
                    }
                }
            }
            if profiles == self.watching.profiles {
                self.set_slices();
            } else {
                self.set_profiles(now, profiles);
            }
            if attachments != self.watching.attachments {
                self.watching.attachments = attachments;
                // Everybody's membership is read, and with it that of the touched things.
                return self.assign_all(now);
            }
        }
        let known = touched.things.iter().map(DeviceName::from).filter(|it| self.engine.knows(it));
        let known: Vec<_> = known.collect();
        self.assign(&known, now)
    }

    /// Gives the engine the profiles as they are now, and the sessions what to look out for. Events
    /// of profiles that are gone go to whom these told.
    fn set_profiles(&mut self, now: Timestamp, profiles: Profiles) {
        let before = std::mem::replace(&mut self.watching.profiles, profiles);
        let profiles = self.watching.profiles.values().map(exporting::once).collect();
        let verdicts = self.engine.set_profiles(now, profiles);
        self.take(verdicts, Some(&before));
        // Slices first: a limit on one that nobody tells apart would be none.
        self.set_slices();
        for device in self.engine.devices() {
            self.set_tripwires(device);
        }
    }

    /// Lets the sessions tell those parts of their traffic apart that some profile looks at.
    fn set_slices(&self) {
        let in_use: BTreeSet<MetricDimension> = self.engine.slices();
        if in_use.len() > SLICES_MAX {
            error!(
                "the security profiles use {} sides of dimensions; only the first {SLICES_MAX} by \
                 name are watched",
                in_use.len()
            );
        }
        let slices = in_use.into_iter().take(SLICES_MAX).map(|dimension| Slice {
            // No profile can use a dimension that does not exist.
            filters: self.watching.dimensions.get(&dimension.name).cloned().unwrap_or_default(),
            dimension: Arc::new(dimension),
        });
        self.broker.set_slices(slices.collect());
    }

    /// Tells the sessions of a device what to hand on at once.
    pub(super) fn set_tripwires(&self, device: &DeviceName) {
        let sliced = self.engine.slice_tripwires(device);
        self.broker.set_tripwires(device, self.engine.tripwires(device), &sliced);
    }

    /// Whether a device may be watched beside `watched` others. Those that are not registered leave
    /// room for things: a client that comes under many names must not keep a thing from being
    /// watched.
    pub(super) fn has_room(&self, device: &DeviceName, watched: usize) -> bool {
        if watched < UNREGISTERED_UP_TO {
            return true;
        }
        let is_thing = || {
            let Ok(thing) = ThingName::parse(device.as_str()) else { return false };
            let found = self.store.read(|tx| picket_store::things::find(tx, &thing));
            found.is_ok_and(|thing| thing.is_some())
        };
        watched < DEVICES_MAX && is_thing()
    }

    /// Assigns a device that was not known before. False if there is no room for it.
    pub(super) fn admit(&mut self, device: &DeviceName, at: Timestamp) -> bool {
        if !self.has_room(device, self.engine.devices().len()) {
            self.metrics.devices_refused.inc();
            return false;
        }
        if let Err(error) = self.assign(std::slice::from_ref(device), at) {
            self.fall_behind(&error);
        }
        true
    }

    /// Tells the engine which profiles watch devices, and their sessions what to look out for.
    fn assign(&mut self, devices: &[DeviceName], now: Timestamp) -> Result<(), StoreError> {
        for devices in devices.chunks(ASSIGNED_AT_ONCE) {
            let memberships = self.store.read(|tx| {
                devices.iter().map(|device| membership(tx, device)).collect::<Result<Vec<_>, _>>()
            })?;
            for (device, (registered, groups)) in devices.iter().zip(memberships) {
                let watching = targets::watching(registered, &groups, &self.watching.attachments);
                let verdicts = self.engine.assign(now, device, &watching);
                self.take(verdicts, None);
                self.set_tripwires(device);
            }
        }
        Ok(())
    }

    /// Assigns every device that the engine knows.
    pub(super) fn assign_all(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let devices: Vec<_> = self.engine.devices().cloned().collect();
        self.assign(&devices, now)
    }

    fn fall_behind(&mut self, error: &StoreError) {
        // One line for each try, not for each device that came meanwhile.
        if self.watching.behind_since.is_none() {
            self.watching.behind_since = Some(clock::now());
            let error = chain(error);
            error!(%error, "cannot read what is watched; it stays as it was and is tried again");
        }
    }

    /// Reads everything that is watched anew if that failed a while ago.
    pub(super) fn catch_up(&mut self, now: Timestamp) {
        // A clock that was set back must not hold it up.
        let is_due = |since| !(0..millis(RETRY)).contains(&now.millis_since(since));
        if !self.watching.behind_since.is_some_and(is_due) {
            return;
        }
        self.watching.behind_since = None;
        if let Err(error) = self.read_everything(now) {
            self.fall_behind(&error);
        }
    }
}

/// Whether a device is a thing, and the groups that it is in, with those above them.
fn membership(tx: &ReadTx, device: &DeviceName) -> Result<(bool, BTreeSet<GroupName>), StoreError> {
    let Ok(thing) = ThingName::parse(device.as_str()) else {
        return Ok((false, BTreeSet::new()));
    };
    if picket_store::things::find(tx, &thing)?.is_none() {
        return Ok((false, BTreeSet::new()));
    }
    let groups = picket_store::groups::groups_with_ancestors(tx, &thing)?;
    Ok((true, groups.into_iter().collect()))
}
