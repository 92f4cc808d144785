//! Security profiles, and what they are attached to.

use std::collections::BTreeSet;

use picket_model::limits::PROFILES_PER_TARGET_MAX;
use picket_model::wire::{
    behavior_from_json, behavior_to_json, dimension_from_json, dimension_to_json, metric_named,
};
use picket_model::{
    AlertTarget, Behavior, Change, CustomMetricKind, DimensionName, GroupName, Metric,
    MetricDimension, MetricsExport, ProfileName, ProfileTarget, RetainedMetric, SecurityProfile,
};
use rusqlite::types::ValueRef;
use rusqlite::{Row, params_from_iter};
use serde_json::{Value, json};

use crate::codec::column;
use crate::error::{RegistryError, StoreError, expect_version};
use crate::page::{Page, Paged};
use crate::query::Query;
use crate::tx::{ReadTx, WriteTx};
use crate::{custom_metrics, dimensions, groups, model_training};

const WHAT: &str = "security profile";
const LISTING: &str = "security-profiles";

fn read_row(row: &Row<'_>) -> Result<SecurityProfile, StoreError> {
    Ok(SecurityProfile {
        name: column::name(row, "name", ProfileName::parse)?,
        description: row.get("description")?,
        behaviors: column::list(row, "behaviors", |json| {
            behavior_from_json(json, 1).map_err(|error| error.to_string())
        })?,
        alert_targets: column::list(row, "alert_targets", |json| {
            let text = |member: &str| {
                let text = json.get(member).and_then(Value::as_str);
                text.map(str::to_owned).ok_or_else(|| format!("`{member}` is missing"))
            };
            Ok(AlertTarget { topic_arn: text("topic_arn")?, role_arn: text("role_arn")? })
        })?,
        retained_metrics: column::list(row, "retained_metrics", read_retained)?,
        export: read_export(row)?,
        version: column::count(row, "version")?,
        created_at: column::time(row, "created_at")?,
        modified_at: column::time(row, "modified_at")?,
    })
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

/// A metric to retain: its name alone, as schema 1 has it, or an object.
fn read_retained(json: &Value) -> Result<RetainedMetric, String> {
    if let Value::String(name) = json {
        let metric = Metric::parse(name).ok_or("no metric")?;
        return Ok(RetainedMetric { metric, dimension: None, export: false });
    }
    let kind = || {
        let kind = json["kind"].as_str().and_then(CustomMetricKind::parse);
        kind.ok_or_else(|| "no kind of a custom metric".to_owned())
    };
    let metric = metric_named(json["metric"].as_str().ok_or("no metric")?, kind)?;
    Ok(RetainedMetric {
        dimension: dimension_from_json(json.get("metricDimension"), &metric)?,
        export: json["export"].as_bool().ok_or("no `export`")?,
        metric,
    })
}

fn retained_text(metrics: &[RetainedMetric]) -> String {
    let to_json = |retained: &RetainedMetric| {
        let mut json = json!({ "metric": retained.metric.as_str(), "export": retained.export });
        if let Metric::Custom(_, kind) = &retained.metric {
            json["kind"] = kind.as_str().into();
        }
        if let Some(dimension) = &retained.dimension {
            json["metricDimension"] = dimension_to_json(dimension);
        }
        json
    };
    Value::Array(metrics.iter().map(to_json).collect()).to_string()
}

fn read_export(row: &Row<'_>) -> Result<Option<MetricsExport>, StoreError> {
    if row.get_ref("export")? == ValueRef::Null {
        return Ok(None);
    }
    let json = column::json(row, "export")?;
    let text = |member: &str| json[member].as_str().map(str::to_owned);
    match (text("mqtt_topic"), text("role_arn")) {
        (Some(mqtt_topic), Some(role_arn)) => Ok(Some(MetricsExport { mqtt_topic, role_arn })),
        _ => Err(StoreError::Unreadable { column: "export", problem: "no export".to_owned() }),
    }
}

fn export_text(export: &MetricsExport) -> String {
    json!({ "mqtt_topic": export.mqtt_topic, "role_arn": export.role_arn }).to_string()
}

/// What a profile can use that is there by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// A metric, by name.
    Metric,
    /// A dimension.
    Dimension,
}

impl Use {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Dimension => "dimension",
        }
    }
}

/// Metrics and dimensions that a profile is about, in behaviors or to be retained.
fn subjects(
    profile: &SecurityProfile,
) -> impl Iterator<Item = (&Metric, Option<&MetricDimension>)> {
    let judged = profile.behaviors.iter().map(|it| (&it.metric, it.dimension.as_ref()));
    let retained = profile.retained_metrics.iter().map(|it| (&it.metric, it.dimension.as_ref()));
    judged.chain(retained)
}

/// Refuses a profile that uses what does not exist.
fn check_uses(tx: &ReadTx, profile: &SecurityProfile) -> Result<(), RegistryError> {
    for (metric, dimension) in subjects(profile) {
        if let Metric::Custom(name, kind) = metric {
            match custom_metrics::find(tx, name)? {
                None => {
                    return Err(RegistryError::Invalid(format!(
                        "custom metric `{name}` does not exist; make it first"
                    )));
                }
                Some(found) if found.kind != *kind => {
                    return Err(RegistryError::Invalid(format!(
                        "custom metric `{name}` is a {} and cannot be used as a {}",
                        found.kind.as_str(),
                        kind.as_str()
                    )));
                }
                Some(_) => {}
            }
        }
        if let Some(dimension) = dimension
            && dimensions::find(tx, &dimension.name)?.is_none()
        {
            return Err(RegistryError::Invalid(format!(
                "dimension `{}` does not exist; make it first",
                dimension.name
            )));
        }
    }
    Ok(())
}

