//! Reports: a decision with all that a person asking "why" wants to know.

use std::collections::BTreeSet;

use picket_model::{Account, PolicyName};

use crate::action::Action;
use crate::decision::{Decision, StatementRef};
use crate::document::Effect;
use crate::facts::ConnectionFacts;
use crate::permissions::{NamedDocument, Permissions};

/// How one request would be decided, and what each policy has to do with it.
///
/// aws: TestAuthorization
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The decision.
    pub decision: Decision,
    /// Statements that allow the request, also where another one denies it.
    pub allowed_by: Vec<StatementRef>,
    /// Statements that deny the request.
    pub denied_by: Vec<StatementRef>,
    /// Policies without a statement that allows or denies the request, in the order given.
    pub silent: Vec<PolicyName>,
    /// Variables and condition keys that statements about this action ask for and that have no
    /// value, as they are written there.
    pub missing: BTreeSet<String>,
}

impl Report {
    /// Decides one request and explains it. Parameters are those of [`Permissions::compile`] and
    /// [`Permissions::decide`].
    pub fn of(
        account: &Account,
        documents: &[NamedDocument],
        facts: &ConnectionFacts,
        action: Action,
        resource: &str,
    ) -> Report {
        let permissions = Permissions::compile(account, documents, facts);
        let by = |effect| permissions.saying(effect, action, resource);
        let (allowed_by, denied_by) = (by(Effect::Allow), by(Effect::Deny));
        let speaks = |policy: &PolicyName| {
            allowed_by.iter().chain(&denied_by).any(|statement| statement.policy == *policy)
        };
        let names = documents.iter().map(|document| document.policy.clone());
        let silent = names.filter(|policy| !speaks(policy)).collect();
        let statements = documents.iter().flat_map(|named| &named.document.statements);
        let about = statements.filter(|statement| statement.actions.contains(action));
        let missing = about.flat_map(|statement| {
            let variables = statement.resources.templates.iter().flat_map(|t| t.variables());
            let in_resources = variables.filter(|key| key.values(facts).is_empty());
            let in_conditions =
                statement.conditions.iter().flat_map(|condition| condition.missing(facts));
            in_resources.chain(in_conditions).map(ToString::to_string)
        });
        Report {
            decision: permissions.decide(action, resource),
            silent,
            missing: missing.collect(),
            allowed_by,
            denied_by,
        }
    }
}
