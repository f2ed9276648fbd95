"""The durable log of events: written inside units of work, told to whoever listens after the commit."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import structlog

from heldard.clock import Clock, rfc3339
from heldard.db import queries
from heldard.db.database import Database
from heldard.db.names import Names
from heldard.errors import InvalidError
from heldard.events.model import KERNEL_EVENTS, SEVERITIES, Event
from heldard.plugin import EventDraft, EventType

SQL = queries.load("heldard.events")

log: Any = structlog.get_logger("heldard.events")

Listener = Callable[[int, EventDraft], None]

_NAMESPACE_KEY = "event_namespace"
_SEQ_BITS = 62


class Events:
    """Write with `insert` inside a unit and `announce` after it, or with `emit` alone."""

    def __init__(self, db: Database, names: Names, clock: Clock, site_of: Callable[[str | None], str | None]) -> None:
        self._db = db
        self._names = names
        self._clock = clock
        self._site_of = site_of
        self._types: dict[str, EventType] = {kind.event_type: kind for kind in KERNEL_EVENTS}
        self._namespace = 0
        self._last_seq = 0
        self._news = asyncio.Event()
        self.listeners: list[Listener] = []

    async def load(self) -> None:
        self._namespace = await self._db.write(_namespace)
        await self._names.intern(self._types)
        row = await self._db.fetch_one(SQL["last_event"])
        self._last_seq = row["seq"] if row else 0

    async def register(self, kinds: Iterable[EventType]) -> None:
        """Types that plugins raise. Raises InvalidError when a type is registered twice."""
        kinds = list(kinds)
        for kind in kinds:
            if kind.event_type in self._types:
                raise InvalidError(f"event type {kind.event_type!r} is registered already")
        await self._names.intern(kind.event_type for kind in kinds)
        self._types.update((kind.event_type, kind) for kind in kinds)

    def unregister(self, kinds: Iterable[EventType]) -> None:
        """Take back what `register` took, before any was raised."""
        for kind in kinds:
            self._types.pop(kind.event_type, None)

    def known(self, event_type: str) -> bool:
        return event_type in self._types

    @property
    def last_seq(self) -> int:
        """The newest committed event's place in the log."""
        return self._last_seq

    # --- writing ---------------------------------------------------------------------------------------------------

    def insert(self, connection: sqlite3.Connection, draft: EventDraft) -> int:
        """Write one event inside a unit of work; its seq. Type and camera must be interned already."""
        camera = None if draft.camera_id is None else self._names.id(draft.camera_id)
        cursor = connection.execute(
            SQL["insert_event"],
            (
                self._names.id(draft.event_type),
                SEVERITIES.index(draft.severity),
                camera,
                self._site_of(draft.camera_id),
                draft.at_ms,
                self._clock.now_ms(),
                msgspec.json.encode(draft.payload).decode(),
                draft.evidence,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def announce(self, committed: Sequence[tuple[int, EventDraft]]) -> None:
        """Tell the listeners, on the event loop, after the commit. One that fails keeps nobody else from hearing."""
        for seq, _ in committed:
            self._last_seq = max(self._last_seq, seq)
        if committed:
            self._news.set()
            self._news = asyncio.Event()
        for seq, draft in committed:
            for listener in self.listeners:
                try:
                    listener(seq, draft)
                except Exception:
                    log.exception("event_listener_failed", event_type=draft.event_type)

    async def emit(self, draft: EventDraft) -> int:
        """Write one event on its own; its seq."""
        await self._names.intern([draft.event_type, *([draft.camera_id] if draft.camera_id else [])])
        return await self._db.write(
            lambda connection: self.insert(connection, draft), lambda seq: self.announce([(seq, draft)])
        )

    # --- reading ---------------------------------------------------------------------------------------------------

    async def newest(self, conditions: Sequence[tuple[str, Any]], limit: int) -> list[Event]:
        """Newest first by (at_ms, seq). `conditions`: SQL comparisons with `?` and their values, from routes only."""
        where = " AND ".join(condition for condition, _ in conditions)
        sql = SQL["newest_events"] + (f" WHERE {where}" if where else "") + " ORDER BY at_ms DESC, seq DESC LIMIT ?"
        values: list[Any] = []
        for _, value in conditions:
            values.extend(value if isinstance(value, tuple) else (value,))
        return [self._from_row(row) for row in await self._db.fetch(sql, [*values, limit])]

    async def after(self, seq: int, limit: int) -> list[Event]:
        """In log order, for feeds."""
        return [
            self._from_row(row) for row in await self._db.fetch(SQL["events_after"], {"after": seq, "limit": limit})
        ]

    async def wait_after(self, seq: int) -> None:
        """Return when an event later than `seq` is committed."""
        while self._last_seq <= seq:
            await self._news.wait()

    async def types(self) -> list[EventType]:
        """What is registered, then what else occurs."""
        found = dict(self._types)
        for row in await self._db.fetch(SQL["seen_types"]):
            text = self._names.text(row["event_type"])
            found.setdefault(text, EventType(text, "Raised by a worker."))
        return [found[name] for name in sorted(found)]

    def public_id(self, seq: int) -> str:
        """The UUID (version 8) of an event: this database's namespace and the place in the log."""
        return str(uuid.UUID(int=(self._namespace << 64) | (0b10 << _SEQ_BITS) | seq))

    def seq_of(self, public_id: str) -> int | None:
        """The place in the log behind `public_id`; None when it is not of this database."""
        try:
            number = uuid.UUID(public_id).int
        except ValueError:
            return None
        if number >> 64 != self._namespace:
            return None
        return number & ((1 << _SEQ_BITS) - 1)

    def _from_row(self, row: sqlite3.Row) -> Event:
        return Event(
            seq=row["seq"],
            id=self.public_id(row["seq"]),
            camera_id=None if row["camera"] is None else self._names.text(row["camera"]),
            site_id=row["site_id"],
            event_type=self._names.text(row["event_type"]),
            severity=SEVERITIES[row["severity"]],
            timestamp=rfc3339(row["at_ms"]),
            payload=msgspec.json.decode(row["payload"]),
            evidence=None if row["evidence"] is None else f"/media/snapshots/{row['evidence']}",
            created_at=rfc3339(row["created_ms"]),
        )


def _namespace(connection: sqlite3.Connection) -> int:
    """The upper half of this database's event ids: random, with the version bits of a UUID 8."""
    fresh = (secrets.randbits(64) & ~0xF000) | 0x8000
    connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?, 0)", (_NAMESPACE_KEY, str(fresh)))
    return int(connection.execute("SELECT value FROM settings WHERE key = ?", (_NAMESPACE_KEY,)).fetchone()[0])
