-- No key but the row's own: a batch counted twice shall be found twice.
CREATE TABLE crashprobe_counts (id INTEGER PRIMARY KEY, camera TEXT NOT NULL, seq INTEGER NOT NULL,
  count INTEGER NOT NULL, at_ms INTEGER NOT NULL);
