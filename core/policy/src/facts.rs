//! What is known about a connection: what variables and conditions of a policy speak of.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use picket_model::{CertificateId, ClientId, ThingName, ThingTypeName};

/// Everything about one connection that a policy can refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Its MQTT client id; unknown only where a person asks what would be allowed.
    pub client_id: Option<ClientId>,
    /// The address that it comes from.
    pub source_ip: Option<IpAddr>,
    /// The thing that it speaks for, if it speaks for one.
    pub thing: Option<ThingFacts>,
    /// The certificate that it presented, if it did.
    pub certificate: Option<Arc<CertificateFacts>>,
    /// What its CONNECT asks for.
    pub connect: ConnectAttributes,
}

/// The thing that a connection speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThingFacts {
    /// Its name.
    pub name: ThingName,
    /// Its type.
    pub thing_type: Option<ThingTypeName>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Whether it is attached to the connection as AWS means it: the certificate is attached to the
    /// thing, and the client id is the thing's name. If not, no variable of the thing has a value.
    pub is_attached: bool,
}

/// What a certificate says about itself and its issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of its DER form.
    pub id: CertificateId,
    /// Its serial number, as a decimal integer.
    pub serial_number: String,
    /// Its subject's name.
    pub subject: NameFacts,
    /// Its issuer's name.
    pub issuer: NameFacts,
    /// Other names of its subject.
    pub subject_alternative: Names<AlternativeName>,
    /// Other names of its issuer.
    pub issuer_alternative: Names<AlternativeName>,
}

/// Names by their kind, each with its values in the certificate's order.
///
/// Every connection keeps those of its certificate, nearly always a few that nobody asks for: so
/// they take no more memory than they need, which a tree would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<K>(Box<[(K, Box<[String]>)]>);

/// The attributes of a distinguished name.
pub type NameFacts = Names<NameAttribute>;

impl<K: Ord> Names<K> {
    /// The values of one kind.
    pub fn get(&self, kind: &K) -> Option<&[String]> {
        let at = self.0.binary_search_by(|(it, _)| it.cmp(kind)).ok()?;
        self.0.get(at).map(|(_, values)| &**values)
    }

    /// All of them, sorted by kind.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &[String])> {
        self.0.iter().map(|(kind, values)| (kind, &**values))
    }
}

impl<K> From<BTreeMap<K, Vec<String>>> for Names<K> {
    fn from(names: BTreeMap<K, Vec<String>>) -> Self {
        Self(names.into_iter().map(|(kind, values)| (kind, values.into())).collect())
    }
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[$type] = &[$($type::$variant),*];

            /// The spelling of policy variables.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

names!(
    /// An attribute of a distinguished name that policies can refer to.
    NameAttribute {
        /// dnQualifier.
        DistinguishedNameQualifier = "DistinguishedNameQualifier",
        /// C.
        Country = "Country",
        /// O.
        Organization = "Organization",
        /// OU.
        OrganizationalUnit = "OrganizationalUnit",
        /// ST.
        State = "State",
        /// CN.
        CommonName = "CommonName",
        /// serialNumber of the named, not of the certificate.
        SerialNumber = "SerialNumber",
        /// title.
        Title = "Title",
        /// SN.
        Surname = "Surname",
        /// GN.
        GivenName = "GivenName",
        /// initials.
        Initials = "Initials",
        /// pseudonym.
        Pseudonym = "Pseudonym",
        /// generationQualifier.
        GenerationQualifier = "GenerationQualifier",
    }
);

names!(
    /// A kind of alternative name that policies can refer to.
    AlternativeName {
        /// A mail address.
        Rfc822Name = "RFC822Name",
        /// A host name.
        DnsName = "DNSName",
        /// A distinguished name, most specific attribute first: `cn=Bulb,ou=Home,c=US`.
        DirectoryName = "DirectoryName",
        /// A URI.
        UniformResourceIdentifier = "UniformResourceIdentifier",
        /// An address.
        IpAddress = "IPAddress",
    }
);

/// What a CONNECT asks for besides being connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectAttributes {
    /// A session that outlives the connection: policies call it `PersistentConnect`.
    pub persistent: bool,
    /// A will: policies call it `LastWill`.
    pub will: bool,
}
