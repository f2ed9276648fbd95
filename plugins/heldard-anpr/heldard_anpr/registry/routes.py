"""HTTP of the lists: upstream's routes, then groups, CSV and the match box."""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import web

from heldard.plugin import PRINCIPAL, Endpoint, InvalidError, PluginContext, Query, Tx, read_body, route
from heldard_anpr.caller import caller, limited, plate_of
from heldard_anpr.decisions.recorder import Recorder
from heldard_anpr.plates.normal import normalise
from heldard_anpr.registry import service, store, table
from heldard_anpr.registry.model import (
    Group,
    GroupCreate,
    GroupPatch,
    OwnerType,
    Pass,
    PassCreate,
    PassPatch,
    PassStatus,
    Vehicle,
    VehicleCreate,
    VehiclePatch,
    WatchCreate,
    WatchEntry,
    WatchPatch,
)
from heldard_anpr.registry.resolve import Near, Question, Resolution, ask, near_plates

CSV_LIMIT_BYTES = 2 * 1024 * 1024
LISTS = tuple(table.COLUMNS)


class VehicleQuery(Query, frozen=True):
    plate: str | None = None
    owner_type: OwnerType | None = None
    q: str | None = None
    limit: int = 200


class PassQuery(Query, frozen=True):
    status: PassStatus | None = None
    q: str | None = None
    limit: int = 200


class ImportQuery(Query, frozen=True):
    dry_run: bool = False


class MatchQuery(Query, frozen=True):
    """direction, vehicle_type, color: as if seen so."""

    plate: str
    direction: Literal["inbound", "outbound", "unknown"] = "unknown"
    vehicle_type: str = ""
    color: str = ""


class MatchAnswer(msgspec.Struct, frozen=True):
    """What the lists would say of a plate read now. near: listed plates within the notice distance."""

    plate: str
    plausible: bool
    shape: str | None
    resolution: Resolution
    near: list[Near]


def routes(ctx: PluginContext, recorder: Recorder) -> list[Endpoint]:
    return [*_vehicles(ctx), *_passes(ctx), *_watchlist(ctx), *_groups(ctx), *_tables(ctx), _match(ctx, recorder)]


