"""The worker as a process: logs, signals, one HTTP session."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import aiohttp

from heldard import logs
from heldard.clock import SystemClock
from heldard.config import LogSettings
from heldard.worker.client import ClientSettings, Kernel
from heldard.worker.retry import Backoff
from heldard.worker.worker import Worker, WorkerSettings


def run(*, poll_interval_s: float, backoff: tuple[float, float], **client: Any) -> None:
    """Work until SIGTERM or SIGINT. `client`: the other fields of ClientSettings."""
    logs.configure(LogSettings())
    settings = ClientSettings(backoff=Backoff(*backoff), **client)
    asyncio.run(_serve(settings, WorkerSettings(poll_interval_s=poll_interval_s)))


async def _serve(client: ClientSettings, settings: WorkerSettings) -> None:
    clock = SystemClock()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        worker = Worker(Kernel(session, client, clock), clock, settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await worker.run()
