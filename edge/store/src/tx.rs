//! Transactions as values: [`ReadTx`] sees one snapshot, [`WriteTx`] changes it and says what
//! changed.

use std::ops::Deref;

use picket_model::{Account, Change};
use rusqlite::{Connection, Params, Row};

use crate::error::StoreError;

/// One consistent view of everything stored.
pub struct ReadTx {
    pub(crate) connection: Connection,
    account: Account,
}

impl ReadTx {
    pub(crate) fn new(connection: Connection, account: Account) -> Self {
        Self { connection, account }
    }

    /// The account that the store belongs to.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// All rows of a query.
    pub(crate) fn rows<T, E: From<rusqlite::Error>>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_and_then(params, read)?.collect()
    }

    /// The first row of a query, if it has one.
    pub(crate) fn row<T, E: From<rusqlite::Error>>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    /// Whether a query has a row.
    pub(crate) fn exists(&self, sql: &str, params: impl Params) -> Result<bool, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.exists(params)?)
    }

    /// The one number that a query gives.
    pub(crate) fn number(&self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        Ok(self.connection.prepare_cached(sql)?.query_row(params, |row| row.get(0))?)
    }
}

/// A view that can be changed. What a closure changes is seen by nobody until it is committed.
pub struct WriteTx {
    read: ReadTx,
    pub(crate) changes: Vec<Change>,
}

impl Deref for WriteTx {
    type Target = ReadTx;

    fn deref(&self) -> &ReadTx {
        &self.read
    }
}

impl WriteTx {
    pub(crate) fn new(read: ReadTx) -> Self {
        Self { read, changes: Vec::new() }
    }

    /// Runs a statement; gives the number of rows it changed.
    ///
    /// Outside a transaction it refuses: on a full disk SQLite gives up the whole transaction, and
    /// what a closure that overlooked the error did next would be committed by itself.
    pub(crate) fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        if self.read.connection.is_autocommit() {
            return Err(StoreError::lost_transaction());
        }
        Ok(self.read.connection.prepare_cached(sql)?.execute(params)?)
    }

    /// Notes what the transaction changes; published after the commit.
    pub(crate) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }
}
