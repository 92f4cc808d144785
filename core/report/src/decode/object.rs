//! Objects: their members, by the table of names.

use serde::de::{MapAccess, SeqAccess};

use super::read::{Context, Maybe, Num, Read, Seed};
use super::skip::Skip;
use crate::fields::{self, Field};
use crate::refusal::{Fault, Step};

/// What an object's members make together.
pub(super) trait Members<'de>: Sized {
    /// What comes of them.
    type Out;
    /// Which object of the table it is.
    const OBJECT: fields::Object;

    /// Takes a member: reads its value once.
    fn member<A: MapAccess<'de>>(
        &mut self,
        field: Field,
        value: Value<'_, A>,
    ) -> Result<(), A::Error>;

    /// Ends the object. A fault is of the object or, if one is named, of a member.
    fn finish(self) -> Result<Self::Out, (Option<Field>, Fault)>;
}

/// The value of a member, not yet read.
pub(super) struct Value<'a, A> {
    pub(super) context: &'a mut Context,
    map: &'a mut A,
}

impl<'de, A: MapAccess<'de>> Value<'_, A> {
    /// Reads it; `None` for `null`.
    pub(super) fn read<R: Read<'de>>(&mut self, read: R) -> Result<Option<R::Out>, A::Error> {
        self.map.next_value_seed(Seed { context: self.context, read: Maybe(read) })
    }

    /// Reads it with the reader that its place asks for.
    pub(super) fn get<R: Read<'de> + Default>(&mut self) -> Result<Option<R::Out>, A::Error> {
        self.read(R::default())
    }

    /// Reads over it.
    pub(super) fn skip(&mut self) -> Result<(), A::Error> {
        self.map.next_value_seed(Seed { context: self.context, read: Skip })
    }
}

/// Reads an object.
#[derive(Default)]
pub(super) struct Object<M>(pub(super) M);

impl<'de, M: Members<'de>> Read<'de> for Object<M> {
    type Out = M::Out;
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(
        mut self,
        context: &mut Context,
        mut map: A,
    ) -> Result<Self::Out, A::Error> {
        context.enter()?;
        let mut seen = 0_u32;
        while let Some(field) = map.next_key_seed(Seed { context, read: Key(M::OBJECT) })? {
            let mut value = Value { context, map: &mut map };
            let Some(field) = field else {
                value.skip()?;
                continue;
            };
            let bit = 1 << field as u32;
            if seen & bit != 0 {
                return Err(context.fail_at(Step::Field(field), Fault::Twice));
            }
            seen |= bit;
            let read = self.0.member(field, value);
            context.within(|| Step::Field(field), read)?;
        }
        context.leave();
        self.0.finish().map_err(|(field, fault)| {
            context.place.inner_first.extend(field.map(Step::Field));
            context.fail(fault)
        })
    }
}

/// Reads a key: the member that it names, `None` if it names none. CBOR's keys may be anything;
/// those that are no text name none.
struct Key(fields::Object);

impl<'de> Read<'de> for Key {
    type Out = Option<Field>;
    const EXPECTED: &'static str = "a name";

    fn text(self, name: &str) -> Result<Self::Out, Fault> {
        Ok(self.0.field(name))
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
