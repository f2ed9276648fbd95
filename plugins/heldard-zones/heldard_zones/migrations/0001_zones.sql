-- Zones as they are drawn. `number` is the key in the engine's state, `id` the one outside.
CREATE TABLE zones (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  camera_id TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  polygon TEXT NOT NULL,
  dwell_seconds REAL NOT NULL,
  labels TEXT NOT NULL,
  severity TEXT NOT NULL,
  config TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  UNIQUE (camera_id, name)
);

-- What happened. Zone id and name are copied: the row outlives its zone.
CREATE TABLE zone_events (
  id INTEGER PRIMARY KEY,
  camera_id TEXT NOT NULL,
  zone_id TEXT NOT NULL,
  zone_name TEXT NOT NULL,
  event_type TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  track_id TEXT,
  task TEXT,
  label TEXT,
  confidence REAL,
  bbox TEXT,
  dwell_seconds REAL,
  visit TEXT,
  reason TEXT,
  severity TEXT NOT NULL,
  shadow INTEGER NOT NULL,
  captured_ms INTEGER,
  evidence TEXT,
  created_ms INTEGER NOT NULL
);
CREATE INDEX zone_events_by_camera ON zone_events (camera_id, at_ms);
CREATE INDEX zone_events_by_zone ON zone_events (zone_id, at_ms);
CREATE INDEX zone_events_by_time ON zone_events (at_ms);

-- The figures of now, and each change of them.
CREATE TABLE zone_occupancy (
  zone_id TEXT PRIMARY KEY,
  camera_id TEXT NOT NULL,
  count INTEGER NOT NULL,
  static_count INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX zone_occupancy_by_camera ON zone_occupancy (camera_id);
CREATE TABLE zone_occupancy_log (
  id INTEGER PRIMARY KEY,
  zone_id TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  count INTEGER NOT NULL,
  static_count INTEGER NOT NULL
);
CREATE INDEX zone_occupancy_log_by_zone ON zone_occupancy_log (zone_id, at_ms);
CREATE INDEX zone_occupancy_log_by_time ON zone_occupancy_log (at_ms);

-- How often what kept a detection or an event back, by the hour.
CREATE TABLE zone_refusals (
  zone_id TEXT NOT NULL,
  hour_ms INTEGER NOT NULL,
  gate TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (zone_id, hour_ms, gate)
) WITHOUT ROWID;
