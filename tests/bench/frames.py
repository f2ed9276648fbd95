"""From a decoder's pipe to a waiting worker, and what a frame costs to serve.

Latency: decoders that write ready JPEGs, each stamped with the nanosecond of writing, go through the real pipes, rings
and HTTP server; a worker process long-polls every stream. Cost: GETs of one picture from memory, answered 304, and read
from a file in a thread each time as upstream does, in one run. `python -m tests.bench.frames [--quick]`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web

from heldard.api.endpoint import GUARD, Endpoint
from heldard.clock import SystemClock
from heldard.frames.ring import MB, FrameRings
from heldard.frames.routes import DESK, ROUTES, FrameDesk
from heldard.plugin import Frame
from heldard.sampler.decoder import Decoding, Job, Seen
from heldard.sampler.model import SamplerStatus, Size
from heldard.sampler.process import Child, Running, owner_mark
from heldard.sampler.service import SamplerService
from heldard.sampler.source import Source

OUT = Path(".bench/frames.json")
CLOCK = SystemClock()
FPS = 5
JPEG_BYTES = 60_000
STAMP = 20
"""Bytes of decimal nanoseconds in the comment segment of each picture."""

# A decoder's place is taken by this: a JPEG of 60 KB, FPS times a second, at a random phase.
PLAYER = f"""
import os, random, sys, time
head = b"\\xff\\xd8\\xff\\xfe\\x00\\x16"
size = b"\\xff\\xc0\\x00\\x0b\\x08\\x01\\x68\\x02\\x80\\x01\\x01\\x11\\x00"
tail = size + b"x" * ({JPEG_BYTES} - len(head) - {STAMP} - len(size) - 2) + b"\\xff\\xd9"
time.sleep(random.random() / {FPS})
while True:
    jpeg = head + b"%0{STAMP}d" % time.time_ns() + tail
    data = b"--\\r\\nContent-length: %d\\r\\n\\r\\n" % len(jpeg) + jpeg
    while data:
        data = data[os.write(1, data):]
    time.sleep(1 / {FPS})
"""


class Player:
    name = "player"
    adapts = True

    async def start(self, job: Job, *, owner: str, stdout: Any, stderr: Any, seen_fd: int) -> Running:
        return await Child.start([sys.executable, "-S", "-c", PLAYER], owner=owner, stdout=stdout, stderr=stderr)

    def retune(self, running: Running, fps: float, width: int) -> bool:
        return True

    def read(self, line: str, seen: Seen) -> None:
        """Players report nothing."""

    def hear(self, line: str, seen: Seen) -> str | None:
        return line


class Sampled(SamplerService):
    """Says of every stream that it is sampled."""

    def __init__(self) -> None:
        """Needs nothing."""

    def status_of(self, camera_id: str, profile: str) -> SamplerStatus:
        return SamplerStatus(
            camera_id=camera_id, stream_profile=profile, state="sampling", fps=FPS, width=640, wanted_fps=FPS,
            wanted_width=640, reason="",
        )  # fmt: skip

    def stale_after_s(self, camera_id: str, profile: str) -> float:
        return 20.0


class Everybody:
    id = "system"

    def can(self, capability: str) -> bool:
        return True

    def sees(self, camera_id: str) -> bool:
        return True

    async def authorise(self, request: web.Request, endpoint: Endpoint) -> None:
        """Open to all."""


@contextlib.asynccontextmanager
async def server(rings: FrameRings, file: Path) -> AsyncIterator[str]:
    """The real routes, and beside them upstream's way of serving a frame."""

    async def no_ticket(*_: object) -> None:
        return None

    async def from_file(request: web.Request) -> web.Response:
        body, stat = await asyncio.get_running_loop().run_in_executor(None, lambda: (file.read_bytes(), file.stat()))
        headers = {"cache-control": "no-store", "x-frame-captured-at": str(stat.st_mtime)}
        return web.Response(body=body, content_type="image/jpeg", headers=headers)

    app = web.Application()
    app[GUARD] = Everybody()
    app[DESK] = FrameDesk(rings, Sampled(), no_ticket, max_clients=1)
    for endpoint in ROUTES:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.bind())
    app.router.add_get("/file", from_file)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def worker(base: str, streams: int, seconds: float) -> list[float]:
    """Milliseconds from a picture's stamp to having its last byte, for every picture of every stream."""
    late: list[float] = []
    ends = CLOCK.monotonic() + seconds

    async def pull(session: ClientSession, camera: str) -> None:
        after = "0"
        while CLOCK.monotonic() < ends:
            url = f"{base}/api/v1/cameras/{camera}/frame?wait=2&after={after}"
            async with session.get(url) as answer:
                body = await answer.read()
                if answer.status == 200:
                    if after != "0":  # the first one was there before anybody waited
                        late.append((time.time_ns() - int(body[6 : 6 + STAMP])) / 1e6)
                    after = answer.headers["x-frame-id"]

    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        await asyncio.gather(*(pull(session, f"cam{number}") for number in range(streams)))
    return late


