"""`heldard serve` in a process of its own, on a clock that somebody else moves.

    DAY_SOCKET=/tmp/x DAY_BEGINS_MS=1767268800000 python -m tests.day.box serve --config heldard.toml

Everything is what the command makes of it, but for three things at their seams: the clock, the decoder, and how full
the disk is. A Unix socket takes orders, one JSON object a line, and answers each with one.
"""

from __future__ import annotations

import _sqlite3
import asyncio
import ctypes
import functools
import gc
import json
import os
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from heldard import app as heldard_app
from heldard import keys, serve
from heldard.api.health import open_files, resident_bytes
from heldard.cli import main
from heldard.clock import Clock
from heldard.config import Settings
from heldard.plugins import Plugin
from heldard.retention.disk import DiskGuard
from heldard.sampler.service import SamplerService
from heldard.testing.clock import VirtualClock
from heldard.testing.rest import CountingPool, settle
from tests.day.film import Film, FilmDecoder

DISK_BYTES = 400 * 2**30
STRIDE_MS = 2000
"""How much time passes at once: whoever is due within it wakes at its end."""


class Disk:
    """How full the disk seems to be."""

    def __init__(self) -> None:
        self.free_bytes = DISK_BYTES // 2

    def room(self, _path: Path) -> tuple[int, int]:
        return DISK_BYTES, self.free_bytes


class Box:
    """The daemon and what moves it."""

    def __init__(self) -> None:
        self.clock = VirtualClock(int(os.environ["DAY_BEGINS_MS"]))
        self.film = Film()
        self.disk = Disk()
        self.pool = CountingPool(max_workers=4, thread_name_prefix="box")
        self.app: web.Application | None = None
        self._told: dict[str, int] = {}
        self._orders: set[asyncio.Task[Any]] = set()

    async def build(
        self, settings: Settings, clock: Clock | None = None, found: Sequence[Plugin] | None = None
    ) -> web.Application:
        asyncio.get_running_loop().set_default_executor(self.pool)
        self.app = await heldard_app.build(settings, self.clock, found)
        await asyncio.start_unix_server(self._listen, os.environ["DAY_SOCKET"])
        return self.app

    def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._orders.add(asyncio.get_running_loop().create_task(self._obey(reader, writer)))

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            order = json.loads(line)
            answer = await getattr(self, "do_" + order.pop("do"))(**order)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        os._exit(1)  # whoever moved it is gone

    # --- orders ------------------------------------------------------------------------------------------------------

    async def do_advance(self, seconds: float) -> dict[str, Any]:
        """Let time pass; the capture times of the streams that have a new frame."""
        assert self.app is not None
        until = self.clock.now_ms() + round(seconds * 1000)
        while (wake := self.clock.next_wake_ms) is not None and wake <= until:
            self.clock.jump_to(min(until, max(wake, self.clock.now_ms() + STRIDE_MS)))
            await settle(self.app, self.pool)
        self.clock.jump_to(until)
        await settle(self.app, self.pool)
        return {"now_ms": self.clock.now_ms(), "frames": self._new_frames()}

    def _new_frames(self) -> dict[str, int]:
        assert self.app is not None
        found = {}
        for task, camera in self.app[keys.TASKS].active():
            newest = self.app[keys.FRAMES].latest(camera.id, task.stream_profile)
            if newest is not None and newest.captured_ms > self._told.get(camera.id, 0):
                found[camera.id] = self._told[camera.id] = newest.captured_ms
        return found

    async def do_wall(self, shift_ms: int) -> dict[str, Any]:
        """Set the wall clock, as NTP does."""
        self.clock.set_wall(self.clock.now_ms() + shift_ms)
        return {}

    async def do_camera(self, host: str, mode: Any) -> dict[str, Any]:
        self.film.set(host, mode)
        return {}

    async def do_disk(self, free_mb: int) -> dict[str, Any]:
        self.disk.free_bytes = free_mb * 2**20
        return {}

    async def do_run_free(self) -> dict[str, Any]:
        """From here on time passes by itself, quickly: the daemon is about to be stopped."""
        self._orders.add(asyncio.get_running_loop().create_task(self._run_free()))
        return {}

    async def _run_free(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if (wake := self.clock.next_wake_ms) is not None:
                self.clock.jump_to(wake)

    async def do_figures(self) -> dict[str, Any]:
        """What this process holds, after the garbage is gone."""
        gc.collect()
        kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
        return {
            "resident": resident_bytes(), "sqlite": _sqlite_bytes(), "files": open_files(),
            "threads": threading.active_count(), "tasks": len(asyncio.all_tasks()), "objects": sum(kinds.values()),
            "sleepers": self.clock.sleepers, "kinds": dict(kinds.most_common(60)),
        }  # fmt: skip


def _sqlite_bytes() -> int:
    """Memory that SQLite holds, page caches above all: they grow with the database, up to their limits."""
    used = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
    used.restype = ctypes.c_int64
    return int(used())


def run() -> None:
    box = Box()
    serve.build = box.build
    heldard_app.DiskGuard = functools.partial(DiskGuard, measure=box.disk.room)
    SamplerService._decoder = lambda _self, _hwaccel: FilmDecoder(box.film, box.clock)
    main()


if __name__ == "__main__":
    run()
