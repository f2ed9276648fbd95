"""The only place that touches the table `ai_task_leases`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from heldard.db import queries
from heldard.db.database import Database
from heldard.leases.model import Lease

SQL = queries.load("heldard.leases")


class LeaseStore:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[Lease]:
        return [Lease(**dict(row)) for row in await self._db.fetch(SQL["all_leases"])]

    async def change(self, put: Iterable[Lease], drop: Iterable[str]) -> None:
        """Take or renew `put` and give up the tasks `drop`, at once."""
        rows = [msgspec.structs.asdict(lease) for lease in put]
        gone = [{"task_id": task_id} for task_id in drop]

        def unit(connection: sqlite3.Connection) -> None:
            connection.executemany(SQL["drop_lease"], gone)
            connection.executemany(SQL["put_lease"], rows)

        await self._db.write(unit)
