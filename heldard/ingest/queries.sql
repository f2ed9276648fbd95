-- name: insert_batch
-- The batch's row in the log; nothing when its frame is known already in its channel.
INSERT INTO outbox (seq, camera, source, channel, frame, at_ms, timestamp_ms, captured_ms, received_ms,
  detection_count, labels, fanned_out_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (channel, frame) WHERE frame IS NOT NULL DO NOTHING;

-- name: last_place
-- The last place of the log that was ever taken.
SELECT max(seq) AS seq FROM (SELECT seq FROM sqlite_sequence WHERE name = 'outbox' UNION ALL SELECT max(seq) FROM outbox);

-- name: batch_of_frame
-- The original of a duplicate.
SELECT seq FROM outbox WHERE channel = ? AND frame = ?;

-- name: insert_detection
-- One detection of a batch.
INSERT INTO detections (id, label, confidence, x, y, w, h, track, attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: outbox_after
-- The log from a place on.
SELECT * FROM outbox WHERE seq > :after ORDER BY seq LIMIT :limit;

-- name: detections_of_batches
-- All detections of the batches in a JSON array of seqs.
SELECT d.id, d.label, d.confidence, d.x, d.y, d.w, d.h, d.track, d.attributes FROM json_each(:seqs) s JOIN detections d ON d.id BETWEEN s.value * 1024 AND s.value * 1024 + 1023
ORDER BY d.id;

-- name: batches_at
-- A camera's batches in a range of trusted time, in log order.
SELECT * FROM outbox WHERE camera = :camera AND (at_ms, seq) > (:at_ms, :seq) AND at_ms < :to_ms
ORDER BY at_ms, seq LIMIT :limit;

-- name: newest_detections
-- A camera's detections, newest first; conditions and a limit are appended.
SELECT d.id, d.label, d.confidence, d.x, d.y, d.w, d.h, d.track, d.attributes,
  o.seq, o.source, o.frame, o.at_ms, o.timestamp_ms, o.received_ms
FROM outbox o JOIN detections d ON d.id BETWEEN o.seq * 1024 AND o.seq * 1024 + 1023
WHERE o.camera = ?;

-- name: delete_detections_of_camera
-- One step of removing a deleted camera's detections.
DELETE FROM detections WHERE id IN (
  SELECT d.id FROM outbox o JOIN detections d ON d.id BETWEEN o.seq * 1024 AND o.seq * 1024 + 1023
  WHERE o.camera = ? LIMIT 5000);
