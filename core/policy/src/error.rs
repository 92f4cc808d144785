//! Why a text is not a policy document.

use thiserror::Error;

/// Why a text is not a policy document. The sentence is meant for its author.
///
/// aws: MalformedPolicyException
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// More characters than a policy may have, white space not counted.
    #[error(
        "the document has {chars} characters, white space not counted; at most {max} are allowed"
    )]
    TooLong {
        /// Characters found.
        chars: usize,
        /// Characters allowed.
        max: usize,
    },
    /// More bytes than are read at all, white space included.
    #[error("the document has {bytes} bytes with white space; at most {max} are allowed")]
    TooLarge {
        /// Bytes found.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The text is not JSON, or an object in it has a member twice.
    #[error("the document is not valid JSON: {problem}")]
    Json {
        /// What the JSON reader says, with line and column.
        problem: String,
    },
    /// The document as a whole breaks the grammar.
    #[error("{problem}")]
    Document {
        /// The rule that it breaks.
        problem: String,
    },
    /// A statement breaks the grammar.
    #[error("statement {number}: {problem}")]
    Statement {
        /// Position in the document, counted from 1.
        number: usize,
        /// The rule that it breaks.
        problem: String,
    },
}
