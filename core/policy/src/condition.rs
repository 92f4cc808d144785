//! Conditions: what must be true of the connection for a statement to count.
//!
//! All that a condition can ask is known when the connection begins, so it is settled once.
//! Source: IAM reference "Condition operators" and "Single-valued vs. multivalued context keys".

use std::net::IpAddr;

use ipnet::IpNet;

use crate::date;
use crate::facts::ConnectionFacts;
use crate::json::Json;
use crate::key::Key;
use crate::pattern::Pattern;
use crate::template::{Template, Wildcards};

/// One key under one operator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    over: Over,
    /// `...IfExists`: holds when the key has no value.
    if_exists: bool,
    /// `...Not...`: holds when no value of the policy fits.
    is_negated: bool,
    key: Key,
    test: Test,
}

/// What is asked of a key with several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// No qualifier: some value fits, or for a negated operator none does.
    Plain,
    /// `ForAllValues:`. Holds when there is no value at all.
    All,
    /// `ForAnyValue:`. Does not hold when there is no value.
    Any,
}

/// How one value is compared with those of the policy; it fits if it fits one of them.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text {
        wanted: Vec<Template>,
        ignores_case: bool,
    },
    Numeric(Order, Vec<f64>),
    Date(Order, Vec<i64>),
    Bool(Vec<bool>),
    Address(Vec<IpNet>),
    Arn(Vec<ArnTemplate>),
    /// Whether the key has to be without value.
    Null(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An ARN whose six parts are compared one by one, so that a `*` never reaches into the next.
#[derive(Clone, Debug, PartialEq)]
enum ArnTemplate {
    /// `*` alone.
    Any,
    Parts(Vec<Template>),
}

/// What a condition says about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
    /// It holds because nothing that could be compared contradicts it; something could not be.
    InDoubt,
}

impl Condition {
    /// Reads one operator's member: its name, and one of its keys with the values.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub(crate) fn parse(operator: &str, key: &str, values: &Json) -> Result<Self, String> {
        let (over, name) = match operator.split_once(':') {
            None => (Over::Plain, operator),
            Some(("ForAllValues", name)) => (Over::All, name),
            Some(("ForAnyValue", name)) => (Over::Any, name),
            Some(_) => return Err(unknown(operator)),
        };
        let (name, if_exists) =
            name.strip_suffix("IfExists").map_or((name, false), |name| (name, true));
        if name == "Null" && if_exists {
            return Err(format!("condition operator `{operator}` asks twice whether a key exists"));
        }
        let values = texts(values)
            .map_err(|problem| format!("`{operator}` of `{}` {problem}", key.escape_debug()))?;
        let (test, is_negated) = Test::parse(name, &values)
            .ok_or_else(|| unknown(operator))?
            .map_err(|problem| format!("`{operator}` of `{}`: {problem}", key.escape_debug()))?;
        Ok(Self { over, if_exists, is_negated, key: Key::parse(key), test })
    }

    /// Whether it holds for a connection.
    pub(crate) fn holds(&self, facts: &ConnectionFacts) -> Holds {
        let values = self.key.values(facts);
        if let Test::Null(is_null) = self.test {
            return if values.is_empty() == is_null { Holds::Yes } else { Holds::No };
        }
        if values.is_empty() && self.if_exists {
            return Holds::Yes;
        }
        let (wanted, is_complete) = self.test.fill(facts);
        let fits = |value: &String| wanted.iter().any(|wanted| wanted.fits(value));
        let holds = match (self.over, self.is_negated) {
            (Over::Plain, false) => values.iter().any(fits),
            (Over::Plain, true) => !values.iter().any(fits),
            (Over::All, false) => values.iter().all(fits),
            (Over::All, true) => values.iter().all(|value| !fits(value)),
            (Over::Any, false) => values.iter().any(fits),
            (Over::Any, true) => values.iter().any(|value| !fits(value)),
        };
        match (holds, self.is_negated && !is_complete) {
            (false, _) => Holds::No,
            (true, false) => Holds::Yes,
            (true, true) => Holds::InDoubt,
        }
    }

    /// The keys and variables that would have to have a value and have none.
    pub(crate) fn missing<'a>(
        &'a self,
        facts: &'a ConnectionFacts,
    ) -> impl Iterator<Item = &'a Key> {
        let copes_without = self.if_exists || matches!(self.test, Test::Null(_));
        let variables = self.test.templates().flat_map(Template::variables);
        let key = (!copes_without).then_some(&self.key);
        key.into_iter().chain(variables).filter(|key| key.values(facts).is_empty())
    }
}

