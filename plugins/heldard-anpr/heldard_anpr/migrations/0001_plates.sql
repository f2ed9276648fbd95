-- Times are integer milliseconds since the epoch. JSON columns hold what the API shows.

CREATE TABLE vehicles (
  id TEXT PRIMARY KEY, plate TEXT NOT NULL, plate_norm TEXT NOT NULL UNIQUE, owner_name TEXT,
  owner_type TEXT NOT NULL DEFAULT 'visitor', owner_ref TEXT, site_id TEXT, vehicle_type TEXT, make TEXT, model TEXT,
  color TEXT, notes TEXT, active INTEGER NOT NULL DEFAULT 1, valid_from INTEGER, valid_until INTEGER, group_id TEXT,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE visitor_passes (
  id TEXT PRIMARY KEY, code TEXT NOT NULL UNIQUE, visitor_name TEXT NOT NULL, phone TEXT, company TEXT, host TEXT,
  purpose TEXT, plate TEXT, plate_norm TEXT, vehicle_desc TEXT, site_id TEXT, valid_from INTEGER NOT NULL,
  valid_until INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'active', checked_in_at INTEGER, checked_out_at INTEGER,
  auto_checked_out INTEGER NOT NULL DEFAULT 0, group_id TEXT, created_by TEXT,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX visitor_passes_plate ON visitor_passes (plate_norm);

CREATE TABLE watchlist (
  id TEXT PRIMARY KEY, plate TEXT NOT NULL, plate_norm TEXT NOT NULL UNIQUE, kind TEXT NOT NULL DEFAULT 'block',
  reason TEXT, severity TEXT NOT NULL DEFAULT 'warning', active INTEGER NOT NULL DEFAULT 1, created_by TEXT,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) STRICT;

-- What listed plates look like with up to two characters missing: near plates share a key.
CREATE TABLE anpr_plate_keys (
  key TEXT NOT NULL, list TEXT NOT NULL, entry_id TEXT NOT NULL, plate TEXT NOT NULL,
  PRIMARY KEY (key, list, entry_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX anpr_plate_keys_entry ON anpr_plate_keys (list, entry_id);

CREATE TABLE anpr_groups (
  id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, schedule TEXT NOT NULL DEFAULT '[]', max_stay_s INTEGER,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE entry_events (
  id TEXT PRIMARY KEY, site_id TEXT, camera_id TEXT, event_type TEXT NOT NULL, timestamp INTEGER NOT NULL,
  direction TEXT NOT NULL DEFAULT 'unknown', plate TEXT, plate_confidence REAL, subject TEXT NOT NULL DEFAULT '{}',
  authorization TEXT NOT NULL DEFAULT '{}', auth_status TEXT NOT NULL DEFAULT 'unmatched',
  evidence TEXT NOT NULL DEFAULT '{}', workflow_status TEXT NOT NULL DEFAULT 'pending',
  workflow TEXT NOT NULL DEFAULT '{}', audit TEXT NOT NULL DEFAULT '{}', track_id TEXT, seen_ms INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX entry_events_time ON entry_events (timestamp, id);
CREATE INDEX entry_events_plate ON entry_events (plate, timestamp);
CREATE INDEX entry_events_workflow ON entry_events (workflow_status, timestamp);

CREATE TABLE anpr_visits (
  id TEXT PRIMARY KEY, camera_id TEXT NOT NULL, site_id TEXT, started_ms INTEGER NOT NULL, ended_ms INTEGER,
  seen_ms INTEGER NOT NULL, reads INTEGER NOT NULL DEFAULT 0, sightings INTEGER NOT NULL DEFAULT 0, event_id TEXT,
  repeats INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX anpr_visits_time ON anpr_visits (started_ms);
CREATE INDEX anpr_visits_event ON anpr_visits (event_id);

CREATE TABLE anpr_reads (
  visit_id TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, captured_ms INTEGER, frame_id TEXT,
  track_id TEXT, raw TEXT NOT NULL, text TEXT NOT NULL, confidence REAL NOT NULL, chars TEXT NOT NULL,
  weight REAL NOT NULL, plate_box TEXT, vehicle_box TEXT, fate TEXT NOT NULL, evidence TEXT,
  PRIMARY KEY (visit_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX anpr_reads_text ON anpr_reads (text);

CREATE TABLE anpr_decisions (
  visit_id TEXT NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY (visit_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE anpr_reviews (
  id INTEGER PRIMARY KEY, event_id TEXT NOT NULL, at_ms INTEGER NOT NULL, from_status TEXT NOT NULL,
  to_status TEXT NOT NULL, by_name TEXT NOT NULL, by_id TEXT NOT NULL, note TEXT, plate_before TEXT, plate_after TEXT
) STRICT;
CREATE INDEX anpr_reviews_event ON anpr_reviews (event_id);

CREATE TABLE anpr_confusions (
  printed TEXT NOT NULL, read TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (printed, read)
) STRICT, WITHOUT ROWID;

CREATE TABLE gate_policies (
  camera_id TEXT PRIMARY KEY, enabled INTEGER NOT NULL DEFAULT 0, output_port INTEGER NOT NULL DEFAULT 1,
  pulse_ms INTEGER NOT NULL DEFAULT 1000, directions TEXT NOT NULL DEFAULT '["inbound","unknown"]',
  allow_vip INTEGER NOT NULL DEFAULT 0, per_minute INTEGER NOT NULL DEFAULT 6, updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE gate_settings (
  id INTEGER PRIMARY KEY CHECK (id = 1), kill_switch INTEGER NOT NULL DEFAULT 0, updated_at INTEGER NOT NULL
) STRICT;
INSERT INTO gate_settings (id, kill_switch, updated_at) VALUES (1, 0, 0);

-- One row for each opening that was asked for. state: asked, opened, failed, refused, unknown.
CREATE TABLE anpr_openings (
  key TEXT PRIMARY KEY, camera_id TEXT NOT NULL, event_id TEXT, visit_id TEXT, asked_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'asked', ended_ms INTEGER, detail TEXT, asked_by TEXT NOT NULL
) STRICT;
CREATE INDEX anpr_openings_camera ON anpr_openings (camera_id, asked_ms);
CREATE INDEX anpr_openings_state ON anpr_openings (state, expires_ms);

-- state: inside, left, lost (entered again without having been seen to leave).
CREATE TABLE anpr_stays (
  id INTEGER PRIMARY KEY, plate TEXT NOT NULL, site_id TEXT, state TEXT NOT NULL, auth_status TEXT NOT NULL,
  entry_event TEXT NOT NULL UNIQUE, entry_camera TEXT, entered_ms INTEGER NOT NULL, exit_event TEXT, exit_camera TEXT,
  left_ms INTEGER, due_ms INTEGER, overstayed_ms INTEGER
) STRICT;
CREATE INDEX anpr_stays_plate ON anpr_stays (plate, state);
CREATE INDEX anpr_stays_due ON anpr_stays (state, due_ms);
CREATE INDEX anpr_stays_exit ON anpr_stays (exit_event);

-- The key that unmatched plates are hashed with.
CREATE TABLE anpr_secrets (id INTEGER PRIMARY KEY CHECK (id = 1), hash_key BLOB NOT NULL) STRICT;
INSERT INTO anpr_secrets (id, hash_key) VALUES (1, randomblob(32));
