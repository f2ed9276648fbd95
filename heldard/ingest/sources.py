"""What batches share, interned: where they come from (`sources`) and what makes them the same (`channels`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable

import msgspec

from heldard.db.database import Database
from heldard.db.names import Names

CACHE_LIMIT = 4096
"""Entries held in memory; a worker that invents an epoch per batch costs itself time, not us memory."""


class Source(msgspec.Struct, frozen=True):
    """Where batches come from. Empty text means none."""

    camera_id: str
    task_type: str
    task_id: str
    site_id: str
    epoch: str
    provenance: str
    produced_by: str
    worker: str


class Channel(msgspec.Struct, frozen=True):
    """What a frame id is unique within. task_id: of the canonical frame id, empty for any other id."""

    camera_id: str
    task_type: str
    task_id: str


class Sources:
    """Numbers for sources and channels; what is new is committed before it is used."""

    def __init__(self, db: Database, names: Names) -> None:
        self._db = db
        self._names = names
        self._source_ids: dict[Source, int] = {}
        self._channel_ids: dict[Channel, int] = {}
        self._sources: dict[int, Source] = {}
        self._interning = 0
        self._interned: tuple[set[int], set[int]] | None = None

    def source_id(self, source: Source) -> int | None:
        return self._source_ids.get(source)

    def channel_id(self, channel: Channel) -> int | None:
        return self._channel_ids.get(channel)

    async def intern(self, source: Source, channel: Channel) -> None:
        """Make `source_id` and `channel_id` answer for these."""
        await self._names.intern([source.camera_id, source.task_type])
        camera, task_type = self._names.id(source.camera_id), self._names.id(source.task_type)

        def unit(connection: sqlite3.Connection) -> tuple[int, int]:
            rest = (source.task_id, source.site_id, source.epoch, source.provenance, source.produced_by, source.worker)
            return (
                _number(connection, "sources", _SOURCE_COLUMNS, (camera, task_type, *rest)),
                _number(connection, "channels", _CHANNEL_COLUMNS, (camera, task_type, channel.task_id)),
            )

        self._interning += 1
        try:
            source_id, channel_id = await self._db.write(unit)
        finally:
            self._interning -= 1
        if self._interned is not None:
            self._interned[0].add(source_id)
            self._interned[1].add(channel_id)
        for cache in (self._source_ids, self._channel_ids, self._sources):
            if len(cache) >= CACHE_LIMIT:
                cache.clear()
        self._source_ids[source] = source_id
        self._sources[source_id] = source
        self._channel_ids[channel] = channel_id

    async def prune(self, used: Callable[[], Awaitable[tuple[set[int], set[int]]]]) -> int:
        """Delete sources and channels that no batch refers to; how many went.

        used: the numbers the log refers to, read at one moment. What is in memory, or interned since that moment, may
        be in a batch that is not committed yet, so it stays until a later time.
        """
        self._interned = (set(self._sources), set(self._channel_ids.values()))
        try:
            used_sources, used_channels = await used()
            known = [{row["id"] for row in await self._db.fetch(f"SELECT id FROM {table}")} for table in _TABLES]  # noqa: S608
            if self._interning:
                return 0
            gone = [sorted(ids - seen - held) for ids, seen, held
                    in zip(known, (used_sources, used_channels), self._interned, strict=True)]  # fmt: skip
            # Nothing awaits between the look at `_interned` and the submission.
            return await self._db.write(lambda connection: _forget(connection, gone)) if any(gone) else 0
        finally:
            self._interned = None

    async def of(self, numbers: set[int]) -> dict[int, Source]:
        """The sources behind these numbers."""
        missing = [number for number in numbers if number not in self._sources]
        if missing:
            marks = ", ".join("?" * len(missing))
            for row in await self._db.fetch(f"SELECT * FROM sources WHERE id IN ({marks})", missing):  # noqa: S608
                self._sources[row["id"]] = Source(
                    self._names.text(row["camera"]),
                    self._names.text(row["task_type"]),
                    *(row[column] for column in _SOURCE_COLUMNS[2:]),
                )
        return {number: self._sources[number] for number in numbers}


_SOURCE_COLUMNS = ("camera", "task_type", "task_id", "site_id", "epoch", "provenance", "produced_by", "worker")
_TABLES = ("sources", "channels")
_CHANNEL_COLUMNS = ("camera", "task_type", "task_id")


def _forget(connection: sqlite3.Connection, gone: list[list[int]]) -> int:
    for table, numbers in zip(_TABLES, gone, strict=True):
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", [(number,) for number in numbers])  # noqa: S608
    return sum(len(numbers) for numbers in gone)


def _number(connection: sqlite3.Connection, table: str, columns: tuple[str, ...], values: tuple[object, ...]) -> int:
    where = " AND ".join(f"{column} = ?" for column in columns)
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608
    number: int = connection.execute(f"SELECT id FROM {table} WHERE {where}", values).fetchone()[0]  # noqa: S608
    return number
