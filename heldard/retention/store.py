"""The steps of retention: each one unit of work of at most about 500 rows, so that ingest never waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from heldard.db import queries
from heldard.db.database import Database
from heldard.ingest.log import PLACES
from heldard.retention.model import DatabaseView

SQL = queries.load("heldard.retention")

STEP_ROWS = 500
PAGE = 500
VACUUM_PAGES = 256


class RetentionStore:
    """Finds and deletes what is old. Times are milliseconds since the epoch."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def log_page(self, after: int) -> list[sqlite3.Row]:
        return await self.db.fetch(SQL["log_page"], {"after": after, "limit": PAGE})

    async def delete_batches(self, batches: Sequence[tuple[int, int]], *, unfinished: bool) -> int:
        """Delete batches, given as (seq, detection count), with detections and claims; how many batches went.

        Without `unfinished`, a batch that some consumer has not ended is left alone.
        """
        seqs = {"seqs": _array(seq for seq, _ in batches)}
        ranges = [(seq * PLACES, seq * PLACES + PLACES - 1) for seq, count in batches if count]
        batch_sql = SQL["delete_batches" if unfinished else "delete_finished_batches"]

        def unit(connection: sqlite3.Connection) -> int:
            connection.executemany(SQL["delete_detections"], ranges)
            connection.execute(SQL["delete_claims"], seqs)
            return connection.execute(batch_sql, seqs).rowcount

        return await self.db.write(unit)

    async def delete_rows(self, query: str, before_ms: int) -> int:
        """One step of a plain table; how many rows went."""
        place = {"before_ms": before_ms, "limit": STEP_ROWS}
        return await self.db.write(lambda connection: connection.execute(SQL[query], place).rowcount)

    async def evidence_before(self, before_ms: int, limit: int) -> list[tuple[str, int]]:
        """(name, bytes) of the oldest kept frames."""
        rows = await self.db.fetch(SQL["evidence_before"], {"before_ms": before_ms, "limit": limit})
        return [(row["path"], row["size_bytes"]) for row in rows]

    async def evidence_size(self) -> int:
        row = await self.db.fetch_one(SQL["evidence_size"])
        assert row is not None
        return int(row["size_bytes"])

    async def delete_evidence(self, names: Sequence[str]) -> None:
        paths = {"paths": _array(names)}
        await self.db.write(lambda connection: connection.execute(SQL["delete_evidence"], paths).rowcount)

    async def unknown_evidence(self, names: Sequence[str]) -> list[str]:
        """Those of the names that no row refers to."""
        rows = await self.db.fetch(SQL["known_evidence"], {"paths": _array(names)})
        known = {row["path"] for row in rows}
        return [name for name in names if name not in known]

    async def used_sources(self) -> tuple[set[int], set[int]]:
        """Numbers of the sources and channels that the log refers to. Reads the whole log, beside the writer."""
        rows = await self.db.fetch(SQL["used_sources"])
        return {row["source"] for row in rows}, {row["channel"] for row in rows}

    async def free_pages(self) -> tuple[int, int]:
        """(pages without rows, all pages)."""
        free = await self.db.fetch_one("PRAGMA freelist_count")
        total = await self.db.fetch_one("PRAGMA page_count")
        assert free is not None
        assert total is not None
        return free[0], total[0]

    async def vacuum(self) -> None:
        """Give up to 256 free pages back to the file system."""

        def unit(connection: sqlite3.Connection) -> None:
            # One at a time: sqlite3 takes the first step of this pragma and drops the rest, since it has no columns.
            for _ in range(VACUUM_PAGES):
                connection.execute("PRAGMA incremental_vacuum(1)")

        await self.db.write(unit)

    async def cap_mb(self) -> float | None:
        """The cap that was set while heldard ran, in MiB; None for the configuration's."""
        row = await self.db.fetch_one(SQL["db_cap"])
        return None if row is None else float(row["value"])

    async def put_cap(self, cap_mb: float | None, now_ms: int) -> None:
        """None goes back to the configuration's."""
        query = SQL["drop_db_cap" if cap_mb is None else "put_db_cap"]
        row = {"value": repr(cap_mb), "now_ms": now_ms}
        await self.db.change(lambda connection: connection.execute(query, row).rowcount, about="max_db_mb")

    async def size(self, max_bytes: int) -> DatabaseView:
        page = await self.db.fetch_one("PRAGMA page_size")
        assert page is not None
        free, total = await self.free_pages()
        return DatabaseView(
            db_bytes=total * page[0],
            used_bytes=(total - free) * page[0],
            max_bytes=max_bytes,
            wal_bytes=_size(self.db.path.with_name(self.db.path.name + "-wal")),
        )

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database and cut it to nothing, where nobody reads it. Blocking."""
        connection = self.db.connect()
        try:
            connection.execute("PRAGMA busy_timeout = 200")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()


def _array(values: Iterable[Any]) -> str:
    return msgspec.json.encode(list(values)).decode()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
