-- Counts by hour, made from the passes there are.
CREATE TABLE people_counter_hours (
  hour_ms INTEGER NOT NULL,
  direction TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (hour_ms, direction)
) WITHOUT ROWID;
INSERT INTO people_counter_hours (hour_ms, direction, count)
  SELECT at_ms - at_ms % 3600000, direction, count(*) FROM people_counter_passes GROUP BY 1, 2;
CREATE TRIGGER people_counter_by_hour AFTER INSERT ON people_counter_passes BEGIN
  INSERT INTO people_counter_hours (hour_ms, direction, count)
    VALUES (new.at_ms - new.at_ms % 3600000, new.direction, 1)
    ON CONFLICT (hour_ms, direction) DO UPDATE SET count = count + 1;
END;
