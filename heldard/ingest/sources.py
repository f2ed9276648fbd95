"""What batches share, interned: where they come from (`sources`) and what makes them the same (`channels`)."""

from __future__ import annotations

import sqlite3

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

        source_id, channel_id = await self._db.write(unit)
        for cache in (self._source_ids, self._channel_ids, self._sources):
            if len(cache) >= CACHE_LIMIT:
                cache.clear()
        self._source_ids[source] = source_id
        self._sources[source_id] = source
        self._channel_ids[channel] = channel_id

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
_CHANNEL_COLUMNS = ("camera", "task_type", "task_id")


def _number(connection: sqlite3.Connection, table: str, columns: tuple[str, ...], values: tuple[object, ...]) -> int:
    where = " AND ".join(f"{column} = ?" for column in columns)
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)  # noqa: S608
    number: int = connection.execute(f"SELECT id FROM {table} WHERE {where}", values).fetchone()[0]  # noqa: S608
    return number
