"""Zones: a backtest over one million stored detections, through the API of the daemon's own application."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from heldard import keys
from heldard.testing import START_MS, Kernel, post
from tests.bench.zones import octagons, walk

DETECTIONS = 1_000_000
PER_BATCH = 10
STEP_MS = 200
OUT = Path(".bench/zones_backtest.json")


async def run(data_dir: Path) -> list[dict[str, Any]]:
    async with Kernel(data_dir, "zones") as kernel:
        await kernel.add_camera("gate")
        await kernel.post(post("gate", {"label": "person", "confidence": 0.9, "bbox": [0, 0, 0.1, 0.1]}))
        filled_s = await _fill(kernel)
        rows = []
        for others in (0, 2):
            for polygon in octagons(others, seed=9):
                zone = {"name": f"{polygon[0]}", "polygon": polygon}
                assert (await kernel.request("POST", "/api/v1/cameras/gate/zones", zone)).status == 201
            rows.append({"other zones": others, "filled_s": filled_s, **await _backtest(kernel)})
        return rows


async def _fill(kernel: Kernel) -> float:
    """Write the batches straight into the log, as finished ones of the same source; seconds it took."""
    began = time.perf_counter()
    batches = walk(DETECTIONS // PER_BATCH, PER_BATCH)

    def unit(connection: sqlite3.Connection) -> None:
        newest = "SELECT camera, source, channel, seq FROM outbox ORDER BY seq DESC LIMIT 1"
        camera, source, channel, last = connection.execute(newest).fetchone()
        label = connection.execute("SELECT label FROM detections LIMIT 1").fetchone()[0]
        start = last + 1
        for n, batch in enumerate(batches):
            at = START_MS + n * STEP_MS
            connection.execute(
                "INSERT INTO outbox (seq, camera, source, channel, at_ms, timestamp_ms, captured_ms, received_ms, "
                "detection_count, labels, fanned_out_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (start + n, camera, source, channel, at, at, at, at, PER_BATCH, 1 << label % 63, at),
            )
            connection.executemany(
                "INSERT INTO detections (id, label, confidence, x, y, w, h, track) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    ((start + n) * 1024 + d.index, label, d.confidence, *(d.bbox or ()), d.track_id)
                    for d in batch.detections
                ],
            )

    await kernel.app[keys.DB].write(unit)
    return round(time.perf_counter() - began, 1)


async def _backtest(kernel: Kernel) -> dict[str, Any]:
    hours = DETECTIONS // PER_BATCH * STEP_MS // 3_600_000 + 1
    body = {
        "from": "2026-01-01T11:59:00Z",
        "to": f"2026-01-01T{12 + hours:02}:00:00Z",
        "zone": {"name": "tried", "polygon": octagons(1)[0], "dwell_seconds": 10},
    }
    slowest = asyncio.create_task(_slowest_turn())
    began, cpu = time.perf_counter(), time.process_time()
    reply = await kernel.request("POST", "/api/v1/cameras/gate/zones/backtest", body)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    slowest.cancel()
    assert reply.status == 200, reply.body
    assert reply.body["detections"] >= DETECTIONS
    return {
        "detections": reply.body["detections"],
        "seconds": round(seconds, 2),
        "cpu_s": round(cpu, 2),
        "detections_per_s": round(reply.body["detections"] / seconds),
        "events": sum(reply.body["counts"].values()),
        "longest_block_ms": round(_WORST[-1] * 1000, 1),
    }


_WORST = [0.0]


async def _slowest_turn() -> None:
    """The longest the event loop was away, in seconds, as `_WORST[-1]`."""
    _WORST.append(0.0)
    for _ in itertools.count():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        _WORST[-1] = max(_WORST[-1], time.perf_counter() - before - 0.001)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(run(Path(folder)))
    for row in rows:
        print(
            f"{row['detections']:,} detections, {row['other zones']} other zones: {row['seconds']} s, "
            f"{row['cpu_s']} s of CPU ({row['detections_per_s']:,}/s), {row['events']} events; "
            f"loop blocked {row['longest_block_ms']} ms"
        )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