async def load(url: str, seconds: float, headers: dict[str, str]) -> int:
    """Requests answered by 8 connections in `seconds`; raw sockets, so that the client is not what is measured."""
    lines = [f"GET {url} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    request = "\r\n".join(lines).encode()
    host, port = url.removeprefix("http://").partition("/")[0].split(":")
    done, ends = 0, CLOCK.monotonic() + seconds

    async def ask() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(host, int(port), limit=MB)
        while CLOCK.monotonic() < ends:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if length and b" 304 " not in head[:20]:
                await reader.readexactly(int(length[0].split(b":")[1]))
            done += 1
        writer.close()

    await asyncio.gather(*(ask() for _ in range(8)))
    return done


async def in_client(*arguments: str) -> Any:
    """Run this module as a client in a process of its own; the JSON it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.frames", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return json.loads(out)


def new_rings() -> FrameRings:
    return FrameRings(CLOCK, seconds=2, ring_bytes=4 * MB, total_bytes=256 * MB)


async def latency(streams: int, seconds: float) -> dict[str, float]:
    rings = new_rings()

    def sink(camera: str) -> Any:
        def put(jpeg: bytes, size: Size, _: int | None) -> None:
            rings.put(Frame("", camera, "sub", CLOCK.now_ms(), 1, size.width, size.height, jpeg))

        return put

    job = Job(Source("", "file"), FPS, 640)
    players = [Decoding(Player(), job, sink(f"cam{number}"), MB) for number in range(streams)]
    for player in players:
        await player.start(owner_mark("bench"))
    try:
        await CLOCK.sleep(1)
        async with server(rings, Path()) as base:
            late = sorted(await in_client("worker", base, str(streams), str(seconds)))
    finally:
        await asyncio.gather(*(player.stop() for player in players))
    cuts = statistics.quantiles(late, n=100)
    return {"frames": len(late), "p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": late[-1]}


async def cost(seconds: float) -> dict[str, dict[str, float]]:
    """Requests per second and microseconds of the server's CPU time per request; the best of three rounds."""
    jpeg = b"\xff\xd8" + b"x" * (JPEG_BYTES - 4) + b"\xff\xd9"
    rings = new_rings()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "latest_sub.jpg"
        file.write_bytes(jpeg)
        rings.put(Frame("", "cam", "sub", 1000, 1, 640, 360, jpeg))
        async with server(rings, file) as base:
            frame = f"{base}/api/v1/cameras/cam/frame?max_age=3600"
            runs = {"file": (f"{base}/file", ""), "memory": (frame, ""), "304": (frame, '"sub-1000"')}
            found = {name: {"per_s": 0.0, "cpu_us": math.inf} for name in runs}
            for _ in range(3):  # in turn, so that a neighbour's load hits all of them
                for name, (url, etag) in runs.items():
                    before_s = time.process_time()
                    done = await in_client("load", url, str(seconds), etag)
                    spent_us = (time.process_time() - before_s) * 1e6
                    best = found[name]
                    best["per_s"] = max(best["per_s"], done / seconds)
                    best["cpu_us"] = min(best["cpu_us"], spent_us / done)
    return found


async def measure(seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"latency": {}, "get": await cost(min(seconds, 3))}
    base = found["get"]["file"]
    print("\nGET of a 60 KB JPEG: requests per second, CPU of the server per request")
    for name, row in found["get"].items():
        cpu = f"{row['cpu_us']:6.0f} us ({row['cpu_us'] / base['cpu_us']:.2f}x)"
        print(f"  {name:<8}{row['per_s']:8.0f} ({row['per_s'] / base['per_s']:.2f}x){cpu}")
    print(f"\nFrom a decoder's write to a waiting worker having the frame, {FPS} fps a stream")
    for streams in (1, 16, 64):
        found["latency"][streams] = row = await latency(streams, seconds)
        print(f"  {streams:3d} streams: p50 {row['p50_ms']:5.2f} ms  p99 {row['p99_ms']:6.2f} ms of {row['frames']}")
    return found


def main(arguments: list[str]) -> None:
    match arguments:
        case ["worker", base, streams, seconds]:
            print(json.dumps(asyncio.run(worker(base, int(streams), float(seconds)))))
        case ["load", url, seconds, etag]:
            print(asyncio.run(load(url, float(seconds), {"If-None-Match": etag} if etag else {})))
        case _:
            found = asyncio.run(measure(4 if "--quick" in arguments else 15))
            OUT.parent.mkdir(exist_ok=True)
            OUT.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
