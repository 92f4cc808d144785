//! Mitigation actions: named remedies.

use picket_model::{MitigationAction, MitigationActionName};
use rusqlite::Row;

use crate::codec::{column, mitigation};
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "mitigation action";
const LISTING: &str = "mitigation-actions";

fn read_row(row: &Row<'_>) -> Result<MitigationAction, StoreError> {
    Ok(MitigationAction {
        name: column::name(row, "name", MitigationActionName::parse)?,
        id: row.get("id")?,
        role_arn: row.get("role_arn")?,
        params: mitigation::params_from_json(&column::json(row, "params")?).ok_or_else(|| {
            StoreError::Unreadable { column: "params", problem: "no mitigation action".to_owned() }
        })?,
        created_at: column::time(row, "created_at")?,
        modified_at: column::time(row, "modified_at")?,
    })
}

/// The action, if there is one of that name.
pub fn find(
    tx: &ReadTx,
    name: &MitigationActionName,
) -> Result<Option<MitigationAction>, StoreError> {
    tx.row("SELECT * FROM mitigation_actions WHERE name = ?1", [name.as_str()], read_row)
}

/// The action.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: DescribeMitigationAction
pub fn get(tx: &ReadTx, name: &MitigationActionName) -> Result<MitigationAction, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes an action as given.
///
/// # Errors
/// [`RegistryError::AlreadyExists`].
// aws: CreateMitigationAction
pub fn create(tx: &mut WriteTx, action: &MitigationAction) -> Result<(), RegistryError> {
    let added = tx.execute(
        "INSERT INTO mitigation_actions (name, id, role_arn, action_type, params, created_at, \
                                         modified_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        (
            action.name.as_str(),
            &action.id,
            &action.role_arn,
            action.params.action_type(),
            mitigation::params_to_json(&action.params).to_string(),
            action.created_at.as_millis(),
            action.modified_at.as_millis(),
        ),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists(WHAT, &action.name));
    }
    Ok(())
}

/// Gives an action the role, parameters and time of change of `action`; its id and its time of
/// making stay. Tasks that have begun go on with the action as it was.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: UpdateMitigationAction
pub fn update(tx: &mut WriteTx, action: &MitigationAction) -> Result<(), RegistryError> {
    let changed = tx.execute(
        "UPDATE mitigation_actions SET role_arn = ?2, action_type = ?3, params = ?4, \
             modified_at = ?5 WHERE name = ?1",
        (
            action.name.as_str(),
            &action.role_arn,
            action.params.action_type(),
            mitigation::params_to_json(&action.params).to_string(),
            action.modified_at.as_millis(),
        ),
    )?;
    if changed == 0 {
        return Err(RegistryError::not_found(WHAT, &action.name));
    }
    Ok(())
}

/// Deletes an action; one that is not there is no error. Tasks that have begun go on with it.
// aws: DeleteMitigationAction
pub fn delete(tx: &mut WriteTx, name: &MitigationActionName) -> Result<(), RegistryError> {
    tx.execute("DELETE FROM mitigation_actions WHERE name = ?1", [name.as_str()])?;
    Ok(())
}

/// Lists actions by name; with `action_type` only those of that kind, in AWS's spelling.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListMitigationActions
pub fn list(
    tx: &ReadTx,
    action_type: Option<&str>,
    page: &Page,
) -> Result<Paged<MitigationAction>, RegistryError> {
    let actions = tx.rows(
        "SELECT * FROM mitigation_actions \
         WHERE name > ?1 AND (?2 IS NULL OR action_type = ?2) ORDER BY name LIMIT ?3",
        (page.name_key(LISTING)?, action_type, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(actions, page, LISTING, |action| [action.name.to_string()]))
}
