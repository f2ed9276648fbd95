"""`/api/v1/erasures`: what was erased, and what is being erased."""

from __future__ import annotations

from aiohttp import web

from heldard import keys
from heldard.api.endpoint import Query, route
from heldard.api.paging import clamp_limit
from heldard.erasure.model import ErasureView


class ErasuresQuery(Query, frozen=True, kw_only=True):
    limit: int | None = None


@route("GET", "/api/v1/erasures", capability="registry:manage", unscoped=True)
async def list_erasures(request: web.Request, query: ErasuresQuery) -> list[ErasureView]:
    """Erasures, newest first: what went, and whether it has ended."""
    return await request.app[keys.ERASURES].newest(clamp_limit(query.limit, 100, 1000))


@route("GET", "/api/v1/erasures/{erasure_id}", capability="registry:manage", unscoped=True)
async def get_erasure(request: web.Request, erasure_id: str) -> ErasureView:
    """One erasure."""
    return await request.app[keys.ERASURES].get(erasure_id)


ROUTES = (list_erasures, get_erasure)
