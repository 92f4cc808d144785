-- The whole of Detect: custom metrics, dimensions, mitigation, training, and values by device.

-- Entries of profiles.retained_metrics are names of metrics (as schema 1 wrote them) or objects of
-- {metric, kind, metricDimension, export}.
ALTER TABLE profiles ADD COLUMN export TEXT;    -- JSON of {mqtt_topic, role_arn}

-- What the behaviors and retained metrics of a profile are about, for lookups from the other side.
CREATE TABLE profile_uses (
    what    TEXT NOT NULL,                      -- metric or dimension
    name    TEXT NOT NULL,
    profile TEXT NOT NULL REFERENCES profiles (name) ON DELETE CASCADE,
    PRIMARY KEY (what, name, profile)
) STRICT, WITHOUT ROWID;
CREATE INDEX profile_uses_by_profile ON profile_uses (profile);
INSERT OR IGNORE INTO profile_uses (what, name, profile)
    SELECT 'metric', json_extract(behavior.value, '$.metric'), profiles.name
    FROM profiles, json_each(profiles.behaviors) AS behavior;
INSERT OR IGNORE INTO profile_uses (what, name, profile)
    SELECT 'metric', metric.value, profiles.name
    FROM profiles, json_each(profiles.retained_metrics) AS metric;

-- The id stands for the metric in stored values. It is never given twice, so that a metric of the
-- same name that is made later does not inherit the values of a deleted one.
CREATE TABLE custom_metrics (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    display_name TEXT,
    client_token TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    modified_at  INTEGER NOT NULL
) STRICT;

-- The id stands for the dimension in stored values, as with custom metrics.
CREATE TABLE dimensions (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    name         TEXT NOT NULL UNIQUE,
    filters      TEXT NOT NULL,                 -- JSON list of topic filters
    client_token TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    modified_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE mitigation_actions (
    name        TEXT PRIMARY KEY,
    id          TEXT NOT NULL,
    role_arn    TEXT NOT NULL,
    action_type TEXT NOT NULL,
    params      TEXT NOT NULL,                  -- JSON, the store's own
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mitigation_tasks (
    id                 TEXT PRIMARY KEY,
    client_token       TEXT NOT NULL,
    status             TEXT NOT NULL,
    started_at         INTEGER NOT NULL,
    ended_at           INTEGER,
    violations         TEXT,                    -- JSON list of ids, or the profile is the target
    profile            TEXT,
    behavior_name      TEXT,
    occurred_from      INTEGER,
    occurred_until     INTEGER,
    only_active        INTEGER NOT NULL,
    include_suppressed INTEGER NOT NULL,
    actions            TEXT NOT NULL,           -- JSON list, as they were at the start
    executed           INTEGER NOT NULL,
    skipped            INTEGER NOT NULL,
    failed             INTEGER NOT NULL
) STRICT;
CREATE INDEX mitigation_tasks_by_time ON mitigation_tasks (started_at, id);
CREATE INDEX mitigation_tasks_unfinished ON mitigation_tasks (started_at, id)
    WHERE status = 'IN_PROGRESS';
CREATE INDEX mitigation_tasks_by_end ON mitigation_tasks (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE mitigation_executions (
    row        INTEGER PRIMARY KEY,
    task       TEXT NOT NULL REFERENCES mitigation_tasks (id),
    violation  TEXT NOT NULL,
    action     TEXT NOT NULL,
    device     TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    status     TEXT NOT NULL,
    error_code TEXT,
    message    TEXT,
    UNIQUE (task, violation, action)
) STRICT;
CREATE INDEX mitigation_executions_by_time ON mitigation_executions (started_at, row);
CREATE INDEX mitigation_executions_by_task ON mitigation_executions (task, started_at);
CREATE INDEX mitigation_executions_by_violation ON mitigation_executions (violation, started_at);
CREATE INDEX mitigation_executions_by_device ON mitigation_executions (device, started_at);

-- One row for each behavior that is to be learned, since it is.
CREATE TABLE model_training (
    profile    TEXT NOT NULL REFERENCES profiles (name) ON DELETE CASCADE,
    behavior   TEXT NOT NULL,
    metric     TEXT NOT NULL,
    subject    TEXT NOT NULL,                   -- what is learned; another one begins anew
    started_at INTEGER NOT NULL,
    PRIMARY KEY (profile, behavior)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_training_hours (
    profile    TEXT NOT NULL,
    behavior   TEXT NOT NULL,
    hour       INTEGER NOT NULL,                -- hours since 1970
    datapoints INTEGER NOT NULL,
    PRIMARY KEY (profile, behavior, hour),
    FOREIGN KEY (profile, behavior) REFERENCES model_training ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What a mitigation task of a profile goes through, by id.
CREATE INDEX violation_events_by_profile_and_id
    ON violation_events (profile, violation, behavior_name);
CREATE INDEX active_violations_by_profile_and_id ON active_violations (profile, id, behavior_name);

-- Values of one device and day, packed: what was in batches whose time is over. A day has one
-- part, or more where there is much of it.
CREATE TABLE datapoint_days (
    device TEXT NOT NULL,
    day    INTEGER NOT NULL,                    -- days since 1970
    part   INTEGER NOT NULL,                    -- from 0; later parts were stored later
    points BLOB NOT NULL,
    PRIMARY KEY (device, day, part)
) STRICT;
CREATE INDEX datapoint_days_by_day ON datapoint_days (day);

-- How far values have moved from batches into days: of the batches up to this row, those of the
-- devices up to this one, by name; of all devices where it is NULL. Always one row. up_to never
-- falls, and new batches have higher numbers.
CREATE TABLE datapoint_sealing (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    up_to  INTEGER NOT NULL,
    device TEXT
) STRICT;
INSERT INTO datapoint_sealing (one, up_to, device) VALUES (1, 0, NULL);
