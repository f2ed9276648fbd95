"""`/api/v1/consumers`."""

from __future__ import annotations

from aiohttp import web

from heldard import keys
from heldard.api.endpoint import Query, route
from heldard.api.paging import clamp_limit
from heldard.fanout.model import ConsumerStatus, ParkedBatch, Redriven


class ParkedQuery(Query, frozen=True, kw_only=True):
    limit: int | None = None


@route("GET", "/api/v1/consumers", capability="system:read")
async def list_consumers(request: web.Request) -> list[ConsumerStatus]:
    """Every consumer: state, lag, failures, last error."""
    fanout = request.app[keys.FANOUT]
    return [await fanout.status(member) for member in fanout.members()]


@route("GET", "/api/v1/consumers/{name}/parked", capability="system:read")
async def list_parked(request: web.Request, name: str, query: ParkedQuery) -> list[ParkedBatch]:
    """Batches that a consumer failed or was interrupted in, newest first."""
    fanout = request.app[keys.FANOUT]
    return await fanout.parked(fanout.member(name), clamp_limit(query.limit, 100, 1000))


@route("POST", "/api/v1/consumers/{name}/redrive", capability="registry:manage", unscoped=True)
async def redrive(request: web.Request, name: str) -> Redriven:
    """Try the failed batches of a consumer again, oldest first."""
    fanout = request.app[keys.FANOUT]
    return await fanout.redrive(fanout.member(name))


@route("POST", "/api/v1/consumers/{name}/resume", capability="registry:manage", unscoped=True)
async def resume(request: web.Request, name: str) -> ConsumerStatus:
    """Let a quarantined consumer run again from where it stands."""
    fanout = request.app[keys.FANOUT]
    member = fanout.member(name)
    await member.resume()
    return await fanout.status(member)


ROUTES = (list_consumers, list_parked, redrive, resume)
