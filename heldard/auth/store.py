"""The only place that touches `users`, `sessions`, `api_keys` and `audit_log`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from heldard.auth.model import ApiKey, AuditEntry, Session, User
from heldard.clock import rfc3339
from heldard.db import queries
from heldard.db.database import Database
from heldard.errors import ConflictError
from heldard.ids import of_row

SQL = queries.load("heldard.auth")


class AccessStore:
    """All of it is small and read at start; changes are written through."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def users(self) -> list[User]:
        return [msgspec.convert(dict(row), User, strict=False) for row in await self._db.fetch(SQL["all_users"])]

    async def sessions(self) -> list[Session]:
        return [Session(**dict(row)) for row in await self._db.fetch(SQL["all_sessions"])]

    async def keys(self) -> list[ApiKey]:
        """Keys that can be read; one with an unknown role or a broken list is left out, so that it grants nothing."""
        found = [_key(row) for row in await self._db.fetch(SQL["all_keys"])]
        return [key for key in found if key is not None]

    async def version(self) -> str:
        row = await self._db.fetch_one(SQL["access_version"])
        return "" if row is None else str(row["value"])

    async def raise_version(self, now_ms: int) -> None:
        await self._run(SQL["raise_access_version"], {"now_ms": now_ms})

    async def put_user(self, user: User, *, sign_out: bool = False) -> None:
        """Raises ConflictError for a taken name."""
        row = msgspec.structs.asdict(user)

        def unit(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(SQL["put_user"], row)
            except sqlite3.IntegrityError:
                raise ConflictError(f"there is a user named {user.username!r} already", code="user_exists") from None
            if sign_out:
                connection.execute(SQL["delete_sessions_of"], {"user_id": user.id})

        await self._db.change(unit, about=user.id)

    async def delete_user(self, user_id: str) -> None:
        await self._run(SQL["delete_user"], {"id": user_id}, about=user_id)

    async def sign_in(self, user: User, session: Session, in_place_of: Sequence[str]) -> None:
        """A new session, with the user as they are then, and without the sessions of those tokens."""
        row, new = msgspec.structs.asdict(user), msgspec.structs.asdict(session)
        gone = [{"token": token} for token in in_place_of]

        def unit(connection: sqlite3.Connection) -> None:
            connection.execute(SQL["put_user"], row)
            connection.executemany(SQL["delete_session"], gone)
            connection.execute(SQL["put_session"], new)

        await self._db.change(unit, about=user.id)

    async def use_session(self, session: Session) -> None:
        """Note the use of a session, unless it has ended meanwhile."""
        await self._run(SQL["use_session"], msgspec.structs.asdict(session))

    async def delete_session(self, token: str) -> None:
        await self._run(SQL["delete_session"], {"token": token})

    async def delete_expired(self, now_ms: int) -> None:
        await self._run(SQL["delete_expired_sessions"], {"now_ms": now_ms})

    async def put_key(self, key: ApiKey) -> None:
        row = msgspec.structs.asdict(key)
        for name in ("capabilities", "cameras"):
            row[name] = None if row[name] is None else msgspec.json.encode(row[name]).decode()
        await self._run(SQL["put_key"], row, about=key.id)

    async def key_used(self, key_id: str, used_ms: int) -> None:
        await self._run(SQL["key_used"], {"id": key_id, "used_ms": used_ms})

    async def add_audit(self, row: dict[str, Any]) -> None:
        await self._db.write(lambda connection: self.insert_audit(connection, row))

    def insert_audit(self, connection: sqlite3.Connection, row: dict[str, Any]) -> None:
        """A line of the audit log, within somebody's unit of work."""
        connection.execute(SQL["add_audit"], row)

    async def newest_audit(
        self, conditions: Sequence[tuple[str, Any]], limit: int
    ) -> list[tuple[int, int, AuditEntry]]:
        """Newest first as (at_ms, seq, entry). `conditions`: SQL comparisons with `?`, from routes only."""
        where = " AND ".join(condition for condition, _ in conditions)
        sql = SQL["newest_audit"] + (f" WHERE {where}" if where else "") + " ORDER BY at_ms DESC, seq DESC LIMIT ?"
        values: list[Any] = []
        for _, value in conditions:
            values.extend(value if isinstance(value, tuple) else (value,))
        rows = await self._db.fetch(sql, [*values, limit])
        return [(row["at_ms"], row["seq"], _entry(row)) for row in rows]

    async def _run(self, sql: str, row: dict[str, Any], about: str | None = None) -> None:
        await self._db.change(lambda connection: connection.execute(sql, row).rowcount, about=about)


def _key(row: sqlite3.Row) -> ApiKey | None:
    fields = dict(row)
    try:
        for name in ("capabilities", "cameras"):
            if fields[name] is not None:
                fields[name] = msgspec.json.decode(fields[name], type=tuple[str, ...])
        return msgspec.convert(fields, ApiKey, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def _entry(row: sqlite3.Row) -> AuditEntry:
    return AuditEntry(
        id=of_row("aud", row["seq"]),
        actor=row["actor"],
        actor_name=row["actor_name"],
        role=row["role"],
        action=row["action"],
        target_type=row["target_type"],
        target_id=row["target_id"],
        camera_id=row["camera_id"],
        detail=msgspec.json.decode(row["detail"]),
        created_at=rfc3339(row["at_ms"]),
    )
