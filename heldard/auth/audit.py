"""The audit log: who changed what, by whichever route, and who was refused. Names of fields, never their values."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog
from aiohttp import web
from msgspec import UNSET

from heldard.api.endpoint import Endpoint
from heldard.auth.guard import Person, person_of
from heldard.auth.model import AuditEntry
from heldard.auth.store import AccessStore
from heldard.clock import Clock
from heldard.db.witness import Witness
from heldard.errors import HeldardError

log: Any = structlog.get_logger("heldard.audit")


class AuditLog:
    """A line is committed with the change it tells of, or neither is: see heldard.db.witness.

    Where a request changes nothing in the store (a parked batch tried again, a webhook tried out), there is nothing to
    commit with: its line is written after it was carried out, before the answer. One that cannot be written then goes
    to the daemon's own log as an error.
    """

    def __init__(self, store: AccessStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def watch(
        self, request: web.Request, endpoint: Endpoint, body: Any, act: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Carry out a request; what it changed, or that it succeeded, is in the log when this returns."""
        names = request.match_info
        camera = names.get(endpoint.camera) if endpoint.camera else getattr(body, "camera_id", None)
        line = self.line(
            person_of(request),
            endpoint.handler.__name__,
            target_type=endpoint.tag,
            target_id=names[endpoint.path_names[-1]] if endpoint.path_names and endpoint.names_target else None,
            camera_id=camera if isinstance(camera, str) else None,
            detail={"method": endpoint.method, "path": endpoint.path, "fields": given_fields(body)},
        )
        witness = self.witness(line)
        with witness.present():
            answer = await act()
        if answer.status < 400 and not witness.committed:
            await self.write(line)
        return answer

    def line(
        self,
        person: Person,
        action: str,
        *,
        target_type: str | None = None,
        target_id: str | None = None,
        camera_id: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A row of the table, not written yet."""
        return {
            "at_ms": self._clock.now_ms(), "actor": person.id, "actor_name": person.name or None, "role": person.role,
            "action": action, "target_type": target_type, "target_id": target_id and target_id[:200],
            "camera_id": camera_id and camera_id[:200], "detail": msgspec.json.encode(detail or {}).decode(),
        }  # fmt: skip

    def witness(self, line: dict[str, Any]) -> Witness:
        """The line as what goes along with a change; the change may say which id it is about."""

        def unit(connection: sqlite3.Connection, about: str | None) -> None:
            self._store.insert_audit(connection, {**line, "target_id": line["target_id"] or about})

        return Witness(unit)

    async def write(self, line: dict[str, Any]) -> None:
        """Write a line by itself."""
        try:
            await self._store.add_audit(line)
        except HeldardError as error:
            log.error("audit_lost", error=error.message, **line)

    async def newest(self, conditions: Sequence[tuple[str, Any]], limit: int) -> list[tuple[int, int, AuditEntry]]:
        """Newest first as (at_ms, seq, entry). `conditions`: SQL comparisons with `?`, from routes only."""
        return await self._store.newest_audit(conditions, limit)


def given_fields(body: Any) -> list[str]:
    """The names of what a body gave."""
    if not isinstance(body, msgspec.Struct):
        return []
    return sorted(
        field.encode_name
        for field in msgspec.structs.fields(body)
        if (value := getattr(body, field.name)) is not None and value is not UNSET and value != field.default
    )
