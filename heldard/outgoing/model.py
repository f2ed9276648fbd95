"""Webhooks as kept, as asked for and as shown."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from heldard.plugin import Severity

Label = Annotated[str, Meta(min_length=1, max_length=200)]
Url = Annotated[str, Meta(min_length=1, max_length=2000)]
Secret = Annotated[str, Meta(min_length=1, max_length=512)]
TypeNames = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=200)]
Seconds = Annotated[int, Meta(ge=0, le=3600)]

DELIVERED, DEAD = 1, 2
STATUS_NAMES = {DELIVERED: "delivered", DEAD: "dead"}


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A target. secret: sealed. cursor_seq: the last event that is settled. The rest is about the one after it."""

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    min_severity: int
    coalesce_s: int
    secret: str | None
    enabled: bool
    cursor_seq: int
    attempts: int = 0
    failing_since_ms: int | None = None
    next_attempt_ms: int | None = None
    last_error: str | None = None
    created_ms: int
    updated_ms: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How an event ended for a target. body: kept while it is dead."""

    id: int = 0
    subscription_id: str
    event_seq: int
    event_id: str
    event_type: str
    status: int
    attempts: int
    response_code: int | None
    error: str | None
    body: str | None
    created_ms: int
    delivered_ms: int | None


class WebhookCreate(msgspec.Struct, frozen=True, kw_only=True):
    """event_types: `*` for all. secret: signs; with `whsec_` as Standard Webhooks have it, else any text.

    coalesce_seconds: of events of one type and camera that workers raise, only the first in so many seconds is sent;
    the next one says how many were left out. The server's setting when absent.
    """

    name: Label
    url: Url
    event_types: TypeNames = msgspec.field(default_factory=lambda: ["*"])
    min_severity: Severity = "info"
    coalesce_seconds: Seconds | None = None
    secret: Secret | None = None
    enabled: bool = True


class WebhookPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is absent or null stays, but for the secret, which null clears."""

    name: Label | None = None
    url: Url | None = None
    event_types: TypeNames | None = None
    min_severity: Severity | None = None
    coalesce_seconds: Seconds | None = None
    secret: Secret | UnsetType | None = UNSET
    enabled: bool | None = None


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook without its secret. cursor_at: when its last settled event was written; lag: events after it.

    state: `ok`, `failing` with the next try's time, `halted` when its secret cannot be opened, or `disabled`.
    """

    id: str
    name: str
    url: str
    event_types: list[str]
    min_severity: Severity
    coalesce_seconds: int
    has_secret: bool
    enabled: bool
    state: str
    cursor_seq: int
    cursor_at: str | None
    lag: int
    attempts: int
    next_attempt_at: str | None
    last_error: str | None
    created_at: str
    updated_at: str


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """status: `delivered`, or `dead` when it was given up."""

    id: str
    event_id: str
    event_type: str
    status: str
    attempts: int
    response_code: int | None
    error: str | None
    created_at: str
    delivered_at: str | None


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. status_code: None when there was no answer."""

    delivered: bool
    status_code: int | None = None
    error: str | None = None


class ResendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """delivery_ids: which dead ones; the oldest hundred when absent."""

    delivery_ids: Annotated[list[str], Meta(max_length=100)] | None = None


class Resent(msgspec.Struct, frozen=True, kw_only=True):
    """Ids of deliveries, and why the others are still dead."""

    delivered: list[str]
    failed: dict[str, str]


class OutgoingEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as webhooks and streams send it. coalesced: how many like it were left out since the last one."""

    id: str
    seq: int
    camera_id: str | None
    site_id: str | None
    event_type: str
    severity: Severity
    timestamp: str
    payload: dict[str, Any]
    evidence: str | None = None
    coalesced: int = 0
