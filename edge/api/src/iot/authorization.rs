//! What is in force for a device, and what it would be allowed.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_model::{
    Account, CertificateId, ClientId, PolicyName, PolicyTarget, PolicyVersion, ThingName,
};
use picket_policy::{
    Action, ConnectionFacts, Decision, Document, NamedDocument, Report, ThingFacts,
};
use picket_store::{ReadTx, access, certificates, policies};
use serde_json::{Value, json};

use super::names;
use super::policies::reference;
use crate::error::ApiError;
use crate::input::{Members, in_range, invalid_value, one_of, parsed};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "GetEffectivePolicies", effective_policies),
    operation!(Iot, "TestAuthorization", test),
];

/// Requests that one TestAuthorization asks about. Source: aws `AuthInfos`, 1 to 10.
const AUTH_INFOS_MAX: u64 = 10;

/// Resources of one of them: as many as a page, for a bound.
const RESOURCES_MAX: usize = 250;

/// Source: aws `ActionType`.
const ACTIONS: [(&str, Action); 4] = [
    ("PUBLISH", Action::Publish),
    ("SUBSCRIBE", Action::Subscribe),
    ("RECEIVE", Action::Receive),
    ("CONNECT", Action::Connect),
];

/// Policies by name, each once, with the version in force.
type InForce = BTreeMap<PolicyName, PolicyVersion>;

fn principal(state: &ApiState, members: &Members) -> Result<Option<PolicyTarget>, ApiError> {
    if let Some(pool) = members.str("cognitoIdentityPoolId")? {
        let rule = "Member is not supported: devices authenticate by certificate only";
        return Err(invalid_value(pool, "cognitoIdentityPoolId", rule));
    }
    let text = members.str("principal")?;
    text.map(|text| names::policy_target(&state.account, "principal", text)).transpose()
}

/// The policies of a principal and of the groups of a thing.
fn in_force(
    tx: &ReadTx,
    principal: Option<&PolicyTarget>,
    thing: Option<&ThingName>,
) -> Result<InForce, ApiError> {
    let (certificate, group) = match principal {
        None => (None, None),
        Some(PolicyTarget::Certificate(id)) => (Some(id), None),
        Some(group @ PolicyTarget::Group(_)) => (None, Some(group)),
    };
    let policies = access::effective_policies(tx, certificate, thing)?;
    let mut found: InForce = policies.into_iter().map(|(_, name, it)| (name, it)).collect();
    if let Some(group) = group {
        for name in policies::attached(tx, group, true)? {
            let version = policies::get(tx, &name)?.default_version;
            found.insert(name, version);
        }
    }
    Ok(found)
}

/// aws: GetEffectivePolicies
async fn effective_policies(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let principal = principal(state, &request.members()?)?;
    let thing =
        request.query("thingName").map(|text| names::thing("thingName", text)).transpose()?;
    if principal.is_none() && thing.is_none() {
        return Err(ApiError::invalid("`principal` or `thingName` must be given"));
    }
    let found = state.read(move |tx| in_force(tx, principal.as_ref(), thing.as_ref())).await?;
    let list: Vec<Value> = found
        .iter()
        .map(|(name, version)| {
            let mut policy = reference(state, name);
            policy["policyDocument"] = json!(version.document);
            policy
        })
        .collect();
    Ok(Response::json(&json!({ "effectivePolicies": list })))
}

/// What a TestAuthorization asks.
struct Question {
    principal: Option<PolicyTarget>,
    client: Option<ClientId>,
    to_add: Vec<PolicyName>,
    to_skip: Vec<PolicyName>,
    infos: Vec<AuthInfo>,
}

/// One request that a device would make.
struct AuthInfo {
    action_name: &'static str,
    action: Action,
    /// ARN as given, and the client id, topic or filter in it.
    resources: Vec<(String, String)>,
}

