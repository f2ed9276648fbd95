"""The store: one SQLite file, one writer, a few readers. See docs/explanation/store.md."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from heldard.clock import Clock
from heldard.db import migrations
from heldard.db.file import DatabaseFile
from heldard.db.readers import Readers
from heldard.db.witness import present_witness
from heldard.db.writer import QUEUE_BYTES, QUEUE_LIMIT, Writer
from heldard.errors import StoreError

T = TypeVar("T")

WAL_PAGES = 10_000
CACHE_KIB = 64 * 1024
BUSY_MS = 2_000
"""How long a group waits for another process's lock before it is refused."""


class Database:
    """Write with units of work, read with statements; there is no other way in.

    durability: `full` syncs at each commit and survives power loss; `normal` may lose the last commits to power loss,
    never to a crash of the process.
    """

    def __init__(
        self, path: Path, clock: Clock, durability: str = "full", queue_limit: int = QUEUE_LIMIT,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:  # fmt: skip
        self.path = path
        self._clock = clock
        self._durability = durability
        self.file = DatabaseFile(path)
        self.writer = Writer(self.connect, queue_limit, self.file.check, queue_bytes)
        self.readers = Readers(self.connect_reader)

    def connect(self) -> sqlite3.Connection:
        """A writing connection, set up. For the writer's thread, and for tools while no daemon runs."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=512)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'full' else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        return connection

    def connect_reader(self) -> sqlite3.Connection:
        """A connection that cannot write, and so never waits for one that does."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=256)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    async def open(self) -> None:
        """Create or upgrade the kernel's tables, then start the writer and the readers.

        Raises ConfigError where that would begin an empty database in place of one that was lost.
        """
        self.file.before_start()
        await self.migrate("heldard", migrations.find("heldard.db"))
        self.file.remember()
        self.writer.start()
        await self.readers.open()

    def look(self) -> set[str]:
        """The names of all tables, read anew from the file. For the watch, off the event loop.

        Raises StoreError when the file that is open is gone, or no longer a database.
        """
        self.file.check()
        try:
            with closing(self.connect_reader()) as connection:
                rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read any more ({error}); see `heldard doctor`") from error
        return {name for (name,) in rows}

    async def migrate(self, owner: str, wanted: list[migrations.Migration]) -> None:
        await asyncio.to_thread(self._migrate, owner, wanted)

    def _migrate(self, owner: str, wanted: list[migrations.Migration]) -> None:
        connection = self.connect()
        try:
            migrations.apply(connection, owner, wanted, self._clock.now_ms())
        finally:
            connection.close()

    async def close(self) -> None:
        """Commit what waits, then close every connection."""
        await self.writer.close()
        await self.readers.close()

    async def write(
        self, unit: Callable[[sqlite3.Connection], T], on_commit: Callable[[T], None] | None = None, *,
        hurry: bool = True,
    ) -> T:  # fmt: skip
        """Run a unit of work; its result after the commit. See Writer.submit for the rest, and for what is raised."""
        return await self.writer.submit(unit, on_commit, hurry=hurry)

    async def change(
        self,
        unit: Callable[[sqlite3.Connection], T],
        on_commit: Callable[[T], None] | None = None,
        *,
        about: str | None = None,
    ) -> T:
        """As `write`, for what somebody asked for: the witness that is present (see heldard.db.witness) is committed in
        the same transaction, or neither is. about: the id of what is changed."""
        witness = present_witness()
        if witness is None or not witness.take():
            return await self.write(unit, on_commit)

        def both(connection: sqlite3.Connection) -> T:
            value = unit(connection)
            witness.unit(connection, about)
            return value

        def committed(value: T) -> None:
            witness.committed = True
            if on_commit is not None:
                on_commit(value)

        try:
            return await self.write(both, committed)
        finally:
            witness.give_back()

    async def fetch(self, sql: str, parameters: Iterable[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of one reading statement."""
        return await self.readers.fetch(sql, parameters)

    async def fetch_one(self, sql: str, parameters: Iterable[Any] | Mapping[str, Any] = ()) -> sqlite3.Row | None:
        rows = await self.readers.fetch(sql, parameters)
        return rows[0] if rows else None
