-- name: all_tasks
-- Every task, oldest first.
SELECT * FROM ai_tasks ORDER BY created_ms, id;

-- name: insert_task
-- A new task; ignored when the slot (camera, type, profile) is taken.
INSERT INTO ai_tasks (id, camera_id, task_type, enabled, stream_profile, fps, width, config, created_ms, updated_ms)
VALUES (:id, :camera_id, :task_type, :enabled, :stream_profile, :fps, :width, :config, :created_ms, :updated_ms)
ON CONFLICT (camera_id, task_type, stream_profile) DO NOTHING;

-- name: update_task
-- All that can change of a task.
UPDATE ai_tasks SET task_type = :task_type, enabled = :enabled, stream_profile = :stream_profile, fps = :fps,
  width = :width, config = :config, updated_ms = :updated_ms
WHERE id = :id;

-- name: delete_task
-- One task.
DELETE FROM ai_tasks WHERE id = :id;