impl Question {
    fn read(state: &ApiState, request: &Request) -> Result<Self, ApiError> {
        let members = request.members()?;
        let names = |member: &str| -> Result<Vec<PolicyName>, ApiError> {
            members.str_list(member)?.into_iter().map(|text| names::policy(member, text)).collect()
        };
        let infos = members.objects("authInfos")?;
        in_range("authInfos", infos.len() as u64, 1, AUTH_INFOS_MAX)?;
        let client = request
            .query("clientId")
            .map(|text| parsed("clientId", text, ClientId::parse))
            .transpose()?;
        Ok(Self {
            principal: principal(state, &members)?,
            client,
            to_add: names("policyNamesToAdd")?,
            to_skip: names("policyNamesToSkip")?,
            infos: infos
                .iter()
                .map(|info| AuthInfo::read(&state.account, info))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The documents that decide, and what is known of the connection.
    fn gather(
        &self,
        state: &ApiState,
        tx: &ReadTx,
    ) -> Result<(Vec<NamedDocument>, ConnectionFacts), ApiError> {
        let mut facts =
            ConnectionFacts { client_id: self.client.clone(), ..ConnectionFacts::default() };
        let mut policies = in_force(tx, self.principal.as_ref(), None)?;
        if let Some(PolicyTarget::Certificate(id)) = &self.principal {
            let certificate = certificates::get(tx, id)?;
            facts.certificate = (state.certificate_facts)(&certificate);
            if let Some(client) = &self.client {
                policies.extend(self.rights_of_thing(tx, id, client, &mut facts)?);
            }
        }
        for name in &self.to_add {
            policies.insert(name.clone(), policies::get(tx, name)?.default_version);
        }
        for name in &self.to_skip {
            policies.remove(name);
        }
        let documents = policies
            .into_iter()
            .map(|(policy, version)| {
                let document = Document::parse(&version.document).map_err(ApiError::internal)?;
                Ok(NamedDocument { policy, version: version.id, document: Arc::new(document) })
            })
            .collect::<Result<_, ApiError>>()?;
        Ok((documents, facts))
    }

    /// What the thing that a connection speaks for adds to it.
    fn rights_of_thing(
        &self,
        tx: &ReadTx,
        certificate: &CertificateId,
        client: &ClientId,
        facts: &mut ConnectionFacts,
    ) -> Result<InForce, ApiError> {
        let rights = access::rights(tx, Some(certificate), client)?;
        facts.thing = rights.thing.map(|thing| ThingFacts {
            name: thing.name,
            thing_type: thing.thing_type,
            attributes: thing.attributes,
            is_attached: rights.is_named,
        });
        Ok(rights.policies.into_iter().map(|(_, name, version)| (name, version)).collect())
    }
}

impl AuthInfo {
    fn read(account: &Account, members: &Members) -> Result<Self, ApiError> {
        let text = members.required_str("actionType")?;
        let (action_name, action) = one_of("actionType", text, &ACTIONS.map(|it| (it.0, it)))?;
        let prefix = action.resource_prefix();
        let given = members.str_list("resources")?;
        if given.is_empty() || given.len() > RESOURCES_MAX {
            let sentence = format!("`resources` must have 1 to {RESOURCES_MAX} ARNs");
            return Err(ApiError::invalid(sentence));
        }
        let resources = given
            .into_iter()
            .map(|arn| {
                let resource = account.iot_resource(arn).and_then(|it| it.strip_prefix(prefix));
                let resource = resource.ok_or_else(|| {
                    let rule = format!(
                        "Member must be an ARN of this account, arn:aws:iot:REGION:ACCOUNT:{prefix}NAME"
                    );
                    invalid_value(arn, "resources", rule)
                })?;
                Ok((arn.to_owned(), resource.to_owned()))
            })
            .collect::<Result<_, ApiError>>()?;
        Ok(Self { action_name, action, resources })
    }

    /// The answer for all resources together: as bad as that of the worst.
    fn judge(
        &self,
        state: &ApiState,
        documents: &[NamedDocument],
        facts: &ConnectionFacts,
    ) -> Value {
        let reports: Vec<Report> = self
            .resources
            .iter()
            .map(|(_, resource)| {
                Report::of(&state.account, documents, facts, self.action, resource)
            })
            .collect();
        let badness = |decision: &Decision| match decision {
            Decision::Allowed { .. } => 0,
            Decision::ImplicitDeny => 1,
            Decision::ExplicitDeny { .. } => 2,
        };
        let worst = reports.iter().map(|report| badness(&report.decision)).max().unwrap_or(1);
        let decision = ["ALLOWED", "IMPLICIT_DENY", "EXPLICIT_DENY"][worst];
        let list = |names: Vec<&PolicyName>| -> Value {
            let mut names = names;
            names.sort();
            names.dedup();
            names.into_iter().map(|name| reference(state, name)).collect()
        };
        let allowed = reports.iter().flat_map(|it| &it.allowed_by).map(|it| &it.policy).collect();
        let denied = reports.iter().flat_map(|it| &it.denied_by).map(|it| &it.policy).collect();
        let silent = reports.iter().flat_map(|it| &it.silent).collect();
        let mut missing: Vec<&String> = reports.iter().flat_map(|it| &it.missing).collect();
        missing.sort();
        missing.dedup();
        let arns: Vec<&String> = self.resources.iter().map(|(arn, _)| arn).collect();
        json!({
            "authInfo": { "actionType": self.action_name, "resources": arns },
            "allowed": { "policies": list(allowed) },
            "denied": {
                "implicitDeny": { "policies": list(silent) },
                "explicitDeny": { "policies": list(denied) },
            },
            "authDecision": decision,
            "missingContextValues": missing,
        })
    }
}

/// aws: TestAuthorization. Decided as a connection would be that presents this certificate with
/// this client id; the source address and the attributes of the CONNECT are not known here.
async fn test(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let question = Question::read(state, &request)?;
    let shared = state.clone();
    let answers = state
        .read(move |tx| {
            let (documents, facts) = question.gather(&shared, tx)?;
            let judge = |info: &AuthInfo| info.judge(&shared, &documents, &facts);
            Ok(question.infos.iter().map(judge).collect::<Vec<Value>>())
        })
        .await?;
    Ok(Response::json(&json!({ "authResults": answers })))
}
