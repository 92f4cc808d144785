//! Security profiles, and what they are attached to.

use picket_model::limits::PROFILES_PER_TARGET_MAX;
use picket_model::wire::{behavior_from_json, behavior_to_json};
use picket_model::{
    AlertTarget, Behavior, Change, GroupName, Metric, ProfileName, ProfileTarget, SecurityProfile,
};
use rusqlite::Row;
use serde_json::{Value, json};

use crate::codec::column;
use crate::error::{RegistryError, StoreError, expect_version};
use crate::groups;
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "security profile";
const LISTING: &str = "security-profiles";

fn read_row(row: &Row<'_>) -> Result<SecurityProfile, StoreError> {
    Ok(SecurityProfile {
        name: column::name(row, "name", ProfileName::parse)?,
        description: row.get("description")?,
        behaviors: read_list(row, "behaviors", |json| {
            behavior_from_json(json, 1).map_err(|error| error.to_string())
        })?,
        alert_targets: read_list(row, "alert_targets", |json| {
            let text = |member: &str| {
                let text = json.get(member).and_then(Value::as_str);
                text.map(str::to_owned).ok_or_else(|| format!("`{member}` is missing"))
            };
            Ok(AlertTarget { topic_arn: text("topic_arn")?, role_arn: text("role_arn")? })
        })?,
        retained_metrics: read_list(row, "retained_metrics", |json| {
            json.as_str().and_then(Metric::parse).ok_or_else(|| "no metric".to_owned())
        })?,
        version: column::count(row, "version")?,
        created_at: column::time(row, "created_at")?,
        modified_at: column::time(row, "modified_at")?,
    })
}

fn read_list<T>(
    row: &Row<'_>,
    column: &'static str,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Result<Vec<T>, StoreError> {
    let unreadable = |problem: String| StoreError::Unreadable { column, problem };
    match column::json(row, column)? {
        Value::Array(items) => items.iter().map(|item| read(item).map_err(unreadable)).collect(),
        _ => Err(unreadable("no list".to_owned())),
    }
}

fn behaviors_text(behaviors: &[Behavior]) -> String {
    Value::Array(behaviors.iter().map(behavior_to_json).collect()).to_string()
}

fn alert_targets_text(targets: &[AlertTarget]) -> String {
    let list = targets
        .iter()
        .map(|target| json!({ "topic_arn": target.topic_arn, "role_arn": target.role_arn }))
        .collect();
    Value::Array(list).to_string()
}

fn metrics_text(metrics: &[Metric]) -> String {
    Value::Array(metrics.iter().map(|metric| metric.as_str().into()).collect()).to_string()
}

/// The profile, if there is one of that name.
pub fn find(tx: &ReadTx, name: &ProfileName) -> Result<Option<SecurityProfile>, StoreError> {
    tx.row("SELECT * FROM profiles WHERE name = ?1", [name.as_str()], read_row)
}

/// The profile.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: DescribeSecurityProfile
pub fn get(tx: &ReadTx, name: &ProfileName) -> Result<SecurityProfile, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

fn check_exists(tx: &ReadTx, name: &ProfileName) -> Result<(), RegistryError> {
    if tx.exists("SELECT 1 FROM profiles WHERE name = ?1", [name.as_str()])? {
        Ok(())
    } else {
        Err(RegistryError::not_found(WHAT, name))
    }
}

/// Makes a profile as given; its version becomes 1.
///
/// # Errors
/// [`RegistryError::AlreadyExists`].
// aws: CreateSecurityProfile
pub fn create(
    tx: &mut WriteTx,
    profile: &SecurityProfile,
) -> Result<SecurityProfile, RegistryError> {
    let added = tx.execute(
        "INSERT INTO profiles (name, description, behaviors, alert_targets, retained_metrics, \
                               version, created_at, modified_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7) ON CONFLICT DO NOTHING",
        (
            profile.name.as_str(),
            &profile.description,
            behaviors_text(&profile.behaviors),
            alert_targets_text(&profile.alert_targets),
            metrics_text(&profile.retained_metrics),
            profile.created_at.as_millis(),
            profile.modified_at.as_millis(),
        ),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists(WHAT, &profile.name));
    }
    tx.changed(Change::Profile(profile.name.clone()));
    get(tx, &profile.name)
}

