-- open_visit: A visit is known from its first read on.
INSERT OR IGNORE INTO anpr_visits (id, camera_id, site_id, started_ms, seen_ms) VALUES (?, ?, ?, ?, ?);
-- add_read: One reading of a plate, whatever became of it.
INSERT INTO anpr_reads (visit_id, number, at_ms, captured_ms, frame_id, track_id, raw, text, confidence, chars, weight,
  plate_box, vehicle_box, fate, evidence)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
-- visit: One visit.
SELECT * FROM anpr_visits WHERE id = ?;
-- visit_of_event: The visits of an event, the first one first.
SELECT * FROM anpr_visits WHERE event_id = ? ORDER BY started_ms, id;
-- visit_figures: How many visits of each camera led to what.
SELECT camera_id, count(*) AS visits, count(event_id) AS with_event, sum(repeats) AS repeats,
  sum(reads > 0 AND event_id IS NULL AND ended_ms IS NOT NULL) AS unread
FROM anpr_visits WHERE started_ms >= ? AND started_ms < ? GROUP BY camera_id ORDER BY camera_id;
-- read_figures: What became of the reads of each camera.
SELECT v.camera_id, r.fate, count(*) AS count FROM anpr_visits v JOIN anpr_reads r ON r.visit_id = v.id
WHERE v.started_ms >= ? AND v.started_ms < ? GROUP BY v.camera_id, r.fate ORDER BY r.fate;
-- reads: Readings of a visit in order.
SELECT * FROM anpr_reads WHERE visit_id = ? ORDER BY number;
-- decisions: What was decided of a visit, in order.
SELECT * FROM anpr_decisions WHERE visit_id = ? ORDER BY number;
-- add_decision: The next decision of a visit.
INSERT INTO anpr_decisions (visit_id, number, at_ms, record)
VALUES (:visit_id, (SELECT count(*) FROM anpr_decisions WHERE visit_id = :visit_id), :at_ms, :record);
-- evidence_of_read: The kept frame of one read.
SELECT evidence, captured_ms, plate_box, vehicle_box FROM anpr_reads WHERE visit_id = ? AND number = ?;
-- any_evidence: The kept frame of the most confident read.
SELECT evidence, captured_ms, plate_box, vehicle_box FROM anpr_reads
WHERE visit_id = ? AND evidence IS NOT NULL ORDER BY confidence DESC, number LIMIT 1;
-- keep_evidence: The frame of a read was kept after all.
UPDATE anpr_reads SET evidence = ? WHERE visit_id = ? AND number = ?;
-- attach: The event of a visit.
UPDATE anpr_visits SET event_id = ?, repeats = ? WHERE id = ?;
-- see_visit: A visit as far as it is known when it is decided.
UPDATE anpr_visits SET seen_ms = ?, reads = ?, sightings = ? WHERE id = ?;
-- end_visit: A visit is over.
UPDATE anpr_visits SET ended_ms = ?, seen_ms = ?, reads = ?, sightings = ? WHERE id = ?;
-- event_seen: When the vehicle of an event was last seen.
UPDATE entry_events SET seen_ms = max(seen_ms, ?) WHERE id = ?;
-- earlier: The event of the same plate, camera and direction that this may be a repetition of.
SELECT e.id FROM entry_events e
WHERE e.plate = :plate AND e.camera_id = :camera_id AND e.direction = :direction AND e.timestamp <= :at_ms
  AND e.seen_ms >= :since_ms
  AND NOT EXISTS (SELECT 1 FROM entry_events x
                  WHERE x.plate = e.plate AND x.timestamp > e.timestamp AND x.event_type <> e.event_type)
ORDER BY e.timestamp DESC LIMIT 1;
-- add_event: A new entry event.
INSERT INTO entry_events (id, site_id, camera_id, event_type, timestamp, direction, plate, plate_confidence, subject,
  authorization, auth_status, evidence, workflow_status, workflow, audit, track_id, seen_ms, created_at)
VALUES (:id, :site_id, :camera_id, :event_type, :timestamp, :direction, :plate, :plate_confidence, :subject,
  :authorization, :auth_status, :evidence, :workflow_status, :workflow, :audit, :track_id, :seen_ms, :created_at);
-- amend_event: An event after a better decision.
UPDATE entry_events SET event_type = :event_type, direction = :direction, plate = :plate,
  plate_confidence = :plate_confidence, subject = :subject, authorization = :authorization, auth_status = :auth_status,
  evidence = :evidence, workflow_status = :workflow_status, workflow = :workflow, audit = :audit
WHERE id = :id;
-- event: One entry event.
SELECT * FROM entry_events WHERE id = ?;
-- set_workflow: What a reviewer made of an event.
UPDATE entry_events SET workflow_status = ?, workflow = ? WHERE id = ?;
-- set_plate: The plate a reviewer put right.
UPDATE entry_events SET plate = ?, subject = ? WHERE id = ?;
-- forget_reads: The texts of a visit whose plate is kept as a hash only.
UPDATE anpr_reads SET raw = '', text = '', track_id = NULL WHERE visit_id = ?;
-- reviews: What reviewers did with an event.
SELECT * FROM anpr_reviews WHERE event_id = ? ORDER BY id;
-- add_review: One step of a reviewer.
INSERT INTO anpr_reviews (event_id, at_ms, from_status, to_status, by_name, by_id, note, plate_before, plate_after)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);
-- count_confusion: A reviewer saw that `printed` was read as something else.
INSERT INTO anpr_confusions (printed, read, count) VALUES (?, ?, 1)
ON CONFLICT (printed, read) DO UPDATE SET count = count + 1;
-- confusions: What reviewers' corrections taught.
SELECT printed, read, count FROM anpr_confusions ORDER BY printed, count DESC, read;
-- policy: The gate of a camera.
SELECT * FROM gate_policies WHERE camera_id = ?;
-- kill_switch: Whether nothing may open.
SELECT kill_switch FROM gate_settings WHERE id = 1;
-- asked_of_event: Whether an opening was asked for an event.
SELECT 1 FROM anpr_openings WHERE key = ?;
-- asked_lately: Openings asked for at a camera since a time.
SELECT count(*) FROM anpr_openings WHERE camera_id = ? AND asked_ms > ?;
-- ask_opening: An opening is asked for.
INSERT INTO anpr_openings (key, camera_id, event_id, visit_id, asked_ms, expires_ms, asked_by) VALUES (?, ?, ?, ?, ?, ?, ?);
-- opening_before: The last opening at a camera within a span, for another vehicle.
SELECT key, event_id, asked_ms FROM anpr_openings
WHERE camera_id = ? AND asked_ms BETWEEN ? AND ? AND state IN ('asked', 'running', 'opened') AND visit_id IS NOT ?
ORDER BY asked_ms DESC LIMIT 1;
-- own_opening: Whether a visit had an opening of its own.
SELECT 1 FROM anpr_openings WHERE visit_id = ?;
-- hash_key: The key that unmatched plates are hashed with.
SELECT hash_key FROM anpr_secrets WHERE id = 1;
