"""`/api/v1/events/stream` and `/api/v1/webhooks`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from aiohttp import web
from msgspec import Meta

from heldard import keys
from heldard.api.endpoint import GUARD, PRINCIPAL, Query, route
from heldard.api.paging import clamp_limit
from heldard.clock import rfc3339
from heldard.errors import HeldardError
from heldard.events.model import SEVERITIES, Event
from heldard.ids import of_row
from heldard.outgoing.model import (
    STATUS_NAMES,
    Delivery,
    DeliveryView,
    ResendRequest,
    Resent,
    Tried,
    Webhook,
    WebhookCreate,
    WebhookPatch,
    WebhookView,
)
from heldard.outgoing.service import Webhooks
from heldard.outgoing.stream import Streams
from heldard.plugin import Severity

WEBHOOKS = web.AppKey("webhooks", Webhooks)
STREAMS = web.AppKey("streams", Streams)

SLOW_CLIENT_S = 5.0
"""How long a client may take to take a block; then its connection is dropped."""


class StreamQuery(Query, frozen=True, kw_only=True):
    """after: an event's id or seq, as `Last-Event-ID`; the header wins. types: comma-separated.

    coalesce: seconds within which alike events of workers are sent once.
    """

    after: str | None = None
    types: str | None = None
    camera_id: str | None = None
    min_severity: Severity = "info"
    coalesce: Annotated[int, Meta(ge=0, le=3600)] = 0


class DeliveryQuery(Query, frozen=True, kw_only=True):
    """dead: only those that were given up."""

    dead: bool = False
    limit: int | None = None


@route("GET", "/api/v1/events/stream", capability="events:read", produces="text/event-stream")
async def stream_events(request: web.Request, query: StreamQuery) -> web.StreamResponse:
    """Events as they are committed, as server-sent events; resumes after `Last-Event-ID`."""
    streams = request.app[STREAMS]
    after = streams.place(request.headers.get("Last-Event-ID") or query.after)
    blocks = streams.follow(after, lambda event: _wanted(request, query, event), query.coalesce)
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    )
    async with contextlib.aclosing(blocks):
        first = await anext(blocks)
        try:
            await response.prepare(request)
            await _write(response, first)
            async for block in blocks:
                # A credential may be revoked while it listens.
                await request.app[GUARD].authorise(request, stream_events)
                await _write(response, block)
        except (TimeoutError, ConnectionError):
            streams.dropped_total += 1
            if request.transport is not None:
                request.transport.abort()
        except HeldardError:
            await response.write_eof()
    return response


async def _write(response: web.StreamResponse, block: bytes) -> None:
    async with asyncio.timeout(SLOW_CLIENT_S):
        await response.write(block)


def _wanted(request: web.Request, query: StreamQuery, event: Event) -> bool:
    principal = request[PRINCIPAL]
    if principal.scoped and (event.camera_id is None or not principal.sees(event.camera_id)):
        return False
    if query.camera_id and event.camera_id != query.camera_id:
        return False
    if query.types and event.event_type not in query.types.split(","):
        return False
    return SEVERITIES.index(event.severity) >= SEVERITIES.index(query.min_severity)


# --- webhooks ---------------------------------------------------------------------------------------------------------


@route("GET", "/api/v1/webhooks", capability="events:read", unscoped=True)
async def list_webhooks(request: web.Request) -> list[WebhookView]:
    """Every target, oldest first, with how far it is."""
    hooks = request.app[WEBHOOKS]
    return [await _view(request, hook) for hook in hooks.all()]


@route("POST", "/api/v1/webhooks", capability="registry:manage", unscoped=True, status=201)
async def create_webhook(request: web.Request, body: WebhookCreate) -> WebhookView:
    """Send events to an address from now on."""
    return await _view(request, await request.app[WEBHOOKS].add(body))


@route("PATCH", "/api/v1/webhooks/{webhook_id}", capability="registry:manage", unscoped=True)
async def patch_webhook(request: web.Request, webhook_id: str, body: WebhookPatch) -> WebhookView:
    """Change a target; one that was failing is tried again at once."""
    return await _view(request, await request.app[WEBHOOKS].change(webhook_id, body))


@route("DELETE", "/api/v1/webhooks/{webhook_id}", capability="registry:manage", unscoped=True, status=204)
async def delete_webhook(request: web.Request, webhook_id: str) -> None:
    """Stop sending, and forget what was sent."""
    await request.app[WEBHOOKS].remove(webhook_id)


@route("POST", "/api/v1/webhooks/{webhook_id}/test", capability="registry:manage", unscoped=True)
async def test_webhook(request: web.Request, webhook_id: str) -> Tried:
    """Send an event made for the purpose, signed as all are, and say what came of it."""
    return await request.app[WEBHOOKS].test(webhook_id)


@route("GET", "/api/v1/webhooks/{webhook_id}/deliveries", capability="events:read", unscoped=True)
async def list_deliveries(request: web.Request, webhook_id: str, query: DeliveryQuery) -> list[DeliveryView]:
    """How events ended for a target, newest first."""
    limit = clamp_limit(query.limit, 100, 1000)
    found = await request.app[WEBHOOKS].deliveries(webhook_id, limit, dead=query.dead)
    return [_delivery(delivery) for delivery in found]


@route("POST", "/api/v1/webhooks/{webhook_id}/resend", capability="registry:manage", unscoped=True)
async def resend_deliveries(request: web.Request, webhook_id: str, body: ResendRequest) -> Resent:
    """Try dead deliveries once more, oldest first."""
    return await request.app[WEBHOOKS].resend(webhook_id, body.delivery_ids)


async def _view(request: web.Request, hook: Webhook) -> WebhookView:
    hooks = request.app[WEBHOOKS]
    at = await request.app[keys.EVENTS].after(hook.cursor_seq - 1, 1) if hook.cursor_seq else []
    return WebhookView(
        id=hook.id, name=hook.name, url=hook.url, event_types=list(hook.event_types),
        min_severity=SEVERITIES[hook.min_severity], coalesce_seconds=hook.coalesce_s,
        has_secret=hook.secret is not None, enabled=hook.enabled, state=hooks.state(hook), cursor_seq=hook.cursor_seq,
        cursor_at=at[0].created_at if at else None, lag=hooks.lag(hook), attempts=hook.attempts,
        next_attempt_at=None if hook.next_attempt_ms is None else rfc3339(hook.next_attempt_ms),
        last_error=hook.last_error, created_at=rfc3339(hook.created_ms), updated_at=rfc3339(hook.updated_ms),
    )  # fmt: skip


def _delivery(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=of_row("whd", delivery.id), event_id=delivery.event_id, event_type=delivery.event_type,
        status=STATUS_NAMES[delivery.status], attempts=delivery.attempts, response_code=delivery.response_code,
        error=delivery.error, created_at=rfc3339(delivery.created_ms),
        delivered_at=None if delivery.delivered_ms is None else rfc3339(delivery.delivered_ms),
    )  # fmt: skip


ROUTES = (
    stream_events, list_webhooks, create_webhook, patch_webhook, delete_webhook, test_webhook, list_deliveries,
    resend_deliveries,
)  # fmt: skip