/// Gives a profile the description, behaviors, alert targets, retained metrics and time of change
/// of `profile`; its version grows by one, its time of making stays.
///
/// # Errors
/// [`RegistryError::NotFound`], [`RegistryError::VersionConflict`].
// aws: UpdateSecurityProfile
pub fn update(
    tx: &mut WriteTx,
    profile: &SecurityProfile,
    expected_version: Option<u64>,
) -> Result<SecurityProfile, RegistryError> {
    let name = &profile.name;
    expect_version(WHAT, name, expected_version, get(tx, name)?.version)?;
    tx.execute(
        "UPDATE profiles SET description = ?2, behaviors = ?3, alert_targets = ?4, \
             retained_metrics = ?5, version = version + 1, modified_at = ?6 WHERE name = ?1",
        (
            name.as_str(),
            &profile.description,
            behaviors_text(&profile.behaviors),
            alert_targets_text(&profile.alert_targets),
            metrics_text(&profile.retained_metrics),
            profile.modified_at.as_millis(),
        ),
    )?;
    tx.changed(Change::Profile(name.clone()));
    get(tx, name)
}

/// Deletes a profile and its attachments. One that is not there is no error.
///
/// # Errors
/// [`RegistryError::VersionConflict`].
// aws: DeleteSecurityProfile
pub fn delete(
    tx: &mut WriteTx,
    name: &ProfileName,
    expected_version: Option<u64>,
) -> Result<(), RegistryError> {
    let Some(profile) = find(tx, name)? else { return Ok(()) };
    expect_version(WHAT, name, expected_version, profile.version)?;
    tx.execute("DELETE FROM profiles WHERE name = ?1", [name.as_str()])?;
    tx.changed(Change::Profile(name.clone()));
    Ok(())
}

/// Lists profiles by name; with `metric` only those with a behavior that judges it.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListSecurityProfiles
pub fn list(
    tx: &ReadTx,
    metric: Option<Metric>,
    page: &Page,
) -> Result<Paged<ProfileName>, RegistryError> {
    let names = tx.rows(
        "SELECT name FROM profiles \
         WHERE name > ?1 \
           AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(behaviors) AS behavior \
                WHERE json_extract(behavior.value, '$.metric') = ?2)) \
         ORDER BY name LIMIT ?3",
        (page.name_key(LISTING)?, metric.map(Metric::as_str), page.rows_max()),
        |row| column::name(row, "name", ProfileName::parse),
    )?;
    Ok(Paged::cut(names, page, LISTING, |name| [name.to_string()]))
}

/// All profiles, by name.
pub fn all(tx: &ReadTx) -> Result<Vec<SecurityProfile>, StoreError> {
    tx.rows("SELECT * FROM profiles ORDER BY name", [], read_row)
}

const ALL_THINGS: &str = "all";
const REGISTERED_THINGS: &str = "registered";
const UNREGISTERED_THINGS: &str = "unregistered";

/// The target as its column holds it.
fn target_text(target: &ProfileTarget) -> String {
    match target {
        ProfileTarget::AllThings => ALL_THINGS.to_owned(),
        ProfileTarget::RegisteredThings => REGISTERED_THINGS.to_owned(),
        ProfileTarget::UnregisteredThings => UNREGISTERED_THINGS.to_owned(),
        ProfileTarget::Group(group) => format!("group:{group}"),
    }
}

