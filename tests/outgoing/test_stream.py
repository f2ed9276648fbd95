"""The live stream: nothing lost over a reconnect, nobody waits for a slow client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from heldard import keys
from heldard.outgoing.routes import STREAMS
from heldard.testing import Kernel
from tests.auth.conftest import make_key  # noqa: F401 - a fixture
from tests.outgoing.conftest import raise_event


class Client:
    """Reads blocks as a browser's EventSource does."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id = ""

    async def block(self) -> str:
        async with asyncio.timeout(10):
            return (await self.response.content.readuntil(b"\n\n")).decode()

    async def event(self) -> Any:
        while True:
            lines = dict(line.split(": ", 1) for line in (await self.block()).strip().split("\n"))
            if "data" in lines:
                self.last_id = lines["id"]
                found = json.loads(lines["data"])
                assert (found["id"], found["event_type"]) == (lines["id"], lines["event"])
                return found


@asynccontextmanager
async def listening(kernel: Kernel, query: str = "", **headers: str) -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{kernel.url}/api/v1/events/stream{query}", headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        client = Client(response)
        assert (await client.block()).startswith("retry: ")
        yield client


async def test_events_come_as_they_are_committed_and_none_from_before(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await raise_event(kernel, payload={"n": 0})
        async with listening(kernel) as client:
            for n in (1, 2):
                await raise_event(kernel, payload={"n": n, "text": "a\nb\r\n\u2028"})
                assert (await client.event())["payload"]["n"] == n


async def test_a_client_that_comes_back_misses_nothing_and_gets_nothing_twice(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        async with listening(kernel) as client:
            await raise_event(kernel, payload={"n": 1})
            await client.event()
        for n in (2, 3, 4):
            await raise_event(kernel, payload={"n": n})
        async with listening(kernel, **{"Last-Event-ID": client.last_id}) as again:
            assert [(await again.event())["payload"]["n"] for _ in range(3)] == [2, 3, 4]
        async with listening(kernel, "?after=3") as by_seq:
            assert (await by_seq.event())["payload"]["n"] == 4


async def test_a_place_of_another_database_or_beyond_the_end_is_the_end(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        await raise_event(kernel, payload={"n": 1})
        for place in ("00000000-0000-8000-8000-000000000001", "999999999", "x"):
            async with listening(kernel, **{"Last-Event-ID": place}) as client:
                await raise_event(kernel, payload={"place": place})
                assert (await client.event())["payload"] == {"place": place}


async def test_filters_choose(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel:
        async with listening(kernel, "?types=a,b&camera_id=gate&min_severity=warning") as client:
            await raise_event(kernel, "a")
            await raise_event(kernel, "c", severity="critical")
            await raise_event(kernel, "a", severity="critical", camera_id="yard")
            await raise_event(kernel, "b", severity="warning")
            assert (await client.event())["event_type"] == "b"


async def test_floods_are_thinned_when_asked(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel, listening(kernel, "?coalesce=10") as client:
        for second in range(12):
            await raise_event(kernel, "object_detected", at_ms=kernel.clock.now_ms() + second * 1000)
        assert [(await client.event()).get("coalesced", 0) for _ in range(2)] == [0, 9]


async def test_a_silent_stream_says_that_it_lives(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings={"outgoing": {"heartbeat_s": 0.05}}) as kernel, listening(kernel) as client:
        assert await client.block() == ": alive\n\n"


async def test_a_revoked_key_stops_listening(heldard_kernel: Any, make_key: Any) -> None:  # noqa: F811
    async with heldard_kernel(settings={"auth": {"enabled": True}, "outgoing": {"heartbeat_s": 0.05}}) as kernel:
        key = await make_key(kernel, capabilities=["events:read"])
        async with listening(kernel, **{"X-API-Key": key}) as client:
            await client.block()
            access = kernel.app[keys.ACCESS]
            await access.revoke_key(access.all_keys()[0].id)
            async with asyncio.timeout(10):
                await client.response.content.read()
                assert client.response.content.at_eof()


async def test_there_are_no_more_clients_than_the_limit(heldard_kernel: Any) -> None:
    async with heldard_kernel(settings={"outgoing": {"max_stream_clients": 1, "heartbeat_s": 0.05}}) as kernel:
        async with listening(kernel):
            reply = await kernel.request("GET", "/api/v1/events/stream")
            assert (reply.status, reply.body["code"]) == (429, "too_many_streams")
        async with asyncio.timeout(10):
            while kernel.app[STREAMS].clients:
                await asyncio.sleep(0.01)
        async with listening(kernel):
            pass


async def test_a_client_that_does_not_read_is_dropped_and_delays_nobody(heldard_kernel: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("heldard.outgoing.routes.SLOW_CLIENT_S", 0.2)
    async with heldard_kernel(settings={"outgoing": {"heartbeat_s": 0.1}}) as kernel:
        host, port = kernel.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET /api/v1/events/stream HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        async with listening(kernel) as client:
            for n in range(60):
                await raise_event(kernel, payload={"n": n, "filler": "x" * 200_000})
                assert (await client.event())["payload"]["n"] == n
            async with asyncio.timeout(10):
                while kernel.app[STREAMS].clients > 1:
                    await asyncio.sleep(0.01)
            assert kernel.app[STREAMS].dropped_total == 1
        writer.close()
