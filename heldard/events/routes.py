"""`/api/v1/events`."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from heldard import keys
from heldard.api.endpoint import PRINCIPAL, Query, Reply, route
from heldard.api.paging import NEXT_CURSOR, clamp_limit, moment, page_cursor, read_cursor
from heldard.clock import parse_rfc3339
from heldard.db.names import Names
from heldard.errors import InvalidError
from heldard.events.model import SEVERITIES, Event, EventType

NAMES = web.AppKey("names", Names)


class EventQuery(Query, frozen=True, kw_only=True):
    camera_id: str | None = None
    event_type: str | None = None
    severity: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    cursor: str | None = None
    limit: int | None = None


@route("GET", "/api/v1/events", capability="events:read")
async def list_events(request: web.Request, query: EventQuery) -> Reply[list[Event]]:
    """Events, newest first, filtered and paged."""
    limit = clamp_limit(query.limit, 200, 2000)
    conditions = _conditions(request, query)
    found: list[Event] = [] if conditions is None else await request.app[keys.EVENTS].newest(conditions, limit)
    headers = {NEXT_CURSOR: _cursor(found[-1])} if len(found) == limit else {}
    return Reply(found, headers=headers)


@route("GET", "/api/v1/events/types", capability="events:read")
async def list_types(request: web.Request) -> list[EventType]:
    """Types of events that can occur or did."""
    return await request.app[keys.EVENTS].types()


def _conditions(request: web.Request, query: EventQuery) -> list[tuple[str, Any]] | None:
    """SQL comparisons; None when nothing can match."""
    names = request.app[NAMES]
    conditions: list[tuple[str, Any]] = []
    for column, text in (("camera", query.camera_id), ("event_type", query.event_type)):
        if text:
            number = names.id(text)
            if number is None:
                return None
            conditions.append((f"{column} = ?", number))
    if query.severity:
        if query.severity not in SEVERITIES:
            raise InvalidError(f"severity: {query.severity!r} is none of {', '.join(SEVERITIES)}")
        conditions.append(("severity = ?", SEVERITIES.index(query.severity)))
    for text, name, comparison in ((query.from_, "from", "at_ms >= ?"), (query.to, "to", "at_ms <= ?")):
        if (at_ms := moment(text, name)) is not None:
            conditions.append((comparison, at_ms))
    if query.cursor:
        conditions.append(("(at_ms, seq) < (?, ?)", tuple(read_cursor(query.cursor, 2))))
    if request[PRINCIPAL].scoped:
        seen = [names.id(camera.id) for camera in request.app[keys.CAMERAS].all() if request[PRINCIPAL].sees(camera.id)]
        conditions.append((f"camera IN ({', '.join('?' * len(seen))})", tuple(seen)))
    return conditions


def _cursor(event: Event) -> str:
    return page_cursor(parse_rfc3339(event.timestamp), event.seq)


ROUTES = (list_events, list_types)
