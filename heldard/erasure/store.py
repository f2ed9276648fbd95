"""Reads the kernel's tables page by page for what names a subject, and writes them back without it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from heldard.clock import rfc3339
from heldard.db import queries
from heldard.db.database import Database
from heldard.db.names import Names
from heldard.erasure.model import FIRST, ErasureView, Job, Place, redacted
from heldard.plugin import Recogniser

SQL = queries.load("heldard.erasure")

PAGE = 500
"""Rows looked through between two commits."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What one page showed. after: its last key, None for the end. changes: the columns of each row that named the
    subject, its key last. frames: the pictures that show it."""

    after: int | None
    changes: list[tuple[Any, ...]]
    frames: list[str]


class ErasureStore:
    """The only place that touches `erasures`."""

    def __init__(self, db: Database, names: Names) -> None:
        self.db = db
        self._names = names

    async def add(self, kind: str, subject: str, options: dict[str, Any], by: str, now_ms: int, new_id: str) -> str:
        """Its id; that of one that is under way already when it is the same."""
        row = {
            "id": new_id, "kind": kind, "subject": subject, "options": _json(options), "asked_by": by,
            "asked_ms": now_ms, "place": FIRST,
        }  # fmt: skip

        def unit(connection: sqlite3.Connection) -> str:
            same = connection.execute(SQL["same"], row).fetchone()
            if same is None:
                connection.execute(SQL["add"], row)
            return new_id if same is None else str(same[0])

        return await self.db.change(unit)

    async def under_way(self) -> list[Job]:
        return [_job(row) for row in await self.db.fetch(SQL["under_way"])]

    async def view(self, erasure_id: str) -> ErasureView | None:
        row = await self.db.fetch_one(SQL["one"], {"id": erasure_id})
        return None if row is None else _view(row)

    async def newest(self, limit: int) -> list[ErasureView]:
        return [_view(row) for row in await self.db.fetch(SQL["newest"], {"limit": limit})]

    # --- searching --------------------------------------------------------------------------------------------------

    async def page(self, place: Place, after: int) -> list[sqlite3.Row]:
        return await self.db.fetch(SQL[f"page_of_{place.name}"], {"after": after, "limit": PAGE})

    def search(self, place: Place, rows: Sequence[sqlite3.Row], names: Recogniser) -> Found:
        """What of a page names the subject. Blocking: it takes JSON apart."""
        changes: list[tuple[Any, ...]] = []
        frames: list[str] = []
        for row in rows:
            camera_id = None if row["camera"] is None else self._names.text(row["camera"])
            named = _seen_at(names, camera_id, row["at_ms"])
            fresh = [redacted(row[column], named) for column in place.json]
            gone = [row[column] is not None and named(row[column]) for column in place.texts]
            if any(text is not None for text in fresh) or any(gone):
                kept = [row[c] if text is None else text for c, text in zip(place.json, fresh, strict=True)]
                texts = [None if went else row[c] for c, went in zip(place.texts, gone, strict=True)]
                changes.append((*kept, *texts, row["key"]))
                frames += _frames_of(row, camera_id)
        return Found(rows[-1]["key"] if len(rows) == PAGE else None, changes, frames)

    # --- writing ----------------------------------------------------------------------------------------------------

    async def redact(self, job: Job, place: Place, found: Found, following: tuple[str, int]) -> Job:
        """Write a page back without the subject, drop the rows of its frames, and note how far it has come: one unit,
        so that what a crash interrupts is neither lost nor counted twice."""

        def unit(connection: sqlite3.Connection) -> Counter[str]:
            if found.changes:
                connection.executemany(SQL[f"redact_{place.name}"], found.changes)
            frames = connection.execute(SQL["drop_frames"], {"paths": _json(found.frames)}).rowcount
            counts = job.counts + Counter({place.name: len(found.changes), "frames": frames})
            _progress(connection, job.id, following, counts)
            return counts

        counts = await self.db.write(unit)
        return replace(job, place=following[0], after=following[1], counts=counts)

    async def drop_frames(self, job: Job, names: Sequence[str]) -> Job:
        """The rows of kept frames; their files are gone already."""

        def unit(connection: sqlite3.Connection) -> Counter[str]:
            gone = connection.execute(SQL["drop_frames"], {"paths": _json(names)}).rowcount
            counts = job.counts + Counter({"frames": gone})
            _progress(connection, job.id, (job.place, job.after), counts)
            return counts

        return replace(job, counts=await self.db.write(unit))

    async def own(self, job: Job, forget: Callable[[sqlite3.Connection], dict[str, int]]) -> tuple[Job, bool]:
        """One step in the plugin's tables; whether there was anything left."""

        def unit(connection: sqlite3.Connection) -> tuple[Counter[str], bool]:
            gone = Counter(forget(connection))
            counts = job.counts + gone
            _progress(connection, job.id, (job.place, job.after), counts)
            return counts, gone.total() > 0

        counts, more = await self.db.write(unit)
        return replace(job, counts=counts), more

    async def go_on(self, job: Job, place: str, after: int) -> Job:
        await self.db.write(lambda connection: _progress(connection, job.id, (place, after), job.counts))
        return replace(job, place=place, after=after)

    async def failed(self, job: Job, error: str) -> None:
        await self.db.write(lambda connection: connection.execute(SQL["failed"], {"id": job.id, "error": error}))

    async def end(self, job: Job, now_ms: int, tell: Callable[[sqlite3.Connection], T], told: Callable[[T], None]) -> T:
        """It has ended, and `tell` says so in the same unit."""

        def unit(connection: sqlite3.Connection) -> T:
            connection.execute(SQL["end"], {"id": job.id, "now": now_ms})
            return tell(connection)

        return await self.db.write(unit, told)

    # --- traces in the file -----------------------------------------------------------------------------------------

    async def overwrite(self, *, deleted: bool) -> None:
        """From here on, have SQLite overwrite what is deleted with zeros, or not."""
        await self.db.write(lambda connection: connection.execute(f"PRAGMA secure_delete = {int(deleted)}").fetchall())

    def checkpoint(self) -> None:
        """Move the write-ahead log, which has the old pages, into the database, where nobody reads it. Blocking."""
        connection = self.db.connect()
        try:
            connection.execute("PRAGMA busy_timeout = 200")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()


