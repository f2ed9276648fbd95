"""kill -9 of the real daemon, at random moments, under load from several connections."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import aiohttp
import pytest

from heldard.demo.runner import free_port
from tests.crash.daemon import CLOCK, Daemon
from tests.crash.load import Load
from tests.crash.verify import verify

CONNECTIONS = 6
STALL_LIMIT_S = 60.0
"""A drain that finishes nothing for so long has stopped."""


async def _drained(session: aiohttp.ClientSession, base: str) -> None:
    """Wait until every consumer has seen everything, however long that takes while something moves."""
    left = await _lags(session, base)
    while any(left):
        async with asyncio.timeout(STALL_LIMIT_S):
            while (now := await _lags(session, base)) == left:
                await CLOCK.sleep(0.1)
        left = now


async def _lags(session: aiohttp.ClientSession, base: str) -> list[int]:
    async with session.get(f"{base}/api/v1/consumers") as response:
        consumers = await response.json()
    assert all(row["state"] == "active" and row["failed"] == 0 for row in consumers), consumers
    return [row["lag"] for row in consumers]


async def kill_many(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill it so many times, let it finish, and look at what is there."""
    moments = random.Random(seed)
    daemon = Daemon(folder, free_port(0))
    load = Load(daemon.base, CONNECTIONS, seed)
    async with aiohttp.ClientSession() as session:
        await daemon.start()
        await daemon.ready(session)
        await load.prepare(session)
        working = asyncio.ensure_future(load.run())
        try:
            for _ in range(kills):
                if moments.random() < 0.9:
                    await daemon.ready(session)
                await CLOCK.sleep(moments.uniform(0, 0.4))
                assert not working.done(), working.exception()
                await daemon.kill()
                await daemon.start()
            await daemon.ready(session)
            load.stop()
            await working
            await _drained(session, daemon.base)
            await daemon.stop()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await daemon.kill()
    return {"kills": kills, "duplicates": load.kept.duplicates, **verify(daemon.data, daemon.trail, load.kept)}


async def test_what_was_acknowledged_is_there_once_after_ten_kills(tmp_path: Path) -> None:
    found = await kill_many(tmp_path, 10, seed=random.randrange(2**32))
    print(found)
    assert found["acknowledged"] > 0
    assert found["acted"] > 0


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_what_was_acknowledged_is_there_once_after_a_thousand_kills(tmp_path: Path) -> None:
    """`pytest -m long tests/crash -s`; HELDARD_KILLS sets another number."""
    found = await kill_many(tmp_path, int(os.environ.get("HELDARD_KILLS", "1000")), seed=random.randrange(2**32))
    print(found)
    assert found["acknowledged"] > 1000
