//! STS: who am I, and keys for a while.
//!
//! There are no roles here to take on: a role's ARN is a name that the keys carry, so that logs
//! and GetCallerIdentity say who acts.

use picket_model::{Account, Timestamp};
use sha2::{Digest, Sha256};

use crate::credentials::Caller;
use crate::error::ApiError;
use crate::input::invalid_value;
use crate::operation::{Operation, operation};
use crate::query::{answer, form};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[&[Operation]] = &[&[
    operation!(Sts, "GetCallerIdentity", get_caller_identity),
    operation!(Sts, "AssumeRole", assume_role),
]];

/// How long keys last, in seconds: from, to, and where the caller does not say.
/// Source: aws sts AssumeRole.
const DURATION_S: (i64, i64, i64) = (900, 43_200, 3_600);

/// Most for whoever acts as a role already. Source: AWS IAM guide "Role chaining"; without it, a
/// function's short-lived keys could be turned into long-lived ones.
const CHAINED_DURATION_S: i64 = 3_600;

async fn get_caller_identity(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let user_id = match &request.caller {
        Caller::Administrator { access_key_id } => unique_id("AIDA", access_key_id),
        Caller::Role { role_arn, session, .. } => role_id(role_arn, session),
    };
    Ok(answer(&request, |xml| {
        xml.text("Arn", request.caller.arn(&state.account));
        xml.text("UserId", user_id);
        xml.text("Account", &state.account.id);
    }))
}

async fn assume_role(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let form = form(&request)?;
    let role_arn = form.need("RoleArn")?;
    let session = form.need("RoleSessionName")?;
    if !is_role_arn(role_arn) {
        let rule = "Member must be the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)";
        return Err(invalid_value(role_arn, "roleArn", rule));
    }
    if !is_session_name(session) {
        let rule = "Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}";
        return Err(invalid_value(session, "roleSessionName", rule));
    }
    if form.get("Policy").is_some() || form.has_below("PolicyArns") {
        // A session policy narrows what the keys may do. Keys that do more than was asked for
        // would be a hole; none is better.
        return Err(ApiError::invalid(
            "session policies are not supported: leave `Policy` and `PolicyArns` out",
        ));
    }
    let is_chained = matches!(request.caller, Caller::Role { .. });
    let duration_s = duration(form.get("DurationSeconds"), is_chained)?;
    let until = Timestamp::from_secs(state.now().as_millis() / 1000 + duration_s);
    let keys = state.credentials.issue(role_arn, session, until).map_err(ApiError::unavailable)?;
    let caller = Caller::Role {
        role_arn: role_arn.to_owned(),
        session: session.to_owned(),
        access_key_id: keys.access_key_id.clone(),
    };
    Ok(answer(&request, |xml| {
        xml.element("Credentials", |xml| {
            xml.text("AccessKeyId", &keys.access_key_id);
            xml.text("SecretAccessKey", &keys.secret_access_key);
            xml.text("SessionToken", &keys.session_token);
            xml.text("Expiration", until.to_string());
        });
        xml.element("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", role_id(role_arn, session));
            xml.text("Arn", caller.arn(&state.account));
        });
    }))
}

fn duration(text: Option<&str>, is_chained: bool) -> Result<i64, ApiError> {
    let (min, max, default) = DURATION_S;
    let seconds = match text {
        None => default,
        Some(text) => text.parse().ok().filter(|s| (min..=max).contains(s)).ok_or_else(|| {
            let rule = format_args!("Member must be a whole number from {min} to {max}");
            invalid_value(text, "durationSeconds", rule)
        })?,
    };
    if is_chained && seconds > CHAINED_DURATION_S {
        return Err(ApiError::invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining",
        ));
    }
    Ok(seconds)
}

/// Any account's role: nothing here depends on which.
fn is_role_arn(text: &str) -> bool {
    let role = || {
        let rest = text.strip_prefix("arn:aws")?.split_once(":iam::")?.1;
        let (account, name) = rest.split_once(":role/")?;
        let is_account = Account::is_id(account);
        let is_name = !name.is_empty()
            && !name.ends_with('/')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c));
        (is_account && is_name).then_some(())
    };
    (20..=2_048).contains(&text.len()) && role().is_some()
}

fn is_session_name(text: &str) -> bool {
    (2..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
}

/// `AROA..:SESSION`, the form of a role session's id.
fn role_id(role_arn: &str, session: &str) -> String {
    format!("{}:{session}", unique_id("AROA", role_arn))
}

/// A prefix and 17 characters that are always the same for the same name, in the form of IAM's
/// unique ids.
fn unique_id(prefix: &str, name: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digest = Sha256::digest(name.as_bytes());
    let letters = digest.iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    prefix.chars().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_role_and_a_session_have_names() {
        for arn in [
            "arn:aws:iam::123456789012:role/IsolateDevice",
            "arn:aws:iam::999999999999:role/service-role/a.b@c",
            "arn:aws-cn:iam::123456789012:role/R",
        ] {
            assert!(is_role_arn(arn), "{arn}");
        }
        for arn in [
            "",
            "IsolateDevice",
            "arn:aws:iam::123456789012:user/admin",
            "arn:aws:iam::12345678901x:role/R",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:role/a\n",
        ] {
            assert!(!is_role_arn(arn), "{arn}");
        }
        assert!(is_session_name("a@b.c-d"));
        for session in ["", "a", "a b", "a/b", &"x".repeat(65)] {
            assert!(!is_session_name(session), "{session}");
        }
    }

    #[test]
    fn keys_last_from_a_quarter_of_an_hour_to_half_a_day_and_one_hour_for_a_role() {
        let seconds = |text, is_chained| duration(text, is_chained).map_err(|error| error.kind);
        assert_eq!(seconds(None, false), Ok(3_600));
        assert_eq!(seconds(Some("43200"), false), Ok(43_200));
        assert_eq!(seconds(Some("3600"), true), Ok(3_600));
        for (text, is_chained) in
            [("899", false), ("43201", false), ("x", false), ("-900", false), ("3601", true)]
        {
            assert_eq!(seconds(Some(text), is_chained), Err(ErrorKind::InvalidRequest), "{text}");
        }
    }

    #[test]
    fn an_id_is_always_the_same_and_looks_like_iams() {
        assert_eq!(unique_id("AROA", "x"), unique_id("AROA", "x"));
        assert_ne!(unique_id("AROA", "x"), unique_id("AROA", "y"));
        assert_eq!(unique_id("AIDA", "x").len(), 21);
    }
}
