"""A kernel on virtual time, and upstream's worker beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from heldard.testing import Kernel
from tests.leases.upstream_worker import UpstreamWorker


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def worker(session: aiohttp.ClientSession) -> Callable[..., UpstreamWorker]:
    def make(kernel: Kernel, worker_id: str = "box:100", **fields: Any) -> UpstreamWorker:
        return UpstreamWorker(session, kernel.url, worker_id, **fields)

    return make
