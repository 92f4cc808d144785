//! Telling functions.

use picket_model::text::chain;
use picket_model::{FunctionName, Protocol};
use picket_store::{
    Delivery, OutboxEntry, RegistryError, Store, StoreError, functions, subscriptions,
};

use super::{AttemptError, Subscribers};
use crate::function_policy::{Caller, allowed_by};
use crate::functions::{FunctionHost, InvokeError};
use crate::sns_event::sns_event;

/// Subscribers that are functions of this installation.
pub struct FunctionSubscribers {
    /// Who may be told.
    pub store: Store,
    /// Who runs them.
    pub host: FunctionHost,
}

impl Subscribers for FunctionSubscribers {
    async fn attempt(&self, delivery: &Delivery, entry: &OutboxEntry) -> Result<(), AttemptError> {
        match delivery.protocol {
            Protocol::Lambda => {}
        }
        let function = self
            .store
            .account()
            .parse_function(&delivery.endpoint)
            .map_err(|error| AttemptError::Never(error.to_string()))?;
        let (store, delivery_, name) = (self.store.clone(), delivery.clone(), function.clone());
        let topic_arn = entry.topic_arn.clone();
        let checked =
            tokio::task::spawn_blocking(move || check(&store, &delivery_, &name, &topic_arn));
        checked.await.map_err(|_| AttemptError::Stopping)??;
        let event = sns_event(entry, &delivery.subscription_arn);
        let invocation = self.host.invoke(&function, event.into()).await.map_err(attempt_error)?;
        match invocation.failure() {
            None => Ok(()),
            Some(failure) => {
                Err(AttemptError::Again(format!("function `{function}` failed: {failure}")))
            }
        }
    }
}

/// Whether the subscriber may still be told.
fn check(
    store: &Store,
    delivery: &Delivery,
    function: &FunctionName,
    topic_arn: &str,
) -> Result<(), AttemptError> {
    let read = store.read(|tx| {
        let subscription = subscriptions::find(tx, &delivery.subscription_arn)?;
        let statements = functions::policy(tx, function)?;
        Ok::<_, RegistryError>((subscription.is_some(), statements))
    });
    let (is_subscribed, statements) = read.map_err(|error| match error {
        RegistryError::NotFound { .. } => {
            AttemptError::Never(format!("function `{function}` does not exist"))
        }
        RegistryError::Store(StoreError::Closed) => AttemptError::Stopping,
        error => AttemptError::Again(chain(&error)),
    })?;
    if !is_subscribed {
        return Err(AttemptError::Never("the subscription was removed".to_owned()));
    }
    let statements = statements.iter().map(|(_, statement)| statement.as_str());
    let account = store.account();
    let topic =
        Caller { service: "sns.amazonaws.com", source_arn: topic_arn, source_account: &account.id };
    if allowed_by(statements, &account.function_arn(function), topic).is_none() {
        return Err(AttemptError::Never(format!(
            "function `{function}` does not allow the topic to invoke it; allow it by \
             AddPermission with Action lambda:InvokeFunction, Principal sns.amazonaws.com and \
             SourceArn {topic_arn}"
        )));
    }
    Ok(())
}

/// Whether trying again can help.
fn attempt_error(error: InvokeError) -> AttemptError {
    let text = chain(&error);
    match error {
        InvokeError::Stopping => AttemptError::Stopping,
        InvokeError::NotFound(_)
        | InvokeError::EventNotJson(_)
        | InvokeError::EventTooLarge { .. }
        | InvokeError::Code { .. } => AttemptError::Never(text),
        InvokeError::Busy(_)
        | InvokeError::Python { .. }
        | InvokeError::Start { .. }
        | InvokeError::Store { .. } => AttemptError::Again(text),
    }
}
