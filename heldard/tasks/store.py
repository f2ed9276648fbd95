"""The only place that touches the table `ai_tasks`."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from heldard.db import queries
from heldard.db.database import Database
from heldard.errors import ConflictError
from heldard.tasks.model import Task

SQL = queries.load("heldard.tasks")


class TaskStore:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> list[Task]:
        return [_from_row(row) for row in await self._db.fetch(SQL["all_tasks"])]

    async def insert(self, task: Task) -> bool:
        """False when the slot (camera, type, profile) is taken; nothing is written then."""
        row = _to_row(task)
        return await self._db.change(
            lambda connection: connection.execute(SQL["insert_task"], row).rowcount == 1, about=task.id
        )

    async def update(self, task: Task) -> None:
        """Raises ConflictError when another task has the slot."""
        row = _to_row(task)

        def unit(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(SQL["update_task"], row)
            except sqlite3.IntegrityError:
                raise ConflictError(
                    f"camera {task.camera_id!r} has another {task.task_type!r} task on {task.stream_profile}",
                    code="task_exists",
                ) from None

        await self._db.change(unit)

    async def delete(self, task_id: str) -> None:
        await self._db.change(lambda connection: connection.execute(SQL["delete_task"], {"id": task_id}).rowcount)


def _to_row(task: Task) -> dict[str, Any]:
    return {**msgspec.structs.asdict(task), "config": msgspec.json.encode(task.config).decode()}


def _from_row(row: sqlite3.Row) -> Task:
    fields = dict(row)
    fields["config"] = msgspec.json.decode(fields["config"])
    fields["enabled"] = bool(fields["enabled"])
    return Task(**fields)
