-- What is to be forgotten, and how far that has come: `place` and `after` say where the search goes on.
-- subject and options are kept only until it has ended. counts: JSON, what went, by place.
CREATE TABLE erasures (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  subject TEXT,
  options TEXT,
  asked_by TEXT NOT NULL,
  asked_ms INTEGER NOT NULL,
  place TEXT NOT NULL,
  after INTEGER NOT NULL,
  counts TEXT NOT NULL,
  error TEXT,
  ended_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX erasures_open ON erasures (asked_ms) WHERE ended_ms IS NULL;
