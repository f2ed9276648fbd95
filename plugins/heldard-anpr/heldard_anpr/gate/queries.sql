-- settings: The one row of what holds for all gates.
SELECT kill_switch FROM gate_settings WHERE id = 1;
-- set_kill_switch: Nothing opens, or things open again.
UPDATE gate_settings SET kill_switch = ?, updated_at = ? WHERE id = 1;
-- policies: Every gate.
SELECT * FROM gate_policies ORDER BY camera_id;
-- policy: One gate.
SELECT * FROM gate_policies WHERE camera_id = ?;
-- put_policy: Add or replace the policy of a gate.
INSERT INTO gate_policies (camera_id, enabled, output_port, pulse_ms, directions, allow_vip, per_minute, updated_at)
VALUES (:camera_id, :enabled, :output_port, :pulse_ms, :directions, :allow_vip, :per_minute, :updated_at)
ON CONFLICT (camera_id) DO UPDATE SET enabled = :enabled, output_port = :output_port, pulse_ms = :pulse_ms,
  directions = :directions, allow_vip = :allow_vip, per_minute = :per_minute, updated_at = :updated_at;
-- drop_policy: A camera without a gate.
DELETE FROM gate_policies WHERE camera_id = ?;
-- ask: A person asks for an opening.
INSERT INTO anpr_openings (key, camera_id, asked_ms, expires_ms, asked_by) VALUES (?, ?, ?, ?, ?);
-- run: An opening is about to be carried out.
UPDATE anpr_openings SET state = 'running' WHERE key = ? AND state = 'asked';
-- end: How an opening ended.
UPDATE anpr_openings SET state = ?, ended_ms = ?, detail = ? WHERE key = ? AND state IN ('asked', 'running');
-- running: Openings that are being carried out, or were when the daemon ended.
SELECT * FROM anpr_openings WHERE state = 'running';
-- stale: Openings asked for whose end was never heard of.
SELECT * FROM anpr_openings WHERE state = 'asked' AND expires_ms < ? ORDER BY expires_ms LIMIT 200;
-- openings: The newest openings of a camera.
SELECT * FROM anpr_openings WHERE camera_id = ? ORDER BY asked_ms DESC, rowid DESC LIMIT ?;
