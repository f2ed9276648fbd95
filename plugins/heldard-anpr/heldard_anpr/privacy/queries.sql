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
-- visits_with_read: Visits in which a plate was read, whatever was decided.
SELECT DISTINCT visit_id FROM anpr_reads WHERE text = ?;
