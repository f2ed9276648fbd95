-- name: all_leases
-- Every lease, lapsed ones too.
SELECT * FROM ai_task_leases;

-- name: put_lease
-- Take or renew one task, unless it was deleted meanwhile.
INSERT OR REPLACE INTO ai_task_leases (task_id, lease_id, credential, worker_id, acquired_ms, renewed_ms, expires_ms)
SELECT :task_id, :lease_id, :credential, :worker_id, :acquired_ms, :renewed_ms, :expires_ms
WHERE EXISTS (SELECT 1 FROM ai_tasks WHERE id = :task_id);

-- name: drop_lease
-- Give one task up.
DELETE FROM ai_task_leases WHERE task_id = :task_id;
