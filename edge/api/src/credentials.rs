//! Who may call: the administrator's key, and keys for a while that are issued to functions and
//! by AssumeRole.
//!
//! Keys for a while are stateless. The session token carries who it is for and until when, under a
//! MAC of this server's secret; the secret key is derived from the token. So they outlive a
//! restart, cost no storage, and cannot be made up. They cannot be withdrawn one by one either:
//! they are short-lived instead.
//!
//! There is one kind of right so far: whoever has a key may call everything.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use picket_model::{Account, Timestamp};
use picket_respond::{IssueKeys, Keys};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;

use crate::limits::SESSION_TOKEN_BYTES_MAX;

/// An access key that lasts.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `AKIA` and 16 capitals and digits.
    pub id: String,
    /// The secret, 40 characters.
    pub secret: String,
}

/// The system gave no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

impl AccessKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 40];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let (id, secret) = bytes.split_at(10);
        Ok(Self { id: format!("AKIA{}", base32(id)), secret: STANDARD.encode(secret) })
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Keys for a while.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKeys {
    /// `ASIA` and 16 capitals and digits.
    pub access_key_id: String,
    /// The secret, 40 characters.
    pub secret_access_key: String,
    /// Goes with every request, in `x-amz-security-token`.
    pub session_token: String,
    /// When they end.
    pub until: Timestamp,
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("access_key_id", &self.access_key_id)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever runs this installation.
    Administrator {
        /// The key used.
        access_key_id: String,
    },
    /// A role that somebody took on: a function, or a caller of AssumeRole.
    Role {
        /// The role's ARN, as it was asked for; no role is kept here.
        role_arn: String,
        /// The session's name: for a function, the function's.
        session: String,
        /// The key used.
        access_key_id: String,
    },
}

impl Caller {
    /// The ARN that GetCallerIdentity gives.
    pub fn arn(&self, account: &Account) -> String {
        match self {
            Caller::Administrator { .. } => {
                format!("arn:aws:iam::{}:user/administrator", account.id)
            }
            Caller::Role { role_arn, session, .. } => {
                let role = role_arn.rsplit('/').next().unwrap_or(role_arn);
                format!("arn:aws:sts::{}:assumed-role/{role}/{session}", account.id)
            }
        }
    }

    /// The access key id that signed.
    pub fn access_key_id(&self) -> &str {
        match self {
            Caller::Administrator { access_key_id } | Caller::Role { access_key_id, .. } => {
                access_key_id
            }
        }
    }
}

/// Why a key does not open the door.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Nobody has this key.
    #[error(
        "access key `{0}` is not known here; `picket env` prints the keys of this installation"
    )]
    Unknown(String),
    /// The token is missing, broken, or of another key or server.
    #[error(
        "the session token does not belong to access key `{0}`; take new keys, or unset AWS_SESSION_TOKEN"
    )]
    Token(String),
    /// The token's time is over.
    #[error("the session of access key `{id}` ended at {until}; take new keys")]
    Expired {
        /// The key.
        id: String,
        /// When.
        until: Timestamp,
    },
}

/// What a session token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    /// The access key id.
    k: String,
    /// The role's ARN.
    r: String,
    /// The session's name.
    s: String,
    /// The end, in milliseconds since the epoch.
    u: i64,
}

/// The keys that are accepted.
pub struct Credentials {
    administrator: AccessKey,
    token_key: [u8; 32],
    secret_key: [u8; 32],
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("administrator", &self.administrator)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// The administrator's key, and the server's secret that keys for a while derive from.
    ///
    /// `server_secret` must be the same after a restart and known to nobody else.
    pub fn new(administrator: AccessKey, server_secret: &[u8]) -> Self {
        Self {
            administrator,
            token_key: mac(server_secret, &[b"picket session token"]),
            secret_key: mac(server_secret, &[b"picket session secret"]),
        }
    }

    /// The administrator's key.
    pub fn administrator(&self) -> &AccessKey {
        &self.administrator
    }

    /// Keys for a role until a moment.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn issue(
        &self,
        role_arn: &str,
        session: &str,
        until: Timestamp,
    ) -> Result<SessionKeys, NoRandomness> {
        let mut id = [0; 10];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| NoRandomness)?;
        let access_key_id = format!("ASIA{}", base32(&id));
        let claims = Claims {
            k: access_key_id.clone(),
            r: role_arn.to_owned(),
            s: session.to_owned(),
            u: until.as_millis(),
        };
        let mut token = serde_json::to_vec(&claims).unwrap_or_default();
        token.extend(mac(&self.token_key, &[&token]));
        Ok(SessionKeys {
            secret_access_key: self.session_secret(&token),
            session_token: URL_SAFE_NO_PAD.encode(token),
            access_key_id,
            until,
        })
    }

    /// The secret that belongs to a token, 40 characters.
    fn session_secret(&self, token: &[u8]) -> String {
        STANDARD.encode(&mac(&self.secret_key, &[token])[..30])
    }

    /// The secret of a key, and who it stands for.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn look_up(
        &self,
        access_key_id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<(String, Caller), KeyError> {
        let id = || access_key_id.to_owned();
        let Some(token) = token else {
            if access_key_id == self.administrator.id {
                let caller = Caller::Administrator { access_key_id: id() };
                return Ok((self.administrator.secret.clone(), caller));
            }
            return Err(KeyError::Unknown(id()));
        };
        let (token, claims) = self.open(token).ok_or_else(|| KeyError::Token(id()))?;
        if claims.k != access_key_id {
            return Err(KeyError::Token(id()));
        }
        let until = Timestamp::from_millis(claims.u);
        if until <= now {
            return Err(KeyError::Expired { id: id(), until });
        }
        let caller = Caller::Role { role_arn: claims.r, session: claims.s, access_key_id: id() };
        Ok((self.session_secret(&token), caller))
    }

    /// The bytes and claims of a token that this server made.
    fn open(&self, token: &str) -> Option<(Vec<u8>, Claims)> {
        if token.len() > SESSION_TOKEN_BYTES_MAX {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (claims, code) = token.split_at_checked(token.len().checked_sub(32)?)?;
        keyed(&self.token_key, &[claims]).verify_slice(code).ok()?;
        let claims = serde_json::from_slice(claims).ok()?;
        Some((token, claims))
    }
}

