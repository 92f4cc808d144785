//! Permissions: documents with the facts of one connection filled in.

use std::sync::Arc;

use picket_model::{Account, PolicyName};

use crate::action::Action;
use crate::condition::{Condition, Holds};
use crate::decision::{Decision, StatementRef};
use crate::document::{Document, Effect, Statement};
use crate::facts::ConnectionFacts;
use crate::pattern::{Glyph, Pattern};

/// A document with the names that a decision calls it by.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedDocument {
    /// The policy.
    pub policy: PolicyName,
    /// The version that the document is.
    pub version: u32,
    /// The document, shared by all who are under it.
    pub document: Arc<Document>,
}

/// What one connection may do.
///
/// Equal permissions give equal decisions, so a change that leaves them equal need not be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Permissions {
    /// `arn:aws:iot:REGION:ACCOUNT:`
    arn_prefix: Box<str>,
    documents: Box<[NamedDocument]>,
    /// The statements whose conditions hold, in the order of the documents.
    rules: Box<[Rule]>,
}

/// A statement that counts for this connection.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    document: usize,
    statement: usize,
    effect: Effect,
    /// The resources with variables, filled in. Those without stay in the document.
    filled: Box<[Pattern]>,
}

impl Permissions {
    /// Settles all conditions and replaces all variables.
    ///
    /// A statement with a condition that does not hold is gone, and so is an allowing statement
    /// with a doubt about what it excludes. Cost: once through all documents.
    pub fn compile(
        account: &Account,
        documents: &[NamedDocument],
        facts: &ConnectionFacts,
    ) -> Permissions {
        let rules = documents.iter().enumerate().flat_map(|(d, named)| {
            named.document.statements.iter().enumerate().filter_map(move |(s, statement)| {
                let filled = fill(statement, facts)?;
                Some(Rule { document: d, statement: s, effect: statement.effect, filled })
            })
        });
        Permissions {
            arn_prefix: account.iot_arn("").into(),
            rules: rules.collect(),
            documents: documents.into(),
        }
    }

    /// Permissions that allow nothing.
    pub fn none() -> Permissions {
        Permissions { arn_prefix: Box::default(), documents: Box::default(), rules: Box::default() }
    }

    /// Decides one request.
    ///
    /// `resource` is a client id, a topic or a filter, without the front of its ARN. A shared
    /// subscription's filter is authorised by the caller without `$share/group/`.
    pub fn decide(&self, action: Action, resource: &str) -> Decision {
        let denied = self.saying(Effect::Deny, action, resource);
        if !denied.is_empty() {
            return Decision::ExplicitDeny { by: denied };
        }
        let allowed = self.saying(Effect::Allow, action, resource);
        if allowed.is_empty() { Decision::ImplicitDeny } else { Decision::Allowed { by: allowed } }
    }

    /// The statements of that effect that are about the request.
    pub(crate) fn saying(
        &self,
        effect: Effect,
        action: Action,
        resource: &str,
    ) -> Vec<StatementRef> {
        let arn = [&*self.arn_prefix, action.resource_prefix(), resource].concat();
        let of_effect = self.rules.iter().filter(|rule| rule.effect == effect);
        of_effect
            .filter(|rule| self.is_about(rule, action, &arn))
            .map(|rule| self.name(rule))
            .collect()
    }

    /// Whether anything but connecting could be allowed.
    ///
    /// False only if it is certain that every publish, subscription and delivery will be denied: a
    /// connection that can do nothing need not stay. True may also mean that it could not be told,
    /// for example where several denies together cover one allow.
    pub fn allows_anything(&self) -> bool {
        Action::ALL.into_iter().filter(|&action| action != Action::Connect).any(|action| {
            let prefix = [&*self.arn_prefix, action.resource_prefix()].concat();
            let mut space: Vec<Glyph> = prefix.chars().map(Glyph::Char).collect();
            space.push(Glyph::Many);
            let space = Pattern::new(&space);
            let of = |effect| {
                self.rules.iter().filter(move |rule| {
                    rule.effect == effect && self.statement(rule).actions.contains(action)
                })
            };
            of(Effect::Allow).any(|allow| {
                self.reach(allow, &space)
                    .into_iter()
                    .any(|part| !of(Effect::Deny).any(|deny| self.denies_all(deny, part)))
            })
        })
    }

    /// Patterns that together hold all that the rule is about within `space`; empty if that is
    /// nothing.
    fn reach<'a>(&'a self, rule: &'a Rule, space: &'a Pattern) -> Vec<&'a Pattern> {
        if self.statement(rule).resources.is_except {
            let excludes_all = self.patterns(rule).any(|pattern| pattern.covers(space));
            return if excludes_all { Vec::new() } else { vec![space] };
        }
        let within = self.patterns(rule).filter(|pattern| pattern.overlaps(space));
        within.map(|pattern| if pattern.covers(space) { space } else { pattern }).collect()
    }

    /// Whether the denying rule certainly holds for all that `part` matches.
    fn denies_all(&self, deny: &Rule, part: &Pattern) -> bool {
        match self.statement(deny).resources.is_except {
            true => !self.patterns(deny).any(|pattern| pattern.overlaps(part)),
            false => self.patterns(deny).any(|pattern| pattern.covers(part)),
        }
    }

    fn is_about(&self, rule: &Rule, action: Action, arn: &str) -> bool {
        let statement = self.statement(rule);
        statement.actions.contains(action)
            && self.patterns(rule).any(|pattern| pattern.matches(arn))
                != statement.resources.is_except
    }

    fn patterns<'a>(&'a self, rule: &'a Rule) -> impl Iterator<Item = &'a Pattern> {
        self.statement(rule).resources.fixed.iter().chain(&rule.filled)
    }

    fn statement(&self, rule: &Rule) -> &Statement {
        &self.documents[rule.document].document.statements[rule.statement]
    }

    fn name(&self, rule: &Rule) -> StatementRef {
        let document = &self.documents[rule.document];
        StatementRef {
            policy: document.policy.clone(),
            version: document.version,
            statement: rule.statement,
            sid: self.statement(rule).sid.clone(),
        }
    }
}

/// The statement's variable resources filled in, or `None` if the statement does not count.
///
/// INVARIANT (doubt denies): a variable without value makes its text match nothing. In a list of
/// resources that narrows the statement. In a list of exceptions it would widen it, which only a
/// deny may do; an allow with such a doubt does not count at all.
fn fill(statement: &Statement, facts: &ConnectionFacts) -> Option<Box<[Pattern]>> {
    let resources = &statement.resources;
    let mut is_in_doubt = false;
    for condition in &statement.conditions {
        match Condition::holds(condition, facts) {
            Holds::Yes => {}
            Holds::No => return None,
            Holds::InDoubt => is_in_doubt = true,
        }
    }
    let mut filled = Vec::new();
    for template in &resources.templates {
        match template.fill(facts) {
            Some(patterns) => filled.extend(patterns),
            None => is_in_doubt |= resources.is_except,
        }
    }
    match (statement.effect, is_in_doubt) {
        (Effect::Allow, true) => None,
        (Effect::Allow, false) | (Effect::Deny, _) => Some(filled.into()),
    }
}
