"""The HTTP face of zones. Upstream's calls first, then ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from heldard.plugin import PRINCIPAL, Endpoint, ForbiddenError, InvalidError, NotFoundError, Reply, parse_rfc3339, route
from heldard_zones.backtest import BacktestRequest, BacktestResult, Backtests
from heldard_zones.engine.rules import ZoneRow
from heldard_zones.evidence import Evidence
from heldard_zones.frigate import FrigateImport, read
from heldard_zones.model import (
    AggregateQuery,
    Aggregates,
    Counts,
    DrawQuery,
    EventQuery,
    HistoryQuery,
    ImportView,
    OccupancyHistory,
    OccupancyNow,
    RangeQuery,
    Stays,
    VersionsQuery,
    ZoneCreate,
    ZoneEventView,
    ZonePatch,
    ZoneVersion,
    ZoneView,
    event_view,
    zone_view,
)
from heldard_zones.service import HOUR_MS, Zones, time_range
from heldard_zones.why import Why, WhyQuery, ask

DAY_MS = 86_400_000
EVENTS_DEFAULT, EVENTS_MOST = 200, 5000
NEXT_CURSOR = "X-Next-Cursor"


def endpoints(zones: Zones) -> Sequence[Endpoint]:
    return [*_drawing(zones), *_events(zones), *_occupancy(zones), *_evidence(zones), *_trying(zones)]


def _drawing(zones: Zones) -> Sequence[Endpoint]:
    @route("GET", "/api/v1/cameras/{camera_id}/zones", capability="events:read", camera="camera_id", tag="zones")
    async def list_zones(request: web.Request, camera_id: str) -> list[ZoneView]:
        """A camera's zones, oldest first."""
        return [zone_view(row) for row in await zones.zones(camera_id)]

    @route(
        "POST", "/api/v1/cameras/{camera_id}/zones", capability="registry:manage", camera="camera_id", status=201,
        tag="zones",
    )  # fmt: skip
    async def create(request: web.Request, camera_id: str, body: ZoneCreate) -> ZoneView:
        """Draw a zone; 200 with the existing one when the camera has one of that name."""
        row, is_new = await zones.create(camera_id, body)
        return Reply(zone_view(row), 201 if is_new else 200)  # type: ignore[return-value]

    @route("PATCH", "/api/v1/zones/{zone_id}", capability="registry:manage", tag="zones")
    async def patch(request: web.Request, zone_id: str, body: ZonePatch) -> ZoneView:
        """Change a zone; stays that do not fit it any more are closed."""
        await check_scope(zones, request, zone_id)
        return zone_view(await zones.patch(zone_id, body))

    @route("DELETE", "/api/v1/zones/{zone_id}", capability="registry:manage", status=204, tag="zones")
    async def delete(request: web.Request, zone_id: str) -> None:
        """Delete a zone; its stays are closed, its events stay."""
        await check_scope(zones, request, zone_id)
        await zones.delete(zone_id)

    return [list_zones, create, patch, delete]


def _events(zones: Zones) -> Sequence[Endpoint]:
    @route("GET", "/api/v1/cameras/{camera_id}/zone-events", capability="events:read", camera="camera_id", tag="zones")
    async def list_events(request: web.Request, camera_id: str, query: EventQuery) -> list[ZoneEventView]:
        """What happened in the camera's zones, newest first."""
        await zones.ctx.camera(camera_id)
        limit = EVENTS_DEFAULT if query.limit is None else max(1, min(EVENTS_MOST, query.limit))
        before = None if query.cursor is None else _read_cursor(query.cursor)
        rows = await zones.store.events(_conditions(camera_id, query), shadow=query.shadow, before=before, limit=limit)
        headers = {NEXT_CURSOR: f"{rows[-1]['at_ms']}.{rows[-1]['id']}"} if len(rows) == limit else {}
        return Reply([event_view(row) for row in rows], headers=headers)  # type: ignore[return-value]

    @route(
        "GET", "/api/v1/cameras/{camera_id}/zone-events/aggregates", capability="events:read", camera="camera_id",
        tag="zones",
    )  # fmt: skip
    async def aggregates(request: web.Request, camera_id: str, query: AggregateQuery) -> Aggregates:
        """Counts of events by zone, type and time."""
        await zones.ctx.camera(camera_id)
        minutes = 60 if query.bucket_minutes is None else max(1, min(1440, query.bucket_minutes))
        from_ms, to_ms = _range(zones, query.from_, query.to)
        return await zones.aggregates(camera_id, from_ms, to_ms, minutes)

    return [list_events, aggregates]


def _occupancy(zones: Zones) -> Sequence[Endpoint]:
    @route(
        "GET", "/api/v1/cameras/{camera_id}/zones/occupancy", capability="events:read", camera="camera_id", tag="zones"
    )
    async def occupancy(request: web.Request, camera_id: str) -> OccupancyNow:
        """How many objects are in each enabled zone."""
        await zones.ctx.camera(camera_id)
        return await zones.occupancy(camera_id)

    @route(
        "GET", "/api/v1/cameras/{camera_id}/zones/occupancy/history", capability="events:read", camera="camera_id",
        tag="zones",
    )  # fmt: skip
    async def history(request: web.Request, camera_id: str, query: HistoryQuery) -> OccupancyHistory:
        """How many objects were in a zone when, with peak, mean and busy time."""
        zone = await zones.get(query.zone_id)
        if zone.camera_id != camera_id:
            raise InvalidError("zone_id: is not a zone of this camera", code="zone_of_another_camera")
        from_ms, to_ms = _range(zones, query.from_, query.to)
        return await zones.history(zone, from_ms, to_ms, query.limit)

    @route("GET", "/api/v1/cameras/{camera_id}/zones/counts", capability="events:read", camera="camera_id", tag="zones")
    async def counts(request: web.Request, camera_id: str, query: RangeQuery) -> Counts:
        """Events by zone, line and direction, and what each gate kept back."""
        await zones.ctx.camera(camera_id)
        from_ms, to_ms = _range(zones, query.from_, query.to)
        return await zones.counts(camera_id, from_ms, to_ms)

    @route("GET", "/api/v1/cameras/{camera_id}/zones/stays", capability="events:read", camera="camera_id", tag="zones")
    async def stays(request: web.Request, camera_id: str) -> Stays:
        """Who is in which zone now."""
        await zones.ctx.camera(camera_id)
        return zones.stays(camera_id)

    return [occupancy, history, counts, stays]


