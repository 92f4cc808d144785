//! Queries whose conditions depend on what is asked for.

use rusqlite::types::Value;

/// A query that has only the conditions that are asked for, so that SQLite can pick the index.
pub(crate) struct Query {
    /// The statement so far.
    pub(crate) sql: String,
    /// Its parameters.
    pub(crate) values: Vec<Value>,
    joint: &'static str,
}

impl Query {
    /// A query that begins so.
    pub(crate) fn new(select: &str) -> Self {
        Self { sql: select.to_owned(), values: Vec::new(), joint: " WHERE " }
    }

    /// Adds a condition with its parameters.
    pub(crate) fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.sql.push_str(self.joint);
        self.sql.push_str(condition);
        self.values.extend(values);
        self.joint = " AND ";
    }

    /// Adds what comes behind the conditions; its one parameter is the number of rows.
    pub(crate) fn end(&mut self, order: &str, limit: i64) {
        self.sql.push(' ');
        self.sql.push_str(order);
        self.values.push(limit.into());
    }
}
