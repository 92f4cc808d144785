//! Custom metrics: data that breaks the rules is left out, a wrong shape refuses the report.
//!
//! Source: AWS guide "Custom metrics": numbers, strings of letters, digits and `: _ - / .`, valid
//! addresses; what is else is dropped. That a value stands in a list of one object is the shape.

use std::net::IpAddr;

use picket_model::{CustomMetricName, CustomValue, Number};
use serde::de::{MapAccess, SeqAccess};

use super::object::{Members, Object, Value};
use super::read::{Context, List, Num, Read, Seed};
use super::skip::Skip;
use crate::address;
use crate::fields::{self, Field};
use crate::limits::{CUSTOM_ELEMENTS_MAX, CUSTOM_METRICS_MAX, CUSTOM_STRING_BYTES_MAX};
use crate::refusal::{Fault, Step, quoted};

/// The object of all custom metrics, whose members are named by the user.
#[derive(Default)]
pub(super) struct CustomMetrics;

impl<'de> Read<'de> for CustomMetrics {
    type Out = Vec<(CustomMetricName, CustomValue)>;
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(
        self,
        context: &mut Context,
        mut map: A,
    ) -> Result<Self::Out, A::Error> {
        context.enter()?;
        let mut metrics: Self::Out = Vec::new();
        while let Some(name) = map.next_key_seed(Seed { context, read: Name })? {
            let Some(name) = name else {
                // Nothing can be called so, so nothing is asked about it.
                context.lose(1);
                map.next_value_seed(Seed { context, read: Skip })?;
                continue;
            };
            let step = || Step::Metric(quoted(name.as_str()));
            let value = map.next_value_seed(Seed { context, read: OneValue });
            match context.within(step, value)? {
                None => context.lose(1),
                Some(_) if metrics.len() == CUSTOM_METRICS_MAX => {
                    return Err(context.fail(Fault::TooMany { max: CUSTOM_METRICS_MAX }));
                }
                Some(value) => metrics.push((name, value)),
            }
        }
        context.leave();
        if let Some(name) = twice(&metrics) {
            return Err(context.fail_at(Step::Metric(quoted(name)), Fault::Twice));
        }
        Ok(metrics)
    }
}

/// A name that two metrics have.
fn twice(metrics: &[(CustomMetricName, CustomValue)]) -> Option<&str> {
    let mut names: Vec<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// A metric's name; `None` if nothing can be called so.
struct Name;

impl<'de> Read<'de> for Name {
    type Out = Option<CustomMetricName>;
    const EXPECTED: &'static str = "a name";

    fn text(self, text: &str) -> Result<Self::Out, Fault> {
        Ok(CustomMetricName::parse(text).ok())
    }

    fn null(self) -> Result<Self::Out, Fault> {
        Ok(None)
    }

    fn boolean(self) -> Result<Self::Out, Fault> {
        Ok(None)
    }

    fn number(self, _: Num) -> Result<Self::Out, Fault> {
        Ok(None)
    }

    fn bytes(self) -> Result<Self::Out, Fault> {
        Ok(None)
    }

    fn list<A: SeqAccess<'de>>(
        self,
        context: &mut Context,
        items: A,
    ) -> Result<Self::Out, A::Error> {
        Skip.list(context, items).map(|()| None)
    }

    fn object<A: MapAccess<'de>>(
        self,
        context: &mut Context,
        members: A,
    ) -> Result<Self::Out, A::Error> {
        Skip.object(context, members).map(|()| None)
    }
}

/// The list of one object that a value stands in; `None` if there is no value in it.
struct OneValue;

impl<'de> Read<'de> for OneValue {
    type Out = Option<CustomValue>;
    const EXPECTED: &'static str = "a list of one object";

    fn null(self) -> Result<Self::Out, Fault> {
        Ok(None)
    }

    fn list<A: SeqAccess<'de>>(
        self,
        context: &mut Context,
        mut items: A,
    ) -> Result<Self::Out, A::Error> {
        context.enter()?;
        let first = items.next_element_seed(Seed { context, read: Object(Typed::default()) });
        let first = context.within(|| Step::Index(0), first)?;
        if first.is_some() && items.next_element_seed(Seed { context, read: Skip })?.is_some() {
            return Err(context.fail(Fault::NotOneValue));
        }
        context.leave();
        Ok(first.flatten())
    }
}

/// The object that names the type and holds the value.
#[derive(Default)]
struct Typed {
    has_type: bool,
    value: Option<CustomValue>,
    has_two: bool,
}

impl<'de> Members<'de> for Typed {
    type Out = Option<CustomValue>;
    const OBJECT: fields::Object = fields::Object::CustomValue;

    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        mut value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        self.has_two |= self.has_type;
        self.has_type = true;
        self.value = match field {
            Field::Number => value.get::<AnyNumber>()?.flatten().map(CustomValue::Number),
            Field::NumberList => kept::<AnyNumber, A>(&mut value)?.map(CustomValue::NumberList),
            Field::StringList => kept::<Word, A>(&mut value)?.map(CustomValue::StringList),
            Field::IpList => kept::<Address, A>(&mut value)?.map(CustomValue::IpList),
            _ => return value.skip(),
        };
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, (Option<Field>, Fault)> {
        if self.has_two {
            return Err((None, Fault::NotOneValue));
        }
        Ok(self.value)
    }
}

/// Reads a list and keeps the elements that are right. A list of which nothing is left is no value:
/// as an empty list it would say that there is nothing, and clear an alarm about what is there.
fn kept<'de, R, A>(value: &mut Value<'_, A>) -> Result<Option<Vec<R::Kept>>, A::Error>
where
    R: Element<'de>,
    A: MapAccess<'de>,
{
    let Some(list) = value.get::<List<R, CUSTOM_ELEMENTS_MAX>>()? else { return Ok(None) };
    let n_read = list.len();
    let kept: Vec<R::Kept> = list.into_iter().flatten().collect();
    value.context.lose(n_read - kept.len());
    Ok((n_read == 0 || !kept.is_empty()).then_some(kept))
}

/// A reader of elements, which may turn out to be none.
trait Element<'de>: Read<'de, Out = Option<Self::Kept>> + Default {
    type Kept;
}

/// A number that is finite.
#[derive(Default)]
struct AnyNumber;

impl Read<'_> for AnyNumber {
    type Out = Option<Number>;
    const EXPECTED: &'static str = "a number";

    fn number(self, num: Num) -> Result<Self::Out, Fault> {
        Ok(match num {
            Num::Whole(n) => Some(Number::of_count(n)),
            Num::Below(n) => Number::new(n as f64),
            Num::Float(x) => Number::new(x),
        })
    }
}

impl Element<'_> for AnyNumber {
    type Kept = Number;
}

/// A string of the characters that may be in one.
#[derive(Default)]
struct Word;

impl Read<'_> for Word {
    type Out = Option<Box<str>>;
    const EXPECTED: &'static str = "a string";

    fn text(self, text: &str) -> Result<Self::Out, Fault> {
        let is_right = |c: char| c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '/' | '.');
        let fits = text.len() <= CUSTOM_STRING_BYTES_MAX;
        Ok((fits && text.chars().all(is_right)).then(|| text.into()))
    }
}

impl Element<'_> for Word {
    type Kept = Box<str>;
}

/// An address.
#[derive(Default)]
struct Address;

impl Read<'_> for Address {
    type Out = Option<IpAddr>;
    const EXPECTED: &'static str = "a string";

    fn text(self, text: &str) -> Result<Self::Out, Fault> {
        Ok(address::ip(text))
    }
}

impl Element<'_> for Address {
    type Kept = IpAddr;
}
