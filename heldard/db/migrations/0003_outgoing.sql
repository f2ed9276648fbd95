-- Where events are sent. cursor_seq: the last event that is settled, delivered or given up or not wanted.
-- attempts, failing_since_ms, next_attempt_ms: of the event after the cursor, while it does not get through.
CREATE TABLE webhook_subscriptions (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  event_types TEXT NOT NULL,
  min_severity INTEGER NOT NULL,
  coalesce_s INTEGER NOT NULL,
  secret TEXT,
  enabled INTEGER NOT NULL,
  cursor_seq INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  failing_since_ms INTEGER,
  next_attempt_ms INTEGER,
  last_error TEXT,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- status: 1 delivered, 2 dead. body: what was to be sent, kept of dead ones so that they can be sent again.
CREATE TABLE webhook_deliveries (
  id INTEGER PRIMARY KEY,
  subscription_id TEXT NOT NULL REFERENCES webhook_subscriptions (id) ON DELETE CASCADE,
  event_seq INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  status INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  response_code INTEGER,
  error TEXT,
  body TEXT,
  created_ms INTEGER NOT NULL,
  delivered_ms INTEGER
);
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (subscription_id, id);
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (subscription_id, id) WHERE status = 2;
