"""Decides who is asking and what they may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from heldard.api.endpoint import PRINCIPAL, Endpoint
from heldard.auth.capabilities import SIGNED_IN
from heldard.errors import ForbiddenError, UnauthenticatedError

COOKIE = "heldar_session"
MAX_TOKEN = 512


@dataclass(frozen=True, slots=True)
class Person:
    """A caller. `cameras`: the scope, None for all. `admin` among the capabilities stands for every one."""

    id: str
    capabilities: frozenset[str]
    cameras: frozenset[str] | None = None
    name: str = ""
    role: str | None = None
    kind: Literal["user", "api_key", "system", "nobody"] = "system"

    @property
    def scoped(self) -> bool:
        return self.cameras is not None

    def can(self, capability: str) -> bool:
        if capability == SIGNED_IN:
            return self.kind != "nobody"
        return capability in self.capabilities or "admin" in self.capabilities

    def sees(self, camera_id: str) -> bool:
        return self.cameras is None or camera_id in self.cameras


SYSTEM = Person("system", frozenset({"admin"}), name="system", role="admin")
"""Everybody without a credential, while auth is off."""

NOBODY = Person("nobody", frozenset(), kind="nobody")
"""Whoever uses a route that is open to all."""


class OpenGuard:
    """Everybody is `system`: for tests of parts that do not care."""

    async def authorise(self, request: web.Request, endpoint: Endpoint) -> None:
        request[PRINCIPAL] = SYSTEM
        check(SYSTEM, request, endpoint)


class AccessGuard:
    """Asks for credentials when auth is on. One that is presented must be valid, whether auth is on or off, and counts
    with what it may do: a limited key on an open box limits its holder."""

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[Person | None]],
        refused: Callable[[str, str | None], Awaitable[None]],
        *,
        enabled: bool,
    ) -> None:
        """refused: told of each token that is good for nothing, and where it came from."""
        self._resolve = resolve
        self._refused = refused
        self._enabled = enabled

    async def authorise(self, request: web.Request, endpoint: Endpoint) -> None:
        person = NOBODY if endpoint.capability is None else await self._who(request)
        request[PRINCIPAL] = person
        check(person, request, endpoint)

    async def _who(self, request: web.Request) -> Person:
        token = presented(request)
        if token is None:
            if not self._enabled:
                return SYSTEM
            raise UnauthenticatedError("sign in, or send an API key as X-API-Key", code="credential_missing")
        person = await self._resolve(token) if len(token) <= MAX_TOKEN else None
        if person is None:
            await self._refused(token, request.remote)
            raise UnauthenticatedError(
                "the credential is unknown, expired, revoked or disabled", code="credential_invalid"
            )
        return person


def person_of(request: web.Request) -> Person:
    """Whoever the guard let in."""
    person = request[PRINCIPAL]
    assert isinstance(person, Person)
    return person


def presented(request: web.Request) -> str | None:
    """The token a request carries: bearer, then X-API-Key, then the session cookie; the first that is not blank."""
    scheme, _, bearer = request.headers.get("Authorization", "").strip().partition(" ")
    candidates = (
        bearer if scheme.lower() == "bearer" else "",
        request.headers.get("X-API-Key", ""),
        request.cookies.get(COOKIE, ""),
    )
    return next((token.strip() for token in candidates if token.strip()), None)


def check(person: Person, request: web.Request, endpoint: Endpoint) -> None:
    """Raises ForbiddenError for a missing capability, a camera out of scope or a box-wide action of a scoped caller."""
    if endpoint.capability is not None and not person.can(endpoint.capability):
        raise ForbiddenError(f"this takes the capability {endpoint.capability}", code="missing_capability")
    if endpoint.unscoped and person.scoped:
        raise ForbiddenError("this takes a credential without a camera scope", code="scoped_credential")
    if endpoint.camera is not None and not person.sees(request.match_info[endpoint.camera]):
        raise ForbiddenError("that camera is outside this credential's scope", code="out_of_scope")
