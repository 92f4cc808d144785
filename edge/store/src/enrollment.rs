//! Tokens that devices get their first certificate with, and every use of them.

use picket_model::{CertificateId, GroupName, ThingName, Timestamp};
use rusqlite::Row;
use thiserror::Error;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::limits::{ENROLLMENT_TOKENS_MAX, EXPIRED_TOKENS_KEPT_MS};
use crate::tx::{ReadTx, WriteTx};
use crate::{groups, things};

/// SHA-256 of a token. The token itself is nowhere in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// A token, without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentToken {
    /// What it is known by.
    pub hash: TokenHash,
    /// The group that enrolled things become members of.
    pub group: GroupName,
    /// How many things it may enrol.
    pub uses_max: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first moment that it is no longer good for.
    pub expires_at: Timestamp,
}

/// One use of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    /// The thing that was made.
    pub thing: ThingName,
    /// The certificate that it got.
    pub certificate: CertificateId,
    /// When.
    pub at: Timestamp,
}

/// Why a token opens nothing.
#[derive(Debug, Error)]
pub enum TokenError {
    /// It was never made, or has been over for long.
    #[error("the token is not known")]
    Unknown,
    /// Its time is over.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// It has been used as often as it may be.
    #[error("the token has been used {0} times, as often as it may be")]
    UsedUp(u32),
    /// The registry refuses.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        Self::Registry(error.into())
    }
}

fn read_token(row: &Row<'_>) -> Result<EnrollmentToken, StoreError> {
    let uses_max: i64 = row.get("uses_max")?;
    Ok(EnrollmentToken {
        hash: TokenHash(row.get("hash")?),
        group: column::name(row, "thing_group", GroupName::parse)?,
        uses_max: u32::try_from(uses_max).map_err(|_| StoreError::Unreadable {
            column: "uses_max",
            problem: format!("{uses_max} is no count"),
        })?,
        created_at: column::time(row, "created_at")?,
        expires_at: column::time(row, "expires_at")?,
    })
}

/// Keeps a new token, and forgets those that have been over for [`EXPIRED_TOKENS_KEPT_MS`].
///
/// # Errors
/// [`RegistryError::NotFound`] for an unknown group, [`RegistryError::Limit`] where there are
/// [`ENROLLMENT_TOKENS_MAX`] already, [`RegistryError::AlreadyExists`].
pub fn create(tx: &mut WriteTx, token: &EnrollmentToken) -> Result<(), RegistryError> {
    groups::get(tx, &token.group)?;
    let long_over = token.created_at.plus_millis(-EXPIRED_TOKENS_KEPT_MS);
    tx.execute("DELETE FROM enrollment_tokens WHERE expires_at < ?1", [long_over.as_millis()])?;
    let sql = "SELECT count(*) AS n FROM enrollment_tokens";
    let count: Option<i64> = tx.row(sql, [], |row| row.get("n").map_err(StoreError::from))?;
    if count.unwrap_or(0) >= i64::from(ENROLLMENT_TOKENS_MAX) {
        return Err(RegistryError::Limit(format!(
            "there are {ENROLLMENT_TOKENS_MAX} enrollment tokens already"
        )));
    }
    let added = tx.execute(
        "INSERT INTO enrollment_tokens (hash, thing_group, uses_max, created_at, expires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (
            token.hash.0,
            token.group.as_str(),
            token.uses_max,
            token.created_at.as_millis(),
            token.expires_at.as_millis(),
        ),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists("enrollment token", "of this hash"));
    }
    Ok(())
}

/// The token, if it is good for a use at `now`.
///
/// # Errors
/// [`TokenError`], but for [`TokenError::Registry`] only where the store fails.
pub fn usable(tx: &ReadTx, hash: TokenHash, now: Timestamp) -> Result<EnrollmentToken, TokenError> {
    let sql = "SELECT * FROM enrollment_tokens WHERE hash = ?1";
    let token = tx.row(sql, [hash.0], read_token)?.ok_or(TokenError::Unknown)?;
    if now >= token.expires_at {
        return Err(TokenError::Expired(token.expires_at));
    }
    let sql = "SELECT count(*) AS n FROM enrollments WHERE token = ?1";
    let n_uses: Option<i64> =
        tx.row(sql, [hash.0], |row| row.get("n").map_err(StoreError::from))?;
    if n_uses.unwrap_or(0) >= i64::from(token.uses_max) {
        return Err(TokenError::UsedUp(token.uses_max));
    }
    Ok(token)
}

/// Uses a token up by one, for a thing that must be new: a token never gives a second certificate to
/// a thing that somebody else made.
///
/// The caller makes the thing and its certificate in the same transaction.
///
/// # Errors
/// As [`usable`], and [`RegistryError::AlreadyExists`] for a thing that is there.
pub fn spend(
    tx: &mut WriteTx,
    hash: TokenHash,
    enrollment: &Enrollment,
) -> Result<EnrollmentToken, TokenError> {
    let token = usable(tx, hash, enrollment.at)?;
    if things::find(tx, &enrollment.thing)?.is_some() {
        return Err(RegistryError::already_exists("thing", &enrollment.thing).into());
    }
    tx.execute(
        "INSERT INTO enrollments (token, thing, certificate, at) VALUES (?1, ?2, ?3, ?4)",
        (
            hash.0,
            enrollment.thing.as_str(),
            enrollment.certificate.as_str(),
            enrollment.at.as_millis(),
        ),
    )?;
    Ok(token)
}

/// Every token that is kept, the latest first.
pub fn list(tx: &ReadTx) -> Result<Vec<EnrollmentToken>, StoreError> {
    tx.rows("SELECT * FROM enrollment_tokens ORDER BY created_at DESC, hash", [], read_token)
}

/// Every use of a token, in order.
pub fn uses(tx: &ReadTx, hash: TokenHash) -> Result<Vec<Enrollment>, StoreError> {
    tx.rows(
        "SELECT thing, certificate, at FROM enrollments WHERE token = ?1 ORDER BY number",
        [hash.0],
        |row| {
            Ok(Enrollment {
                thing: column::name(row, "thing", ThingName::parse)?,
                certificate: column::name(row, "certificate", CertificateId::parse)?,
                at: column::time(row, "at")?,
            })
        },
    )
}