impl IssueKeys for Credentials {
    /// Without random numbers there are no keys that would be safe: the function is then given
    /// some that open nothing.
    fn issue(&self, role_arn: &str, session: &str, until: Timestamp) -> Keys {
        match Credentials::issue(self, role_arn, session, until) {
            Ok(keys) => Keys {
                access_key_id: keys.access_key_id,
                secret_access_key: keys.secret_access_key,
                session_token: keys.session_token,
            },
            Err(error) => {
                tracing::error!("no keys for {session}: {error}");
                let nothing = || "unavailable".to_owned();
                Keys {
                    access_key_id: nothing(),
                    secret_access_key: nothing(),
                    session_token: nothing(),
                }
            }
        }
    }
}

/// HMAC-SHA-256, begun with `parts`.
fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        code.update(part);
    }
    code
}

/// HMAC-SHA-256 of `parts` one after the other.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    keyed(key, parts).finalize().into_bytes().into()
}

/// Compares a code in constant time.
pub(crate) fn is_mac(key: &[u8], parts: &[&[u8]], code: &[u8]) -> bool {
    keyed(key, parts).verify_slice(code).is_ok()
}

/// RFC 4648 base 32 of a multiple of five bytes; access key ids look like it.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    let (mut bits, mut n_bits) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        n_bits += 8;
        while n_bits >= 5 {
            n_bits -= 5;
            text.push(char::from(ALPHABET[(bits >> n_bits & 31) as usize]));
        }
        bits &= (1 << n_bits) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const ROLE: &str = "arn:aws:iam::123456789012:role/service/IsolateDevice";

    fn credentials(secret: &[u8]) -> Credentials {
        let key = AccessKey { id: "AKIAADMINISTRATOR000".into(), secret: "s".repeat(40) };
        Credentials::new(key, secret)
    }

    #[test]
    fn the_administrators_key_needs_no_token_and_takes_none() {
        let credentials = credentials(b"one");
        let (secret, caller) = credentials.look_up("AKIAADMINISTRATOR000", None, NOW).unwrap();
        assert_eq!(secret, "s".repeat(40));
        assert_eq!(caller.arn(&Account::default()), "arn:aws:iam::123456789012:user/administrator");
        let with_token = credentials.look_up("AKIAADMINISTRATOR000", Some("x"), NOW);
        assert!(matches!(with_token, Err(KeyError::Token(_))));
        assert!(matches!(credentials.look_up("AKIAOTHER", None, NOW), Err(KeyError::Unknown(_))));
    }

    #[test]
    fn session_keys_outlive_a_restart_and_end_in_time() {
        let keys = credentials(b"one").issue(ROLE, "IsolateDevice", NOW + 60_000).unwrap();
        let look_up = |credentials: &Credentials, now| {
            credentials.look_up(&keys.access_key_id, Some(&keys.session_token), now)
        };
        let (secret, caller) = look_up(&credentials(b"one"), NOW + 59_999).unwrap();
        assert_eq!(secret, keys.secret_access_key);
        assert_eq!(secret.len(), 40);
        assert_eq!(
            caller.arn(&Account::default()),
            "arn:aws:sts::123456789012:assumed-role/IsolateDevice/IsolateDevice"
        );
        let late = look_up(&credentials(b"one"), NOW + 60_000);
        assert!(matches!(late, Err(KeyError::Expired { .. })), "{late:?}");
        let elsewhere = look_up(&credentials(b"two"), NOW);
        assert!(matches!(elsewhere, Err(KeyError::Token(_))), "{elsewhere:?}");
    }

    #[test]
    fn a_token_opens_nothing_but_its_own_key() {
        let credentials = credentials(b"one");
        let one = credentials.issue(ROLE, "a", NOW + 60_000).unwrap();
        let two = credentials.issue(ROLE, "a", NOW + 60_000).unwrap();
        assert_ne!(one.access_key_id, two.access_key_id);
        let crossed = credentials.look_up(&one.access_key_id, Some(&two.session_token), NOW);
        assert!(matches!(crossed, Err(KeyError::Token(_))));
        let without = credentials.look_up(&one.access_key_id, None, NOW);
        assert!(matches!(without, Err(KeyError::Unknown(_))));
        let mut bytes = URL_SAFE_NO_PAD.decode(&one.session_token).unwrap();
        for n in 0..bytes.len() {
            bytes[n] ^= 1;
            let token = URL_SAFE_NO_PAD.encode(&bytes);
            let changed = credentials.look_up(&one.access_key_id, Some(&token), NOW);
            assert!(matches!(changed, Err(KeyError::Token(_))), "byte {n}");
            bytes[n] ^= 1;
        }
    }

    #[test]
    fn no_secret_is_printed() {
        let credentials = credentials(b"one");
        let keys = credentials.issue(ROLE, "a", NOW).unwrap();
        let printed = format!("{credentials:?} {keys:?}");
        assert!(
            !printed.contains("ssss") && !printed.contains(&keys.secret_access_key),
            "{printed}"
        );
    }

    #[test]
    fn a_generated_key_looks_like_one() {
        let key = AccessKey::generate().unwrap();
        assert_eq!((key.id.len(), key.secret.len()), (20, 40));
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
    }
}
