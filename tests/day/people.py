"""Those who watch: a viewer with a stream of events, a target of webhooks, an operator's scraper."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.day.wire import Wire


@dataclass
class Viewer:
    """Looks at one camera, with a key that shows no other, and follows its events, with a key that may hear them: a
    camera's scope and `events:read` exclude each other. It comes back where it left off."""

    wire: Wire
    hearing: Wire
    heard: list[int] = field(default_factory=list)
    """Places in the log of events, in the order they came."""
    connections: int = 0
    last_id: str = ""
    camera: str = "yard"
    pictures: int = 0
    _reading: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self.connections += 1
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def hang_up(self) -> None:
        """Raises what became of the stream, unless it stood until now or its other end went away."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
                await reading

    async def _read(self) -> None:
        headers = self.hearing.headers(**({"Last-Event-ID": self.last_id} if self.last_id else {}))
        async with self.wire.session.get(
            f"{self.wire.daemon.url}/api/v1/events/stream?camera_id={self.camera}", headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        ) as response:  # fmt: skip
            assert response.status == 200, await response.text()
            async for raw in response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("id: "):
                    self.last_id = line[4:]
                elif line.startswith("data: "):
                    event = json.loads(line[6:])
                    assert event["camera_id"] == self.camera, event
                    self.heard.append(event["seq"])

    async def ask(self) -> None:
        """What a person's page asks for; and for what is none of its business, which is refused."""
        cameras = await self.wire.ask("GET", "/api/v1/cameras")
        assert [camera["id"] for camera in cameras] == [self.camera], cameras
        await self.hearing.ask("GET", f"/api/v1/cameras/{self.camera}/zones/occupancy")
        picture = await self.wire.call("GET", f"/api/v1/cameras/{self.camera}/frame")
        assert picture.status in (200, 404, 503), picture
        self.pictures += picture.status == 200
        for path in ("/api/v1/cameras/gate/frame", "/api/v1/cameras/yard/zones", "/api/v1/outbox"):
            assert (await self.wire.call("GET", path)).status == 403, path


@dataclass
class Target:
    """Takes webhooks; says 503 while it is down."""

    got: list[int] = field(default_factory=list)
    """Places in the log of events, in the order they came."""
    kinds: Counter[str] = field(default_factory=Counter)
    down: bool = False
    refused: int = 0
    url: str = ""
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        event = await request.json()
        if self.down:
            self.refused += 1
            return web.Response(status=503)
        self.got.append(event["seq"])
        self.kinds[event["event_type"]] += 1
        return web.Response(status=204)


@dataclass
class Scraper:
    """Reads `/metrics` as Prometheus does. Counters of one process only rise."""

    wire: Wire
    scrapes: int = 0
    latest: dict[str, float] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    """Requests answered with a 5xx, over all processes, by status."""
    _start: float = 0.0

    async def scrape(self) -> None:
        answer = await self.wire.call("GET", "/metrics")
        assert answer.status == 200, answer
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
        before = self.latest if found["heldard_start_time_seconds"] == self._start else {}
        self._start, self.latest = found["heldard_start_time_seconds"], found
        for name, value in found.items():
            if name.partition("{")[0].endswith(("_total", "_count", "_bucket")):
                assert value >= before.get(name, 0.0) or "heldard_stream_" in name, (name, before[name], value)
            if name.startswith("heldard_http_requests_total") and 'status="5' in name:
                self.faults[name.partition('status="')[2][:3]] += round(value - before.get(name, 0.0))
        self.scrapes += 1
