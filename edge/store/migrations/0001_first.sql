-- Names and ids are TEXT, moments are INTEGER milliseconds since the epoch, maps are JSON objects.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The registry.

CREATE TABLE thing_types (
    name          TEXT PRIMARY KEY,
    id            TEXT NOT NULL,
    description   TEXT,
    searchable    TEXT NOT NULL,                -- JSON list of attribute names
    created_at    INTEGER NOT NULL,
    deprecated_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE things (
    name       TEXT PRIMARY KEY,
    id         TEXT NOT NULL,
    thing_type TEXT REFERENCES thing_types (name),
    attributes TEXT NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX things_by_type ON things (thing_type, name) WHERE thing_type IS NOT NULL;

CREATE TABLE groups (
    name        TEXT PRIMARY KEY,
    id          TEXT NOT NULL,
    parent      TEXT REFERENCES groups (name),
    description TEXT,
    attributes  TEXT NOT NULL,
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX groups_by_parent ON groups (parent, name);

CREATE TABLE group_members (
    thing      TEXT NOT NULL REFERENCES things (name) ON DELETE CASCADE,
    group_name TEXT NOT NULL REFERENCES groups (name) ON DELETE CASCADE,
    PRIMARY KEY (thing, group_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_members_by_group ON group_members (group_name, thing);

CREATE TABLE certificates (
    id          TEXT PRIMARY KEY,
    pem         TEXT NOT NULL,
    status      TEXT NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    ca_id       TEXT,
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_by_time ON certificates (created_at, id);

CREATE TABLE thing_certificates (
    certificate TEXT NOT NULL REFERENCES certificates (id),
    thing       TEXT NOT NULL REFERENCES things (name),
    exclusive   INTEGER NOT NULL,
    PRIMARY KEY (certificate, thing)
) STRICT, WITHOUT ROWID;
CREATE INDEX thing_certificates_by_thing ON thing_certificates (thing, certificate);

CREATE TABLE policies (
    name            TEXT PRIMARY KEY,
    default_version INTEGER NOT NULL,
    last_version    INTEGER NOT NULL,           -- highest number ever given
    generation      INTEGER NOT NULL,           -- grows with every change
    created_at      INTEGER NOT NULL,
    modified_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policy_versions (
    policy     TEXT NOT NULL REFERENCES policies (name) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    document   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (policy, version)
) STRICT;

CREATE TABLE certificate_policies (
    certificate TEXT NOT NULL REFERENCES certificates (id),
    policy      TEXT NOT NULL REFERENCES policies (name),
    PRIMARY KEY (certificate, policy)
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_policies_by_policy ON certificate_policies (policy, certificate);

CREATE TABLE group_policies (
    group_name TEXT NOT NULL REFERENCES groups (name),
    policy     TEXT NOT NULL REFERENCES policies (name),
    PRIMARY KEY (group_name, policy)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_policies_by_policy ON group_policies (policy, group_name);

-- Detect.

CREATE TABLE profiles (
    name             TEXT PRIMARY KEY,
    description      TEXT,
    behaviors        TEXT NOT NULL,             -- JSON list, each as in the API
    alert_targets    TEXT NOT NULL,             -- JSON list of {topic_arn, role_arn}
    retained_metrics TEXT NOT NULL,             -- JSON list of metric names
    version          INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    modified_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE profile_targets (
    target     TEXT NOT NULL,                   -- all, registered, unregistered or group:NAME
    profile    TEXT NOT NULL REFERENCES profiles (name) ON DELETE CASCADE,
    group_name TEXT REFERENCES groups (name),   -- the NAME, for the reference
    PRIMARY KEY (target, profile)
) STRICT, WITHOUT ROWID;
CREATE INDEX profile_targets_by_profile ON profile_targets (profile, target);
CREATE INDEX profile_targets_by_group ON profile_targets (group_name) WHERE group_name IS NOT NULL;

-- One row for each alarm that is on.
CREATE TABLE active_violations (
    id               TEXT PRIMARY KEY,
    device           TEXT NOT NULL,
    profile          TEXT NOT NULL,
    behavior_name    TEXT NOT NULL,
    criteria_type    TEXT NOT NULL,
    suppressed       INTEGER NOT NULL,
    behavior         TEXT NOT NULL,             -- as it was judged, as in the API
    started_at       INTEGER NOT NULL,
    last_violated_at INTEGER NOT NULL,
    last_value       TEXT NOT NULL,
    explanation      TEXT NOT NULL
) STRICT;
CREATE INDEX active_violations_by_time ON active_violations (started_at, id);
CREATE INDEX active_violations_by_device ON active_violations (device, started_at);
CREATE INDEX active_violations_by_profile ON active_violations (profile, started_at);

CREATE TABLE violation_events (
    row           INTEGER PRIMARY KEY,
    violation     TEXT NOT NULL,
    kind          TEXT NOT NULL,
    at            INTEGER NOT NULL,
    device        TEXT NOT NULL,
    profile       TEXT NOT NULL,
    behavior_name TEXT NOT NULL,
    criteria_type TEXT NOT NULL,
    suppressed    INTEGER NOT NULL,
    behavior      TEXT NOT NULL,
    value         TEXT,
    explanation   TEXT NOT NULL,
    UNIQUE (violation, kind)                    -- an alarm is raised once and ends once
) STRICT;
CREATE INDEX violation_events_by_time ON violation_events (at, row);
CREATE INDEX violation_events_by_device ON violation_events (device, at);
CREATE INDEX violation_events_by_profile ON violation_events (profile, at);

-- What people made of a violation; kept as long as its events.
CREATE TABLE verifications (
    violation   TEXT PRIMARY KEY,
    state       TEXT NOT NULL,
    description TEXT
) STRICT, WITHOUT ROWID;

-- Metric values: one row for each append, because a row for each point is 50 times slower.
CREATE TABLE datapoint_batches (
    row    INTEGER PRIMARY KEY,
    min_at INTEGER NOT NULL,
    max_at INTEGER NOT NULL,
    points BLOB NOT NULL
) STRICT;
CREATE INDEX datapoint_batches_by_time ON datapoint_batches (max_at, min_at, row);

CREATE TABLE engine_states (
    device TEXT PRIMARY KEY,
    state  BLOB NOT NULL
) STRICT;

-- Telling people and functions.

CREATE TABLE topics (
    name       TEXT PRIMARY KEY,
    attributes TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE subscriptions (
    arn        TEXT PRIMARY KEY,
    topic      TEXT NOT NULL REFERENCES topics (name) ON DELETE CASCADE,
    protocol   TEXT NOT NULL,
    endpoint   TEXT NOT NULL,
    attributes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (topic, protocol, endpoint)
) STRICT;
CREATE INDEX subscriptions_by_topic ON subscriptions (topic, arn);

CREATE TABLE functions (
    name        TEXT PRIMARY KEY,
    runtime     TEXT NOT NULL,
    handler     TEXT NOT NULL,
    role_arn    TEXT NOT NULL,
    description TEXT NOT NULL,
    timeout_s   INTEGER NOT NULL,
    memory_mib  INTEGER NOT NULL,
    environment TEXT NOT NULL,
    tags        TEXT NOT NULL,
    code_sha256 TEXT NOT NULL,
    code_bytes  INTEGER NOT NULL,
    revision_id TEXT NOT NULL,
    modified_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE function_codes (
    function TEXT PRIMARY KEY REFERENCES functions (name) ON DELETE CASCADE,
    zip      BLOB NOT NULL
) STRICT;

CREATE TABLE function_permissions (
    function  TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
    sid       TEXT NOT NULL,
    statement TEXT NOT NULL,
    PRIMARY KEY (function, sid)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox_entries (
    row         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    topic_arn   TEXT NOT NULL,
    subject     TEXT,
    message     TEXT NOT NULL,
    attributes  TEXT NOT NULL,                  -- JSON object of {type, value}
    at          INTEGER NOT NULL,
    state       TEXT NOT NULL                   -- pending, expanded, done
) STRICT;
CREATE INDEX outbox_entries_pending ON outbox_entries (row) WHERE state = 'pending';
CREATE INDEX outbox_entries_by_time ON outbox_entries (at);

CREATE TABLE outbox_deliveries (
    id           TEXT PRIMARY KEY,              -- entry's id, a space, the subscription's ARN
    entry        TEXT NOT NULL REFERENCES outbox_entries (id) ON DELETE CASCADE,
    subscription TEXT NOT NULL,
    protocol     TEXT NOT NULL,
    endpoint     TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    next_at      INTEGER NOT NULL,
    state        TEXT NOT NULL,                 -- pending, done, dead
    last_error   TEXT,
    changed_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_deliveries_by_entry ON outbox_deliveries (entry);
CREATE INDEX outbox_deliveries_due ON outbox_deliveries (next_at, id) WHERE state = 'pending';
CREATE INDEX outbox_deliveries_dead ON outbox_deliveries (changed_at, id) WHERE state = 'dead';
