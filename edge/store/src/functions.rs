//! Functions: configuration, code, and who may invoke them.

use picket_model::{Change, Function, FunctionName, FunctionRuntime};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "function";
const LISTING: &str = "functions";

fn read_row(row: &Row<'_>) -> Result<Function, StoreError> {
    Ok(Function {
        name: column::name(row, "name", FunctionName::parse)?,
        runtime: column::word(row, "runtime", FunctionRuntime::parse)?,
        handler: row.get("handler")?,
        role_arn: row.get("role_arn")?,
        description: row.get("description")?,
        timeout_s: column::count(row, "timeout_s")?,
        memory_mib: column::count(row, "memory_mib")?,
        environment: column::map(row, "environment")?,
        tags: column::map(row, "tags")?,
        code_sha256: row.get("code_sha256")?,
        code_bytes: column::count(row, "code_bytes")?,
        revision_id: row.get("revision_id")?,
        modified_at: column::time(row, "modified_at")?,
    })
}

/// The function, if there is one of that name.
pub fn find(tx: &ReadTx, name: &FunctionName) -> Result<Option<Function>, StoreError> {
    tx.row("SELECT * FROM functions WHERE name = ?1", [name.as_str()], read_row)
}

/// The function.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: lambda GetFunctionConfiguration
pub fn get(tx: &ReadTx, name: &FunctionName) -> Result<Function, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

fn check_exists(tx: &ReadTx, name: &FunctionName) -> Result<(), RegistryError> {
    if tx.exists("SELECT 1 FROM functions WHERE name = ?1", [name.as_str()])? {
        Ok(())
    } else {
        Err(RegistryError::not_found(WHAT, name))
    }
}

/// The zipped code of a function.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: lambda GetFunction
pub fn code(tx: &ReadTx, name: &FunctionName) -> Result<Vec<u8>, RegistryError> {
    tx.row("SELECT zip FROM function_codes WHERE function = ?1", [name.as_str()], |row| {
        Ok::<_, RegistryError>(row.get(0)?)
    })?
    .ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes a function as given, with its zipped code.
///
/// # Errors
/// [`RegistryError::AlreadyExists`].
// aws: lambda CreateFunction
pub fn create(tx: &mut WriteTx, function: &Function, zip: &[u8]) -> Result<(), RegistryError> {
    let name = &function.name;
    if find(tx, name)?.is_some() {
        return Err(RegistryError::already_exists(WHAT, name));
    }
    put(tx, function)?;
    put_code(tx, name, zip)?;
    tx.changed(Change::Function(name.clone()));
    Ok(())
}

fn put(tx: &mut WriteTx, function: &Function) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO functions (name, runtime, handler, role_arn, description, timeout_s, \
             memory_mib, environment, tags, code_sha256, code_bytes, revision_id, modified_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
         ON CONFLICT (name) DO UPDATE SET runtime = excluded.runtime, \
             handler = excluded.handler, role_arn = excluded.role_arn, \
             description = excluded.description, timeout_s = excluded.timeout_s, \
             memory_mib = excluded.memory_mib, environment = excluded.environment, \
             tags = excluded.tags, code_sha256 = excluded.code_sha256, \
             code_bytes = excluded.code_bytes, revision_id = excluded.revision_id, \
             modified_at = excluded.modified_at",
        (
            function.name.as_str(),
            function.runtime.as_str(),
            &function.handler,
            &function.role_arn,
            &function.description,
            function.timeout_s,
            function.memory_mib,
            column::from_map(&function.environment),
            column::from_map(&function.tags),
            &function.code_sha256,
            i64::try_from(function.code_bytes).unwrap_or(i64::MAX),
            &function.revision_id,
            function.modified_at.as_millis(),
        ),
    )?;
    Ok(())
}

fn put_code(tx: &mut WriteTx, name: &FunctionName, zip: &[u8]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO function_codes (function, zip) VALUES (?1, ?2) \
         ON CONFLICT (function) DO UPDATE SET zip = excluded.zip",
        (name.as_str(), zip),
    )?;
    Ok(())
}

/// Replaces a function's configuration; its code stays.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: lambda UpdateFunctionConfiguration
pub fn update(tx: &mut WriteTx, function: &Function) -> Result<(), RegistryError> {
    check_exists(tx, &function.name)?;
    put(tx, function)?;
    tx.changed(Change::Function(function.name.clone()));
    Ok(())
}

/// Replaces a function's code, and its configuration with it: digest, size, revision and time are
/// the caller's to set.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: lambda UpdateFunctionCode
pub fn update_code(tx: &mut WriteTx, function: &Function, zip: &[u8]) -> Result<(), RegistryError> {
    update(tx, function)?;
    put_code(tx, &function.name, zip)?;
    Ok(())
}

/// Deletes a function, its code and its permissions.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: lambda DeleteFunction
pub fn delete(tx: &mut WriteTx, name: &FunctionName) -> Result<(), RegistryError> {
    if tx.execute("DELETE FROM functions WHERE name = ?1", [name.as_str()])? == 0 {
        return Err(RegistryError::not_found(WHAT, name));
    }
    tx.changed(Change::Function(name.clone()));
    Ok(())
}

/// Lists functions by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: lambda ListFunctions
pub fn list(tx: &ReadTx, page: &Page) -> Result<Paged<Function>, RegistryError> {
    let functions = tx.rows(
        "SELECT * FROM functions WHERE name > ?1 ORDER BY name LIMIT ?2",
        (page.name_key(LISTING)?, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(functions, page, LISTING, |function| [function.name.to_string()]))
}

/// Adds a statement to a function's policy.
///
/// # Errors
/// [`RegistryError::NotFound`] for the function; [`RegistryError::AlreadyExists`] if it has a
/// statement of that id.
// aws: lambda AddPermission
pub fn add_permission(
    tx: &mut WriteTx,
    name: &FunctionName,
    sid: &str,
    statement_json: &str,
) -> Result<(), RegistryError> {
    check_exists(tx, name)?;
    let added = tx.execute(
        "INSERT INTO function_permissions (function, sid, statement) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO NOTHING",
        (name.as_str(), sid, statement_json),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists("statement", sid));
    }
    Ok(())
}

/// The statements of a function's policy, each with its id, by id; none if it has none.
///
/// # Errors
/// [`RegistryError::NotFound`] for the function.
// aws: lambda GetPolicy
pub fn policy(tx: &ReadTx, name: &FunctionName) -> Result<Vec<(String, String)>, RegistryError> {
    check_exists(tx, name)?;
    tx.rows(
        "SELECT sid, statement FROM function_permissions WHERE function = ?1 ORDER BY sid",
        [name.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Takes a statement out of a function's policy.
///
/// # Errors
/// [`RegistryError::NotFound`] for the function or the statement.
// aws: lambda RemovePermission
pub fn remove_permission(
    tx: &mut WriteTx,
    name: &FunctionName,
    sid: &str,
) -> Result<(), RegistryError> {
    check_exists(tx, name)?;
    let removed = tx.execute(
        "DELETE FROM function_permissions WHERE function = ?1 AND sid = ?2",
        (name.as_str(), sid),
    )?;
    if removed == 0 { Err(RegistryError::not_found("statement", sid)) } else { Ok(()) }
}