def _evidence(zones: Zones) -> Sequence[Endpoint]:
    evidence = Evidence(zones)

    @route("GET", "/api/v1/zone-events/{event_id}/evidence", capability="events:read", tag="zones")
    async def picture(request: web.Request, event_id: str, query: DrawQuery) -> web.Response:
        """The analysed picture of an event; `draw=true` lays the zone and the box over it."""
        row = await zones.store.event(event_id)
        sees(request, None if row is None else row["camera_id"])
        return await evidence.answer(row, draw=query.draw)

    return [picture]


def _trying(zones: Zones) -> Sequence[Endpoint]:
    backtests = Backtests(zones)

    @route("GET", "/api/v1/zones/{zone_id}/why", capability="events:read", tag="zones")
    async def why(request: web.Request, zone_id: str, query: WhyQuery) -> Why:
        """Why a zone said something about a track, or why not: each look, gate by gate."""
        row = await known(zones, request, zone_id)
        now_ms = zones.ctx.clock.now_ms()
        from_ms, to_ms = time_range(moment(query.from_, "from"), moment(query.to, "to"), now_ms, HOUR_MS)
        return await ask(zones, row, query, from_ms, to_ms)

    @route("GET", "/api/v1/zones/{zone_id}/versions", capability="events:read", tag="zones")
    async def versions(request: web.Request, zone_id: str, query: VersionsQuery) -> list[ZoneVersion]:
        """How a zone was drawn and when, newest first; of a deleted zone too, for as long as its events are kept."""
        await known(zones, request, zone_id)
        return await zones.versions(zone_id, query.limit)

    @route(
        "POST", "/api/v1/cameras/{camera_id}/zones/backtest", capability="events:read", camera="camera_id",
        tag="zones", audit=False,
    )  # fmt: skip
    async def backtest(request: web.Request, camera_id: str, body: BacktestRequest) -> BacktestResult:
        """What a zone would have said about stored detections, and how that differs from what was said."""
        return await backtests.run(camera_id, body)

    @route(
        "POST", "/api/v1/cameras/{camera_id}/zones/import", capability="registry:manage", camera="camera_id",
        tag="zones",
    )  # fmt: skip
    async def import_frigate(request: web.Request, camera_id: str, body: FrigateImport) -> ImportView:
        """Draw the zones of a Frigate configuration; zones of the same name stay as they are."""
        found = read(body)
        for proposal in found.zones:
            zones.proposed(camera_id, proposal)
        if body.dry_run:
            await zones.ctx.camera(camera_id)
            return ImportView([], [], found.zones, found.notes)
        drawn = [await zones.create(camera_id, proposal) for proposal in found.zones]
        created = [zone_view(row) for row, is_new in drawn if is_new]
        return ImportView(created, [row.name for row, is_new in drawn if not is_new], found.zones, found.notes)

    return [why, versions, backtest, import_frigate]


async def check_scope(zones: Zones, request: web.Request, zone_id: str) -> None:
    """A caller with a camera scope cannot tell another camera's zone from one that does not exist."""
    row = await zones.store.zone(zone_id)
    sees(request, None if row is None else row.camera_id)


async def known(zones: Zones, request: web.Request, zone_id: str) -> ZoneRow:
    """A zone, deleted ones too, that the caller may know of."""
    row = await zones.known(zone_id)
    sees(request, None if row is None else row.camera_id)
    if row is None:
        raise NotFoundError("there is no such zone", code="zone_not_found")
    return row


def sees(request: web.Request, camera_id: str | None) -> None:
    if not request[PRINCIPAL].sees(camera_id or ""):
        raise ForbiddenError("that camera is outside this credential's scope", code="out_of_scope")


def moment(text: str | None, name: str) -> int | None:
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidError(f"{name}: {error}", code="bad_timestamp") from None


def _range(zones: Zones, from_text: str | None, to_text: str | None) -> tuple[int, int]:
    return time_range(moment(from_text, "from"), moment(to_text, "to"), zones.ctx.clock.now_ms(), DAY_MS)


def _conditions(camera_id: str, query: EventQuery) -> dict[str, Any]:
    wanted = {
        "camera_id =": camera_id,
        "at_ms >=": moment(query.from_, "from"),
        "at_ms <=": moment(query.to, "to"),
        "zone_id =": query.zone_id,
        "event_type =": query.event_type,
        "track_id =": query.track_id,
        "visit =": query.visit,
    }
    return {column: value for column, value in wanted.items() if value is not None}


def _read_cursor(text: str) -> tuple[int, int]:
    pieces = text.split(".")
    if len(pieces) != 2 or not all(piece.isascii() and piece.isdigit() and len(piece) <= 18 for piece in pieces):
        raise InvalidError(f"cursor {text[:60]!r} is not one this API gave out", code="bad_cursor")
    return int(pieces[0]), int(pieces[1])
