-- name: register_consumer
-- A consumer seen for the first time begins after what is in the log.
INSERT INTO consumers (name, since_seq) VALUES (:name, (SELECT coalesce(max(seq), 0) FROM outbox))
ON CONFLICT (name) DO NOTHING;

-- name: consumer_by_name
-- Where a consumer began and whether it is held.
SELECT id, name, since_seq, quarantined_ms, last_error FROM consumers WHERE name = :name;

-- name: quarantine
-- Hold a consumer, or let it go with NULL.
UPDATE consumers SET quarantined_ms = :quarantined_ms, last_error = :last_error WHERE id = :id;

-- name: claim
-- One claim; fails on the primary key when the batch is claimed already.
INSERT INTO consumer_fanout (seq, consumer, state, attempts, error, ended_ms) VALUES (?, ?, ?, ?, ?, ?);

-- name: begin_claim
-- One claim that is running now; nothing when the batch is claimed already.
INSERT INTO consumer_fanout (seq, consumer, state) VALUES (?, ?, 0) ON CONFLICT (seq, consumer) DO NOTHING;

-- name: claim_logged
-- One claim that has ended as done, if its batch is in the log.
INSERT INTO consumer_fanout (seq, consumer, state, ended_ms) SELECT seq, ?, 1, ? FROM outbox WHERE seq = ?;

-- name: end_claim
-- A claim that was running ends as done.
UPDATE consumer_fanout SET state = 1, ended_ms = ? WHERE seq = ? AND consumer = ? AND state = 0;

-- name: park_claim
-- A claim ends as failed, running or not yet made; one that has ended stays as it is.
INSERT INTO consumer_fanout (seq, consumer, state, attempts, error, ended_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (seq, consumer) DO UPDATE
SET state = excluded.state, attempts = excluded.attempts, error = excluded.error, ended_ms = excluded.ended_ms
WHERE consumer_fanout.state = 0;

-- name: redeem_claim
-- A parked claim ends as done.
UPDATE consumer_fanout SET state = 1, ended_ms = ? WHERE seq = ? AND consumer = ? AND state = 2;

-- name: interrupt_claims
-- Claims that were running when the last process ended.
UPDATE consumer_fanout SET state = 3, error = 'the daemon stopped while it ran', ended_ms = :now
WHERE state = 0 AND state <> 1;

-- name: put_state
-- One state blob of a consumer and camera.
INSERT INTO consumer_state (consumer, camera, key, value) VALUES (?, ?, ?, ?)
ON CONFLICT (consumer, camera, key) DO UPDATE SET value = excluded.value;

-- name: drop_state
-- Forget one state blob.
DELETE FROM consumer_state WHERE consumer = ? AND camera = ? AND key = ?;

-- name: lane_at
-- How far the lane's time has come.
INSERT INTO consumer_lanes (consumer, camera, at_ms) VALUES (?, ?, ?)
ON CONFLICT (consumer, camera) DO UPDATE SET at_ms = max(at_ms, excluded.at_ms);

-- name: state_of_lane
-- What a lane left when it last committed.
SELECT key, value FROM consumer_state WHERE consumer = :consumer AND camera = :camera;

-- name: lanes_with_state
-- Lanes to wake at start.
SELECT DISTINCT camera FROM consumer_state WHERE consumer = :consumer;

-- name: lane_times
-- How far trusted time has come per camera, by ticks.
SELECT camera, max(at_ms) AS at_ms FROM consumer_lanes GROUP BY camera;

-- name: newest_times
-- How far trusted time has come per camera, by batches.
SELECT c.camera, (SELECT max(o.at_ms) FROM outbox o WHERE o.camera = c.camera) AS at_ms
FROM (SELECT DISTINCT camera FROM channels) c;

-- name: unfinished_cameras
-- Cameras with batches that some consumer has not ended.
SELECT c.camera FROM (SELECT DISTINCT camera FROM channels) c
WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.camera = c.camera AND o.fanned_out_ms IS NULL);

-- name: unclaimed_page
-- A lane's next batches that it has not claimed, in log order.
SELECT o.* FROM outbox o
WHERE o.camera = :camera AND o.seq > :after AND o.fanned_out_ms IS NULL
  AND NOT EXISTS (SELECT 1 FROM consumer_fanout f WHERE f.seq = o.seq AND f.consumer = :consumer)
ORDER BY o.seq LIMIT :limit;

-- name: unfinished_page
-- Unfinished batches from a place on, for the sweep.
SELECT o.camera, o.seq, o.source FROM outbox o WHERE o.fanned_out_ms IS NULL AND (o.camera, o.seq) > (:camera, :after)
ORDER BY o.camera, o.seq LIMIT :limit;

