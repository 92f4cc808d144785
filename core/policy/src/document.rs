//! Policy documents: what their authors write.

use picket_model::limits;

use crate::action::ActionSet;
use crate::condition::Condition;
use crate::error::PolicyError;
use crate::json::Json;
use crate::pattern::{Glyph, Pattern};
use crate::template::{Template, Wildcards};

/// A policy document, checked against the grammar. It never changes, so sessions share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub(crate) statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    /// `NotAction` is turned around already: these are the actions that the statement is about.
    pub(crate) actions: ActionSet,
    pub(crate) resources: Resources,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resources {
    /// `NotResource`: all but these.
    pub(crate) is_except: bool,
    /// Those without variables, shared by all connections.
    pub(crate) fixed: Vec<Pattern>,
    /// Those with variables.
    pub(crate) templates: Vec<Template>,
}

impl Document {
    /// Reads a policy document.
    ///
    /// `Version` may be absent, 2012-10-17 or 2008-10-17; variables are replaced under all of them.
    ///
    /// # Errors
    /// [`PolicyError`] says which rule of the grammar the text breaks, and in which statement.
    /// aws: CreatePolicy, CreatePolicyVersion; IAM reference "Grammar of the IAM JSON policy
    /// language".
    pub fn parse(text: &str) -> Result<Document, PolicyError> {
        let max = limits::POLICY_DOCUMENT_BYTES_MAX;
        if text.len() > max {
            return Err(PolicyError::TooLarge { bytes: text.len(), max });
        }
        let max = limits::POLICY_DOCUMENT_CHARS_MAX;
        let chars = text.chars().filter(|c| !c.is_whitespace()).count();
        if chars > max {
            return Err(PolicyError::TooLong { chars, max });
        }
        let json: Json = serde_json::from_str(text)
            .map_err(|error| PolicyError::Json { problem: error.to_string() })?;
        let mut members = Members::of(json).map_err(|problem| PolicyError::Document {
            problem: format!("the document {problem}"),
        })?;
        let statements = document(&mut members)
            .and_then(|statements| members.finish(DOCUMENT_MEMBERS).map(|()| statements))
            .map_err(|problem| PolicyError::Document { problem })?;
        let statements = statements.into_iter().enumerate().map(|(i, json)| {
            statement(json).map_err(|problem| PolicyError::Statement { number: i + 1, problem })
        });
        Ok(Document { statements: statements.collect::<Result<_, _>>()? })
    }
}

