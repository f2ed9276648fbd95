-- name: insert_event
-- One event, inside somebody's unit of work.
INSERT INTO events (event_type, severity, camera, site_id, at_ms, created_ms, payload, evidence)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: newest_events
-- Newest first; conditions and a limit are appended.
SELECT seq, event_type, severity, camera, site_id, at_ms, created_ms, payload, evidence FROM events;

-- name: events_after
-- In log order, for feeds.
SELECT seq, event_type, severity, camera, site_id, at_ms, created_ms, payload, evidence FROM events
WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: last_event
-- The newest place in the log.
SELECT coalesce(max(seq), 0) AS seq FROM events;

-- name: seen_types
-- Types that occur, for the list of types.
SELECT DISTINCT event_type FROM events LIMIT 500;
