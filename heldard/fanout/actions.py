"""Actions in the world, at most once: the claim is committed before the handler runs, and is never taken back."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from heldard.clock import Clock
from heldard.db.database import Database
from heldard.errors import BusyError, ConflictError
from heldard.fanout.commit import SQL
from heldard.fanout.drive import ConsumeTimeoutError, contained
from heldard.plugin import ActionHandler
from heldard.supervisor import Supervisor

RUNNING, DONE, FAILED, EXPIRED = 1, 2, 3, 5
IDLE_S = 5.0
"""How often waiting actions are looked for when nobody says that there are some."""

log: Any = structlog.get_logger("heldard.actions")


class Actions:
    """Runs each waiting action once, one at a time per kind."""

    def __init__(self, db: Database, clock: Clock, supervisor: Supervisor) -> None:
        self._db = db
        self._clock = clock
        self._supervisor = supervisor
        self._handlers: dict[str, ActionHandler] = {}
        self._due: dict[str, asyncio.Event] = {}

    def register(self, handler: ActionHandler) -> None:
        """Raises ConflictError when the kind has a handler already."""
        if handler.kind in self._handlers:
            raise ConflictError(f"two handlers for actions of kind {handler.kind!r}")
        self._handlers[handler.kind] = handler
        self._due[handler.kind] = asyncio.Event()

    def unregister(self, handlers: Iterable[ActionHandler]) -> None:
        """Take handlers back, before any action was run."""
        for handler in handlers:
            if self._handlers.get(handler.kind) is handler:
                del self._handlers[handler.kind], self._due[handler.kind]

    async def start(self) -> None:
        now = self._clock.now_ms()
        await self._db.write(lambda connection: self._tidy(connection, now))
        for handler in self._handlers.values():
            self._supervisor.start(f"actions.{handler.kind}", functools.partial(self._serve, handler))

    @staticmethod
    def _tidy(connection: sqlite3.Connection, now: int) -> None:
        connection.execute(SQL["interrupt_actions"], {"now": now})
        connection.execute(SQL["expire_actions"], {"now": now})

    def poke(self) -> None:
        """Actions were committed."""
        for due in self._due.values():
            due.set()

    async def _serve(self, handler: ActionHandler) -> None:
        due = self._due[handler.kind]
        while True:
            due.clear()
            while rows := await self._db.fetch(SQL["waiting_actions"], {"kind": handler.kind}):
                for row in rows:
                    await self._run(handler, row)
            try:
                async with asyncio.timeout(IDLE_S):
                    await due.wait()
            except TimeoutError:
                continue

    async def _run(self, handler: ActionHandler, row: sqlite3.Row) -> None:
        now = self._clock.now_ms()
        expired = now >= row["expires_ms"]
        claim = {"id": row["id"], "now": now, "state": EXPIRED if expired else RUNNING}
        if await self._db.write(lambda connection: connection.execute(SQL["start_action"], claim).rowcount) != 1:
            return
        if expired:
            log.warning("action_expired", kind=row["kind"], key=row["key"])
            return
        try:
            outcome = await contained(handler.run(msgspec.json.decode(row["payload"])), handler.timeout_s)
            state, text = DONE, msgspec.json.encode(outcome).decode()
        except Exception as error:
            log.warning("action_failed", kind=row["kind"], key=row["key"], error=str(error), exc_info=True)
            state, text = FAILED, msgspec.json.encode({"error": _said(error)}).decode()
        await self._end({"id": row["id"], "state": state, "outcome": text})

    async def _end(self, row: dict[str, Any]) -> None:
        """Write down how it ended, however long the store does not take it."""
        while True:
            row["now"] = self._clock.now_ms()
            try:
                await self._db.write(lambda connection: connection.execute(SQL["end_action"], row).rowcount)
                return
            except BusyError:
                await self._clock.sleep(1.0)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ConsumeTimeoutError) else f"{type(error).__name__}: {error}"
