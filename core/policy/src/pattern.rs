//! Texts with wildcards.
//!
//! `*` stands for any run of characters, `/` included; `?` for any one character. The wildcards of
//! MQTT, `+` and `#`, are ordinary characters here. Source: AWS guide "Using wildcard characters in
//! MQTT and AWS IoT Core policies".

/// One element of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyph {
    /// This character.
    Char(char),
    /// `?`: any one character.
    One,
    /// `*`: any run of characters, also none.
    Many,
}

/// A text with wildcards, cut at its `*`s.
///
/// Matching goes through the text once and never back behind a piece that was found: each piece
/// takes the first place that it fits, which leaves the most for those after it. The cost is the
/// length of the text, times that of a piece only where the piece holds a `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Never empty. A single piece means no `*` at all; between two pieces stands a `*`. Only the
    /// first and the last can be of no length.
    pieces: Box<[Piece]>,
}

/// What stands between two `*`s.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Without `?`, which nearly all are: the standard library's linear search finds it.
    Text(Box<str>),
    /// With at least one `?`, here `None`.
    Holes(Box<[Option<char>]>),
}

impl Pattern {
    /// Takes the glyphs in order.
    pub(crate) fn new(glyphs: &[Glyph]) -> Self {
        let cuts: Vec<&[Glyph]> = glyphs.split(|&glyph| glyph == Glyph::Many).collect();
        let last = cuts.len() - 1;
        let pieces = cuts.iter().enumerate().filter_map(|(i, &cut)| {
            // `**` is `*`.
            let is_between = i != 0 && i != last;
            if is_between && cut.is_empty() { None } else { Some(Piece::new(cut)) }
        });
        Self { pieces: pieces.collect() }
    }

    /// Reads `*` and `?` as wildcards and all else as itself.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Self {
        Self::new(&text.chars().map(Glyph::of_wildcard_text).collect::<Vec<_>>())
    }

    /// Whether the whole of `text` is what the pattern says.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let [first, between @ .., last] = &*self.pieces else {
            return self.pieces.first().is_some_and(|piece| piece.strip_from(text) == Some(""));
        };
        let Some(mut rest) = first.strip_from(text) else { return false };
        for piece in between {
            let Some(behind) = piece.find_in(rest) else { return false };
            rest = behind;
        }
        last.is_end_of(rest)
    }

    /// The same pattern for texts in lower case.
    pub(crate) fn to_lowercase(&self) -> Self {
        let lower = |glyph| match glyph {
            Glyph::Char(c) => c.to_lowercase().map(Glyph::Char).collect(),
            Glyph::One | Glyph::Many => vec![glyph],
        };
        Self::new(&self.glyphs().into_iter().flat_map(lower).collect::<Vec<_>>())
    }

    /// Whether everything that `other` matches is matched by this one too.
    ///
    /// Errs only on one side: false may also mean that it could not be told.
    pub(crate) fn covers(&self, other: &Pattern) -> bool {
        let (ours, theirs) = (self.glyphs(), other.glyphs());
        let stands_for = |glyph: Glyph, for_other: Glyph| match glyph {
            Glyph::Char(_) => glyph == for_other,
            Glyph::One => for_other != Glyph::Many,
            Glyph::Many => false,
        };
        // The other's glyphs are the text here. On a mismatch, the last `*` seen takes one more.
        let (mut i, mut k) = (0, 0);
        let mut last_many: Option<(usize, usize)> = None;
        while k < theirs.len() {
            if ours.get(i) == Some(&Glyph::Many) {
                last_many = Some((i, k));
                i += 1;
            } else if ours.get(i).is_some_and(|&glyph| stands_for(glyph, theirs[k])) {
                i += 1;
                k += 1;
            } else if let Some((many, taken)) = last_many {
                last_many = Some((many, taken + 1));
                i = many + 1;
                k = taken + 1;
            } else {
                return false;
            }
        }
        ours[i..].iter().all(|&glyph| glyph == Glyph::Many)
    }

    /// Whether some text is matched by both.
    pub(crate) fn overlaps(&self, other: &Pattern) -> bool {
        let (ours, theirs) = (self.glyphs(), other.glyphs());
        // `row[k]`: whether what is left of ours overlaps with `theirs[k..]`.
        let mut row = vec![false; theirs.len() + 1];
        let mut below = row.clone();
        for i in (0..=ours.len()).rev() {
            for k in (0..=theirs.len()).rev() {
                row[k] = match (ours.get(i), theirs.get(k)) {
                    (None, None) => true,
                    (Some(Glyph::Many), Some(_)) => below[k] || row[k + 1],
                    (Some(Glyph::Many), None) => below[k],
                    (Some(_), Some(Glyph::Many)) => row[k + 1] || below[k],
                    (None, Some(Glyph::Many)) => row[k + 1],
                    (Some(Glyph::Char(a)), Some(Glyph::Char(b))) => a == b && below[k + 1],
                    (Some(_), Some(_)) => below[k + 1],
                    (None, Some(_)) | (Some(_), None) => false,
                };
            }
            std::mem::swap(&mut row, &mut below);
        }
        below[0]
    }

    fn glyphs(&self) -> Vec<Glyph> {
        let mut glyphs = Vec::new();
        for (i, piece) in self.pieces.iter().enumerate() {
            if i > 0 {
                glyphs.push(Glyph::Many);
            }
            match piece {
                Piece::Text(text) => glyphs.extend(text.chars().map(Glyph::Char)),
                Piece::Holes(holes) => {
                    glyphs.extend(holes.iter().map(|hole| hole.map_or(Glyph::One, Glyph::Char)));
                }
            }
        }
        glyphs
    }
}

