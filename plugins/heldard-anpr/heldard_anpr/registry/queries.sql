-- vehicle: One vehicle.
SELECT * FROM vehicles WHERE id = ?;
-- pass_: One visitor pass.
SELECT * FROM visitor_passes WHERE id = ?;
-- group_: One group.
SELECT * FROM anpr_groups WHERE id = ?;
-- groups: All groups by name.
SELECT * FROM anpr_groups ORDER BY name;
-- watchlist: Newest entries first.
SELECT * FROM watchlist ORDER BY created_at DESC, id LIMIT ?;
-- add_key: One way the plate of an entry may be found when misread.
INSERT OR IGNORE INTO anpr_plate_keys (key, list, entry_id, plate) VALUES (?, ?, ?, ?);
-- drop_keys: Forget how an entry was found.
DELETE FROM anpr_plate_keys WHERE list = ? AND entry_id = ?;
-- ungroup_vehicles: Members of a deleted group belong to none.
UPDATE vehicles SET group_id = NULL WHERE group_id = ?;
-- ungroup_passes: Members of a deleted group belong to none.
UPDATE visitor_passes SET group_id = NULL WHERE group_id = ?;
-- all_vehicles: For export, by plate.
SELECT * FROM vehicles ORDER BY plate_norm;
-- all_passes: For export, by beginning.
SELECT * FROM visitor_passes ORDER BY valid_from, id;
-- all_watchlist: For export, by plate.
SELECT * FROM watchlist ORDER BY plate_norm;
-- blocked: The active block entry of a plate.
SELECT * FROM watchlist WHERE plate_norm = ? AND kind = 'block' AND active = 1;
-- flagged: The active vip or alert entry of a plate.
SELECT * FROM watchlist WHERE plate_norm = ? AND kind = ? AND active = 1;
-- vehicle_of_plate: The active vehicle with a plate.
SELECT v.*, g.schedule, g.max_stay_s, g.name AS group_name
FROM vehicles v LEFT JOIN anpr_groups g ON g.id = v.group_id WHERE v.plate_norm = ? AND v.active = 1;
-- passes_of_plate: Passes of a plate that may still be used, latest end first.
SELECT p.*, g.schedule, g.max_stay_s, g.name AS group_name
FROM visitor_passes p LEFT JOIN anpr_groups g ON g.id = p.group_id
WHERE p.plate_norm = ? AND (p.status IN ('active', 'checked_in') OR (p.status = 'checked_out' AND p.auto_checked_out = 1))
ORDER BY p.valid_until DESC, p.id;
-- check_in: A pass whose visitor came in.
UPDATE visitor_passes SET status = 'checked_in', checked_in_at = ?, auto_checked_out = 0, updated_at = ? WHERE id = ?;
-- check_out: A pass whose visitor left; the second value says whether the gate saw it.
UPDATE visitor_passes SET status = 'checked_out', checked_out_at = ?, auto_checked_out = ?, updated_at = ? WHERE id = ?;
