//! The ways to name a function.

use picket_model::{Account, FunctionName};

/// Reads a function's name, partial ARN or ARN, with or without a qualifier, and gives the name
/// and the qualifier.
///
/// The forms are `NAME`, `function:NAME`, `ACCOUNT:function:NAME`, `REGION:ACCOUNT:function:NAME`
/// and the whole ARN, each with `:QUALIFIER` behind it or not. Source: aws lambda `FunctionName`.
///
/// # Errors
/// A sentence, if it is none of them or names another account.
pub(super) fn parse<'a>(
    account: &Account,
    text: &'a str,
) -> Result<(FunctionName, Option<&'a str>), String> {
    let problem = || {
        format!(
            "`{}` is not the name, the partial ARN or the ARN of a function of this account",
            text.escape_debug()
        )
    };
    let name = |name: &str| FunctionName::parse(name).map_err(|error| error.to_string());
    let rest = match text.split_once("function:") {
        None => {
            // A name, and perhaps a qualifier.
            let (bare, qualifier) = split_qualifier(text);
            return Ok((name(bare)?, qualifier));
        }
        Some((before, rest)) => {
            let right = match before.strip_suffix(':') {
                None => before.is_empty(),
                Some(before) => is_before(account, before),
            };
            if !right {
                return Err(problem());
            }
            rest
        }
    };
    let (bare, qualifier) = split_qualifier(rest);
    Ok((name(bare)?, qualifier))
}

fn split_qualifier(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (text, None),
    }
}

/// Whether `before` is `ACCOUNT`, `REGION:ACCOUNT` or `arn:aws:lambda:REGION:ACCOUNT`.
fn is_before(account: &Account, before: &str) -> bool {
    let parts: Vec<&str> = before.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "lambda", _region, id] => {
            partition.starts_with("aws") && *id == account.id
        }
        [_region, id] => *id == account.id,
        [id] => *id == account.id,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let account = Account::default();
        let found = parse(&account, text).ok();
        let found = found.as_ref().map(|(name, qualifier)| (name.as_str(), *qualifier));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_function_is_named_in_five_ways() {
        for text in [
            "Isolate",
            "function:Isolate",
            "123456789012:function:Isolate",
            "us-east-1:123456789012:function:Isolate",
            "arn:aws:lambda:us-east-1:123456789012:function:Isolate",
        ] {
            check(text, Some(("Isolate", None)));
            check(&format!("{text}:$LATEST"), Some(("Isolate", Some("$LATEST"))));
        }
    }

    #[test]
    fn what_names_no_function_of_this_account_is_refused() {
        for text in [
            "",
            "a b",
            "xfunction:Isolate",
            "999999999999:function:Isolate",
            "arn:aws:lambda:us-east-1:999999999999:function:Isolate",
            "arn:aws:sns:us-east-1:123456789012:function:Isolate",
            "a:b:c:123456789012:function:Isolate",
            "function:",
            "../../etc/passwd",
        ] {
            check(text, None);
        }
        check(&"x".repeat(65), None);
    }
}
