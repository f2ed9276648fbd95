"""`/healthz`, `/readyz`, `/api/v1/site`, `/api/v1/system`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from heldard import __version__, keys
from heldard.api.endpoint import Reply, route
from heldard.api.plugins import problems
from heldard.clock import rfc3339
from heldard.errors import HeldardError
from heldard.retention.model import DatabaseView, DiskView
from heldard.sampler import routes as sampler_routes
from heldard.supervisor import ServiceStatus

INCREMENTAL = 2
"""What `PRAGMA auto_vacuum` says of a file whose free pages can be given back."""

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


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Room on the disk and in the database."""

    disk: DiskView
    database: DatabaseView


class Enforcement(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of machines. machine_auth: `enforce` or `off`."""

    machine_auth: str
    ingest_provenance: str
    frame_tickets_required: bool


class SystemDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """How large the database is and may become. used_bytes: pages that hold rows. max_overridden: the cap was set here
    and stands before `retention.max_db_mb`. incremental: freed pages can be given back without a rebuild.
    """

    db_bytes: int
    used_bytes: int
    max_db_bytes: int
    max_db_gb: float
    max_overridden: bool
    incremental: bool


class SystemDatabaseCap(msgspec.Struct, frozen=True, kw_only=True):
    """max_db_gb: what rows may take, in GiB, at least 8 MiB; null for what `retention.max_db_mb` says."""

    max_db_gb: Annotated[float, Meta(ge=8 / 1024, le=1024 * 1024)] | None


class System(msgspec.Struct, frozen=True, kw_only=True):
    """What runs and how it does. samplers: streams by state. tasks_enabled: of enabled cameras.

    store_problem: what is wrong with the database, None when nothing is. plugin_problems: what went wrong last with
    plugins, by their names.
    """

    name: str
    version: str
    started_at: str
    uptime_seconds: int
    cameras_total: int
    services: list[ServiceStatus]
    writer_waiting: int
    tasks_enabled: int
    samplers: dict[str, int]
    storage: Storage
    disk_health_ok: bool
    store_problem: str | None
    resident_bytes: int
    open_files: int
    enforcement: Enforcement
    plugin_problems: dict[str, str]


def resident_bytes() -> int:
    """Memory this process holds, from `/proc`."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """File descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@route("GET", "/healthz", capability=None, tag="health")
async def healthz(request: web.Request) -> Health:
    """The process answers."""
    return Health("ok")


@route("GET", "/readyz", capability=None, tag="health", also=(503,))
async def readyz(request: web.Request) -> Reply[Readiness]:
    """The database takes writes, and is what it was."""
    try:
        if request.app[keys.STORE_WATCH].problem is not None:
            return Reply(Readiness(False, "database"), status=503)
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
    settings, retention = app[keys.SETTINGS], app[keys.RETENTION]
    disk = retention.guard.view()
    states = Counter(status.state for status in app[sampler_routes.SAMPLER].status())
    return System(
        name=app[keys.SETTINGS].server.site_name,
        version=__version__,
        started_at=rfc3339(started_ms),
        uptime_seconds=(app[keys.CLOCK].now_ms() - started_ms) // 1000,
        cameras_total=len(app[keys.CAMERAS].all()),
        services=app[keys.SUPERVISOR].status(),
        writer_waiting=app[keys.DB].writer.waiting,
        tasks_enabled=len(app[keys.TASKS].active()),
        samplers={str(state): count for state, count in sorted(states.items())},
        storage=Storage(disk=disk, database=await retention.size()),
        disk_health_ok=not disk.low,
        store_problem=app[keys.DB].file.problem or app[keys.STORE_WATCH].problem,
        resident_bytes=resident_bytes(),
        open_files=open_files(),
        enforcement=Enforcement(
            machine_auth="enforce" if settings.auth.enabled else "off",
            ingest_provenance=settings.ingest.provenance,
            frame_tickets_required=settings.ingest.provenance == "enforce",
        ),
        plugin_problems=await problems(app),
    )


@route("GET", "/api/v1/system/db", capability="system:read", unscoped=True)
async def system_db(request: web.Request) -> SystemDatabase:
    """How large the database is and may become."""
    return await _database(request)


@route("PUT", "/api/v1/system/db", capability="admin", unscoped=True)
async def put_system_db(request: web.Request, body: SystemDatabaseCap) -> SystemDatabase:
    """Say how large the database may become, over restarts; what has no room is shed within seconds, cheapest first."""
    await request.app[keys.RETENTION].set_cap(None if body.max_db_gb is None else body.max_db_gb * 1024)
    return await _database(request)


async def _database(request: web.Request) -> SystemDatabase:
    size = await request.app[keys.RETENTION].size()
    mode = await request.app[keys.DB].fetch_one("PRAGMA auto_vacuum")
    return SystemDatabase(
        db_bytes=size.db_bytes,
        used_bytes=size.used_bytes,
        max_db_bytes=size.max_bytes,
        max_db_gb=size.max_bytes / 1024**3,
        max_overridden=request.app[keys.RETENTION].cap_overridden,
        incremental=mode is not None and mode[0] == INCREMENTAL,
    )


ROUTES = (healthz, readyz, site, system, system_db, put_system_db)
