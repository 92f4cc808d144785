//! Who may run a function: the statements of its resource policy (AWS: Lambda AddPermission).
//!
//! The API writes statements, delivery asks them: both through [`Statement`], so that what
//! GetPolicy shows is what counts.

use picket_model::Account;
use serde_json::{Value, json};

/// The action that running a function is.
pub const INVOKE: &str = "lambda:InvokeFunction";

/// One permission. A function has none to begin with, and what no statement allows is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Unique in the function's policy.
    pub sid: String,
    /// What is allowed: `lambda:InvokeFunction`, `lambda:*` or `*`.
    pub action: String,
    /// To whom.
    pub principal: Principal,
    /// ARN of the function.
    pub resource: String,
    /// Only on behalf of this resource; may hold `*` and `?`.
    pub source_arn: Option<String>,
    /// Only on behalf of a resource of this account.
    pub source_account: Option<String>,
}

/// To whom a statement allows something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// An AWS service by its host name: `sns.amazonaws.com`.
    Service(String),
    /// An account or something in it, by ARN.
    Aws(String),
    /// Everybody.
    Anyone,
}

/// Who wants to run a function, and on whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller<'a> {
    /// The service: `sns.amazonaws.com`.
    pub service: &'a str,
    /// ARN of the resource that it acts for, for example a notification topic.
    pub source_arn: &'a str,
    /// The account of that resource.
    pub source_account: &'a str,
}

impl Principal {
    /// Reads AddPermission's `Principal`: a service, twelve digits, an ARN, or `*`. `None` for
    /// anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_account = Account::is_id(text);
        let is_host = text.contains('.')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
        match text {
            "*" => Some(Self::Anyone),
            _ if is_account => Some(Self::Aws(format!("arn:aws:iam::{text}:root"))),
            _ if text.starts_with("arn:") => Some(Self::Aws(text.to_owned())),
            _ if is_host => Some(Self::Service(text.to_owned())),
            _ => None,
        }
    }
}

impl Statement {
    /// The statement as AWS writes it into a function's policy.
    pub fn to_json(&self) -> Value {
        let principal = match &self.principal {
            Principal::Service(host) => json!({ "Service": host }),
            Principal::Aws(arn) => json!({ "AWS": arn }),
            Principal::Anyone => json!("*"),
        };
        let mut json = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": self.resource,
        });
        if let Some(account) = &self.source_account {
            json["Condition"]["StringEquals"] = json!({ "AWS:SourceAccount": account });
        }
        if let Some(arn) = &self.source_arn {
            json["Condition"]["ArnLike"] = json!({ "AWS:SourceArn": arn });
        }
        json
    }

    /// Reads what [`Statement::to_json`] wrote; `None` for anything else, so that a condition
    /// that is not understood never counts as one that is met.
    pub fn from_json(json: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let principal = &json["Principal"];
        let statement = Self {
            sid: text(&json["Sid"])?,
            action: text(&json["Action"])?,
            principal: match (principal.as_str(), text(&principal["Service"])) {
                (Some("*"), _) => Principal::Anyone,
                (_, Some(host)) => Principal::Service(host),
                _ => Principal::Aws(text(&principal["AWS"])?),
            },
            resource: text(&json["Resource"])?,
            source_arn: text(&json["Condition"]["ArnLike"]["AWS:SourceArn"]),
            source_account: text(&json["Condition"]["StringEquals"]["AWS:SourceAccount"]),
        };
        (&statement.to_json() == json).then_some(statement)
    }

    /// Whether this statement allows `caller` to run the function of `function_arn`.
    pub fn allows(&self, function_arn: &str, caller: Caller<'_>) -> bool {
        let action = match self.action.as_str() {
            "*" | "lambda:*" => true,
            action => action.eq_ignore_ascii_case(INVOKE),
        };
        let principal = match &self.principal {
            Principal::Service(host) => host == caller.service,
            Principal::Anyone => true,
            Principal::Aws(_) => false,
        };
        let source_arn = self.source_arn.as_deref();
        let source_account = self.source_account.as_deref();
        action
            && principal
            && self.resource == function_arn
            && source_arn.is_none_or(|pattern| arn_like(pattern, caller.source_arn))
            && source_account.is_none_or(|account| account == caller.source_account)
    }
}

/// The statement that allows `caller` to run the function, the first of several; `None` denies.
///
/// `policy` holds the statements as JSON texts, in their order; one that cannot be read allows
/// nothing.
pub fn allowed_by<'a>(
    policy: impl IntoIterator<Item = &'a str>,
    function_arn: &str,
    caller: Caller<'_>,
) -> Option<Statement> {
    policy
        .into_iter()
        .filter_map(|text| Statement::from_json(&serde_json::from_str(text).ok()?))
        .find(|statement| statement.allows(function_arn, caller))
}

/// IAM's `ArnLike`: each of the six parts between colons is matched on its own, so that a `*` in
/// one never reaches into the next; only the last part may hold colons. The region, which is the
/// fourth, does not count: every region names the same resources here.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let (pattern, arn): (Vec<_>, Vec<_>) =
        (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == arn.len()
        && (pattern.iter().zip(&arn).enumerate())
            .all(|(n, (pattern, part))| n == 3 || like(pattern.as_bytes(), part.as_bytes()))
}

