"""HTTP of what is stored of one plate: given out, or erased."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from heldard.plugin import Endpoint, PluginContext, Query, route
from heldard_anpr.caller import plate_of
from heldard_anpr.privacy import service


class EraseQuery(Query, frozen=True):
    """lists: entries of vehicles, passes and watchlist too."""

    lists: bool = False


def routes(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/anpr/plates/{plate}", capability="registry:manage", unscoped=True)
    async def gather(request: web.Request, plate: str) -> dict[str, list[dict[str, Any]]]:
        """Every row that holds a plate, by table."""
        return await ctx.write(lambda tx: service.gather(tx, plate_of(plate)))

    @route("DELETE", "/api/v1/anpr/plates/{plate}", capability="registry:manage", unscoped=True)
    async def erase(request: web.Request, plate: str, query: EraseQuery) -> service.Erased:
        """Erase a plate's events, visits, reads and stays; with `lists=true` its list entries too."""
        return await ctx.write(lambda tx: service.erase(tx, plate_of(plate), lists=query.lists))

    return [gather, erase]