impl Test {
    /// Reads the operator without qualifiers. `None`: there is no such operator.
    ///
    /// The flag says whether the operator is negated.
    fn parse(name: &str, values: &[String]) -> Option<Result<(Self, bool), String>> {
        let text = |wildcards, ignores_case| -> Result<Test, String> {
            let wanted = each(values, |value| Template::parse(value, wildcards))?;
            Ok(Test::Text { wanted, ignores_case })
        };
        let (test, is_negated) = match name {
            "StringEquals" => (text(Wildcards::No, false), false),
            "StringNotEquals" => (text(Wildcards::No, false), true),
            "StringEqualsIgnoreCase" => (text(Wildcards::No, true), false),
            "StringNotEqualsIgnoreCase" => (text(Wildcards::No, true), true),
            "StringLike" => (text(Wildcards::Yes, false), false),
            "StringNotLike" => (text(Wildcards::Yes, false), true),
            "Bool" => (each(values, |value| boolean(value)).map(Test::Bool), false),
            "Null" => {
                let test =
                    each(values, |value| boolean(value)).and_then(|values| match values[..] {
                        [is_null] => Ok(Test::Null(is_null)),
                        _ => Err("takes one value, true or false".to_owned()),
                    });
                (test, false)
            }
            "IpAddress" => (each(values, |value| network(value)).map(Test::Address), false),
            "NotIpAddress" => (each(values, |value| network(value)).map(Test::Address), true),
            "ArnEquals" | "ArnLike" => {
                (each(values, |v| ArnTemplate::parse(v)).map(Test::Arn), false)
            }
            "ArnNotEquals" | "ArnNotLike" => {
                (each(values, |v| ArnTemplate::parse(v)).map(Test::Arn), true)
            }
            _ => {
                if let Some(order) = name.strip_prefix("Numeric") {
                    let (order, is_negated) = Order::parse(order)?;
                    let numbers = each(values, |value| {
                        number(value)
                            .ok_or_else(|| format!("`{}` is not a number", value.escape_debug()))
                    });
                    (numbers.map(|numbers| Test::Numeric(order, numbers)), is_negated)
                } else {
                    let (order, is_negated) = Order::parse(name.strip_prefix("Date")?)?;
                    let dates = each(values, |value| {
                        date::parse(value)
                            .ok_or_else(|| format!("`{}` is not a date", value.escape_debug()))
                    });
                    (dates.map(|dates| Test::Date(order, dates)), is_negated)
                }
            }
        };
        Some(test.map(|test| (test, is_negated)))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let (texts, arns) = match self {
            Self::Text { wanted, .. } => (wanted.as_slice(), [].as_slice()),
            Self::Arn(wanted) => ([].as_slice(), wanted.as_slice()),
            Self::Numeric(..)
            | Self::Date(..)
            | Self::Bool(_)
            | Self::Address(_)
            | Self::Null(_) => ([].as_slice(), [].as_slice()),
        };
        texts.iter().chain(arns.iter().flat_map(|arn| match arn {
            ArnTemplate::Any => &[],
            ArnTemplate::Parts(parts) => parts.as_slice(),
        }))
    }

    /// What a value is compared with, and whether every variable had a value.
    fn fill(&self, facts: &ConnectionFacts) -> (Vec<Wanted<'_>>, bool) {
        let mut wanted = Vec::new();
        let mut is_complete = true;
        match self {
            Self::Text { wanted: templates, ignores_case } => {
                for template in templates {
                    let Some(patterns) = template.fill(facts) else {
                        is_complete = false;
                        continue;
                    };
                    wanted.extend(patterns.into_iter().map(|pattern| match ignores_case {
                        true => Wanted::AnyCase(pattern.to_lowercase()),
                        false => Wanted::Text(pattern),
                    }));
                }
            }
            Self::Arn(templates) => {
                for template in templates {
                    match template {
                        ArnTemplate::Any => wanted.push(Wanted::Arn(Vec::new())),
                        ArnTemplate::Parts(parts) => {
                            match parts.iter().map(|part| part.fill(facts)).collect() {
                                Some(parts) => wanted.push(Wanted::Arn(parts)),
                                None => is_complete = false,
                            }
                        }
                    }
                }
            }
            Self::Numeric(order, numbers) => {
                wanted.extend(numbers.iter().map(|&number| Wanted::Number(*order, number)));
            }
            Self::Date(order, dates) => {
                wanted.extend(dates.iter().map(|&date| Wanted::Date(*order, date)));
            }
            Self::Bool(values) => wanted.extend(values.iter().map(|&value| Wanted::Bool(value))),
            Self::Address(networks) => wanted.extend(networks.iter().map(Wanted::Address)),
            Self::Null(_) => {}
        }
        (wanted, is_complete)
    }
}

