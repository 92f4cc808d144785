//! What nobody asked for, read over but bounded like everything else.

use serde::de::{MapAccess, SeqAccess};

use super::read::{Context, Num, Read, Seed};
use crate::refusal::Fault;

/// Takes any value and leaves it.
#[derive(Clone, Copy, Default)]
pub(super) struct Skip;

impl<'de> Read<'de> for Skip {
    type Out = ();
    const EXPECTED: &'static str = "any value";

    fn null(self) -> Result<(), Fault> {
        Ok(())
    }

    fn boolean(self) -> Result<(), Fault> {
        Ok(())
    }

    fn number(self, _: Num) -> Result<(), Fault> {
        Ok(())
    }

    fn text(self, _: &str) -> Result<(), Fault> {
        Ok(())
    }

    fn bytes(self) -> Result<(), Fault> {
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(self, context: &mut Context, mut items: A) -> Result<(), A::Error> {
        context.enter()?;
        while items.next_element_seed(Seed { context, read: self })?.is_some() {}
        context.leave();
        Ok(())
    }

    fn object<A: MapAccess<'de>>(
        self,
        context: &mut Context,
        mut members: A,
    ) -> Result<(), A::Error> {
        context.enter()?;
        while members.next_key_seed(Seed { context, read: self })?.is_some() {
            members.next_value_seed(Seed { context, read: self })?;
        }
        context.leave();
        Ok(())
    }
}