/// Writes down what a profile uses now, and begins or ends the training of its models.
fn follow(tx: &mut WriteTx, profile: &SecurityProfile) -> Result<(), StoreError> {
    let mut uses = BTreeSet::new();
    for (metric, dimension) in subjects(profile) {
        uses.insert((Use::Metric, metric.as_str()));
        uses.extend(dimension.map(|dimension| (Use::Dimension, dimension.name.as_str())));
    }
    tx.execute("DELETE FROM profile_uses WHERE profile = ?1", [profile.name.as_str()])?;
    for (what, name) in uses {
        tx.execute(
            "INSERT INTO profile_uses (what, name, profile) VALUES (?1, ?2, ?3)",
            (what.as_str(), name, profile.name.as_str()),
        )?;
    }
    model_training::follow(tx, profile)
}

/// Refuses to delete what profiles use.
///
/// # Errors
/// [`RegistryError::Invalid`] names some of the profiles.
pub(crate) fn expect_unused(
    tx: &ReadTx,
    what: Use,
    noun: &str,
    name: &str,
) -> Result<(), RegistryError> {
    const SHOWN: usize = 5;
    let profiles: Vec<String> = tx.rows(
        "SELECT profile FROM profile_uses WHERE what = ?1 AND name = ?2 ORDER BY profile LIMIT ?3",
        (what.as_str(), name, 1 + SHOWN as i64),
        |row| row.get::<_, String>("profile").map(|profile| format!("`{profile}`")),
    )?;
    if profiles.is_empty() {
        return Ok(());
    }
    let (many, more) = if profiles.len() == 1 { ("", "") } else { ("s", "") };
    let more = if profiles.len() > SHOWN { " and others" } else { more };
    let shown = profiles[..profiles.len().min(SHOWN)].join(", ");
    Err(RegistryError::Invalid(format!(
        "{noun} `{name}` is used by security profile{many} {shown}{more}; take it out first"
    )))
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
/// [`RegistryError::AlreadyExists`]; [`RegistryError::Invalid`] if it uses a custom metric or a
/// dimension that does not exist, or a custom metric as another kind than it is.
// aws: CreateSecurityProfile
pub fn create(
    tx: &mut WriteTx,
    profile: &SecurityProfile,
) -> Result<SecurityProfile, RegistryError> {
    let added = tx.execute(
        "INSERT INTO profiles (name, description, behaviors, alert_targets, retained_metrics, \
                               version, created_at, modified_at, export) \
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        (
            profile.name.as_str(),
            &profile.description,
            behaviors_text(&profile.behaviors),
            alert_targets_text(&profile.alert_targets),
            retained_text(&profile.retained_metrics),
            profile.created_at.as_millis(),
            profile.modified_at.as_millis(),
            profile.export.as_ref().map(export_text),
        ),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists(WHAT, &profile.name));
    }
    check_uses(tx, profile)?;
    follow(tx, profile)?;
    tx.changed(Change::Profile(profile.name.clone()));
    get(tx, &profile.name)
}

/// Gives a profile the description, behaviors, alert targets, retained metrics, export and time of
/// change of `profile`; its version grows by one, its time of making stays.
///
/// # Errors
/// [`RegistryError::NotFound`], [`RegistryError::VersionConflict`]; [`RegistryError::Invalid`] as
/// for [`create`].
// aws: UpdateSecurityProfile
pub fn update(
    tx: &mut WriteTx,
    profile: &SecurityProfile,
    expected_version: Option<u64>,
) -> Result<SecurityProfile, RegistryError> {
    let name = &profile.name;
    expect_version(WHAT, name, expected_version, get(tx, name)?.version)?;
    check_uses(tx, profile)?;
    tx.execute(
        "UPDATE profiles SET description = ?2, behaviors = ?3, alert_targets = ?4, \
             retained_metrics = ?5, version = version + 1, modified_at = ?6, export = ?7 \
         WHERE name = ?1",
        (
            name.as_str(),
            &profile.description,
            behaviors_text(&profile.behaviors),
            alert_targets_text(&profile.alert_targets),
            retained_text(&profile.retained_metrics),
            profile.modified_at.as_millis(),
            profile.export.as_ref().map(export_text),
        ),
    )?;
    follow(tx, profile)?;
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

/// Lists profiles by name; with `metric` or `dimension` only those with a behavior or a retained
/// metric that is about it.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListSecurityProfiles
pub fn list(
    tx: &ReadTx,
    metric: Option<&str>,
    dimension: Option<&DimensionName>,
    page: &Page,
) -> Result<Paged<ProfileName>, RegistryError> {
    let mut query = Query::new("SELECT name FROM profiles");
    query.and("name > ?", [page.name_key(LISTING)?.into()]);
    let mut using = |what: Use, name: &str| {
        let condition = "name IN (SELECT profile FROM profile_uses WHERE what = ? AND name = ?)";
        query.and(condition, [what.as_str().to_owned().into(), name.to_owned().into()]);
    };
    if let Some(metric) = metric {
        using(Use::Metric, metric);
    }
    if let Some(dimension) = dimension {
        using(Use::Dimension, dimension.as_str());
    }
    query.end("ORDER BY name LIMIT ?", page.rows_max());
    let names = tx.rows(&query.sql, params_from_iter(query.values), |row| {
        column::name(row, "name", ProfileName::parse)
    })?;
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
