-- name: all_users
-- Everybody.
SELECT * FROM users ORDER BY created_ms, id;

-- name: put_user
-- A new or changed person.
INSERT INTO users (id, username, password_hash, role, display_name, active, failures, locked_until_ms, created_ms,
  updated_ms)
VALUES (:id, :username, :password_hash, :role, :display_name, :active, :failures, :locked_until_ms, :created_ms,
  :updated_ms)
ON CONFLICT (id) DO UPDATE SET password_hash = excluded.password_hash, role = excluded.role,
  display_name = excluded.display_name, active = excluded.active, failures = excluded.failures,
  locked_until_ms = excluded.locked_until_ms, updated_ms = excluded.updated_ms;

-- name: delete_user
-- One person; the sessions go too.
DELETE FROM users WHERE id = :id;

-- name: all_sessions
-- Everybody who is signed in.
SELECT * FROM sessions;

-- name: put_session
-- Sign in.
INSERT INTO sessions (token, user_id, created_ms, used_ms, expires_ms)
VALUES (:token, :user_id, :created_ms, :used_ms, :expires_ms);

-- name: use_session
-- Note the use of a session; one that has ended stays so.
UPDATE sessions SET used_ms = :used_ms, expires_ms = :expires_ms WHERE token = :token;

-- name: delete_session
-- Sign out.
DELETE FROM sessions WHERE token = :token;

-- name: delete_sessions_of
-- Sign a person out everywhere.
DELETE FROM sessions WHERE user_id = :user_id;

-- name: delete_expired_sessions
-- Sessions whose time is over.
DELETE FROM sessions WHERE expires_ms <= :now_ms;

-- name: all_keys
-- Every key, revoked ones too.
SELECT * FROM api_keys ORDER BY created_ms, id;

-- name: put_key
-- A new or changed key.
INSERT INTO api_keys (id, name, key_hash, key_prefix, role, capabilities, cameras, active, expires_ms, revoked_ms,
  used_ms, created_ms)
VALUES (:id, :name, :key_hash, :key_prefix, :role, :capabilities, :cameras, :active, :expires_ms, :revoked_ms, :used_ms,
  :created_ms)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, role = excluded.role, capabilities = excluded.capabilities,
  cameras = excluded.cameras, active = excluded.active, expires_ms = excluded.expires_ms,
  revoked_ms = excluded.revoked_ms, used_ms = excluded.used_ms;

-- name: key_used
-- When a key was last seen.
UPDATE api_keys SET used_ms = :used_ms WHERE id = :id;

-- name: access_version
-- Rises when another process changed who may do what.
SELECT value FROM settings WHERE key = 'access_version';

-- name: raise_access_version
-- Tell a running daemon to look again.
INSERT INTO settings (key, value, updated_ms) VALUES ('access_version', '1', :now_ms)
ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT), updated_ms = excluded.updated_ms;

-- name: add_audit
-- One line of the audit log.
INSERT INTO audit_log (at_ms, actor, actor_name, role, action, target_type, target_id, camera_id, detail)
VALUES (:at_ms, :actor, :actor_name, :role, :action, :target_type, :target_id, :camera_id, :detail);

-- name: newest_audit
-- Newest first; conditions and a limit are appended.
SELECT seq, at_ms, actor, actor_name, role, action, target_type, target_id, camera_id, detail FROM audit_log;