impl Glyph {
    /// A character of a text in which `*` and `?` are wildcards.
    pub(crate) const fn of_wildcard_text(c: char) -> Self {
        match c {
            '*' => Self::Many,
            '?' => Self::One,
            c => Self::Char(c),
        }
    }
}

impl Piece {
    /// Takes glyphs without [`Glyph::Many`].
    fn new(glyphs: &[Glyph]) -> Self {
        let holes: Box<[Option<char>]> = glyphs
            .iter()
            .map(|&glyph| match glyph {
                Glyph::Char(c) => Some(c),
                Glyph::One | Glyph::Many => None,
            })
            .collect();
        let text: Option<String> = holes.iter().copied().collect();
        text.map_or(Self::Holes(holes), |text| Self::Text(text.into()))
    }

    /// What follows this piece, if `text` starts with it.
    fn strip_from<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(piece) => text.strip_prefix(&**piece),
            Self::Holes(holes) => {
                let mut chars = text.chars();
                let fits = holes
                    .iter()
                    .all(|&hole| chars.next().is_some_and(|c| hole.is_none_or(|hole| hole == c)));
                fits.then_some(chars.as_str())
            }
        }
    }

    /// What follows the first place in `text` where this piece is.
    fn find_in<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(piece) => text.find(&**piece).map(|at| &text[at + piece.len()..]),
            Self::Holes(_) => text.char_indices().find_map(|(at, _)| self.strip_from(&text[at..])),
        }
    }

    /// Whether `text` ends with this piece.
    fn is_end_of(&self, text: &str) -> bool {
        match self {
            Self::Text(piece) => text.ends_with(&**piece),
            Self::Holes(holes) => {
                let mut chars = text.chars();
                holes.iter().rev().all(|&hole| {
                    chars.next_back().is_some_and(|c| hole.is_none_or(|hole| hole == c))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word; exponential.
    fn matches_naively(pattern: &[Glyph], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([Glyph::Many, rest @ ..], _) => {
                (0..=text.len()).any(|n| matches_naively(rest, &text[n..]))
            }
            ([Glyph::One, pattern @ ..], [_, text @ ..]) => matches_naively(pattern, text),
            ([Glyph::Char(a), pattern @ ..], [b, text @ ..]) => {
                a == b && matches_naively(pattern, text)
            }
            _ => false,
        }
    }

    fn glyphs() -> impl Strategy<Value = Vec<Glyph>> {
        let glyph = prop_oneof![
            3 => prop_oneof![Just('a'), Just('b'), Just('é')].prop_map(Glyph::Char),
            1 => Just(Glyph::One),
            1 => Just(Glyph::Many),
        ];
        prop::collection::vec(glyph, 0..8)
    }

    /// All texts over `abé` with up to four characters.
    fn short_texts() -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut from = 0;
        for _ in 0..4 {
            let to = texts.len();
            for i in from..to {
                texts.extend(['a', 'b', 'é'].map(|c| format!("{}{c}", texts[i])));
            }
            from = to;
        }
        texts
    }

    proptest! {
        #[test]
        fn matching_equals_the_definition(pattern in glyphs(), text in "[abé]{0,10}") {
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(
                Pattern::new(&pattern).matches(&text),
                matches_naively(&pattern, &chars)
            );
        }

        #[test]
        fn a_covering_pattern_matches_all_that_the_covered_one_does(
            a in glyphs(),
            b in glyphs(),
        ) {
            let (a, b) = (Pattern::new(&a), Pattern::new(&b));
            if a.covers(&b) {
                for text in short_texts() {
                    prop_assert!(!b.matches(&text) || a.matches(&text), "{}", text);
                }
            }
            prop_assert!(a.covers(&a));
            prop_assert!(Pattern::parse("*").covers(&a));
        }

        #[test]
        fn patterns_overlap_when_some_text_matches_both(a in glyphs(), b in glyphs()) {
            // A common text need not be longer than both patterns together; four characters
            // decide the short ones.
            let (long_a, long_b) = (a.len(), b.len());
            let (a, b) = (Pattern::new(&a), Pattern::new(&b));
            let has_common = short_texts().iter().any(|text| a.matches(text) && b.matches(text));
            prop_assert!(!has_common || a.overlaps(&b));
            if long_a + long_b <= 4 {
                prop_assert_eq!(a.overlaps(&b), has_common);
            }
            prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        }
    }

    #[test]
    fn wildcards_of_mqtt_are_ordinary_characters() {
        let pattern = Pattern::parse("a/+/#");
        assert!(pattern.matches("a/+/#"));
        assert!(!pattern.matches("a/b/c"));
    }

    #[test]
    fn a_star_crosses_levels() {
        assert!(Pattern::parse("a/*/z").matches("a/b/c/d/z"));
        assert!(!Pattern::parse("a/*/z").matches("a/z"));
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        // Backtracking into every `*` would take longer than the universe has time.
        let pattern = Pattern::parse(&"*a".repeat(1000));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(5000))));
        let pattern = Pattern::parse(&"a?*".repeat(600));
        assert!(!pattern.matches(&"a".repeat(1024)));
    }
}
