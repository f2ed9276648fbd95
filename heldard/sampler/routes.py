"""How the streams are doing."""

from __future__ import annotations

from aiohttp import web

from heldard.api.endpoint import PRINCIPAL, Principal, route
from heldard.sampler.model import SamplerStatus
from heldard.sampler.service import SamplerService

SAMPLER = web.AppKey("sampler", SamplerService)


@route("GET", "/api/v1/ai/samplers", capability="ai:tasks", tag="ai")
async def samplers(request: web.Request) -> list[SamplerStatus]:
    """Every planned stream with its state, what it was granted, why, and what it costs."""
    principal: Principal = request[PRINCIPAL]
    return [status for status in request.app[SAMPLER].status() if principal.sees(status.camera_id)]


ROUTES = (samplers,)
