"""A target that listens, and events to send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from heldard import keys
from heldard.plugin import EventDraft
from heldard.testing import Kernel


@dataclass
class Target:
    """What arrived; `answers` are used up first, then 204."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        self.arrived.set()
        status = self.answers.pop(0) if self.answers else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    async def wait(self, count: int) -> None:
        """Return when so many arrived."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    found = Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.take)
    async with TestServer(app) as server:
        found.url = str(server.make_url("/hook"))
        yield found


async def raise_event(kernel: Kernel, event_type: str = "person_seen", **fields: Any) -> int:
    """An event as a worker's post writes it; its seq."""
    given = {"severity": "info", "camera_id": "gate", "payload": {}, **fields}
    at_ms = given.pop("at_ms", kernel.clock.now_ms())
    return await kernel.app[keys.EVENTS].emit(EventDraft(event_type, at_ms, **given))
