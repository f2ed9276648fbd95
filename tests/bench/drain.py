"""The drainer beside inline fan-out: the same batches through zones, from the log and as they come.

python -m tests.bench.drain [--batches 4000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from heldard import keys
from heldard.app import build
from heldard.config import settle
from heldard.ingest.model import BatchPost
from heldard.ingest.service import Binding
from tests.bench.ingest import ZONES
from tests.bench.ingest_load import body, camera_of

OUT = Path(".bench/drain.json")
UNDER_WAY = 64


async def measure(folder: Path, batches: int) -> dict[str, float]:
    from aiohttp.test_utils import TestClient, TestServer

    app = await build(settle({"store": {"data_dir": str(folder)}, "logs": {"level": "error"}}))
    async with TestClient(TestServer(app)) as client:
        for camera in {camera_of(number)[0] for number in range(16)}:
            await client.post("/api/v1/cameras", json={"id": camera, "name": camera})
            for n, polygon in enumerate(ZONES):
                zone = {"name": f"zone {n}", "polygon": polygon, "dwell_seconds": 5}
                await client.post(f"/api/v1/cameras/{camera}/zones", json=zone)
        fanout = app[keys.FANOUT]
        await _post(app, batches // 4)
        began = time.perf_counter()
        await _post(app, batches)
        await fanout.drain()
        inline_s = time.perf_counter() - began
        for member in fanout.members():
            await member.hold("benchmark")
        began = time.perf_counter()
        await _post(app, batches)
        stored_s = time.perf_counter() - began
        began = time.perf_counter()
        for member in fanout.members():
            await member.resume()
        await fanout.drain()
        drained_s = time.perf_counter() - began
    return {
        "inline_batches_per_s": batches / inline_s, "store_only_batches_per_s": batches / stored_s,
        "drainer_batches_per_s": batches / drained_s, "ratio": inline_s / drained_s,
    }  # fmt: skip


async def _post(app: Any, batches: int) -> None:
    ingest = app[keys.INGEST]
    posts = [msgspec.json.decode(body(number, 10), type=BatchPost) for number in range(16)]
    under_way: list[Any] = []
    for n in range(batches):
        post = posts[n % 16]
        binding = Binding(post.camera_id, post.task_type, f"{time.perf_counter_ns()}", "system")
        under_way.append(await ingest.admit(post, binding))
        if len(under_way) == UNDER_WAY:
            await asyncio.gather(*under_way)
            under_way.clear()
    await asyncio.gather(*under_way)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The drainer beside inline fan-out")
    parser.add_argument("--batches", type=int, default=4000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="heldard-bench-") as place:
        found = asyncio.run(measure(Path(place), given.batches))
    for name, value in found.items():
        print(f"{name:<26} {value:>8.2f}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
