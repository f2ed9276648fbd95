"""Decides who is asking and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from heldard.api.endpoint import PRINCIPAL, Endpoint
from heldard.errors import ForbiddenError


@dataclass(frozen=True, slots=True)
class Person:
    """A caller. `cameras`: the scope, None for all. `admin` among the capabilities stands for every one."""

    id: str
    capabilities: frozenset[str]
    cameras: frozenset[str] | None = None

    @property
    def scoped(self) -> bool:
        return self.cameras is not None

    def can(self, capability: str) -> bool:
        return capability in self.capabilities or "admin" in self.capabilities

    def sees(self, camera_id: str) -> bool:
        return self.cameras is None or camera_id in self.cameras


SYSTEM = Person("system", frozenset({"admin"}))
"""Everybody, while auth is off."""


class OpenGuard:
    """Auth is off: everybody on the loopback is `system`."""

    async def authorise(self, request: web.Request, endpoint: Endpoint) -> None:
        request[PRINCIPAL] = SYSTEM
        check(SYSTEM, request, endpoint)


def check(person: Person, request: web.Request, endpoint: Endpoint) -> None:
    """Raises ForbiddenError for a missing capability, a camera out of scope or a box-wide action of a scoped caller."""
    if endpoint.capability is not None and not person.can(endpoint.capability):
        raise ForbiddenError(f"this takes the capability {endpoint.capability}", code="missing_capability")
    if endpoint.unscoped and person.scoped:
        raise ForbiddenError("this takes a credential without a camera scope", code="scoped_credential")
    if endpoint.camera is not None and not person.sees(request.match_info[endpoint.camera]):
        raise ForbiddenError("that camera is outside this credential's scope", code="out_of_scope")
