"""Keeps other web sites' pages from speaking for the person or the box that a browser runs on.

A page elsewhere can make a browser send requests here: with the session cookie's help (refused by SameSite and by the
Origin check), or, while auth is off, by pointing its own name at the loopback (refused by the Host check).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from heldard.errors import ForbiddenError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def same_origin(*, any_host: bool) -> Middleware:
    """any_host: also answer under names other than `localhost` and addresses; safe only where credentials are asked."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not any_host and not is_local_name(request.host):
            raise ForbiddenError(
                f"without auth this daemon answers to addresses and localhost, not to {request.host[:100]!r}: "
                "use its address, or turn auth on",
                code="foreign_host",
            )
        if request.method not in SAFE and is_cross_origin(request):
            raise ForbiddenError("a page of another site asked for this change", code="cross_origin")
        return await handler(request)

    return check


def is_local_name(host: str) -> bool:
    """Whether a Host header names an IP address or `localhost`, which no other site's page can make its own."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def is_cross_origin(request: web.Request) -> bool:
    """What a browser says of where a request comes from; other clients say nothing."""
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != request.host.lower()
    except ValueError:
        return True