def _progress(connection: sqlite3.Connection, job_id: str, place: tuple[str, int], counts: Counter[str]) -> None:
    row = {"id": job_id, "place": place[0], "after": place[1], "counts": _json(dict(counts))}
    connection.execute(SQL["progress"], row)


def _seen_at(names: Recogniser, camera_id: str | None, at_ms: int | None) -> Callable[[str], bool]:
    def named(text: str) -> bool:
        return names(text, camera_id, at_ms)

    return named


def _frames_of(row: sqlite3.Row, camera_id: str | None) -> list[str]:
    """The names under which the picture of a row may be kept."""
    found = [row["evidence"]] if row["evidence"] is not None else []
    if camera_id is not None and row["captured_ms"] is not None:
        found += [f"{camera_id}-{profile}-{row['captured_ms']}.jpg" for profile in ("main", "sub")]
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _job(row: sqlite3.Row) -> Job:
    return Job(
        row["id"], row["kind"], row["subject"], msgspec.json.decode(row["options"]), row["place"], row["after"],
        Counter(msgspec.json.decode(row["counts"])),
    )  # fmt: skip


def _view(row: sqlite3.Row) -> ErasureView:
    return ErasureView(
        id=row["id"],
        kind=row["kind"],
        state="running" if row["ended_ms"] is None else "done",
        counts=msgspec.json.decode(row["counts"]),
        asked_by=row["asked_by"],
        asked_at=rfc3339(row["asked_ms"]),
        ended_at=None if row["ended_ms"] is None else rfc3339(row["ended_ms"]),
        error=row["error"],
    )
