-- Who works on what. A lapsed row names the last holder until somebody else takes the task.
CREATE TABLE ai_task_leases (
  task_id TEXT PRIMARY KEY REFERENCES ai_tasks (id) ON DELETE CASCADE,
  lease_id TEXT NOT NULL,
  credential TEXT NOT NULL,
  worker_id TEXT NOT NULL,
  acquired_ms INTEGER NOT NULL,
  renewed_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  username TEXT NOT NULL UNIQUE COLLATE NOCASE,
  password_hash TEXT NOT NULL,
  role TEXT NOT NULL,
  display_name TEXT,
  active INTEGER NOT NULL DEFAULT 1,
  failures INTEGER NOT NULL DEFAULT 0,
  locked_until_ms INTEGER,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- token: SHA-256 of what the browser holds.
CREATE TABLE sessions (
  token TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created_ms INTEGER NOT NULL,
  used_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (user_id);

-- key_hash: SHA-256 of the key. capabilities and cameras: JSON lists; null stands for the role's, and for all cameras.
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  key_hash TEXT NOT NULL UNIQUE,
  key_prefix TEXT NOT NULL,
  role TEXT NOT NULL,
  capabilities TEXT,
  cameras TEXT,
  active INTEGER NOT NULL DEFAULT 1,
  expires_ms INTEGER,
  revoked_ms INTEGER,
  used_ms INTEGER,
  created_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE audit_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  actor_name TEXT,
  role TEXT,
  action TEXT NOT NULL,
  target_type TEXT,
  target_id TEXT,
  camera_id TEXT,
  detail TEXT NOT NULL
);
CREATE INDEX audit_log_at ON audit_log (at_ms);
