-- old_events: Entry events of a status before a time, oldest first.
SELECT id FROM entry_events WHERE auth_status = ? AND timestamp < ? ORDER BY timestamp LIMIT ?;
-- old_visits: Visits without an event before a time.
SELECT id FROM anpr_visits WHERE event_id IS NULL AND started_ms < ? AND ended_ms IS NOT NULL ORDER BY started_ms LIMIT ?;
-- old_openings: Openings before a time.
DELETE FROM anpr_openings WHERE asked_ms < ?;
-- visits_of_event: What a deleted event leaves behind.
SELECT id FROM anpr_visits WHERE event_id = ?;
-- drop_event: One entry event.
DELETE FROM entry_events WHERE id = ?;
-- drop_reviews: What reviewers did with it.
DELETE FROM anpr_reviews WHERE event_id = ?;
-- drop_stays: The stay that it began.
DELETE FROM anpr_stays WHERE entry_event = ?;
-- drop_visit: One visit.
DELETE FROM anpr_visits WHERE id = ?;
-- drop_reads: Its reads.
DELETE FROM anpr_reads WHERE visit_id = ?;
-- drop_decisions: Its decisions.
DELETE FROM anpr_decisions WHERE visit_id = ?;
-- reads_about: Reads of the plate, and those of visits that were decided to be it or led to nothing.
SELECT v.camera_id, r.at_ms, r.raw, r.evidence FROM anpr_reads r JOIN anpr_visits v ON v.id = r.visit_id
WHERE r.text = ?1
UNION SELECT v.camera_id, r.at_ms, r.raw, r.evidence FROM anpr_reads r JOIN anpr_visits v ON v.id = r.visit_id
WHERE v.event_id IN (SELECT id FROM entry_events WHERE plate IN (?1, ?2))
UNION SELECT v.camera_id, r.at_ms, r.raw, r.evidence FROM anpr_reads r JOIN anpr_visits v ON v.id = r.visit_id
WHERE v.event_id IS NULL AND v.id IN (SELECT visit_id FROM anpr_reads WHERE text = ?1);
-- events_of_plate: Some entry events of a plate or its hash.
SELECT id FROM entry_events WHERE plate IN (?, ?) LIMIT ?;
-- loose_visits: Some visits without an event in which a plate was read.
SELECT DISTINCT r.visit_id FROM anpr_reads r JOIN anpr_visits v ON v.id = r.visit_id
WHERE r.text = ? AND v.event_id IS NULL LIMIT ?;
-- drop_stays_of_plate: Stays whose entry was not kept.
DELETE FROM anpr_stays WHERE plate IN (?, ?) RETURNING id;
-- forget_read: The texts of reads of a plate in visits of other vehicles.
UPDATE anpr_reads SET raw = '', text = '', track_id = NULL WHERE text = ? RETURNING number;
-- forget_in_decisions: A plate in decisions about other vehicles.
UPDATE anpr_decisions SET record = replace(record, :quoted, :erased) WHERE instr(record, :quoted) > 0 RETURNING number;
-- forget_in_events: A plate in entry events of other vehicles, such as a listed one that was close.
UPDATE entry_events SET subject = replace(subject, :quoted, :erased),
  authorization = replace(authorization, :quoted, :erased), workflow = replace(workflow, :quoted, :erased)
WHERE instr(subject, :quoted) > 0 OR instr(authorization, :quoted) > 0 OR instr(workflow, :quoted) > 0 RETURNING id;
-- forget_in_reviews: A plate that a reviewer put right.
UPDATE anpr_reviews SET plate_before = nullif(plate_before, :plate), plate_after = nullif(plate_after, :plate)
WHERE :plate IN (plate_before, plate_after) RETURNING id;
-- drop_keys: The keys of one list entry.
DELETE FROM anpr_plate_keys WHERE list = ? AND entry_id = ?;
