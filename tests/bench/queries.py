"""Queries and ingest over a log that has grown: 0, 1 and 10 million detections, beside upstream's table layout.

python -m tests.bench.queries [--rows 10000000] [--baseline-rows 1000000] [--no-growth]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from heldard.clock import SystemClock
from heldard.db import migrations
from heldard.db.database import Database
from heldard.db.names import Names
from heldard.ingest.log import DetectionLog, label_mask
from heldard.ingest.sources import Sources
from tests.bench import baseline
from tests.bench.ingest import heldard, load

OUT = Path(".bench/queries.json")
CAMERAS = 16
PER_BATCH = 10
STEP_MS = 1000
START_MS = 1_760_000_000_000
HOUR_MS = 3_600_000
RARE_EVERY = 997
"""One batch in so many has one detection of the rare label."""

REPEAT = 15


def fill(path: Path, detections: int) -> None:
    """So many detections, 16 cameras in turn, a second apart, two common labels and a rare one."""
    connection = Database(path, SystemClock(), "normal").connect()
    migrations.apply(connection, "heldard", migrations.find("heldard.db"), 0)
    connection.execute("PRAGMA synchronous = OFF")
    words = ["person", "car", "rare", "detection", *(f"cam{n}" for n in range(CAMERAS))]
    connection.executemany("INSERT OR IGNORE INTO names (text) VALUES (?)", [(word,) for word in words])
    number = {text: row for row, text in connection.execute("SELECT id, text FROM names")}
    for n in range(CAMERAS):
        place = (n + 1, number[f"cam{n}"], number["detection"])
        connection.execute("INSERT INTO sources VALUES (?, ?, ?, '', '', 'run', 'worker', 'apikey:system', '')", place)
        connection.execute("INSERT INTO channels VALUES (?, ?, ?, '')", place)
    common = label_mask([number["person"], number["car"]])
    rare = label_mask([number["person"], number["car"], number["rare"]])
    connection.execute("BEGIN")
    connection.execute(
        f"""
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {detections // PER_BATCH - 1})
        INSERT INTO outbox (camera, source, channel, frame, at_ms, timestamp_ms, captured_ms, received_ms,
          detection_count, labels, fanned_out_ms)
        SELECT {number["cam0"]} + i % {CAMERAS}, 1 + i % {CAMERAS}, 1 + i % {CAMERAS}, 'w:f' || i, t, t, NULL, t,
          {PER_BATCH}, iif(i % {RARE_EVERY} = 0, {rare}, {common}), t
        FROM (SELECT i, {START_MS} + i / {CAMERAS} * {STEP_MS} AS t FROM n)
        """
    )
    connection.execute(
        f"""
        WITH RECURSIVE d(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM d WHERE k < {PER_BATCH - 1})
        INSERT INTO detections (id, label, confidence, x, y, w, h, track, attributes)
        SELECT seq * 1024 + k, iif(k = 0 AND labels = {rare}, {number["rare"]}, {number["person"]} + k % 2), 0.83,
          0.05 + k * 0.08, 0.43, 0.06, 0.2, '' || (1000 + k), NULL
        FROM outbox CROSS JOIN d ORDER BY seq, k
        """
    )
    connection.execute("INSERT INTO consumer_fanout SELECT seq, 1, 1, NULL, NULL, at_ms FROM outbox")
    connection.execute("COMMIT")
    connection.execute("ANALYZE") if detections == 0 else None
    connection.close()


def fill_baseline(path: Path, detections: int) -> None:
    """The same in upstream's layout. Indexes are made afterwards, which is kind to it."""
    connection = baseline.connect(path, "off")
    indexes = [s for s in baseline.SCHEMA.split(";") if "INDEX" in s and "detections" in s]
    connection.executescript(baseline.SCHEMA)
    for sql in indexes:
        connection.execute(f"DROP INDEX {sql.split('IF NOT EXISTS ')[1].split()[0]}")
    connection.execute("BEGIN")
    stamp = f"strftime('%Y-%m-%dT%H:%M:%f+00:00', ({START_MS} + b / {CAMERAS} * {STEP_MS}) / 1000.0, 'unixepoch')"
    connection.execute(
        f"""
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {detections - 1})
        INSERT INTO detections SELECT
          lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a' ||
          substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))), 'cam' || (b % {CAMERAS}), 'detection', {stamp},
          CASE WHEN k = 0 AND b % {RARE_EVERY} = 0 THEN 'rare' WHEN k % 2 THEN 'car' ELSE 'person' END, 0.83,
          '[' || (0.05 + k * 0.08) || ',0.43,0.06,0.2]', 1000 + k,
          '{{"source":"worker","_prov":{{"key":"system","task":null,"worker":null}}}}', {stamp}, 'w:f' || b, 'worker'
        FROM (SELECT i, i / {PER_BATCH} AS b, i % {PER_BATCH} AS k FROM n)
        """
    )
    connection.execute("COMMIT")
    for sql in indexes:
        connection.execute(sql)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def timed(run: Callable[[], Awaitable[Any]]) -> tuple[float, int]:
    """(median milliseconds of CPU, rows of the last answer). CPU, not wall: all is in memory, and others may run."""
    took: list[float] = []
    found: Any = []
    for _ in range(REPEAT):
        began = time.process_time()
        found = await run()
        took.append((time.process_time() - began) * 1000)
    return statistics.median(took), len(found)


def hour(detections: int) -> tuple[int, int]:
    """An hour in the middle of what is stored."""
    middle = START_MS + detections // PER_BATCH // CAMERAS // 2 * STEP_MS
    return middle - HOUR_MS // 2, middle + HOUR_MS // 2


async def ours(path: Path, detections: int) -> dict[str, tuple[float, int]]:
    db = Database(path, SystemClock())
    await db.open()
    try:
        names = Names(db)
        await names.load()
        log = DetectionLog(db, names, Sources(db, names), None)
        begin, end = hour(detections)
        span: list[tuple[str, Any]] = [("o.timestamp_ms >= ?", begin), ("o.timestamp_ms <= ?", end)]

        def label(text: str) -> list[tuple[str, Any]]:
            number = names.id(text)
            return [("o.labels & ?", label_mask([number])), ("d.label = ?", number)]

        return {
            "camera, hour": await timed(lambda: log.newest("cam3", span, 200)),
            "camera, hour, common label": await timed(lambda: log.newest("cam3", [*span, *label("car")], 200)),
            "camera, hour, rare label": await timed(lambda: log.newest("cam3", [*span, *label("rare")], 200)),
            "camera, rare label, all time": await timed(lambda: log.newest("cam3", label("rare"), 200)),
            "camera, hour, 5000": await timed(lambda: log.newest("cam3", span, 5000)),
            "outbox page of 100": await timed(lambda: log.outbox(detections // PER_BATCH // 2, 100, payload=True)),
        }
    finally:
        await db.close()


async def theirs(path: Path, detections: int) -> dict[str, tuple[float, int]]:
    import aiosqlite
    import msgspec

    from heldard.clock import rfc3339_offset

    connection = await aiosqlite.Connection(lambda: sqlite3.connect(path, isolation_level=None), 256)
    connection.row_factory = sqlite3.Row
    begin, end = (rfc3339_offset(ms) for ms in hour(detections))

    async def ask(where: str, values: tuple[Any, ...], limit: int) -> list[dict[str, Any]]:
        sql = f"SELECT * FROM detections WHERE {where} ORDER BY timestamp DESC LIMIT {limit}"
        rows = await connection.execute_fetchall(sql, values)
        return [
            {
                **dict(row),
                "bbox": msgspec.json.decode(row["bbox"]),
                "attributes": msgspec.json.decode(row["attributes"]),
            }
            for row in rows
        ]

    span, given = "camera_id = ? AND timestamp >= ? AND timestamp <= ?", ("cam3", begin, end)
    try:
        return {
            "camera, hour": await timed(lambda: ask(span, given, 200)),
            "camera, hour, common label": await timed(lambda: ask(f"{span} AND label = ?", (*given, "car"), 200)),
            "camera, hour, rare label": await timed(lambda: ask(f"{span} AND label = ?", (*given, "rare"), 200)),
            "camera, rare label, all time": await timed(
                lambda: ask("camera_id = ? AND label = ?", ("cam3", "rare"), 200)
            ),
            "camera, hour, 5000": await timed(lambda: ask(span, given, 5000)),
        }
    finally:
        await connection.close()


def size_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.stat().st_size


def queries(place: Path, rows: int, baseline_rows: int) -> dict[str, Any]:
    filled, compared = place / f"ours-{rows}" / "data" / "heldard.db", place / "baseline.db"
    filled.parent.mkdir(parents=True, exist_ok=True)
    fill(filled, rows)
    mine = asyncio.run(ours(filled, rows))
    fill_baseline(compared, baseline_rows)
    other = asyncio.run(theirs(compared, baseline_rows))
    found: dict[str, Any] = {
        "rows": rows, "baseline_rows": baseline_rows,
        "bytes_per_detection": {"heldard": size_of(filled) / rows, "baseline": size_of(compared) / baseline_rows},
        "queries": {},
    }  # fmt: skip
    compared.unlink()
    sizes = found["bytes_per_detection"]
    ratio = sizes["heldard"] / sizes["baseline"]
    print(f"bytes per detection   heldard {sizes['heldard']:.0f}   baseline {sizes['baseline']:.0f}   {ratio:.2f}x")
    for name, (took_ms, count) in mine.items():
        other_ms = other.get(name, (None, 0))[0]
        found["queries"][name] = {"heldard_ms": took_ms, "baseline_ms": other_ms, "found": count}
        beside = "" if other_ms is None else f"   baseline {other_ms:8.2f} ms   {took_ms / other_ms:.2f}x"
        print(f"{name:<30} {count:>5} found   heldard {took_ms:8.2f} ms{beside}", flush=True)
    return found


def growth(place: Path, sizes: list[int], seconds: float, rounds: int = 3) -> list[dict[str, Any]]:
    """Batches a second of ten detections from 32 connections, turn and turn about over the same sizes."""
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    for size in sizes:
        folder = place / f"ours-{size}"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        if not (folder / "data" / "heldard.db").exists():
            fill(folder / "data" / "heldard.db", size) if size else None
    for _ in range(rounds):
        for size in sizes:
            with heldard(place / f"ours-{size}", "full") as base:
                rates[size].append(load(base, 32, 10, seconds)["batches_per_s"])
    found = [{"detections": size, "batches_per_s": statistics.median(rates[size])} for size in sizes]
    for row in found:
        row["ratio"] = row["batches_per_s"] / found[0]["batches_per_s"]
        print(
            f"stored {row['detections']:>9}: {row['batches_per_s']:>6.0f} batches/s   {row['ratio']:.2f}x", flush=True
        )
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Queries and ingest over a large log")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--baseline-rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--no-growth", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="heldard-bench-") as name:
        place = Path(name)
        found = queries(place, given.rows, given.baseline_rows)
        if not given.no_growth:
            found["growth"] = growth(place, [0, given.rows // 10, given.rows], given.seconds)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
