-- name: zones_of_camera
-- Oldest first.
SELECT * FROM zones WHERE camera_id = ? ORDER BY created_ms, number;

-- name: zone_by_id
SELECT * FROM zones WHERE id = ?;

-- name: highest_number
-- Of deleted ones too, so that what is kept of those stays theirs.
SELECT max(coalesce((SELECT max(number) FROM zones), 0), coalesce((SELECT max(number) FROM zone_versions), 0)) AS number;

-- name: insert_zone
INSERT INTO zones (number, id, camera_id, name, kind, polygon, dwell_seconds, labels, severity, config, enabled,
  created_ms, updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_zone
UPDATE zones SET name = ?, kind = ?, polygon = ?, dwell_seconds = ?, labels = ?, severity = ?, config = ?,
  enabled = ?, updated_ms = ? WHERE number = ?;

-- name: begin_version
INSERT INTO zone_versions (from_ms, number, id, camera_id, name, kind, polygon, dwell_seconds, labels, severity, config,
  enabled, created_ms, updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: end_version
UPDATE zone_versions SET until_ms = ? WHERE number = ? AND until_ms IS NULL;

-- name: versions_of_camera
-- Those that were in force at some moment of a range, oldest first.
SELECT * FROM zone_versions
  WHERE camera_id = ? AND from_ms < ? AND coalesce(until_ms, 9223372036854775807) >= ? ORDER BY from_ms, version;

-- name: versions_of_zone
-- Newest first.
SELECT * FROM zone_versions WHERE id = ? ORDER BY from_ms DESC, version DESC LIMIT ?;

-- name: version_at
-- How a zone was at a moment.
SELECT * FROM zone_versions WHERE id = ? AND from_ms < ? ORDER BY from_ms DESC, version DESC LIMIT 1;

-- name: first_version
SELECT * FROM zone_versions WHERE id = ? ORDER BY from_ms, version LIMIT 1;

-- name: prune_versions
DELETE FROM zone_versions WHERE version IN (
  SELECT version FROM zone_versions WHERE until_ms IS NOT NULL AND until_ms < ? ORDER BY until_ms LIMIT ?);

-- name: delete_versions_of_camera
DELETE FROM zone_versions WHERE camera_id = ?;

-- name: delete_zone
DELETE FROM zones WHERE id = ?;

-- name: delete_occupancy_of_zone
DELETE FROM zone_occupancy WHERE zone_id = ?;

-- name: delete_occupancy_log_of_zone
DELETE FROM zone_occupancy_log WHERE zone_id = ?;

-- name: delete_refusals_of_zone
DELETE FROM zone_refusals WHERE zone_id = ?;

-- name: insert_event
INSERT INTO zone_events (camera_id, zone_id, zone_name, event_type, at_ms, track_id, task, label, confidence, bbox,
  dwell_seconds, visit, reason, severity, shadow, captured_ms, evidence, created_ms)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: event_by_id
SELECT * FROM zone_events WHERE id = ?;

-- name: events_of_zone
-- In order of time, shadow ones too; for the comparison of a backtest.
SELECT * FROM zone_events WHERE zone_id = ? AND at_ms >= ? AND at_ms < ? ORDER BY at_ms, id LIMIT ?;

-- name: put_occupancy
INSERT INTO zone_occupancy (zone_id, camera_id, count, static_count, updated_ms) VALUES (?, ?, ?, ?, ?)
  ON CONFLICT (zone_id) DO UPDATE SET count = excluded.count, static_count = excluded.static_count,
  updated_ms = excluded.updated_ms;

-- name: log_occupancy
INSERT INTO zone_occupancy_log (zone_id, at_ms, count, static_count) VALUES (?, ?, ?, ?);

-- name: occupancy_of_camera
SELECT o.zone_id, o.count, o.static_count, o.updated_ms FROM zone_occupancy o JOIN zones z ON z.id = o.zone_id
  WHERE o.camera_id = ? AND z.enabled = 1 ORDER BY o.zone_id;

-- name: occupancy_before
-- What stood when the range began.
SELECT * FROM zone_occupancy_log WHERE zone_id = ? AND at_ms < ? ORDER BY at_ms DESC, id DESC LIMIT 1;

-- name: occupancy_between
SELECT * FROM zone_occupancy_log WHERE zone_id = ? AND at_ms >= ? AND at_ms < ? ORDER BY at_ms, id LIMIT ?;

-- name: aggregates
SELECT zone_id, zone_name, event_type, at_ms / ?1 AS bucket, count(*) AS count FROM zone_events
  WHERE camera_id = ?2 AND at_ms >= ?3 AND at_ms < ?4 AND shadow = 0
  GROUP BY zone_id, zone_name, event_type, bucket ORDER BY bucket, zone_name, zone_id, event_type;

-- name: counts_of_zone
SELECT event_type, label, shadow, count(*) AS count FROM zone_events WHERE zone_id = ? AND at_ms >= ? AND at_ms < ?
  GROUP BY event_type, label, shadow;

-- name: add_refusals
INSERT INTO zone_refusals (zone_id, hour_ms, gate, count) VALUES (?, ?, ?, ?)
  ON CONFLICT (zone_id, hour_ms, gate) DO UPDATE SET count = count + excluded.count;

-- name: refusals_of_zone
SELECT gate, sum(count) AS count FROM zone_refusals WHERE zone_id = ? AND hour_ms >= ? AND hour_ms < ? GROUP BY gate;

-- name: prune_events
DELETE FROM zone_events WHERE id IN (SELECT id FROM zone_events WHERE at_ms < ? ORDER BY at_ms LIMIT ?);

-- name: prune_occupancy_log
DELETE FROM zone_occupancy_log WHERE id IN (SELECT id FROM zone_occupancy_log WHERE at_ms < ? ORDER BY at_ms LIMIT ?);

-- name: prune_refusals
DELETE FROM zone_refusals WHERE hour_ms < ?;

-- name: cameras_with_zones
SELECT DISTINCT camera_id FROM zones;

-- name: delete_zones_of_camera
DELETE FROM zones WHERE camera_id = ?;

-- name: delete_events_of_camera
DELETE FROM zone_events WHERE camera_id = ?;

-- name: delete_occupancy_of_camera
DELETE FROM zone_occupancy WHERE camera_id = ?;

-- name: delete_occupancy_log_of_camera
DELETE FROM zone_occupancy_log WHERE zone_id IN (SELECT id FROM zones WHERE camera_id = ?);

-- name: delete_refusals_of_camera
DELETE FROM zone_refusals WHERE zone_id IN (SELECT id FROM zones WHERE camera_id = ?);