def _vehicles(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/vehicles", capability="identity:read")
    async def list_vehicles(request: web.Request, query: VehicleQuery) -> list[Vehicle]:
        """Registered vehicles, newest first."""
        plate = None if query.plate is None else normalise(query.plate)
        return await store.vehicles(
            ctx, plate=plate, owner_type=query.owner_type, q=query.q, limit=limited(query.limit, 2000)
        )

    @route("POST", "/api/v1/vehicles", capability="registry:manage", unscoped=True, status=201)
    async def add(request: web.Request, body: VehicleCreate) -> Vehicle:
        """Register a vehicle."""
        return await ctx.write(lambda tx: service.add_vehicle(tx, body, ctx.clock.now_ms()))

    @route("GET", "/api/v1/vehicles/{id}", capability="registry:manage", unscoped=True)
    async def show(request: web.Request, id: str) -> Vehicle:  # noqa: A002 - the path's word
        """One registered vehicle."""
        return await store.one(ctx, "vehicle", id, store.vehicle, "vehicle")

    @route("PATCH", "/api/v1/vehicles/{id}", capability="registry:manage", unscoped=True)
    async def edit(request: web.Request, id: str, body: VehiclePatch) -> Vehicle:  # noqa: A002 - the path's word
        """Change a registered vehicle."""
        return await ctx.write(lambda tx: service.edit_vehicle(tx, id, body, ctx.clock.now_ms()))

    @route("DELETE", "/api/v1/vehicles/{id}", capability="registry:manage", unscoped=True, status=204)
    async def remove(request: web.Request, id: str) -> None:  # noqa: A002 - the path's word
        """Take a vehicle off the list."""
        await ctx.write(lambda tx: store.delete(tx, "vehicles", id))

    return [list_vehicles, add, show, edit, remove]


def _passes(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/passes", capability="identity:read")
    async def list_passes(request: web.Request, query: PassQuery) -> list[Pass]:
        """Visitor passes, newest first."""
        return await store.passes(ctx, status=query.status, q=query.q, limit=limited(query.limit, 2000))

    @route("GET", "/api/v1/passes/{id}", capability="identity:read")
    async def show(request: web.Request, id: str) -> Pass:  # noqa: A002 - the path's word
        """One visitor pass."""
        return await store.one(ctx, "pass_", id, store.visitor_pass, "pass")

    @route("POST", "/api/v1/passes", capability="gate:operate", unscoped=True, status=201)
    async def add(request: web.Request, body: PassCreate) -> Pass:
        """Make a visitor pass, valid from now for a day unless it says otherwise."""
        return await ctx.write(lambda tx: service.add_pass(tx, body, caller(request), ctx.clock.now_ms()))

    @route("PATCH", "/api/v1/passes/{id}", capability="gate:operate", unscoped=True)
    async def edit(request: web.Request, id: str, body: PassPatch) -> Pass:  # noqa: A002 - the path's word
        """Change a visitor pass."""
        may_restore = request[PRINCIPAL].can("registry:manage")
        return await ctx.write(lambda tx: service.edit_pass(tx, id, body, may_restore, ctx.clock.now_ms()))

    @route("DELETE", "/api/v1/passes/{id}", capability="registry:manage", unscoped=True, status=204)
    async def remove(request: web.Request, id: str) -> None:  # noqa: A002 - the path's word
        """Delete a visitor pass."""
        await ctx.write(lambda tx: store.delete(tx, "visitor_passes", id))

    return [list_passes, show, add, edit, remove]


def _watchlist(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/watchlist", capability="identity:read")
    async def list_entries(request: web.Request) -> list[WatchEntry]:
        """The newest 1000 entries of the watchlist."""
        return await store.every(ctx, "watchlist", [1000], store.watch_entry)

    @route("POST", "/api/v1/watchlist", capability="registry:manage", unscoped=True, status=201)
    async def add(request: web.Request, body: WatchCreate) -> WatchEntry:
        """Put a plate on the watchlist."""
        return await ctx.write(lambda tx: service.add_watch(tx, body, caller(request), ctx.clock.now_ms()))

    @route("PATCH", "/api/v1/watchlist/{id}", capability="registry:manage", unscoped=True)
    async def edit(request: web.Request, id: str, body: WatchPatch) -> WatchEntry:  # noqa: A002 - the path's word
        """Change an entry; its plate stays."""
        return await ctx.write(lambda tx: service.edit_watch(tx, id, body, ctx.clock.now_ms()))

    @route("DELETE", "/api/v1/watchlist/{id}", capability="registry:manage", unscoped=True, status=204)
    async def remove(request: web.Request, id: str) -> None:  # noqa: A002 - the path's word
        """Take a plate off the watchlist."""
        await ctx.write(lambda tx: store.delete(tx, "watchlist", id))

    return [list_entries, add, edit, remove]


def _groups(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/anpr/groups", capability="identity:read")
    async def list_groups(request: web.Request) -> list[Group]:
        """Groups by name."""
        return await store.every(ctx, "groups", [], store.group)

    @route("POST", "/api/v1/anpr/groups", capability="registry:manage", unscoped=True, status=201)
    async def add(request: web.Request, body: GroupCreate) -> Group:
        """Add a group with its schedule."""
        return await ctx.write(lambda tx: service.add_group(tx, body, ctx.clock.now_ms()))

    @route("PATCH", "/api/v1/anpr/groups/{id}", capability="registry:manage", unscoped=True)
    async def edit(request: web.Request, id: str, body: GroupPatch) -> Group:  # noqa: A002 - the path's word
        """Change a group."""
        return await ctx.write(lambda tx: service.edit_group(tx, id, body, ctx.clock.now_ms()))

    @route("DELETE", "/api/v1/anpr/groups/{id}", capability="registry:manage", unscoped=True, status=204)
    async def remove(request: web.Request, id: str) -> None:  # noqa: A002 - the path's word
        """Delete a group; its members belong to none then."""
        await ctx.write(lambda tx: store.delete(tx, "anpr_groups", id))

    return [list_groups, add, edit, remove]


def _tables(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/anpr/lists/{name}", capability="registry:manage", unscoped=True)
    async def export(request: web.Request, name: str) -> web.Response:
        """A whole list as CSV: vehicles, passes or watchlist."""
        rows = await ctx.fetch(store.SQL[table.EXPORTS[_list(name)]])
        return web.Response(
            text=table.write(name, rows),
            content_type="text/csv",
            charset="utf-8",
            headers={"content-disposition": f'attachment; filename="{name}.csv"'},
        )

    @route("POST", "/api/v1/anpr/lists/{name}", capability="registry:manage", unscoped=True)
    async def load(request: web.Request, name: str, query: ImportQuery) -> table.ImportReport:
        """Take a CSV file into a list, with a report for each line; `dry_run=true` keeps nothing."""
        lines = table.read(_list(name), await _text(request))
        by, now_ms = caller(request), ctx.clock.now_ms()

        def work(tx: Tx) -> table.ImportReport:
            return table.load(tx, name, lines, by, now_ms, query.dry_run)

        try:
            return await ctx.write(work)
        except table.DryRun as tried:
            return tried.report

    return [export, load]


def _list(name: str) -> str:
    if name not in LISTS:
        raise InvalidError(f"no list {name!r}; there are {', '.join(LISTS)}")
    return name


async def _text(request: web.Request) -> str:
    """The body as UTF-8. Raises TooLargeError, and InvalidError when it is something else."""
    raw = await read_body(request, CSV_LIMIT_BYTES)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidError(f"the file is not UTF-8 (byte {error.start}): save it as UTF-8") from None


def _match(ctx: PluginContext, recorder: Recorder) -> Endpoint:
    @route("GET", "/api/v1/anpr/match", capability="identity:read")
    async def match(request: web.Request, query: MatchQuery) -> MatchAnswer:
        """What the lists would say of a plate that is read now."""
        plate = plate_of(query.plate)
        formats = recorder.rules.ballot.formats
        question = Question(plate, formats.plausible(plate), ctx.clock.now_ms(), query.direction, query.vehicle_type,
                            query.color)  # fmt: skip

        def work(tx: Tx) -> tuple[Resolution, list[Near]]:
            near = near_plates(tx, plate, recorder.rules, recorder.reach.notice_distance, exact=True)
            return ask(tx, question, recorder.rules, recorder.reach), near

        resolution, near = await ctx.write(work)
        return MatchAnswer(plate, question.plausible, formats.shape_of(plate), resolution, near)

    return match
