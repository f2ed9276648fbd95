"""The only place that touches the table `cameras`."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from heldard.auth.seal import Seal
from heldard.cameras.model import Camera
from heldard.db import queries
from heldard.db.database import Database
from heldard.errors import ConflictError

SQL = queries.load("heldard.cameras")
_SEALED = ("password", "main_stream_url", "sub_stream_url")


class CameraStore:
    """Rows to structs and back; secrets are sealed on the way in and opened on the way out."""

    def __init__(self, db: Database, seal: Seal) -> None:
        self._db = db
        self._seal = seal

    async def all(self) -> list[Camera]:
        return [self._from_row(row) for row in await self._db.fetch(SQL["all_cameras"])]

    async def insert(self, camera: Camera) -> None:
        """Raises ConflictError when the id is taken."""
        row = self._to_row(camera)

        def unit(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(SQL["insert_camera"], row)
            except sqlite3.IntegrityError:
                raise ConflictError(
                    f"a camera {camera.id!r} exists already: choose another id or name", code="camera_exists"
                ) from None

        await self._db.change(unit, about=camera.id)

    async def update(self, camera: Camera) -> None:
        row = self._to_row(camera)
        await self._db.change(lambda connection: connection.execute(SQL["update_camera"], row).rowcount)

    async def delete(self, camera_id: str) -> None:
        await self._db.change(lambda connection: connection.execute(SQL["delete_camera"], {"id": camera_id}).rowcount)

    def _to_row(self, camera: Camera) -> dict[str, Any]:
        row = msgspec.structs.asdict(camera)
        row["capabilities"] = msgspec.json.encode(camera.capabilities).decode()
        for column in _SEALED:
            row[column] = self._seal.close_optional(row[column])
        return row

    def _from_row(self, row: sqlite3.Row) -> Camera:
        fields = dict(row)
        fields["capabilities"] = msgspec.json.decode(fields["capabilities"])
        fields["enabled"] = bool(fields["enabled"])
        for column in _SEALED:
            fields[column] = self._seal.open_optional(fields[column])
        return Camera(**fields)