fn read_target(row: &Row<'_>) -> Result<ProfileTarget, StoreError> {
    column::word(row, "target", |text| match text {
        ALL_THINGS => Some(ProfileTarget::AllThings),
        REGISTERED_THINGS => Some(ProfileTarget::RegisteredThings),
        UNREGISTERED_THINGS => Some(ProfileTarget::UnregisteredThings),
        _ => {
            let name = text.strip_prefix("group:")?;
            GroupName::parse(name).ok().map(ProfileTarget::Group)
        }
    })
}

/// Attaches a profile to a target; again changes nothing.
///
/// # Errors
/// [`RegistryError::NotFound`] for the profile or the group; [`RegistryError::Limit`] if the
/// target has as many profiles as it may have.
// aws: AttachSecurityProfile
pub fn attach(
    tx: &mut WriteTx,
    profile: &ProfileName,
    target: &ProfileTarget,
) -> Result<(), RegistryError> {
    check_exists(tx, profile)?;
    let group = match target {
        ProfileTarget::Group(group) => {
            groups::get(tx, group)?;
            Some(group.as_str())
        }
        ProfileTarget::AllThings
        | ProfileTarget::RegisteredThings
        | ProfileTarget::UnregisteredThings => None,
    };
    let attached = for_target(tx, target)?;
    if attached.contains(profile) {
        return Ok(());
    }
    if attached.len() >= PROFILES_PER_TARGET_MAX {
        return Err(RegistryError::Limit(format!(
            "`{}` has {} security profiles attached; at most {PROFILES_PER_TARGET_MAX} are allowed",
            target.arn(tx.account()),
            attached.len()
        )));
    }
    tx.execute(
        "INSERT INTO profile_targets (target, profile, group_name) VALUES (?1, ?2, ?3)",
        (target_text(target), profile.as_str(), group),
    )?;
    tx.changed(Change::Profile(profile.clone()));
    Ok(())
}

/// Detaches a profile from a target; one that is not attached is no error.
///
/// # Errors
/// [`RegistryError::NotFound`] for the profile.
// aws: DetachSecurityProfile
pub fn detach(
    tx: &mut WriteTx,
    profile: &ProfileName,
    target: &ProfileTarget,
) -> Result<(), RegistryError> {
    check_exists(tx, profile)?;
    let removed = tx.execute(
        "DELETE FROM profile_targets WHERE target = ?1 AND profile = ?2",
        (target_text(target), profile.as_str()),
    )?;
    if removed > 0 {
        tx.changed(Change::Profile(profile.clone()));
    }
    Ok(())
}

/// What a profile is attached to.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] for a token that this listing did not
/// give.
// aws: ListTargetsForSecurityProfile
pub fn targets(
    tx: &ReadTx,
    profile: &ProfileName,
    page: &Page,
) -> Result<Paged<ProfileTarget>, RegistryError> {
    const LISTING: &str = "security-profile-targets";
    let after = page.name_key(LISTING)?;
    check_exists(tx, profile)?;
    let targets = tx.rows(
        "SELECT target FROM profile_targets WHERE profile = ?1 AND target > ?2 \
         ORDER BY target LIMIT ?3",
        (profile.as_str(), after, page.rows_max()),
        read_target,
    )?;
    Ok(Paged::cut(targets, page, LISTING, |target| [target_text(target)]))
}

/// Every attachment there is, by profile and target.
pub fn attachments(tx: &ReadTx) -> Result<Vec<(ProfileName, ProfileTarget)>, StoreError> {
    tx.rows("SELECT profile, target FROM profile_targets ORDER BY profile, target", [], |row| {
        Ok((column::name(row, "profile", ProfileName::parse)?, read_target(row)?))
    })
}

/// The profiles attached to a target itself, by name. Bounded by the number that it may have.
// aws: ListSecurityProfilesForTarget
pub fn for_target(tx: &ReadTx, target: &ProfileTarget) -> Result<Vec<ProfileName>, StoreError> {
    tx.rows(
        "SELECT profile FROM profile_targets WHERE target = ?1 ORDER BY profile",
        [target_text(target)],
        |row| column::name(row, "profile", ProfileName::parse),
    )
}
