//! What a connection's rights follow from, read at one moment, and what could change them.

use std::collections::BTreeSet;

use picket_model::{
    Certificate, CertificateId, Change, ClientId, DeviceName, GroupName, PolicyName, PolicyTarget,
    PolicyVersion, Thing, ThingName,
};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::limits::THINGS_PER_CONNECTION_MAX;
use crate::policies::read_version;
use crate::tx::ReadTx;
use crate::{certificates, groups, things};

/// A policy in force: what it is attached to, its name, and the version.
pub type PolicyInForce = (PolicyTarget, PolicyName, PolicyVersion);

/// Everything that the rights of a connection follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsFacts {
    /// The certificate as it is registered; none if it is unknown or none was shown.
    pub certificate: Option<Certificate>,
    /// The thing that the connection speaks for: the one named like the client id if the
    /// certificate is attached to it; or else the one thing that the certificate is attached to.
    pub thing: Option<Thing>,
    /// Whether the client id is the thing's name, which AWS asks for before policy variables of
    /// the thing have values.
    pub is_named: bool,
    /// What Detect calls the device: the thing's name, or else the client id.
    pub device: DeviceName,
    /// Whether a thing of the device's name exists.
    pub registered: bool,
    /// Whether a thing exists whose name is the client id, be it another than the device.
    pub is_client_registered: bool,
    /// The things that the certificate is attached to; of more than 1,000, the first by
    /// name and the one that the connection speaks for.
    pub things: BTreeSet<ThingName>,
    /// The static groups of the thing with all groups above them, by name.
    pub groups: Vec<GroupName>,
    /// Policies in force: the certificate's, then those of the groups.
    pub policies: Vec<PolicyInForce>,
    /// The nouns whose change can change any of this.
    pub depends_on: BTreeSet<Change>,
}

/// Reads what the rights of a connection follow from. An unknown certificate gives facts without
/// rights, not an error.
// INVARIANT (depends_on): every row read here belongs to a noun in `depends_on`, also where the
// row is missing; every write that touches such a row records that noun's `Change`.
pub fn rights(
    tx: &ReadTx,
    certificate: Option<&CertificateId>,
    client: &ClientId,
) -> Result<RightsFacts, StoreError> {
    let mut depends_on = BTreeSet::new();
    depends_on.extend(certificate.cloned().map(Change::Certificate));
    let certificate = match certificate {
        Some(id) => certificates::find(tx, id)?,
        None => None,
    };
    let named = ThingName::try_from(client).ok();
    depends_on.extend(named.clone().map(Change::Thing));

    let (thing, exists) = speaks_for(tx, certificate.as_ref(), named.as_ref())?;
    depends_on.extend(thing.iter().map(|thing| Change::Thing(thing.name.clone())));
    let groups = match &thing {
        Some(thing) => groups::groups_with_ancestors(tx, &thing.name)?,
        None => Vec::new(),
    };
    depends_on.extend(groups.iter().cloned().map(Change::Group));

    let id = certificate.as_ref().map(|certificate| &certificate.id);
    let mut things = match id {
        Some(id) => things_of(tx, id)?,
        None => BTreeSet::new(),
    };
    // Its own among them, however many there are.
    things.extend(thing.iter().map(|thing| thing.name.clone()));
    let policies = in_force(tx, id, thing.as_ref().map(|thing| &thing.name))?;
    depends_on.extend(policies.iter().map(|(_, policy, _)| Change::Policy(policy.clone())));

    Ok(RightsFacts {
        is_named: thing.as_ref().is_some_and(|thing| named.as_ref() == Some(&thing.name)),
        device: match &thing {
            Some(thing) => DeviceName::from(&thing.name),
            None => DeviceName::from(client),
        },
        registered: exists || thing.is_some(),
        is_client_registered: exists,
        things,
        certificate,
        thing,
        groups,
        policies,
        depends_on,
    })
}