-- name: ended_claims
-- How many of the given consumers (a JSON array) have ended with a batch.
SELECT count(*) FROM consumer_fanout
WHERE seq = :seq AND state <> 0 AND consumer IN (SELECT value FROM json_each(:consumers));

-- name: finish
-- Every interested consumer has ended with these batches (a JSON array).
UPDATE outbox SET fanned_out_ms = :now WHERE seq IN (SELECT value FROM json_each(:seqs)) AND fanned_out_ms IS NULL;

-- name: batch_by_seq
-- One batch.
SELECT * FROM outbox WHERE seq = :seq;

-- name: odd_claims
-- (SQLite takes a partial index only where its condition is written out: hence `state <> 1` beside `state = 2`.)
-- A consumer's claims that did not end as done, newest first.
SELECT f.seq, f.state, f.attempts, f.error, f.ended_ms, o.source FROM consumer_fanout f JOIN outbox o ON o.seq = f.seq
WHERE f.consumer = :consumer AND f.state IN (2, 3) AND f.state <> 1 ORDER BY f.seq DESC LIMIT :limit;

-- name: parked_seqs
-- Batches a consumer failed, oldest first, for a re-drive.
SELECT f.seq, o.camera FROM consumer_fanout f JOIN outbox o ON o.seq = f.seq
WHERE f.consumer = :consumer AND f.state = 2 AND f.state <> 1 ORDER BY f.seq LIMIT :limit;

-- name: lag
-- How much a consumer has left of the task types it wants (a JSON array), and since when.
SELECT count(*) AS lag, min(o.received_ms) AS oldest_ms FROM outbox o INDEXED BY outbox_unfinished
WHERE o.fanned_out_ms IS NULL AND o.seq > :since
  AND o.source IN (SELECT id FROM sources WHERE task_type IN (SELECT value FROM json_each(:task_types)))
  AND NOT EXISTS (SELECT 1 FROM consumer_fanout f WHERE f.seq = o.seq AND f.consumer = :consumer AND f.state <> 0);

-- name: task_types
-- Task types that batches came with.
SELECT DISTINCT task_type FROM channels;

-- name: count_parked
-- How many batches a consumer failed.
SELECT count(*) AS parked FROM consumer_fanout WHERE consumer = :consumer AND state = 2 AND state <> 1;

-- name: insert_action
-- Ask for an action; nothing when its key was used before.
INSERT INTO actions (consumer, kind, key, camera_id, payload, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (consumer, key) DO NOTHING;

-- name: interrupt_actions
-- Actions that were running when the last process ended are not run again.
UPDATE actions SET state = 4, ended_ms = :now, outcome = '{"error":"the daemon stopped while it ran"}'
WHERE state = 1 AND state < 2;

-- name: expire_actions
-- Actions nobody carried out in time, also those of a kind that nobody handles any more.
UPDATE actions SET state = 5, ended_ms = :now WHERE state = 0 AND state < 2 AND expires_ms <= :now;

-- name: waiting_actions
-- What of one kind is to be done next, oldest first.
SELECT id, kind, key, camera_id, payload, expires_ms FROM actions
WHERE kind = :kind AND state = 0 AND state < 2 ORDER BY id LIMIT 100;

-- name: start_action
-- Claim an action before it runs.
UPDATE actions SET state = :state, started_ms = :now WHERE id = :id AND state = 0;

-- name: end_action
-- How an action ended.
UPDATE actions SET state = :state, ended_ms = :now, outcome = :outcome WHERE id = :id;

-- name: insert_evidence
-- A kept frame; nothing when it is kept already.
INSERT INTO media_artifacts (path, camera_id, kind, captured_ms, size_bytes, created_ms) VALUES (?, ?, 'frame', ?, ?, ?)
ON CONFLICT (path) DO NOTHING;

-- name: is_kept
-- Whether a picture is kept as evidence.
SELECT 1 FROM media_artifacts WHERE path = ?;

-- name: forget_state_of_camera
-- A deleted camera's state, all consumers.
DELETE FROM consumer_state WHERE camera = :camera;

-- name: forget_lanes_of_camera
-- A deleted camera's lanes, all consumers.
DELETE FROM consumer_lanes WHERE camera = :camera;

-- name: finish_camera
-- Nobody is left to take a deleted camera's batches.
UPDATE outbox SET fanned_out_ms = :now WHERE camera = :camera AND fanned_out_ms IS NULL;
