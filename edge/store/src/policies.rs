//! IoT policies, their versions, and what they are attached to.
//!
//! Documents are text here: they arrive checked, and whoever decides by them parses them.

use picket_model::limits::{
    POLICIES_PER_CERTIFICATE_MAX, POLICIES_PER_GROUP_MAX, POLICY_VERSIONS_MAX,
};
use picket_model::{
    CertificateId, Change, GroupName, Policy, PolicyName, PolicyTarget, PolicyVersion, Timestamp,
};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};
use crate::{certificates, groups};

const WHAT: &str = "policy";
const TARGETS_LISTING: &str = "policy-targets";

fn read_row(row: &Row<'_>) -> Result<Policy, StoreError> {
    let created_at = column::time(row, "policy_created_at")?;
    let generation: u64 = column::count(row, "generation")?;
    Ok(Policy {
        name: column::name(row, "name", PolicyName::parse)?,
        default_version: read_version(row)?,
        created_at,
        modified_at: column::time(row, "modified_at")?,
        generation_id: format!("{:x}-{generation}", created_at.as_millis()),
    })
}

/// Reads `version`, `document`, `is_default` and `created_at`.
pub(crate) fn read_version(row: &Row<'_>) -> Result<PolicyVersion, StoreError> {
    Ok(PolicyVersion {
        id: column::count(row, "version")?,
        document: row.get("document")?,
        is_default: row.get("is_default")?,
        created_at: column::time(row, "created_at")?,
    })
}

/// The policy with its version in force, if there is one of that name.
pub fn find(tx: &ReadTx, name: &PolicyName) -> Result<Option<Policy>, StoreError> {
    tx.row(
        "SELECT name, generation, modified_at, policies.created_at AS policy_created_at, \
                version, document, TRUE AS is_default, policy_versions.created_at AS created_at \
         FROM policies JOIN policy_versions ON policy = name AND version = default_version \
         WHERE name = ?1",
        [name.as_str()],
        read_row,
    )
}

/// The policy with its version in force.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: GetPolicy
pub fn get(tx: &ReadTx, name: &PolicyName) -> Result<Policy, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes a policy; its document becomes version 1, in force.
///
/// # Errors
/// [`RegistryError::AlreadyExists`], whatever its document.
// aws: CreatePolicy
pub fn create(
    tx: &mut WriteTx,
    name: &PolicyName,
    document: &str,
    now: Timestamp,
) -> Result<Policy, RegistryError> {
    let added = tx.execute(
        "INSERT INTO policies \
             (name, default_version, last_version, generation, created_at, modified_at) \
         VALUES (?1, 1, 1, 1, ?2, ?2) ON CONFLICT DO NOTHING",
        (name.as_str(), now.as_millis()),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists(WHAT, name));
    }
    insert_version(tx, name, 1, document, now)?;
    tx.changed(Change::Policy(name.clone()));
    get(tx, name)
}

fn insert_version(
    tx: &mut WriteTx,
    name: &PolicyName,
    version: u32,
    document: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policy_versions (policy, version, document, created_at) \
         VALUES (?1, ?2, ?3, ?4)",
        (name.as_str(), version, document, now.as_millis()),
    )?;
    Ok(())
}

/// Adds a version to a policy and, with `set_default`, puts it in force.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::VersionsLimit`].
// aws: CreatePolicyVersion
pub fn create_version(
    tx: &mut WriteTx,
    name: &PolicyName,
    document: &str,
    set_default: bool,
    now: Timestamp,
) -> Result<PolicyVersion, RegistryError> {
    get(tx, name)?;
    let versions =
        tx.number("SELECT count(*) FROM policy_versions WHERE policy = ?1", [name.as_str()])?;
    if versions >= POLICY_VERSIONS_MAX as i64 {
        return Err(RegistryError::VersionsLimit {
            policy: name.to_string(),
            max: POLICY_VERSIONS_MAX,
        });
    }
    tx.execute(
        "UPDATE policies SET last_version = last_version + 1, generation = generation + 1 \
         WHERE name = ?1",
        [name.as_str()],
    )?;
    let version = tx
        .row("SELECT last_version FROM policies WHERE name = ?1", [name.as_str()], |row| {
            column::count(row, "last_version")
        })?
        .ok_or_else(|| RegistryError::not_found(WHAT, name))?;
    insert_version(tx, name, version, document, now)?;
    if set_default {
        put_in_force(tx, name, version, now)?;
    }
    get_version(tx, name, version)
}

fn put_in_force(
    tx: &mut WriteTx,
    name: &PolicyName,
    version: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE policies SET default_version = ?2, modified_at = ?3, generation = generation + 1 \
         WHERE name = ?1",
        (name.as_str(), version, now.as_millis()),
    )?;
    tx.changed(Change::Policy(name.clone()));
    Ok(())
}