/// The thing that a connection speaks for, and whether a thing is named like the client id.
fn speaks_for(
    tx: &ReadTx,
    certificate: Option<&Certificate>,
    named: Option<&ThingName>,
) -> Result<(Option<Thing>, bool), StoreError> {
    let id = certificate.map(|certificate| certificate.id.as_str());
    let mut exists = false;
    if let Some(name) = named {
        let found = tx.row(
            "SELECT things.*, EXISTS (SELECT 1 FROM thing_certificates \
                 WHERE certificate = ?2 AND thing = things.name) AS is_attached \
             FROM things WHERE name = ?1",
            (name.as_str(), id),
            |row| {
                let is_attached: bool = row.get("is_attached")?;
                Ok::<_, StoreError>((things::read_row(row)?, is_attached))
            },
        )?;
        match found {
            Some((thing, true)) => return Ok((Some(thing), true)),
            Some((_, false)) => exists = true,
            None => {}
        }
    }
    // Two rows are enough to know that there is not exactly one.
    let attached = tx.rows(
        "SELECT things.* FROM thing_certificates JOIN things ON name = thing \
         WHERE certificate = ?1 LIMIT 2",
        [id],
        things::read_row,
    )?;
    let only = <[Thing; 1]>::try_from(attached).ok().map(|[thing]| thing);
    Ok((only, exists))
}

/// The things that a certificate is attached to, as far as a connection is told.
fn things_of(tx: &ReadTx, certificate: &CertificateId) -> Result<BTreeSet<ThingName>, StoreError> {
    let names = tx.rows(
        "SELECT thing FROM thing_certificates WHERE certificate = ?1 ORDER BY thing LIMIT ?2",
        (certificate.as_str(), THINGS_PER_CONNECTION_MAX),
        |row| column::name(row, "thing", ThingName::parse),
    )?;
    Ok(names.into_iter().collect())
}

/// The policies that hold for a certificate and a thing together: the certificate's, by name, then
/// those of the thing's groups and of the groups above them, by group and name.
fn in_force(
    tx: &ReadTx,
    certificate: Option<&CertificateId>,
    thing: Option<&ThingName>,
) -> Result<Vec<PolicyInForce>, StoreError> {
    let mut policies = Vec::new();
    if let Some(id) = certificate {
        policies.extend(tx.rows(
            "SELECT attached.policy AS policy, version, document, TRUE AS is_default, \
                    policy_versions.created_at AS created_at \
             FROM certificate_policies AS attached \
             JOIN policies ON policies.name = attached.policy \
             JOIN policy_versions ON policy_versions.policy = attached.policy \
                  AND version = default_version \
             WHERE attached.certificate = ?1 ORDER BY attached.policy",
            [id.as_str()],
            |row| read_in_force(row, PolicyTarget::Certificate(id.clone())),
        )?);
    }
    if let Some(name) = thing {
        policies.extend(tx.rows(
            "WITH RECURSIVE above (name) AS ( \
                 SELECT group_name FROM group_members WHERE thing = ?1 \
                 UNION SELECT parent FROM above JOIN groups USING (name) \
                 WHERE parent IS NOT NULL) \
             SELECT above.name AS group_name, attached.policy AS policy, version, document, \
                    TRUE AS is_default, policy_versions.created_at AS created_at \
             FROM above \
             JOIN group_policies AS attached ON attached.group_name = above.name \
             JOIN policies ON policies.name = attached.policy \
             JOIN policy_versions ON policy_versions.policy = attached.policy \
                  AND version = default_version \
             ORDER BY above.name, attached.policy",
            [name.as_str()],
            |row| {
                let group = column::name(row, "group_name", GroupName::parse)?;
                read_in_force(row, PolicyTarget::Group(group))
            },
        )?);
    }
    Ok(policies)
}

fn read_in_force(row: &Row<'_>, target: PolicyTarget) -> Result<PolicyInForce, StoreError> {
    Ok((target, column::name(row, "policy", PolicyName::parse)?, read_version(row)?))
}

/// The policies that hold for a certificate and a thing together, attached to each other or not.
///
/// # Errors
/// [`RegistryError::NotFound`] for a certificate or a thing that does not exist.
// aws: GetEffectivePolicies
pub fn effective_policies(
    tx: &ReadTx,
    certificate: Option<&CertificateId>,
    thing: Option<&ThingName>,
) -> Result<Vec<PolicyInForce>, RegistryError> {
    if let Some(id) = certificate {
        certificates::get(tx, id)?;
    }
    if let Some(name) = thing {
        things::get(tx, name)?;
    }
    Ok(in_force(tx, certificate, thing)?)
}
