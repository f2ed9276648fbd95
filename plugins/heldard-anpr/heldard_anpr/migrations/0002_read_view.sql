-- What other programs on the box may read of entries, with a reader's rights on the database: its columns stay as they are.
CREATE VIEW entry_events_read AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', timestamp / 1000.0, 'unixepoch') AS timestamp, camera_id, event_type, plate,
  subject, auth_status, evidence, direction, track_id
FROM entry_events;