const DOCUMENT_MEMBERS: &[&str] = &["Version", "Id", "Statement"];
const STATEMENT_MEMBERS: &[&str] =
    &["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];

/// Reads the members of the document and gives its statements.
fn document(members: &mut Members) -> Result<Vec<Json>, String> {
    match members.take("Version") {
        None => {}
        Some(Json::Text(version)) if version == "2012-10-17" || version == "2008-10-17" => {}
        Some(_) => return Err("`Version` must be 2012-10-17 or 2008-10-17".to_owned()),
    }
    if let Some(id) = members.take("Id") {
        text("Id", id)?;
    }
    match members.take("Statement") {
        None => Err("the document has no `Statement`".to_owned()),
        Some(Json::List(statements)) if statements.is_empty() => {
            Err("`Statement` is an empty list".to_owned())
        }
        Some(Json::List(statements)) => Ok(statements),
        Some(one @ Json::Object(_)) => Ok(vec![one]),
        Some(other) => {
            Err(format!("`Statement` must be an object or a list of objects, not {}", other.kind()))
        }
    }
}

fn statement(json: Json) -> Result<Statement, String> {
    let mut members = Members::of(json)?;
    let sid = members.take("Sid").map(|sid| text("Sid", sid)).transpose()?;
    let effect = match members.take("Effect") {
        None => return Err("has no `Effect`".to_owned()),
        Some(Json::Text(effect)) if effect == "Allow" => Effect::Allow,
        Some(Json::Text(effect)) if effect == "Deny" => Effect::Deny,
        Some(_) => return Err("`Effect` must be Allow or Deny".to_owned()),
    };
    let (names, is_except) = members.take_either("Action", "NotAction")?;
    let patterns = names.iter().map(|name| action(name)).collect::<Result<Vec<_>, _>>()?;
    let actions = ActionSet::of(|action| {
        let name = action.as_str().to_ascii_lowercase();
        patterns.iter().any(|pattern| pattern.matches(&name)) != is_except
    });
    let (names, is_except) = members.take_either("Resource", "NotResource")?;
    let mut resources = Resources { is_except, fixed: Vec::new(), templates: Vec::new() };
    for name in &names {
        let template = resource(name)?;
        match template.fixed() {
            Some(pattern) => resources.fixed.push(pattern),
            None => resources.templates.push(template),
        }
    }
    let conditions = members.take("Condition").map_or(Ok(Vec::new()), conditions)?;
    if members.take("Principal").is_some() || members.take("NotPrincipal").is_some() {
        return Err("an IoT policy has no `Principal`: it is attached to one".to_owned());
    }
    members.finish(STATEMENT_MEMBERS)?;
    Ok(Statement { sid, effect, actions, resources, conditions })
}

/// Reads `*` or `service:Name`; wildcards may stand in the name, and case does not count.
fn action(text: &str) -> Result<Pattern, String> {
    let is_right = text == "*"
        || text.split_once(':').is_some_and(|(service, name)| {
            let is_service = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'*' || b == b'?';
            !service.is_empty()
                && service.bytes().all(is_service)
                && !name.is_empty()
                && name.bytes().all(is_name)
        });
    if !is_right {
        return Err(format!(
            "`{}` is not an action; an action is written like iot:Publish, iot:* or *",
            text.escape_debug()
        ));
    }
    let glyphs: Vec<Glyph> =
        text.to_ascii_lowercase().chars().map(Glyph::of_wildcard_text).collect();
    Ok(Pattern::new(&glyphs))
}

/// Reads `*` or an ARN, with wildcards and variables anywhere behind `arn:`.
fn resource(text: &str) -> Result<Template, String> {
    if text != "*" && !text.starts_with("arn:") {
        return Err(format!(
            "`{}` is not a resource; a resource is written like \
             arn:aws:iot:REGION:ACCOUNT:topic/NAME or *",
            text.escape_debug()
        ));
    }
    Template::parse(text, Wildcards::Yes)
}

fn conditions(json: Json) -> Result<Vec<Condition>, String> {
    let operators = match json {
        Json::Object(operators) => operators,
        other => return Err(format!("`Condition` must be an object, not {}", other.kind())),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in &operators {
        let keys = match keys {
            Json::Object(keys) => keys,
            other => {
                let operator = operator.escape_debug();
                return Err(format!("`{operator}` must be an object, not {}", other.kind()));
            }
        };
        if keys.is_empty() {
            return Err(format!("`{}` must name at least one key", operator.escape_debug()));
        }
        for (key, values) in keys {
            conditions.push(Condition::parse(operator, key, values)?);
        }
    }
    Ok(conditions)
}

/// The members of an object, taken out one by one; what is left over is unknown.
struct Members(Vec<(String, Json)>);

impl Members {
    fn of(json: Json) -> Result<Self, String> {
        match json {
            Json::Object(members) => Ok(Self(members)),
            other => Err(format!("must be an object, not {}", other.kind())),
        }
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes the one of two members that is there: its texts, and whether it is the second.
    fn take_either(&mut self, name: &str, except: &str) -> Result<(Vec<String>, bool), String> {
        match (self.take(name), self.take(except)) {
            (Some(json), None) => Ok((texts(name, json)?, false)),
            (None, Some(json)) => Ok((texts(except, json)?, true)),
            (None, None) => Err(format!("has neither `{name}` nor `{except}`")),
            (Some(_), Some(_)) => Err(format!("has both `{name}` and `{except}`")),
        }
    }

    /// Refuses what nobody took; `known` are the names for a hint.
    fn finish(&self, known: &[&str]) -> Result<(), String> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let hint = known.iter().find(|known| known.eq_ignore_ascii_case(name));
        let hint = hint.map_or(String::new(), |known| format!("; it is spelled `{known}`"));
        Err(format!("unknown member `{}`{hint}", name.escape_debug()))
    }
}

fn text(name: &str, json: Json) -> Result<String, String> {
    match json {
        Json::Text(text) => Ok(text),
        other => Err(format!("`{name}` must be a string, not {}", other.kind())),
    }
}

/// A string, or a list of at least one.
fn texts(name: &str, json: Json) -> Result<Vec<String>, String> {
    match json {
        Json::Text(text) => Ok(vec![text]),
        Json::List(list) if list.is_empty() => Err(format!("`{name}` is an empty list")),
        Json::List(list) => list.into_iter().map(|item| text(name, item)).collect(),
        other => {
            Err(format!("`{name}` must be a string or a list of strings, not {}", other.kind()))
        }
    }
}
