"""Zones: what a batch of ten detections costs inside the daemon, in the consumer and in its share of the commit.

The commit is measured beside one that only claims the batches, in chunks as a lane makes them.
"""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from heldard import keys
from heldard.plugin import Batch, Effects
from heldard.testing import Kernel
from tests.bench.zones import octagons, walk

CHUNK = 32
BATCHES = 100 * CHUNK
OUT = Path(".bench/zones_daemon.json")


async def run(data_dir: Path) -> list[dict[str, Any]]:
    async with Kernel(data_dir, "zones") as kernel:
        rows = []
        for number, count in enumerate((0, 1, 3, 10)):
            camera = f"gate{number}"
            await kernel.add_camera(camera)
            for n, polygon in enumerate(octagons(count)):
                zone = {"name": f"zone {n}", "polygon": polygon, "dwell_seconds": 5}
                assert (await kernel.request("POST", f"/api/v1/cameras/{camera}/zones", zone)).status == 201
            rows.append({"zones": count, **await _one(kernel, camera, 1_000_000 * (number + 1))})
        return rows


async def _one(kernel: Kernel, camera: str, first_seq: int) -> dict[str, Any]:
    member = kernel.app[keys.FANOUT].member("zones")
    await member.restore(camera)
    consume_s = commit_s = 0.0
    events = 0
    batches = walk(BATCHES, 10)
    for start in range(0, BATCHES, CHUNK):
        began = time.perf_counter()
        claims: list[tuple[int, Effects]] = []
        for batch in batches[start : start + CHUNK]:
            seen = Batch(
                first_seq + batch.seq, camera, "detection", batch.at_ms, batch.at_ms, batch.detections, task_id="t"
            )
            effects = Effects(camera, batch.at_ms)
            member.consumer.consume(seen, effects)
            claims.append((seen.seq, effects))
            events += len(effects.operations)
        consume_s += time.perf_counter() - began
        began = time.perf_counter()
        await member.commit(functools.partial(_claim, member.writer, claims))
        commit_s += time.perf_counter() - began
    return {
        "consume_us": round(consume_s / BATCHES * 1e6, 1),
        "commit_us": round(commit_s / BATCHES * 1e6, 1),
        "operations": events,
    }


def _claim(writer: Any, claims: list[tuple[int, Effects]], connection: Any) -> Any:
    return writer.claims(connection, claims, 1)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(run(Path(folder)))
    for row in rows:
        print(
            f"{row['zones']:3} zones: consume {row['consume_us']:6.1f} us, commit {row['commit_us']:6.1f} us a batch, "
            f"{row['operations']} operations in {BATCHES} batches"
        )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
