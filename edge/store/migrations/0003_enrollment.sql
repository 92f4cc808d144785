-- Tokens that devices get their first certificate with. The token itself is kept nowhere: whoever
-- reads this file must not be able to enrol.
CREATE TABLE enrollment_tokens (
    hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),  -- SHA-256 of the token
    thing_group TEXT NOT NULL,                  -- that enrolled things become members of
    uses_max   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL                 -- the first moment that it is no longer good for
) STRICT, WITHOUT ROWID;
CREATE INDEX enrollment_tokens_by_expiry ON enrollment_tokens (expires_at);

-- Every use of a token; it stays when thing, certificate or token are gone.
CREATE TABLE enrollments (
    number      INTEGER PRIMARY KEY,            -- in the order of the uses
    token       BLOB NOT NULL,
    thing       TEXT NOT NULL,
    certificate TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX enrollments_by_token ON enrollments (token);
