//! Texts with variables: patterns that still need the facts of a connection.

use crate::facts::ConnectionFacts;
use crate::key::Key;
use crate::pattern::{Glyph, Pattern};

/// Longest value that a variable is replaced by. Source: AWS guide "X.509 certificate policy
/// variable limitations".
const VALUE_CHARS_MAX: usize = 1024;

/// A text with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Glyphs(Vec<Glyph>),
    Variable(Key),
}

/// How `*` and `?` outside of `${..}` are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wildcards {
    /// As wildcards.
    Yes,
    /// As themselves.
    No,
}

impl Template {
    /// Reads `${name}` as a variable and `${*}`, `${?}`, `${$}` as the character itself.
    ///
    /// # Errors
    /// A sentence about a `${` that is never closed.
    /// Source: IAM reference "Policy variables and tags", special characters.
    pub(crate) fn parse(text: &str, wildcards: Wildcards) -> Result<Self, String> {
        let glyph = |c| match wildcards {
            Wildcards::Yes => Glyph::of_wildcard_text(c),
            Wildcards::No => Glyph::Char(c),
        };
        let mut parts = Vec::new();
        let mut glyphs = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            glyphs.extend(before.chars().map(glyph));
            let Some((name, behind)) = behind.split_once('}') else {
                return Err(format!("`{}` has a `${{` without `}}`", text.escape_debug()));
            };
            match name {
                "*" | "?" | "$" => glyphs.extend(name.chars().map(Glyph::Char)),
                name => {
                    parts.push(Part::Glyphs(std::mem::take(&mut glyphs)));
                    parts.push(Part::Variable(Key::parse(name)));
                }
            }
            rest = behind;
        }
        glyphs.extend(rest.chars().map(glyph));
        parts.push(Part::Glyphs(glyphs));
        Ok(Self { parts })
    }

    /// The pattern, if there is no variable in it.
    pub(crate) fn fixed(&self) -> Option<Pattern> {
        match &self.parts[..] {
            [Part::Glyphs(glyphs)] => Some(Pattern::new(glyphs)),
            _ => None,
        }
    }

    /// The variables in it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Key> {
        self.parts.iter().filter_map(|part| match part {
            Part::Glyphs(_) => None,
            Part::Variable(key) => Some(key),
        })
    }

    /// Replaces the variables: one pattern for each value of a `.List`, else one or none.
    ///
    /// `None` if a variable has no value, or one that may not be put in: a value with one of
    /// `* $ + ? #` could widen what its author meant to narrow. Only the first `.List` of a text is
    /// spread out, so that a short document cannot become a million patterns; a second one has
    /// no value unless it holds just one.
    pub(crate) fn fill(&self, facts: &ConnectionFacts) -> Option<Vec<Pattern>> {
        let mut alternatives: Vec<Vec<Glyph>> = vec![Vec::new()];
        for part in &self.parts {
            match part {
                Part::Glyphs(glyphs) => {
                    alternatives.iter_mut().for_each(|text| text.extend_from_slice(glyphs));
                }
                Part::Variable(key) => {
                    let values = key.values(facts);
                    if values.is_empty() || !values.iter().all(|value| is_substitutable(value)) {
                        return None;
                    }
                    if values.len() > 1 {
                        if alternatives.len() > 1 {
                            return None;
                        }
                        alternatives = vec![alternatives.swap_remove(0); values.len()];
                    }
                    for (i, text) in alternatives.iter_mut().enumerate() {
                        let value = values.get(i).unwrap_or(&values[0]);
                        text.extend(value.chars().map(Glyph::Char));
                    }
                }
            }
        }
        Some(alternatives.iter().map(|glyphs| Pattern::new(glyphs)).collect())
    }
}

fn is_substitutable(value: &str) -> bool {
    value.chars().count() <= VALUE_CHARS_MAX && !value.contains(['*', '$', '+', '?', '#'])
}
