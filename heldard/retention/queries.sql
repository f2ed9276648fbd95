-- name: log_page
-- The oldest batches after a place, to see which may go.
SELECT seq, received_ms, detection_count, fanned_out_ms IS NOT NULL AS finished FROM outbox
WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: delete_detections
-- The detections of one batch, by their range of keys.
DELETE FROM detections WHERE id BETWEEN ? AND ?;

-- name: delete_claims
-- The claims on the batches in a JSON array.
DELETE FROM consumer_fanout WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: delete_finished_batches
-- Batches in a JSON array that every consumer has ended with.
DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(:seqs)) AND fanned_out_ms IS NOT NULL;

-- name: delete_batches
-- Batches in a JSON array, whoever still wants them.
DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: delete_events
-- The oldest events from before a time.
DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT :limit) AND created_ms < :before_ms;

-- name: delete_actions
-- The oldest actions from before a time that have ended, or that nobody will carry out any more.
DELETE FROM actions WHERE id IN (
  SELECT id FROM actions WHERE created_ms < :before_ms AND (state >= 2 OR state = 0 AND expires_ms < :before_ms)
  ORDER BY id LIMIT :limit);

-- name: delete_audit_log
-- The oldest audited changes from before a time.
DELETE FROM audit_log WHERE seq IN (SELECT seq FROM audit_log ORDER BY seq LIMIT :limit) AND at_ms < :before_ms;

-- name: delete_erasures
-- Erasures that ended before a time.
DELETE FROM erasures WHERE id IN (SELECT id FROM erasures WHERE ended_ms < :before_ms LIMIT :limit);

-- name: delete_sessions
-- Sessions that ended before a time.
DELETE FROM sessions WHERE token IN (SELECT token FROM sessions WHERE expires_ms < :before_ms LIMIT :limit);

-- name: evidence_before
-- The oldest kept frames from before a time.
SELECT path, size_bytes FROM media_artifacts WHERE created_ms < :before_ms ORDER BY created_ms LIMIT :limit;

-- name: evidence_size
-- How much room kept frames take.
SELECT coalesce(sum(size_bytes), 0) AS size_bytes, count(*) AS files FROM media_artifacts;

-- name: delete_evidence
-- The rows of the kept frames in a JSON array.
DELETE FROM media_artifacts WHERE path IN (SELECT value FROM json_each(:paths));

-- name: known_evidence
-- Which of the names in a JSON array are kept.
SELECT path FROM media_artifacts WHERE path IN (SELECT value FROM json_each(:paths));

-- name: used_sources
-- What the log still refers to.
SELECT DISTINCT source, channel FROM outbox;

-- name: db_cap
-- The cap on the database that was set while heldard ran.
SELECT value FROM settings WHERE key = 'max_db_mb';

-- name: put_db_cap
-- Set a cap over the one of the configuration.
INSERT INTO settings (key, value, updated_ms) VALUES ('max_db_mb', :value, :now_ms)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_ms = excluded.updated_ms;

-- name: drop_db_cap
-- Go back to the cap of the configuration.
DELETE FROM settings WHERE key = 'max_db_mb';
