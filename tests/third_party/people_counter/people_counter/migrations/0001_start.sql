CREATE TABLE people_counter_passes (
  id INTEGER PRIMARY KEY,
  camera_id TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  direction TEXT NOT NULL
);
