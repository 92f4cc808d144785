//! The frame of reading: what a value may be, where it stands, how deep.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::DEPTH_MAX;
use crate::refusal::{Fault, Kind, Place, Step};

/// What is known while a report is read.
#[derive(Default)]
pub(super) struct Context {
    depth: usize,
    /// What is wrong; the errors that the formats carry outward are empty.
    pub(super) fault: Option<Fault>,
    pub(super) place: Place,
    pub(super) report_id: Option<u64>,
    pub(super) n_lost: u32,
}

/// A number as the format has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Num {
    Whole(u64),
    Below(i64),
    Float(f64),
}

impl Context {
    /// Notes what is wrong, and makes the error that ends the reading.
    pub(super) fn fail<E: Error>(&mut self, fault: Fault) -> E {
        // An error without a noted fault is the format's own.
        self.fault = Some(fault);
        E::custom("refused")
    }

    /// Notes what is wrong with a member.
    pub(super) fn fail_at<E: Error>(&mut self, step: Step, fault: Fault) -> E {
        self.place.inner_first.push(step);
        self.fail(fault)
    }

    /// Notes, on an error's way out, where it comes from.
    pub(super) fn within<T, E>(
        &mut self,
        step: impl FnOnce() -> Step,
        result: Result<T, E>,
    ) -> Result<T, E> {
        if result.is_err() {
            self.place.inner_first.push(step());
        }
        result
    }

    /// Goes into an object or a list.
    pub(super) fn enter<E: Error>(&mut self) -> Result<(), E> {
        // INVARIANT (depth): every object and list is entered here before it is read, also those
        // that are skipped.
        if self.depth == DEPTH_MAX {
            return Err(self.fail(Fault::TooDeep));
        }
        self.depth += 1;
        Ok(())
    }

    /// Comes out again.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Notes that something is left out.
    pub(super) fn lose(&mut self, n: usize) {
        self.n_lost = self.n_lost.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }
}

/// Reads one value, which may be of some kinds and is refused if it is of another.
pub(super) trait Read<'de>: Sized {
    /// What comes of it.
    type Out;
    /// What it should be, for a sentence.
    const EXPECTED: &'static str;

    fn null(self) -> Result<Self::Out, Fault> {
        Err(Self::other(Kind::Null))
    }

    fn boolean(self) -> Result<Self::Out, Fault> {
        Err(Self::other(Kind::Bool))
    }

    fn number(self, _: Num) -> Result<Self::Out, Fault> {
        Err(Self::other(Kind::Number))
    }

    fn text(self, _: &str) -> Result<Self::Out, Fault> {
        Err(Self::other(Kind::Text))
    }

    fn bytes(self) -> Result<Self::Out, Fault> {
        Err(Self::other(Kind::Bytes))
    }

    fn list<A: SeqAccess<'de>>(self, context: &mut Context, _: A) -> Result<Self::Out, A::Error> {
        Err(context.fail(Self::other(Kind::List)))
    }

    fn object<A: MapAccess<'de>>(self, context: &mut Context, _: A) -> Result<Self::Out, A::Error> {
        Err(context.fail(Self::other(Kind::Object)))
    }

    fn other(found: Kind) -> Fault {
        Fault::Kind { found, expected: Self::EXPECTED }
    }
}

/// A [`Read`] in the form that serde drives.
pub(super) struct Seed<'c, R> {
    pub(super) context: &'c mut Context,
    pub(super) read: R,
}

impl<'de, R: Read<'de>> Seed<'_, R> {
    fn end<E: Error>(self, read: impl FnOnce(R) -> Result<R::Out, Fault>) -> Result<R::Out, E> {
        read(self.read).map_err(|fault| self.context.fail(fault))
    }
}

impl<'de, R: Read<'de>> DeserializeSeed<'de> for Seed<'_, R> {
    type Value = R::Out;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Out, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Read<'de>> Visitor<'de> for Seed<'_, R> {
    type Value = R::Out;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(R::EXPECTED)
    }

    fn visit_unit<E: Error>(self) -> Result<R::Out, E> {
        self.end(R::null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<R::Out, E> {
        self.end(R::boolean)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<R::Out, E> {
        self.end(|read| read.number(Num::Whole(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<R::Out, E> {
        let num = u64::try_from(value).map_or(Num::Below(value), Num::Whole);
        self.end(|read| read.number(num))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<R::Out, E> {
        self.end(|read| read.number(Num::Float(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<R::Out, E> {
        self.end(|read| read.text(value))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<R::Out, E> {
        self.end(R::bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<R::Out, A::Error> {
        self.read.list(self.context, items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<R::Out, A::Error> {
        self.read.object(self.context, members)
    }
}

/// A value that may be `null`, which is as if it were absent.
#[derive(Default)]
pub(super) struct Maybe<R>(pub(super) R);

impl<'de, R: Read<'de>> Read<'de> for Maybe<R> {
    type Out = Option<R::Out>;
    const EXPECTED: &'static str = R::EXPECTED;

    fn null(self) -> Result<Self::Out, Fault> {
        Ok(None)
    }

    fn boolean(self) -> Result<Self::Out, Fault> {
        self.0.boolean().map(Some)
    }

    fn number(self, value: Num) -> Result<Self::Out, Fault> {
        self.0.number(value).map(Some)
    }

    fn text(self, value: &str) -> Result<Self::Out, Fault> {
        self.0.text(value).map(Some)
    }

    fn bytes(self) -> Result<Self::Out, Fault> {
        self.0.bytes().map(Some)
    }

    fn list<A: SeqAccess<'de>>(
        self,
        context: &mut Context,
        items: A,
    ) -> Result<Self::Out, A::Error> {
        self.0.list(context, items).map(Some)
    }

    fn object<A: MapAccess<'de>>(
        self,
        context: &mut Context,
        members: A,
    ) -> Result<Self::Out, A::Error> {
        self.0.object(context, members).map(Some)
    }
}

/// A list whose elements are all of one kind, at most `MAX` of them.
#[derive(Default)]
pub(super) struct List<R, const MAX: usize>(std::marker::PhantomData<R>);

impl<'de, R: Read<'de> + Default, const MAX: usize> Read<'de> for List<R, MAX> {
    type Out = Vec<R::Out>;
    const EXPECTED: &'static str = "a list";

    fn list<A: SeqAccess<'de>>(
        self,
        context: &mut Context,
        mut items: A,
    ) -> Result<Self::Out, A::Error> {
        context.enter()?;
        // What is declared about the length is not looked at: the vector grows with what comes.
        let mut list = Vec::new();
        loop {
            let item = items.next_element_seed(Seed { context, read: R::default() });
            let Some(item) = context.within(|| Step::Index(list.len()), item)? else { break };
            if list.len() == MAX {
                return Err(context.fail(Fault::TooMany { max: MAX }));
            }
            list.push(item);
        }
        context.leave();
        Ok(list)
    }
}