/// One value of the policy with its variables replaced.
enum Wanted<'a> {
    Text(Pattern),
    AnyCase(Pattern),
    Number(Order, f64),
    Date(Order, i64),
    Bool(bool),
    Address(&'a IpNet),
    /// Six parts, each with its alternatives; none at all for `*`.
    Arn(Vec<Vec<Pattern>>),
}

impl Wanted<'_> {
    fn fits(&self, value: &str) -> bool {
        match self {
            Self::Text(pattern) => pattern.matches(value),
            Self::AnyCase(pattern) => pattern.matches(&value.to_lowercase()),
            Self::Number(order, wanted) => {
                number(value).is_some_and(|value| order.holds(&value, wanted))
            }
            Self::Date(order, wanted) => {
                date::parse(value).is_some_and(|value| order.holds(&value, wanted))
            }
            Self::Bool(wanted) => boolean(value) == Ok(*wanted),
            Self::Address(network) => {
                value.parse().is_ok_and(|address: IpAddr| network.contains(&address))
            }
            Self::Arn(parts) => {
                let values: Vec<&str> = value.splitn(6, ':').collect();
                parts.is_empty()
                    || (values.len() == parts.len()
                        && parts.iter().zip(values).all(|(alternatives, value)| {
                            alternatives.iter().any(|pattern| pattern.matches(value))
                        }))
            }
        }
    }
}

impl Order {
    /// Reads what follows `Numeric` or `Date`; the flag says whether it is negated.
    fn parse(text: &str) -> Option<(Self, bool)> {
        match text {
            "Equals" => Some((Self::Equal, false)),
            "NotEquals" => Some((Self::Equal, true)),
            "LessThan" => Some((Self::Less, false)),
            "LessThanEquals" => Some((Self::LessOrEqual, false)),
            "GreaterThan" => Some((Self::Greater, false)),
            "GreaterThanEquals" => Some((Self::GreaterOrEqual, false)),
            _ => None,
        }
    }

    fn holds<T: PartialOrd>(self, value: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => value == wanted,
            Self::Less => value < wanted,
            Self::LessOrEqual => value <= wanted,
            Self::Greater => value > wanted,
            Self::GreaterOrEqual => value >= wanted,
        }
    }
}

impl ArnTemplate {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        // A colon inside `${..}` parts nothing.
        let mut parts = vec![String::new()];
        let mut is_in_variable = false;
        for c in text.chars() {
            match c {
                ':' if !is_in_variable && parts.len() < 6 => {
                    parts.push(String::new());
                    continue;
                }
                '{' => is_in_variable = parts.last().is_some_and(|part| part.ends_with('$')),
                '}' => is_in_variable = false,
                _ => {}
            }
            if let Some(part) = parts.last_mut() {
                part.push(c);
            }
        }
        if parts.len() != 6 {
            return Err(format!("`{}` is not an ARN", text.escape_debug()));
        }
        each(&parts, |part| Template::parse(part, Wildcards::Yes)).map(Self::Parts)
    }
}

fn unknown(operator: &str) -> String {
    format!("`{}` is not a condition operator", operator.escape_debug())
}

fn each<T>(
    values: &[String],
    read: impl Fn(&String) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    values.iter().map(read).collect()
}

fn boolean(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("`{}` is neither true nor false", text.escape_debug()))
    }
}

/// A decimal number; infinities and the like are none.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = |address: &str| address.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address(text))
        .map_err(|_| format!("`{}` is not an address or a CIDR range", text.escape_debug()))
}

/// The values of a condition key as texts: one or a list of strings, numbers or booleans.
fn texts(values: &Json) -> Result<Vec<String>, String> {
    let text = |value: &Json| match value {
        Json::Text(text) | Json::Number(text) => Ok(text.clone()),
        Json::Bool(value) => Ok(value.to_string()),
        Json::Null | Json::List(_) | Json::Object(_) => {
            Err(format!("must be a string, a number or a boolean, not {}", value.kind()))
        }
    };
    match values {
        Json::List(values) if values.is_empty() => Err("must name at least one value".to_owned()),
        Json::List(values) => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}
