"""Tells the service manager how it goes: the datagrams of sd_notify(3), and nothing where nobody listens."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any

import structlog

from heldard.clock import Clock
from heldard.db.database import Database
from heldard.errors import HeldardError

log: Any = structlog.get_logger("heldard.notify")


class Notifier:
    """Sends to `NOTIFY_SOCKET`. Never blocks and never raises: the manager's trouble is not the daemon's."""

    def __init__(self, environment: Mapping[str, str], pid: int | None = None) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(environment, os.getpid() if pid is None else pid) if address else None
        """How long the manager waits for `alive`, None when it does not watch."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._send("RELOADING=1\nSTATUS=reading the settings again")

    def alive(self, status: str) -> None:
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=finishing what was accepted")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            log.warning("notify_failed", error=str(error))


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """Seconds of `WATCHDOG_USEC`, where it is meant for this process."""
    text = environment.get("WATCHDOG_USEC", "")
    meant_for = environment.get("WATCHDOG_PID", str(pid))
    return int(text) / 1e6 if text.isdigit() and int(text) > 0 and meant_for == str(pid) else None


class Watchdog:
    """Says `alive` twice in the manager's time, but only while the event loop runs and the writer's thread moves."""

    def __init__(self, notifier: Notifier, db: Database, clock: Clock) -> None:
        assert notifier.watchdog_s is not None
        self._notifier = notifier
        self._db = db
        self._clock = clock
        self._every_s = notifier.watchdog_s / 2

    async def run(self) -> None:
        while True:
            if await self.writer_moves():
                self._notifier.alive(f"serving; {self._db.writer.waiting} writes wait")
            await self._clock.sleep(self._every_s / 2)

    async def writer_moves(self) -> bool:
        """Whether the writer ended a group just now. How it ended does not matter: a full disk needs no restart."""
        before = self._db.writer.figures.groups
        try:
            async with asyncio.timeout(self._every_s):
                await self._db.write(lambda _: None)
        except TimeoutError:
            log.error("writer_stuck", seconds=self._every_s, waiting=self._db.writer.waiting)
        except HeldardError as error:
            log.warning("writer_failing", error=error.message)
        return self._db.writer.figures.groups > before
