"""A day at a site: the box, the people around it, and what moves all of them on."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.day.daemon import ADMIN, PASSWORD, Daemon
from tests.day.ledger import Ledger
from tests.day.people import Scraper, Target, Viewer
from tests.day.street import HOUR_MS, ZONE, period_at, plate
from tests.day.wire import Wire
from tests.day.workers import Worker

FPS = {"rush": 1.0, "day": 0.5, "night": 0.5}
CAMERAS = {"yard": "detection", "hall": "detection", "gate": "anpr"}

SCRAPE_S, ASK_S, VERIFY_S, RECONNECT_S = 60, 300, 1800, 2700

Incident = tuple[float, Callable[["Day"], Awaitable[None]]]
"""(minutes from the beginning, what happens then)."""


@dataclass
class Day:
    """`run` it.

    named: the complaints that incidents bring into the log, by what it calls them. possible: those that they bring if
    something else happens meanwhile.
    """

    daemon: Daemon
    session: aiohttp.ClientSession
    ledger: Ledger = field(default_factory=Ledger)
    target: Target = field(default_factory=Target)
    workers: list[Worker] = field(default_factory=list)
    named: Counter[str] = field(default_factory=Counter)
    possible: set[str] = field(default_factory=set)
    odd: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[str, str] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    elapsed_s: float = 0.0
    period: str = ""
    parts_due: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    _worker_number: int = 0

    # --- setting up --------------------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        nobody = Wire(self.daemon, self.session)
        self.admin, self.worker_wire = nobody.with_key(""), nobody.with_key("")
        self.viewer = Viewer(nobody.with_key(""), nobody.with_key(""))
        self.scraper = Scraper(nobody.with_key(""))
        self.ledger.street_ms = self.daemon.now_ms

    async def open(self, hours: float) -> None:
        """An empty box becomes a site: keys, cameras, tasks, zones, a list of plates, a webhook."""
        await self.target.start()
        await self.daemon.start()
        await self._hand_out_keys()
        self.period = self._period()
        for camera, task_type in CAMERAS.items():
            await self.add_camera(camera, task_type)
        await self._gate(hours)
        hook = {"name": "desk", "url": self.target.url, "coalesce_seconds": 0}
        await self.admin.ask("POST", "/api/v1/webhooks", hook, status=201)
        self.viewer.connect()
        self.add_worker()

    async def _hand_out_keys(self) -> None:
        body = {"username": ADMIN, "password": PASSWORD}
        signed_in = self.admin.with_key((await self.admin.ask("POST", "/api/v1/auth/login", body))["token"])
        scope = {"scope_kind": "cameras", "scope_cameras": [self.viewer.camera]}
        for wire, name, fields in (
            (self.admin, "admin", {"role": "admin", "confirm_privileged": True}),
            (self.worker_wire, "worker", {"capabilities": ["ai:tasks", "ai:frames", "ai:ingest"]}),
            (self.viewer.wire, "viewer", {"capabilities": ["camera:read", "ai:frames"], **scope}),
            (self.viewer.hearing, "listener", {"capabilities": ["events:read"]}),
            (self.scraper.wire, "scraper", {"capabilities": ["system:read"]}),
        ):
            made = await signed_in.ask("POST", "/api/v1/api-keys", {"name": name, **fields}, status=201)
            wire.key = made["key"]

    async def close(self) -> None:
        await self.viewer.hang_up()
        for worker in self.workers:
            worker.die()
        await self.daemon.close()
        await self.target.close()

    async def add_camera(self, camera: str, task_type: str) -> None:
        url = f"rtsp://{camera}.example/sub"
        await self.admin.ask(
            "POST", "/api/v1/cameras", {"id": camera, "name": camera, "sub_stream_url": url}, status=201
        )
        task = {"task_type": task_type, "fps": FPS[self.period], "width": 640}
        made = await self.admin.ask("POST", f"/api/v1/cameras/{camera}/ai-tasks", task, status=201)
        self.tasks[camera] = made["id"]
        if task_type == "detection":
            zone = {"name": "middle", "polygon": ZONE, "dwell_seconds": 6, "labels": ["person"]}
            made = await self.admin.ask("POST", f"/api/v1/cameras/{camera}/zones", zone, status=201)
            self.zones[camera] = made["id"]

    async def _gate(self, hours: float) -> None:
        """Every third car may come in."""
        first = self.daemon.now_ms // 60_000
        for minute in range(first, first + round(hours * 60), 3):
            body = {"plate": plate(minute % 100_000)}
            await self.admin.ask("POST", "/api/v1/vehicles", body, status=201)
        await self.admin.ask("PUT", "/api/v1/entry/gate/policies/gate", {"enabled": True, "output_port": 1})

    def add_worker(self) -> Worker:
        self._worker_number += 1
        dice = random.Random(self._worker_number)
        worker = Worker(self.worker_wire, f"shed:{1000 + self._worker_number}", self.ledger, dice)
        self.workers.append(worker)
        return worker

    def remove_worker(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.odd += worker.odd
        self.frames += worker.frames

    # --- time passes -------------------------------------------------------------------------------------------------

    async def run(self, hours: float, incidents: Sequence[Incident], sample_s: float) -> None:
        left = sorted(incidents, key=lambda incident: incident[0])
        while self.elapsed_s < hours * 3600:
            while left and left[0][0] * 60 <= self.elapsed_s:
                await left.pop(0)[1](self)
            await self.step()
            await self._routine(sample_s)
        assert not left, f"these did not happen: {left}"

    async def step(self) -> None:
        """One frame's time, and what everybody does then."""
        seconds = 1 / FPS[self.period]
        frames = await self.daemon.advance(seconds)
        self.elapsed_s += seconds
        self.ledger.street_ms += round(seconds * 1000)
        self.ledger.now_ms = self.daemon.now_ms
        self.ledger.newest_ms = max(self.ledger.newest_ms, self.daemon.now_ms)
        await asyncio.gather(*(worker.turn(frames) for worker in self.workers))

    async def pass_time(self, seconds: float) -> None:
        until = self.elapsed_s + seconds
        while self.elapsed_s < until:
            await self.step()

    async def _routine(self, sample_s: float) -> None:
        for name, every_s, work in (
            ("scrape", SCRAPE_S, self.scraper.scrape),
            ("ask", ASK_S, self.viewer.ask),
            ("reconnect", RECONNECT_S, self.reconnect),
            ("verify", VERIFY_S, self.verify),
            ("sample", sample_s, self.sample),
        ):
            if self.elapsed_s >= self.parts_due.setdefault(name, every_s):
                self.parts_due[name] += every_s
                await work()
        if (period := self._period()) != self.period:
            self.period = period
            for task_id in self.tasks.values():
                await self.admin.ask("PATCH", f"/api/v1/ai-tasks/{task_id}", {"fps": FPS[period]})

    def _period(self) -> str:
        return period_at(self.ledger.street_ms / HOUR_MS % 24)

    # --- now and then ------------------------------------------------------------------------------------------------

    async def reconnect(self) -> None:
        """The viewer loses its connection and comes back after events went by."""
        await self.viewer.hang_up()
        await self.pass_time(20)
        self.viewer.connect()

    async def verify(self) -> None:
        await self.daemon.advance(0)
        await asyncio.to_thread(self.ledger.verify, self.database)

    @property
    def database(self) -> Path:
        return self.daemon.data / "heldard.db"

    async def sample(self) -> None:
        """What the box holds, in memory and on disk, now that nothing is under way."""
        await self.daemon.advance(0)
        figures = await self.daemon.order("figures")
        wal = self.database.with_name("heldard.db-wal")
        figures["wal"] = wal.stat().st_size if wal.exists() else 0
        figures["database"] = self.database.stat().st_size
        figures["rows"] = await asyncio.to_thread(_rows, self.database)
        figures["evidence"] = sum(path.stat().st_size for path in self.daemon.data.rglob("*.jpg"))
        figures |= {"hour": self.elapsed_s / 3600, "start": self.daemon.starts, "batches": self.ledger.batches}
        self.samples.append(figures)


def _rows(database: Path) -> dict[str, int]:
    """How many rows each table has."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
