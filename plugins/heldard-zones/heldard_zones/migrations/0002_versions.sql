-- Each way a zone was drawn, and when: what happened then is explained with the zone of then. It was that from after
-- `from_ms` up to and including `until_ms`; null: it still is. Of zones from before this table, all that is known is
-- how they are now.
CREATE TABLE zone_versions (
  version INTEGER PRIMARY KEY,
  from_ms INTEGER NOT NULL,
  until_ms INTEGER,
  number INTEGER NOT NULL,
  id TEXT NOT NULL,
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
  updated_ms INTEGER NOT NULL
);
CREATE INDEX zone_versions_by_camera ON zone_versions (camera_id, from_ms);
CREATE INDEX zone_versions_by_zone ON zone_versions (id, from_ms);
CREATE INDEX zone_versions_standing ON zone_versions (number) WHERE until_ms IS NULL;
CREATE INDEX zone_versions_ended ON zone_versions (until_ms) WHERE until_ms IS NOT NULL;
INSERT INTO zone_versions (from_ms, number, id, camera_id, name, kind, polygon, dwell_seconds, labels, severity, config,
  enabled, created_ms, updated_ms)
SELECT created_ms - 1, number, id, camera_id, name, kind, polygon, dwell_seconds, labels, severity, config, enabled,
  created_ms, updated_ms FROM zones;