/// One version of a policy.
///
/// # Errors
/// [`RegistryError::NotFound`] for the policy or the version.
// aws: GetPolicyVersion
pub fn get_version(
    tx: &ReadTx,
    name: &PolicyName,
    version: u32,
) -> Result<PolicyVersion, RegistryError> {
    list_versions(tx, name)?.into_iter().find(|found| found.id == version).ok_or_else(|| {
        RegistryError::not_found("policy version", format_args!("{name}, version {version}"))
    })
}

/// All versions of a policy, the newest first.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: ListPolicyVersions
pub fn list_versions(tx: &ReadTx, name: &PolicyName) -> Result<Vec<PolicyVersion>, RegistryError> {
    let versions: Vec<PolicyVersion> = tx.rows(
        "SELECT version, document, version = default_version AS is_default, \
                policy_versions.created_at AS created_at \
         FROM policies JOIN policy_versions ON policy = name \
         WHERE name = ?1 ORDER BY version DESC",
        [name.as_str()],
        read_version,
    )?;
    // A policy always has the version that is in force.
    if versions.is_empty() { Err(RegistryError::not_found(WHAT, name)) } else { Ok(versions) }
}

/// Deletes a version that is not in force.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::DeleteConflict`] for the version in force.
// aws: DeletePolicyVersion
pub fn delete_version(
    tx: &mut WriteTx,
    name: &PolicyName,
    version: u32,
) -> Result<(), RegistryError> {
    if get_version(tx, name, version)?.is_default {
        return Err(RegistryError::DeleteConflict(format!(
            "version {version} of policy `{name}` is in force; set another default version first"
        )));
    }
    tx.execute(
        "DELETE FROM policy_versions WHERE policy = ?1 AND version = ?2",
        (name.as_str(), version),
    )?;
    tx.execute("UPDATE policies SET generation = generation + 1 WHERE name = ?1", [name.as_str()])?;
    Ok(())
}

/// Puts a version in force; the one that is in force already stays so.
///
/// # Errors
/// [`RegistryError::NotFound`] for the policy or the version.
// aws: SetDefaultPolicyVersion
pub fn set_default(
    tx: &mut WriteTx,
    name: &PolicyName,
    version: u32,
    now: Timestamp,
) -> Result<(), RegistryError> {
    if !get_version(tx, name, version)?.is_default {
        put_in_force(tx, name, version, now)?;
    }
    Ok(())
}

/// Deletes a policy that is attached to nothing and has no version but the one in force.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::DeleteConflict`].
// aws: DeletePolicy
pub fn delete(tx: &mut WriteTx, name: &PolicyName) -> Result<(), RegistryError> {
    if list_versions(tx, name)?.len() > 1 {
        return Err(RegistryError::DeleteConflict(format!(
            "policy `{name}` has versions besides the one in force; delete them first"
        )));
    }
    if let Some(target) = targets(tx, name, &Page::first(1))?.items.first() {
        let target = tx.account().policy_target_arn(target);
        return Err(RegistryError::DeleteConflict(format!(
            "policy `{name}` is attached to `{target}`; detach it first"
        )));
    }
    tx.execute("DELETE FROM policies WHERE name = ?1", [name.as_str()])?;
    tx.changed(Change::Policy(name.clone()));
    Ok(())
}

/// Lists policies by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing, in this order, did not give.
// aws: ListPolicies
pub fn list(tx: &ReadTx, ascending: bool, page: &Page) -> Result<Paged<PolicyName>, RegistryError> {
    let (listing, sql) = if ascending {
        ("policies-ascending", "SELECT name FROM policies WHERE name > ?1 ORDER BY name LIMIT ?2")
    } else {
        (
            "policies-descending",
            "SELECT name FROM policies WHERE name < ?1 OR ?1 = '' ORDER BY name DESC LIMIT ?2",
        )
    };
    let names = tx.rows(sql, (page.name_key(listing)?, page.rows_max()), |row| {
        column::name(row, "name", PolicyName::parse)
    })?;
    Ok(Paged::cut(names, page, listing, |name| [name.to_string()]))
}

fn check_target(tx: &ReadTx, target: &PolicyTarget) -> Result<(), RegistryError> {
    match target {
        PolicyTarget::Certificate(id) => certificates::get(tx, id).map(drop),
        PolicyTarget::Group(name) => groups::get(tx, name).map(drop),
    }
}

