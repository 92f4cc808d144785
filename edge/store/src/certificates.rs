//! Certificates, and the things that they are attached to.

use picket_model::{Certificate, CertificateId, CertificateStatus, Change, ThingName, Timestamp};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::things;
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "certificate";

/// What a certificate is registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCertificate {
    /// SHA-256 of the DER form.
    pub id: CertificateId,
    /// The certificate in PEM form.
    pub pem: String,
    /// Its status from the start.
    pub status: CertificateStatus,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity, inclusive.
    pub not_after: Timestamp,
    /// The authority that signed it, if registered with one.
    pub ca_id: Option<CertificateId>,
}

fn read_row(row: &Row<'_>) -> Result<Certificate, StoreError> {
    Ok(Certificate {
        id: column::name(row, "id", CertificateId::parse)?,
        pem: row.get("pem")?,
        status: column::word(row, "status", CertificateStatus::parse)?,
        created_at: column::time(row, "created_at")?,
        modified_at: column::time(row, "modified_at")?,
        not_before: column::time(row, "not_before")?,
        not_after: column::time(row, "not_after")?,
        ca_id: column::name_opt(row, "ca_id", CertificateId::parse)?,
    })
}

/// The certificate, if it is registered.
pub fn find(tx: &ReadTx, id: &CertificateId) -> Result<Option<Certificate>, StoreError> {
    tx.row("SELECT * FROM certificates WHERE id = ?1", [id.as_str()], read_row)
}

/// The certificate.
///
/// # Errors
/// [`RegistryError::NotFound`].
pub fn get(tx: &ReadTx, id: &CertificateId) -> Result<Certificate, RegistryError> {
    find(tx, id)?.ok_or_else(|| RegistryError::not_found(WHAT, id))
}

fn check_exists(tx: &ReadTx, id: &CertificateId) -> Result<(), RegistryError> {
    if tx.exists("SELECT 1 FROM certificates WHERE id = ?1", [id.as_str()])? {
        Ok(())
    } else {
        Err(RegistryError::not_found(WHAT, id))
    }
}

/// Registers a certificate.
///
/// # Errors
/// [`RegistryError::AlreadyExists`].
// aws: CreateKeysAndCertificate, CreateCertificateFromCsr, RegisterCertificateWithoutCA
pub fn register(
    tx: &mut WriteTx,
    new: &NewCertificate,
    now: Timestamp,
) -> Result<Certificate, RegistryError> {
    let added = tx.execute(
        "INSERT INTO certificates \
             (id, pem, status, not_before, not_after, ca_id, created_at, modified_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT DO NOTHING",
        (
            new.id.as_str(),
            &new.pem,
            new.status.as_str(),
            new.not_before.as_millis(),
            new.not_after.as_millis(),
            new.ca_id.as_ref().map(CertificateId::as_str),
            now.as_millis(),
        ),
    )?;
    if added == 0 {
        return Err(RegistryError::already_exists(WHAT, &new.id));
    }
    tx.changed(Change::Certificate(new.id.clone()));
    get(tx, &new.id)
}

/// Sets a certificate's status. Withdrawing one (REVOKED) can be undone.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] for a status that only the service
/// itself gives; [`RegistryError::CertificateState`] for a certificate on its way to another
/// account.
// aws: UpdateCertificate
pub fn set_status(
    tx: &mut WriteTx,
    id: &CertificateId,
    status: CertificateStatus,
    now: Timestamp,
) -> Result<(), RegistryError> {
    use CertificateStatus::{PendingActivation, PendingTransfer};
    let certificate = get(tx, id)?;
    if matches!(status, PendingTransfer | PendingActivation) {
        return Err(RegistryError::Invalid(format!("status {status} cannot be set")));
    }
    if certificate.status == PendingTransfer {
        return Err(RegistryError::CertificateState(format!(
            "certificate `{id}` is {}; its status cannot be changed",
            certificate.status
        )));
    }
    if certificate.status == status {
        return Ok(());
    }
    tx.execute(
        "UPDATE certificates SET status = ?2, modified_at = ?3 WHERE id = ?1",
        (id.as_str(), status.as_str(), now.as_millis()),
    )?;
    tx.changed(Change::Certificate(id.clone()));
    Ok(())
}

/// Deletes a certificate that is not active and attached to nothing; `force` detaches policies.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::CertificateState`] while it is active;
/// [`RegistryError::DeleteConflict`] while things, or without `force` policies, are attached.
// aws: DeleteCertificate
pub fn delete(tx: &mut WriteTx, id: &CertificateId, force: bool) -> Result<(), RegistryError> {
    let certificate = get(tx, id)?;
    if certificate.status == CertificateStatus::Active {
        return Err(RegistryError::CertificateState(format!(
            "certificate `{id}` is ACTIVE; deactivate it first"
        )));
    }
    if let Some(thing) = things_of(tx, id)?.first() {
        return Err(RegistryError::DeleteConflict(format!(
            "certificate `{id}` is attached to thing `{thing}`; detach it first"
        )));
    }
    if force {
        tx.execute("DELETE FROM certificate_policies WHERE certificate = ?1", [id.as_str()])?;
    } else if tx
        .exists("SELECT 1 FROM certificate_policies WHERE certificate = ?1", [id.as_str()])?
    {
        return Err(RegistryError::DeleteConflict(format!(
            "certificate `{id}` has a policy attached; detach it first, or force the deletion"
        )));
    }
    tx.execute("DELETE FROM certificates WHERE id = ?1", [id.as_str()])?;
    tx.changed(Change::Certificate(id.clone()));
    Ok(())
}

