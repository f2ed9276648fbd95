"""Hostile clients at the edge of HTTP: slow ones, large ones, and those that do not speak it."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from heldard import keys
from heldard.api import endpoint
from heldard.api.wire import Runner
from heldard.testing import Kernel


@asynccontextmanager
async def edge(kernel: Kernel, **limits: Any) -> AsyncIterator[int]:
    """The kernel's application behind the real edge; its port."""
    app = web.Application()

    async def forward(request: web.Request) -> web.StreamResponse:
        return await kernel.app._handle(request)

    app.router.add_route("*", "/{path:.*}", forward)
    runner = Runner(app, access_log=None, shutdown_timeout=0.1, **limits)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def talk(port: int, *sent: bytes, pause_s: float = 0.0) -> bytes:
    """All that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def error_of(raw: bytes) -> tuple[int, Any]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"application/json" in head, raw
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/ai/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["TLS", "no path", "version", "header", "long header", "long path", "smuggling", "negative length"],
)
async def test_x52_what_is_not_http_is_answered_in_the_one_error_shape(heldard_kernel: Any, sent: bytes) -> None:
    async with heldard_kernel() as kernel, edge(kernel) as port:
        status, body = error_of(await talk(port, sent))
        assert (status, body["code"]) == (400, "bad_http")


async def test_a_client_that_dawdles_over_its_headers_is_cut_off(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel, edge(kernel, headers_s=0.3) as port:
        async with asyncio.timeout(30):
            assert await talk(port, b"GET / HTTP/1.1\r\n", b"X: 1\r\n", b"Y: 2\r\n", pause_s=0.05) == b""
            assert await talk(port) == b""
        answer = await talk(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_body_that_trickles_is_a_408(heldard_kernel: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(endpoint, "BODY_S", 0.2)
    async with heldard_kernel() as kernel, edge(kernel) as port:
        head = b"POST /api/v1/ai/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Content-Length: 1000\r\n\r\n{")
        async with asyncio.timeout(30):
            answer = await reader.readuntil(b"}")
        writer.close()
        assert error_of(answer)[0] == 408


async def test_more_connections_than_the_limit_are_closed_and_the_others_served(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel, edge(kernel, most_connections=3) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert await talk(port) == b""
        reader, writer = held[0]
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, writer in held:
            writer.close()


async def test_a_body_over_the_limit_is_refused_before_it_is_read(heldard_kernel: Any) -> None:
    async with heldard_kernel() as kernel, edge(kernel) as port:
        head = b"POST /api/v1/ai/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"Content-Length: 99999999999\r\n\r\n")
        async with asyncio.timeout(30):
            answer = await reader.readuntil(b"}}")
        writer.close()
        status, body = error_of(answer)
        assert (status, body["code"]) == (413, "too_large")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_decompression_bomb_ends_at_the_limit(heldard_kernel: Any, encoding: str) -> None:
    """64 MiB of blanks from 64 KiB: read no further than the route's limit."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    raw = b"".join(bomb.compress(b" " * 1_048_576) for _ in range(64)) + bomb.flush()
    async with heldard_kernel() as kernel, edge(kernel) as port:
        head = (
            f"POST /api/v1/cameras HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Encoding: {encoding}\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
        )
        status, body = error_of(await talk(port, head.encode() + raw))
        assert (status, body["code"]) in ((413, "too_large"), (400, "bad_body"))


async def test_a_client_that_goes_away_within_its_body_is_no_failure_of_ours(heldard_kernel: Any, capsys: Any) -> None:
    async with heldard_kernel() as kernel, edge(kernel) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /api/v1/ai/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        refused = kernel.app[keys.METER].refused
        async with asyncio.timeout(30):
            while not refused["bad_body"]:
                await asyncio.sleep(0.01)
    assert "request_failed" not in capsys.readouterr().out
