-- name: add
-- A new erasure.
INSERT INTO erasures (id, kind, subject, options, asked_by, asked_ms, place, after, counts)
VALUES (:id, :kind, :subject, :options, :asked_by, :asked_ms, :place, 0, '{}');

-- name: same
-- One of the same subject that is under way and has just begun or waits: it need not be done twice.
SELECT id FROM erasures WHERE kind = :kind AND subject = :subject AND options = :options AND ended_ms IS NULL;

-- name: under_way
-- What is left to do, oldest first.
SELECT * FROM erasures WHERE ended_ms IS NULL ORDER BY asked_ms, id LIMIT 100;

-- name: one
-- One erasure.
SELECT * FROM erasures WHERE id = :id;

-- name: newest
-- The newest ones.
SELECT * FROM erasures ORDER BY asked_ms DESC, id DESC LIMIT :limit;

-- name: progress
-- How far it has come.
UPDATE erasures SET place = :place, after = :after, counts = :counts, error = NULL WHERE id = :id;

-- name: failed
-- Why it waits.
UPDATE erasures SET error = :error WHERE id = :id;

-- name: end
-- All is forgotten, the subject too.
UPDATE erasures SET subject = NULL, options = NULL, place = 'done', error = NULL, ended_ms = :now WHERE id = :id;

-- name: page_of_detections
-- Attributes in log order, with where and when they were seen.
SELECT d.id AS key, d.attributes, o.camera, o.at_ms, o.captured_ms, NULL AS evidence
FROM detections d LEFT JOIN outbox o ON o.seq = d.id / 1024
WHERE d.id > :after AND d.attributes IS NOT NULL ORDER BY d.id LIMIT :limit;

-- name: page_of_events
-- Payloads in log order.
SELECT seq AS key, payload, NULL AS camera, NULL AS at_ms, NULL AS captured_ms, evidence FROM events
WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: page_of_actions
-- What was asked for and what came of it.
SELECT id AS key, payload, outcome, NULL AS camera, NULL AS at_ms, NULL AS captured_ms, NULL AS evidence FROM actions
WHERE id > :after ORDER BY id LIMIT :limit;

-- name: page_of_deliveries
-- What did not get through to a webhook and is kept to be sent again.
SELECT id AS key, body, NULL AS camera, NULL AS at_ms, NULL AS captured_ms, NULL AS evidence FROM webhook_deliveries
WHERE id > :after AND body IS NOT NULL ORDER BY id LIMIT :limit;

-- name: page_of_audit
-- What was changed.
SELECT seq AS key, target_id, NULL AS camera, NULL AS at_ms, NULL AS captured_ms, NULL AS evidence FROM audit_log
WHERE seq > :after AND target_id IS NOT NULL ORDER BY seq LIMIT :limit;

-- name: redact_detections
-- Attributes without the subject.
UPDATE detections SET attributes = ? WHERE id = ?;

-- name: redact_events
-- A payload without the subject; the picture is gone with it.
UPDATE events SET payload = ?, evidence = NULL WHERE seq = ?;

-- name: redact_actions
-- An action without the subject.
UPDATE actions SET payload = ?, outcome = ? WHERE id = ?;

-- name: redact_deliveries
-- A body without the subject.
UPDATE webhook_deliveries SET body = ? WHERE id = ?;

-- name: redact_audit
-- A line without the name of what was changed.
UPDATE audit_log SET target_id = ? WHERE seq = ?;

-- name: drop_frames
-- The rows of the kept frames in a JSON array.
DELETE FROM media_artifacts WHERE path IN (SELECT value FROM json_each(:paths));
