-- What MQTT sessions were promised. Moments are INTEGER milliseconds since the epoch, packet ids are
-- 1 to 65535, numbers of deliveries grow over all sessions.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    key       INTEGER PRIMARY KEY,              -- never given twice as long as one has it
    client    TEXT NOT NULL,
    principal TEXT NOT NULL,                    -- certificate/ID or policy/NAME
    expiry_s  INTEGER NOT NULL,                 -- that it outlives its connection
    until     INTEGER                           -- when it is over; NULL while it has a connection
) STRICT;

CREATE TABLE subscriptions (
    session         INTEGER NOT NULL,
    filter          TEXT NOT NULL,              -- with its group, where it is shared
    options         INTEGER NOT NULL,           -- as in SUBSCRIBE of MQTT 5
    subscription_id INTEGER,
    PRIMARY KEY (session, filter)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id         INTEGER PRIMARY KEY,
    publish    BLOB NOT NULL,                   -- a PUBLISH of MQTT 5
    expires_at INTEGER
) STRICT;

-- What waits for a client or is in flight to it.
CREATE TABLE deliveries (
    session          INTEGER NOT NULL,
    number           INTEGER NOT NULL,
    message          INTEGER,                   -- NULL once the client has it
    qos              INTEGER NOT NULL,
    retain           INTEGER NOT NULL,
    subscription_ids TEXT,                      -- JSON list
    shared_filter    TEXT,                      -- set where it came by a group
    shared_retain    INTEGER NOT NULL,
    packet_id        INTEGER,                   -- set once it was sent
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_message ON deliveries (message) WHERE message IS NOT NULL;

-- A message goes with the last delivery that needs it.
CREATE TRIGGER delivery_is_over AFTER DELETE ON deliveries WHEN OLD.message IS NOT NULL
BEGIN
    DELETE FROM messages WHERE id = OLD.message
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = OLD.message);
END;
CREATE TRIGGER delivery_needs_no_message AFTER UPDATE OF message ON deliveries
    WHEN OLD.message IS NOT NULL AND NEW.message IS NULL
BEGIN
    DELETE FROM messages WHERE id = OLD.message
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = OLD.message);
END;

-- Packet ids of QoS 2 publishes that were taken and not released.
CREATE TABLE taken (
    session   INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) STRICT, WITHOUT ROWID;