/// Attaches a policy to a certificate or a group; again changes nothing.
///
/// # Errors
/// [`RegistryError::NotFound`] for either; [`RegistryError::Limit`] if the target has as many
/// policies as it may have.
// aws: AttachPolicy
pub fn attach(
    tx: &mut WriteTx,
    policy: &PolicyName,
    target: &PolicyTarget,
) -> Result<(), RegistryError> {
    get(tx, policy)?;
    check_target(tx, target)?;
    let attached = attached(tx, target, false)?;
    if attached.contains(policy) {
        return Ok(());
    }
    let max = match target {
        PolicyTarget::Certificate(_) => POLICIES_PER_CERTIFICATE_MAX,
        PolicyTarget::Group(_) => POLICIES_PER_GROUP_MAX,
    };
    if attached.len() >= max {
        return Err(RegistryError::Limit(format!(
            "`{}` has {} policies attached; at most {max} are allowed",
            tx.account().policy_target_arn(target),
            attached.len()
        )));
    }
    let (sql, key) = match target {
        PolicyTarget::Certificate(id) => {
            ("INSERT INTO certificate_policies (certificate, policy) VALUES (?1, ?2)", id.as_str())
        }
        PolicyTarget::Group(name) => {
            ("INSERT INTO group_policies (group_name, policy) VALUES (?1, ?2)", name.as_str())
        }
    };
    tx.execute(sql, (key, policy.as_str()))?;
    tx.changed(change_of(target));
    Ok(())
}

/// Detaches a policy; one that is not attached, or not there, is no error.
// aws: DetachPolicy
pub fn detach(
    tx: &mut WriteTx,
    policy: &PolicyName,
    target: &PolicyTarget,
) -> Result<(), RegistryError> {
    let (sql, key) = match target {
        PolicyTarget::Certificate(id) => {
            ("DELETE FROM certificate_policies WHERE certificate = ?1 AND policy = ?2", id.as_str())
        }
        PolicyTarget::Group(name) => {
            ("DELETE FROM group_policies WHERE group_name = ?1 AND policy = ?2", name.as_str())
        }
    };
    if tx.execute(sql, (key, policy.as_str()))? > 0 {
        tx.changed(change_of(target));
    }
    Ok(())
}

fn change_of(target: &PolicyTarget) -> Change {
    match target {
        PolicyTarget::Certificate(id) => Change::Certificate(id.clone()),
        PolicyTarget::Group(name) => Change::Group(name.clone()),
    }
}

/// The policies attached to a target, by name. With `recursive`, a group's are followed by those
/// of the groups above it, each once.
///
/// # Errors
/// [`RegistryError::NotFound`] for the target.
// aws: ListAttachedPolicies
pub fn attached(
    tx: &ReadTx,
    target: &PolicyTarget,
    recursive: bool,
) -> Result<Vec<PolicyName>, RegistryError> {
    check_target(tx, target)?;
    let read = |row: &Row<'_>| column::name(row, "policy", PolicyName::parse);
    let names = match target {
        PolicyTarget::Certificate(id) => tx.rows(
            "SELECT policy FROM certificate_policies WHERE certificate = ?1 ORDER BY policy",
            [id.as_str()],
            read,
        )?,
        PolicyTarget::Group(name) => {
            let levels = if recursive { groups::path(tx, name)? } else { vec![name.clone()] };
            let mut names: Vec<PolicyName> = Vec::new();
            for level in &levels {
                let here = tx.rows(
                    "SELECT policy FROM group_policies WHERE group_name = ?1 ORDER BY policy",
                    [level.as_str()],
                    read,
                )?;
                names.extend(here);
            }
            let mut seen = std::collections::BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            names
        }
    };
    Ok(names)
}

/// What a policy is attached to: certificates by id, then groups by name.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] for a token that this listing did not
/// give.
// aws: ListTargetsForPolicy
pub fn targets(
    tx: &ReadTx,
    policy: &PolicyName,
    page: &Page,
) -> Result<Paged<PolicyTarget>, RegistryError> {
    get(tx, policy)?;
    let [kind, key] = page.key::<2>(TARGETS_LISTING)?.unwrap_or_default();
    let targets = tx.rows(
        "SELECT kind, key FROM ( \
             SELECT 'certificate' AS kind, certificate AS key \
             FROM certificate_policies WHERE policy = ?1 \
             UNION ALL SELECT 'group', group_name FROM group_policies WHERE policy = ?1) \
         WHERE (kind, key) > (?2, ?3) ORDER BY kind, key LIMIT ?4",
        (policy.as_str(), kind, key, page.rows_max()),
        |row| {
            Ok::<_, StoreError>(match row.get_ref("kind")?.as_str() {
                Ok("certificate") => {
                    PolicyTarget::Certificate(column::name(row, "key", CertificateId::parse)?)
                }
                _ => PolicyTarget::Group(column::name(row, "key", GroupName::parse)?),
            })
        },
    )?;
    Ok(Paged::cut(targets, page, TARGETS_LISTING, |target| match target {
        PolicyTarget::Certificate(id) => ["certificate".to_owned(), id.to_string()],
        PolicyTarget::Group(name) => ["group".to_owned(), name.to_string()],
    }))
}
