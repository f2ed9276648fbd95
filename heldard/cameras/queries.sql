-- name: all_cameras
-- Every camera, by id.
SELECT * FROM cameras ORDER BY id;

-- name: insert_camera
-- A new camera; fails on the primary key when the id is taken.
INSERT INTO cameras (id, site_id, name, vendor, model, address, rtsp_port, username, password, main_stream_url,
  sub_stream_url, record_stream, capabilities, enabled, priority, created_ms, updated_ms)
VALUES (:id, :site_id, :name, :vendor, :model, :address, :rtsp_port, :username, :password, :main_stream_url,
  :sub_stream_url, :record_stream, :capabilities, :enabled, :priority, :created_ms, :updated_ms);

-- name: update_camera
-- All of a camera's columns.
UPDATE cameras SET site_id = :site_id, name = :name, vendor = :vendor, model = :model, address = :address,
  rtsp_port = :rtsp_port, username = :username, password = :password, main_stream_url = :main_stream_url,
  sub_stream_url = :sub_stream_url, record_stream = :record_stream, capabilities = :capabilities, enabled = :enabled,
  priority = :priority, updated_ms = :updated_ms
WHERE id = :id;

-- name: delete_camera
-- The camera and, by its foreign keys, its tasks.
DELETE FROM cameras WHERE id = :id;
