"""HTTP of what is stored of one plate: given out, or erased."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from heldard.plugin import Endpoint, PluginContext, Query, Reply, route
from heldard_anpr.caller import caller, plate_of
from heldard_anpr.privacy import service
from heldard_anpr.privacy.eraser import PlateEraser

OWN = ("entry_events", "visits", "list_entries")


class EraseQuery(Query, frozen=True):
    """lists: entries of vehicles, passes and watchlist too."""

    lists: bool = False


class Erased(msgspec.Struct, frozen=True):
    """What went. done: false while it is still at it, see `GET /api/v1/erasures/{erasure_id}`; error: why it waits.

    elsewhere: by place. stays and mentions, which are the plate in records of other vehicles; detections, events,
    actions, audit lines and undelivered messages, whose texts became null; frames, which were deleted.
    """

    erasure_id: str
    done: bool
    events: int
    visits: int
    list_entries: int
    elsewhere: dict[str, int]
    error: str | None = None


def routes(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/anpr/plates/{plate}", capability="registry:manage", unscoped=True)
    async def gather(request: web.Request, plate: str) -> dict[str, list[dict[str, Any]]]:
        """Every row that holds a plate, by table."""
        return await ctx.write(lambda tx: service.gather(tx, plate_of(plate)))

    @route(
        "DELETE", "/api/v1/anpr/plates/{plate}", capability="registry:manage", unscoped=True, names_target=False,
        also=(202,),
    )  # fmt: skip
    async def erase(request: web.Request, plate: str, query: EraseQuery) -> Reply[Erased]:
        """Erase a plate wherever it is stored, kept frames too; with `lists=true` its list entries as well."""
        found = await ctx.erase(
            PlateEraser.kind, plate_of(plate), by=caller(request).id, options={"lists": query.lists}
        )  # fmt: skip
        events, visits, entries = (found.counts.get(name, 0) for name in OWN)
        elsewhere = {name: count for name, count in found.counts.items() if name not in OWN and count}
        answer = Erased(found.id, found.done, events, visits, entries, elsewhere, found.error)
        return Reply(answer, 200 if found.done else 202)

    return [gather, erase]
