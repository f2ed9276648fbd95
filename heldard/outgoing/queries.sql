-- name: all_webhooks
-- Every target.
SELECT * FROM webhook_subscriptions ORDER BY created_ms, id;

-- name: put_webhook
-- A new or changed target, or how far it has come.
INSERT INTO webhook_subscriptions (id, name, url, event_types, min_severity, coalesce_s, secret, enabled, cursor_seq,
  attempts, failing_since_ms, next_attempt_ms, last_error, created_ms, updated_ms)
VALUES (:id, :name, :url, :event_types, :min_severity, :coalesce_s, :secret, :enabled, :cursor_seq, :attempts,
  :failing_since_ms, :next_attempt_ms, :last_error, :created_ms, :updated_ms)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, url = excluded.url, event_types = excluded.event_types,
  min_severity = excluded.min_severity, coalesce_s = excluded.coalesce_s, secret = excluded.secret,
  enabled = excluded.enabled, cursor_seq = excluded.cursor_seq, attempts = excluded.attempts,
  failing_since_ms = excluded.failing_since_ms, next_attempt_ms = excluded.next_attempt_ms,
  last_error = excluded.last_error, updated_ms = excluded.updated_ms;

-- name: delete_webhook
-- One target and its deliveries.
DELETE FROM webhook_subscriptions WHERE id = :id;

-- name: add_delivery
-- How an event ended for a target.
INSERT INTO webhook_deliveries (subscription_id, event_seq, event_id, event_type, status, attempts, response_code,
  error, body, created_ms, delivered_ms)
VALUES (:subscription_id, :event_seq, :event_id, :event_type, :status, :attempts, :response_code, :error, :body,
  :created_ms, :delivered_ms);

-- name: trim_deliveries
-- Deliveries of a target beyond the newest so many.
DELETE FROM webhook_deliveries WHERE subscription_id = :subscription_id AND id <= (
  SELECT id FROM webhook_deliveries WHERE subscription_id = :subscription_id ORDER BY id DESC LIMIT 1 OFFSET :keep);

-- name: newest_deliveries
-- Of a target, newest first.
SELECT * FROM webhook_deliveries WHERE subscription_id = :subscription_id ORDER BY id DESC LIMIT :limit;

-- name: newest_dead
-- Dead ones of a target, newest first.
SELECT * FROM webhook_deliveries WHERE subscription_id = :subscription_id AND status = 2 ORDER BY id DESC LIMIT :limit;

-- name: count_dead
-- How many of a target's deliveries were given up.
SELECT count(*) AS dead FROM webhook_deliveries WHERE subscription_id = :subscription_id AND status = 2;

-- name: oldest_dead
-- Dead ones of a target, oldest first.
SELECT * FROM webhook_deliveries WHERE subscription_id = :subscription_id AND status = 2 ORDER BY id LIMIT :limit;

-- name: delivery
-- One delivery of a target.
SELECT * FROM webhook_deliveries WHERE subscription_id = :subscription_id AND id = :id;

-- name: revive
-- A dead one that got through after all.
UPDATE webhook_deliveries SET status = 1, attempts = attempts + 1, response_code = :response_code, error = NULL,
  body = NULL, delivered_ms = :delivered_ms
WHERE id = :id AND status = 2;
