//! The sessions whose rights follow from one noun.

use std::collections::BTreeSet;

/// Numbers of sessions.
///
/// Most nouns are one session's alone, and a tree takes as much memory for one number as for eleven.
#[derive(Debug, Default)]
pub(super) enum Followers {
    #[default]
    Nobody,
    One(u64),
    /// Several, or what is left of several.
    #[expect(clippy::box_collection, reason = "where there is one, the set takes no room")]
    Many(Box<BTreeSet<u64>>),
}

impl Followers {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    pub(super) fn insert(&mut self, session: u64) {
        match self {
            Self::Nobody => *self = Self::One(session),
            Self::One(first) => *self = Self::Many(Box::new(BTreeSet::from([*first, session]))),
            Self::Many(all) => drop(all.insert(session)),
        }
    }

    pub(super) fn remove(&mut self, session: u64) {
        let is_last = match self {
            Self::Nobody => return,
            Self::One(only) => *only == session,
            Self::Many(all) => all.remove(&session) && all.is_empty(),
        };
        if is_last {
            *self = Self::Nobody;
        }
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(only) => (Some(*only), None),
            Self::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|all| all.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn followers_are_those_that_came_and_did_not_go(
            steps in prop::collection::vec((0..4_u64, any::<bool>()), 0..30),
        ) {
            let (mut followers, mut expected) = (Followers::default(), BTreeSet::new());
            for (session, comes) in steps {
                if comes {
                    followers.insert(session);
                    expected.insert(session);
                } else {
                    followers.remove(session);
                    expected.remove(&session);
                }
                prop_assert!(followers.iter().eq(expected.iter().copied()));
                prop_assert_eq!(followers.is_empty(), expected.is_empty());
            }
        }
    }
}
