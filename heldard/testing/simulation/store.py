"""A store that fails: its writer has no thread, its readers take a while."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from heldard.db.group import explain
from heldard.db.writer import Writer
from heldard.errors import StoreError
from heldard.testing.simulation.chaos import Chaos

if TYPE_CHECKING:
    from heldard.testing.simulation.world import World


class SimConnection:
    """A writing connection whose statements fail now and then. A rollback never does: the file cannot refuse that."""

    def __init__(self, connection: sqlite3.Connection, chaos: Chaos) -> None:
        self._connection = connection
        self._chaos = chaos

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if not sql.startswith("ROLLBACK"):
            self._chaos.statement(sql)
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, *rows: Any) -> sqlite3.Cursor:
        self._chaos.statement(sql)
        return self._connection.executemany(sql, *rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class SimWriter(Writer):
    """The writer without its thread: groups form by chance, and the process may die before or after each commit."""

    def __init__(self, connect: Callable[[], Any], world: World) -> None:
        super().__init__(connect, queue_limit=world.dice.choice([16, 4096]))
        self._world = world
        self._pumping = False
        self.dead = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def _check_open(self, size: int) -> None:
        if self.dead or self._closing:
            raise StoreError("the process died", code="store_closed")
        if len(self._queue) >= self._queue_limit:
            raise StoreError("the queue is full", code="writer_full")

    def _rouse(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_later(self._world.chaos.latency(), self._pump)

    def _pump(self) -> None:
        if self.dead:
            return
        size = self._world.dice.randint(1, len(self._queue))
        group = [self._queue.popleft() for _ in range(size)]
        outcomes = self._commit(group)
        self._world.maybe_die(0.002)
        self._loop.call_later(self._world.chaos.latency(), self._answer, group, outcomes)

    def _answer(self, group: Any, outcomes: Any) -> None:
        if self.dead:
            return
        self._resolve(group, outcomes)
        self._pumping = bool(self._queue)
        if self._pumping:
            self._loop.call_later(self._world.chaos.latency(), self._pump)

    async def close(self) -> None:
        self._let_ride()
        while self._pumping and not self.dead:  # noqa: ASYNC110 - time passes only by sleeping
            await asyncio.sleep(0.001)  # noqa: TID251 - on virtual time
        self._closing = True
        self._disconnect()

    def die(self) -> None:
        """Nothing more is committed and nobody is told; what a transaction had begun is gone."""
        self.dead = True
        self._queue.clear()


class SimReaders:
    """Reads that take a while and fail now and then."""

    def __init__(self, connection: sqlite3.Connection, world: World) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection
        self._world = world

    async def fetch(self, sql: str, parameters: Any = ()) -> list[sqlite3.Row]:
        await asyncio.sleep(self._world.chaos.latency())  # noqa: TID251 - on virtual time
        self._world.chaos.read()
        try:
            rows = self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise explain(error) from error
        await asyncio.sleep(self._world.chaos.latency())  # noqa: TID251
        return rows

    async def close(self) -> None:
        self._connection.close()
