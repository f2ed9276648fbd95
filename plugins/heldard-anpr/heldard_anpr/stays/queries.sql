-- inside_of: The open stay of a plate.
SELECT * FROM anpr_stays WHERE plate = ? AND state = 'inside' ORDER BY entered_ms DESC LIMIT 1;
-- enter: A vehicle came in.
INSERT INTO anpr_stays (plate, site_id, state, auth_status, entry_event, entry_camera, entered_ms, due_ms)
VALUES (?, ?, 'inside', ?, ?, ?, ?, ?);
-- lose: It came in again without having been seen to leave.
UPDATE anpr_stays SET state = 'lost' WHERE id = ?;
-- leave: It left.
UPDATE anpr_stays SET state = 'left', exit_event = ?, exit_camera = ?, left_ms = ? WHERE id = ?;
-- forget_entry: The event that began a stay was amended.
DELETE FROM anpr_stays WHERE entry_event = ?;
-- reopen: The event that ended a stay was amended.
UPDATE anpr_stays SET state = 'inside', exit_event = NULL, exit_camera = NULL, left_ms = NULL WHERE exit_event = ?;
-- overdue: Stays longer than allowed that were not told yet.
SELECT * FROM anpr_stays WHERE state = 'inside' AND due_ms <= ? AND overstayed_ms IS NULL ORDER BY due_ms LIMIT 200;
-- tell_overstay: Told once.
UPDATE anpr_stays SET overstayed_ms = ? WHERE id = ?;
-- inside: Who is inside now, longest first.
SELECT * FROM anpr_stays WHERE state = 'inside' ORDER BY entered_ms, id LIMIT ?;