/// Matches `*` (any run) and `?` (any one byte), in time proportional to the product of lengths.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when a guess about the last `*` was wrong: it takes one byte more.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t + 1));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                None => return false,
                Some((after_star, from)) => {
                    p = after_star;
                    t = from;
                    retry = Some((after_star, from + 1));
                }
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:Isolate";
    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:BadIoTDevices";
    const CALLER: Caller<'_> =
        Caller { service: "sns.amazonaws.com", source_arn: TOPIC, source_account: "123456789012" };

    fn sns_statement() -> Statement {
        Statement {
            sid: "sns".into(),
            action: INVOKE.into(),
            principal: Principal::Service("sns.amazonaws.com".into()),
            resource: FUNCTION.into(),
            source_arn: Some(TOPIC.into()),
            source_account: None,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Statement), expected: bool) {
        let mut statement = sns_statement();
        change(&mut statement);
        let text = statement.to_json().to_string();
        let allowed = allowed_by([text.as_str()], FUNCTION, CALLER);
        assert_eq!(allowed.is_some(), expected, "{text}");
    }

    #[test]
    fn a_topic_needs_a_statement_for_its_service_and_itself() {
        check(|_| {}, true);
        check(|s| s.source_arn = None, true);
        check(|s| s.source_arn = Some("arn:aws:sns:*:123456789012:Bad*".into()), true);
        check(|s| s.source_arn = Some("arn:aws:sns:us-east-1:123456789012:Other".into()), false);
        check(|s| s.source_arn = Some(TOPIC.replace("us-east-1", "eu-west-1")), true);
        check(|s| s.source_arn = Some("arn:aws:s3:::bucket".into()), false);
        check(|s| s.source_arn = Some("arn:*".into()), false);
        check(|s| s.source_account = Some("123456789012".into()), true);
        check(|s| s.source_account = Some("999999999999".into()), false);
        check(|s| s.principal = Principal::Anyone, true);
        check(|s| s.principal = Principal::Service("events.amazonaws.com".into()), false);
        check(|s| s.principal = Principal::Aws("arn:aws:iam::123456789012:root".into()), false);
        check(|s| s.action = "lambda:*".into(), true);
        check(|s| s.action = "*".into(), true);
        check(|s| s.action = "lambda:GetFunction".into(), false);
        check(|s| s.resource = format!("{FUNCTION}2"), false);
    }

    #[test]
    fn without_statements_or_with_unreadable_ones_nothing_is_allowed() {
        assert_eq!(allowed_by([], FUNCTION, CALLER), None);
        assert_eq!(allowed_by(["{", "7", "{}"], FUNCTION, CALLER), None);
        // A condition that this version does not know must not be passed over.
        let mut json = sns_statement().to_json();
        json["Condition"]["Bool"] = json!({"aws:SecureTransport": "true"});
        assert_eq!(allowed_by([json.to_string().as_str()], FUNCTION, CALLER), None);
        let mut deny = sns_statement().to_json();
        deny["Effect"] = "Deny".into();
        assert_eq!(allowed_by([deny.to_string().as_str()], FUNCTION, CALLER), None);
    }

    #[test]
    fn the_statement_that_allows_is_named() {
        let other =
            Statement { sid: "other".into(), source_account: Some("9".into()), ..sns_statement() };
        let texts = [other, sns_statement()].map(|statement| statement.to_json().to_string());
        let allowed = allowed_by(texts.iter().map(String::as_str), FUNCTION, CALLER).unwrap();
        assert_eq!(allowed.sid, "sns");
    }

    #[test]
    fn what_is_written_is_read() {
        for principal in ["*", "123456789012", "sns.amazonaws.com", "arn:aws:iam::1:user/u"] {
            let principal = Principal::parse(principal).unwrap();
            let statement = Statement {
                principal,
                source_account: Some("123456789012".into()),
                ..sns_statement()
            };
            assert_eq!(Statement::from_json(&statement.to_json()), Some(statement));
        }
        for principal in ["", "sns", "a b.c", "12345"] {
            assert_eq!(Principal::parse(principal), None, "{principal}");
        }
    }

    #[test]
    fn wildcards_match_as_a_naive_matcher_does() {
        fn naive(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern.first(), text.first()) {
                (None, None) => true,
                (Some(b'*'), _) => {
                    naive(&pattern[1..], text) || (!text.is_empty() && naive(pattern, &text[1..]))
                }
                (Some(&p), Some(&t)) if p == b'?' || p == t => naive(&pattern[1..], &text[1..]),
                _ => false,
            }
        }
        // Every pattern and text of up to five letters over a small alphabet.
        let words = |alphabet: &[u8], len: u32| -> Vec<Vec<u8>> {
            let n = alphabet.len();
            (0..=len)
                .flat_map(|len| {
                    (0..n.pow(len)).map(move |mut k| {
                        let mut word = vec![];
                        for _ in 0..len {
                            word.push(k % n);
                            k /= n;
                        }
                        word
                    })
                })
                .map(|word| word.into_iter().map(|i| alphabet[i]).collect())
                .collect()
        };
        for pattern in words(b"ab*?", 4) {
            for text in words(b"ab", 5) {
                assert_eq!(like(&pattern, &text), naive(&pattern, &text), "{pattern:?} {text:?}");
            }
        }
    }
}
