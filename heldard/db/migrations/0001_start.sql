-- Words that hot tables refer to by number: camera ids, task types, labels, event types. Rows outlive what they name.
CREATE TABLE names (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
);

CREATE TABLE settings (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE cameras (
  id TEXT PRIMARY KEY,
  site_id TEXT,
  name TEXT NOT NULL,
  vendor TEXT NOT NULL DEFAULT 'generic',
  model TEXT,
  address TEXT,
  rtsp_port INTEGER NOT NULL DEFAULT 554,
  username TEXT,
  password TEXT,
  main_stream_url TEXT,
  sub_stream_url TEXT,
  record_stream TEXT NOT NULL DEFAULT 'main',
  capabilities TEXT NOT NULL DEFAULT '{}',
  enabled INTEGER NOT NULL DEFAULT 1,
  priority INTEGER NOT NULL DEFAULT 100,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE ai_tasks (
  id TEXT PRIMARY KEY,
  camera_id TEXT NOT NULL REFERENCES cameras (id) ON DELETE CASCADE,
  task_type TEXT NOT NULL,
  enabled INTEGER NOT NULL DEFAULT 1,
  stream_profile TEXT NOT NULL DEFAULT 'sub',
  fps REAL NOT NULL,
  width INTEGER NOT NULL,
  config TEXT NOT NULL DEFAULT '{}',
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  UNIQUE (camera_id, task_type, stream_profile)
) WITHOUT ROWID;

-- What many batches share: where they come from. Changes when a worker restarts, not with each batch.
CREATE TABLE sources (
  id INTEGER PRIMARY KEY,
  camera INTEGER NOT NULL REFERENCES names (id),
  task_type INTEGER NOT NULL REFERENCES names (id),
  task_id TEXT NOT NULL,
  site_id TEXT NOT NULL,
  epoch TEXT NOT NULL,
  provenance TEXT NOT NULL,
  produced_by TEXT NOT NULL,
  worker TEXT NOT NULL,
  UNIQUE (camera, task_type, task_id, site_id, epoch, provenance, produced_by, worker)
);

-- What a frame id is unique within.
CREATE TABLE channels (
  id INTEGER PRIMARY KEY,
  camera INTEGER NOT NULL REFERENCES names (id),
  task_type INTEGER NOT NULL REFERENCES names (id),
  task_id TEXT NOT NULL,
  UNIQUE (camera, task_type, task_id)
);

-- The log: one row for each accepted batch. `frame` is the idempotency key within `channel`; `labels` has bit n % 63 set
-- for each label number n in the batch, so that a search for a rare label need not look into every batch.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  camera INTEGER NOT NULL,
  source INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  frame,
  at_ms INTEGER NOT NULL,
  timestamp_ms INTEGER NOT NULL,
  captured_ms INTEGER,
  received_ms INTEGER NOT NULL,
  detection_count INTEGER NOT NULL,
  labels INTEGER NOT NULL,
  fanned_out_ms INTEGER
);
CREATE UNIQUE INDEX outbox_frame ON outbox (channel, frame) WHERE frame IS NOT NULL;
CREATE INDEX outbox_camera_timestamp ON outbox (camera, timestamp_ms, labels);
CREATE INDEX outbox_camera_at ON outbox (camera, at_ms);
CREATE INDEX outbox_unfinished ON outbox (camera, seq) WHERE fanned_out_ms IS NULL;

-- Keyed by seq * 1024 + place in the batch, so that a batch's detections lie together.
CREATE TABLE detections (
  id INTEGER PRIMARY KEY,
  label INTEGER,
  confidence REAL,
  x REAL, y REAL, w REAL, h REAL,
  track TEXT,
  attributes TEXT
);

CREATE TABLE consumers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  since_seq INTEGER NOT NULL,
  quarantined_ms INTEGER,
  last_error TEXT
);

-- One claim per consumer and batch. state: 0 running, 1 done, 2 failed, 3 interrupted.
CREATE TABLE consumer_fanout (
  seq INTEGER NOT NULL,
  consumer INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER,
  error TEXT,
  ended_ms INTEGER,
  PRIMARY KEY (seq, consumer)
) WITHOUT ROWID;
CREATE INDEX consumer_fanout_odd ON consumer_fanout (consumer, state, seq) WHERE state <> 1;

CREATE TABLE consumer_state (
  consumer INTEGER NOT NULL,
  camera INTEGER NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (consumer, camera, key)
) WITHOUT ROWID;

-- How far the trusted time of a lane had come when it last committed something.
CREATE TABLE consumer_lanes (
  consumer INTEGER NOT NULL,
  camera INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (consumer, camera)
) WITHOUT ROWID;

-- Things to be done in the world. state: 0 waiting, 1 running, 2 done, 3 failed, 4 interrupted, 5 expired.
CREATE TABLE actions (
  id INTEGER PRIMARY KEY,
  consumer INTEGER NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  camera_id TEXT NOT NULL,
  payload TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  started_ms INTEGER,
  ended_ms INTEGER,
  outcome TEXT,
  UNIQUE (consumer, key)
);
CREATE INDEX actions_open ON actions (id) WHERE state < 2;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event_type INTEGER NOT NULL REFERENCES names (id),
  severity INTEGER NOT NULL,
  camera INTEGER REFERENCES names (id),
  site_id TEXT,
  at_ms INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  payload TEXT NOT NULL,
  evidence TEXT
);
CREATE INDEX events_at ON events (at_ms);
CREATE INDEX events_camera_at ON events (camera, at_ms);
CREATE INDEX events_type_at ON events (event_type, at_ms);

-- Files below the data directory that show what happened, and whose camera they show.
CREATE TABLE media_artifacts (
  path TEXT PRIMARY KEY,
  camera_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  captured_ms INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX media_artifacts_created ON media_artifacts (created_ms);
