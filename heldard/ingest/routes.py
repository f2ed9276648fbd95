"""`/api/v1/ai/events`, `/api/v1/cameras/{id}/detections`, `/api/v1/outbox`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Annotated, Any

import msgspec
from aiohttp import web

from heldard import keys
from heldard.api.endpoint import PRINCIPAL, Query, Reply, decode, read_body, route
from heldard.api.paging import NEXT_CURSOR, clamp_limit, moment, page_cursor, read_cursor
from heldard.clock import parse_rfc3339
from heldard.errors import HeldardError, InvalidError, MediaTypeError
from heldard.events.routes import NAMES
from heldard.ids import row_of
from heldard.ingest.log import label_mask
from heldard.ingest.model import BatchPost, DetectionView, OutboxPage, Receipt

NDJSON = "application/x-ndjson"
MAX_LINES = 1000
"""Batches one NDJSON body may carry."""

LINES_UNDER_WAY = 64
"""Lines of one body that wait for their commit at once."""

_BATCH = msgspec.json.Decoder(BatchPost)


class DetectionQuery(Query, frozen=True, kw_only=True):
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    label: str | None = None
    frame_id: str | None = None
    track_id: str | None = None
    task_type: str | None = None
    task_id: str | None = None
    cursor: str | None = None
    limit: int | None = None


class OutboxQuery(Query, frozen=True, kw_only=True):
    since_seq: Annotated[int, msgspec.Meta(le=2**62)] = 0
    limit: int | None = None
    payload: bool = False


@route("POST", "/api/v1/ai/events", capability="ai:ingest", tag="ai", audit=False, takes=BatchPost, answers=Receipt)
async def post_events(request: web.Request) -> Receipt | web.Response:
    """Take in the detections of a frame; as NDJSON, of several, each with its own result line."""
    limit = request.app[keys.SETTINGS].ingest.max_body_bytes
    if request.content_type == NDJSON:
        return await _take_lines(request, await read_body(request, limit))
    if request.content_type != "application/json":
        raise MediaTypeError(f"send application/json or {NDJSON}, not {request.content_type!r}")
    return await _take(request, await read_body(request, limit))


async def _take(request: web.Request, raw: bytes) -> Receipt:
    return await (await _admit(request, raw))


async def _admit(request: web.Request, raw: bytes) -> asyncio.Future[Receipt]:
    post: BatchPost = decode(_BATCH, raw)
    binding = await request.app[keys.BINDER].bind(request[PRINCIPAL], post)
    return await request.app[keys.INGEST].admit(post, binding)


async def _take_lines(request: web.Request, raw: bytes) -> web.Response:
    """One result line per batch line, in order: a receipt, or `{"error", "code", "status"}`. 200 whatever they say.

    Lines are admitted in order and committed together as far as they come to wait together.
    """
    lines = [line for line in raw.split(b"\n") if line.strip()]
    if len(lines) > MAX_LINES:
        raise InvalidError(f"{len(lines)} batches in one body; at most {MAX_LINES}", code="too_many_batches")
    results: list[bytes] = []
    under_way: deque[asyncio.Future[Receipt]] = deque()
    for line in lines:
        if len(under_way) == LINES_UNDER_WAY:
            results.append(await _result(under_way.popleft()))
        try:
            receipt = await _admit(request, line)
        except HeldardError as error:
            receipt = asyncio.get_running_loop().create_future()
            receipt.set_exception(error)
        under_way.append(receipt)
    results += [await _result(receipt) for receipt in under_way]
    return web.Response(body=b"\n".join(results) + b"\n", content_type=NDJSON)


async def _result(receipt: asyncio.Future[Receipt]) -> bytes:
    try:
        return msgspec.json.encode(await receipt)
    except HeldardError as error:
        return msgspec.json.encode({"error": error.message, "code": error.code, "status": error.status})


@route("GET", "/api/v1/cameras/{camera_id}/detections", capability="events:read", camera="camera_id")
async def list_detections(request: web.Request, camera_id: str, query: DetectionQuery) -> Reply[list[DetectionView]]:
    """A camera's detections, newest first, filtered and paged."""
    request.app[keys.CAMERAS].get(camera_id)
    limit = clamp_limit(query.limit, 200, 5000)
    conditions = _conditions(request, query)
    found: list[DetectionView] = []
    if conditions is not None:
        found = await request.app[keys.LOG].newest(camera_id, conditions, limit)
    headers = {NEXT_CURSOR: _cursor(found[-1])} if len(found) == limit else {}
    return Reply(found, headers=headers)


def _conditions(request: web.Request, query: DetectionQuery) -> list[tuple[str, Any]] | None:
    """SQL comparisons; None when nothing can match."""
    names = request.app[NAMES]
    conditions: list[tuple[str, Any]] = []
    for text, name, comparison in ((query.from_, "from", ">="), (query.to, "to", "<=")):
        if (at_ms := moment(text, name)) is not None:
            conditions.append((f"o.timestamp_ms {comparison} ?", at_ms))
    if query.label is not None:
        label = names.id(query.label)
        if label is None:
            return None
        conditions += [("o.labels & ?", label_mask([label])), ("d.label = ?", label)]
    if query.track_id is not None:
        conditions.append(("d.track = ?", query.track_id))
    for text, column in ((query.task_type, "task_type"), (query.task_id, "task_id")):
        if text is not None:
            value: Any = names.id(text) if column == "task_type" else text
            conditions.append((f"o.source IN (SELECT id FROM sources WHERE {column} = ?)", value))  # noqa: S608
    if query.frame_id is not None:
        conditions.append(_frame_condition(query.frame_id))
    if query.cursor:
        conditions.append(("(o.timestamp_ms, d.id) < (?, ?)", tuple(read_cursor(query.cursor, 2))))
    return conditions


def _frame_condition(text: str) -> tuple[str, Any]:
    from heldard.ingest import frame_id as frame_ids
    from heldard.ingest.log import WORKER_SPACE

    bare = text.removeprefix(WORKER_SPACE)
    parsed = frame_ids.parse(bare)
    stored: tuple[Any, ...] = (WORKER_SPACE + bare, text, -1, "")
    if parsed is not None:
        stored = (WORKER_SPACE + bare, text, parsed[1], parsed[0])
    return (
        "(o.channel, o.frame) IN (SELECT c.id, f.key FROM channels c, "
        "(SELECT ? AS key, '' AS task UNION SELECT ?, '' UNION SELECT ?, ?) f WHERE c.task_id = f.task)",
        stored,
    )


def _cursor(found: DetectionView) -> str:
    row = row_of("det", found.id)
    assert row is not None
    return page_cursor(parse_rfc3339(found.timestamp), row)


@route("GET", "/api/v1/outbox", capability="admin", unscoped=True)
async def read_outbox(request: web.Request, query: OutboxQuery) -> OutboxPage:
    """The log of batches from a place on, ascending; `payload=true` adds the detections."""
    limit = clamp_limit(query.limit, 100, 1000)
    entries = await request.app[keys.LOG].outbox(max(0, query.since_seq), limit, payload=query.payload)
    return OutboxPage(entries=entries, next_seq=entries[-1].seq if entries else None, count=len(entries))


ROUTES = (post_events, list_detections, read_outbox)
