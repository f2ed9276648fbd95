"""`/healthz`, `/readyz`, `/api/v1/site`, `/api/v1/system`."""

from __future__ import annotations

import msgspec
from aiohttp import web

from heldard import __version__, keys
from heldard.api.endpoint import Reply, route
from heldard.clock import rfc3339
from heldard.errors import HeldardError
from heldard.supervisor import ServiceStatus

STARTED_MS = web.AppKey("started_ms", int)


class Health(msgspec.Struct, frozen=True):
    status: str


class Readiness(msgspec.Struct, frozen=True, omit_defaults=True):
    ready: bool
    reason: str | None = None


class Site(msgspec.Struct, frozen=True, kw_only=True):
    site_id: str | None
    name: str
    version: str
    started_at: str


class System(msgspec.Struct, frozen=True, kw_only=True):
    """What runs and how it does."""

    name: str
    version: str
    started_at: str
    uptime_seconds: int
    cameras_total: int
    services: list[ServiceStatus]
    writer_waiting: int


@route("GET", "/healthz", capability=None, tag="health")
async def healthz(request: web.Request) -> Health:
    """The process answers."""
    return Health("ok")


@route("GET", "/readyz", capability=None, tag="health")
async def readyz(request: web.Request) -> Reply:
    """The database takes writes."""
    try:
        await request.app[keys.DB].write(lambda connection: connection.execute("SELECT 1").fetchone())
    except HeldardError:
        return Reply(Readiness(False, "database"), status=503)
    return Reply(Readiness(True))


@route("GET", "/api/v1/site", capability="system:read")
async def site(request: web.Request) -> Site:
    """Which box this is."""
    server = request.app[keys.SETTINGS].server
    started_at = rfc3339(request.app[STARTED_MS])
    return Site(site_id=server.site_id, name=server.site_name, version=__version__, started_at=started_at)


@route("GET", "/api/v1/system", capability="system:read")
async def system(request: web.Request) -> System:
    """What runs and how it does."""
    app = request.app
    started_ms = app[STARTED_MS]
    return System(
        name=app[keys.SETTINGS].server.site_name,
        version=__version__,
        started_at=rfc3339(started_ms),
        uptime_seconds=(app[keys.CLOCK].now_ms() - started_ms) // 1000,
        cameras_total=len(app[keys.CAMERAS].all()),
        services=app[keys.SUPERVISOR].status(),
        writer_waiting=app[keys.DB].writer.waiting,
    )


ROUTES = (healthz, readyz, site, system)
