-- Which kinds of events are switched on; all that are not here are off.
CREATE TABLE event_configurations (
    event_type  TEXT PRIMARY KEY,
    enabled     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that wait to be published, in the order of the changes that they tell of. Id and moment are
-- made with the row: it is written by everything that changes the registry, and not all of that is
-- told the time.
CREATE TABLE registry_events (
    row   INTEGER PRIMARY KEY,
    id    TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))),
    at    INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    topic TEXT NOT NULL,
    body  TEXT NOT NULL                         -- JSON object without id and moment
) STRICT;
