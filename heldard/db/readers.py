"""A small pool of read-only connections, apart from the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite

from heldard.db.group import explain
from heldard.errors import StoreError

WAIT_S = 5.0
"""How long a read waits for a free connection before it is refused."""


class Readers:
    """Connections that answer queries one at a time each. A read sees what was committed when it began."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], size: int = 4) -> None:
        self._connect = connect
        self._size = size
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._all: list[aiosqlite.Connection] = []

    async def open(self) -> None:
        for _ in range(self._size):
            connection = await aiosqlite.Connection(self._connect, iter_chunk_size=256)
            connection.row_factory = sqlite3.Row
            self._all.append(connection)
            self._free.put_nowait(connection)

    async def close(self) -> None:
        for connection in self._all:
            await connection.close()
        self._all.clear()

    @property
    def idle(self) -> bool:
        """Whether no connection is in use."""
        return self._free.qsize() == len(self._all)

    @asynccontextmanager
    async def use(self) -> AsyncIterator[aiosqlite.Connection]:
        """A connection of one's own for a while. Raises StoreError when none becomes free."""
        try:
            connection = self._free.get_nowait()
        except asyncio.QueueEmpty:
            try:
                async with asyncio.timeout(WAIT_S):
                    connection = await self._free.get()
            except TimeoutError:
                raise StoreError("all reading connections are busy: retry", code="readers_busy") from None
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def fetch(self, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of one statement. Raises StoreError when the database cannot answer."""
        async with self.use() as connection:
            try:
                return list(await connection.execute_fetchall(sql, parameters))
            except sqlite3.Error as error:
                raise explain(error) from error