/// Lists certificates by the time of their registration.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing, in this order, did not give.
// aws: ListCertificates
pub fn list(
    tx: &ReadTx,
    ascending: bool,
    page: &Page,
) -> Result<Paged<Certificate>, RegistryError> {
    let (listing, sql, start) = if ascending {
        (
            "certificates-ascending",
            "SELECT * FROM certificates WHERE (created_at, id) > (?1, ?2) \
             ORDER BY created_at, id LIMIT ?3",
            i64::MIN,
        )
    } else {
        (
            "certificates-descending",
            "SELECT * FROM certificates WHERE (created_at, id) < (?1, ?2) \
             ORDER BY created_at DESC, id DESC LIMIT ?3",
            i64::MAX,
        )
    };
    let (at, id) = page.time_key(listing, (start, String::new()))?;
    let certificates = tx.rows(sql, (at, id, page.rows_max()), read_row)?;
    Ok(Paged::cut(certificates, page, listing, |certificate| {
        [certificate.created_at.as_millis().to_string(), certificate.id.to_string()]
    }))
}

/// Attaches a certificate to a thing; again changes nothing. `exclusive` binds the certificate to
/// this thing alone.
///
/// # Errors
/// [`RegistryError::NotFound`] for either; [`RegistryError::Invalid`] if the certificate is bound
/// to another thing, or is to be bound while another thing has it.
// aws: AttachThingPrincipal
pub fn attach_thing(
    tx: &mut WriteTx,
    certificate: &CertificateId,
    thing: &ThingName,
    exclusive: bool,
) -> Result<(), RegistryError> {
    things::get(tx, thing)?;
    check_exists(tx, certificate)?;
    let others = tx.rows(
        "SELECT thing, exclusive FROM thing_certificates WHERE certificate = ?1 AND thing <> ?2",
        (certificate.as_str(), thing.as_str()),
        |row| {
            let is_exclusive: bool = row.get("exclusive")?;
            Ok::<_, StoreError>((column::name(row, "thing", ThingName::parse)?, is_exclusive))
        },
    )?;
    if let Some((other, _)) = others.iter().find(|(_, is_exclusive)| exclusive || *is_exclusive) {
        return Err(RegistryError::Invalid(format!(
            "certificate `{certificate}` is attached to thing `{other}`; an exclusive attachment \
             is to one thing alone"
        )));
    }
    let changed = tx.execute(
        "INSERT INTO thing_certificates (certificate, thing, exclusive) VALUES (?1, ?2, ?3) \
         ON CONFLICT (certificate, thing) DO UPDATE SET exclusive = excluded.exclusive \
             WHERE exclusive <> excluded.exclusive",
        (certificate.as_str(), thing.as_str(), exclusive),
    )?;
    if changed > 0 {
        tx.changed(Change::Certificate(certificate.clone()));
        tx.changed(Change::Thing(thing.clone()));
    }
    Ok(())
}

/// Detaches a certificate from a thing; one that is not attached is no error.
///
/// # Errors
/// [`RegistryError::NotFound`] for an unknown thing or certificate.
// aws: DetachThingPrincipal
pub fn detach_thing(
    tx: &mut WriteTx,
    certificate: &CertificateId,
    thing: &ThingName,
) -> Result<(), RegistryError> {
    things::get(tx, thing)?;
    check_exists(tx, certificate)?;
    let removed = tx.execute(
        "DELETE FROM thing_certificates WHERE certificate = ?1 AND thing = ?2",
        (certificate.as_str(), thing.as_str()),
    )?;
    if removed > 0 {
        tx.changed(Change::Certificate(certificate.clone()));
        tx.changed(Change::Thing(thing.clone()));
    }
    Ok(())
}

/// The things that a certificate is attached to, by name; none if it is unknown.
// aws: ListPrincipalThings
pub fn things_of(tx: &ReadTx, certificate: &CertificateId) -> Result<Vec<ThingName>, StoreError> {
    tx.rows(
        "SELECT thing FROM thing_certificates WHERE certificate = ?1 ORDER BY thing",
        [certificate.as_str()],
        |row| column::name(row, "thing", ThingName::parse),
    )
}

/// The certificates that are attached to a thing, by id; none if it is unknown.
// aws: ListThingPrincipals
pub fn principals_of(tx: &ReadTx, thing: &ThingName) -> Result<Vec<CertificateId>, StoreError> {
    tx.rows(
        "SELECT certificate FROM thing_certificates WHERE thing = ?1 ORDER BY certificate",
        [thing.as_str()],
        |row| column::name(row, "certificate", CertificateId::parse),
    )
}

/// Whether a certificate is attached to a thing, and if so whether to it alone for good.
pub fn exclusivity(
    tx: &ReadTx,
    certificate: &CertificateId,
    thing: &ThingName,
) -> Result<Option<bool>, StoreError> {
    tx.row(
        "SELECT exclusive FROM thing_certificates WHERE certificate = ?1 AND thing = ?2",
        (certificate.as_str(), thing.as_str()),
        |row| Ok(row.get(0)?),
    )
}
