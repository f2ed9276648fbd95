"""Events as stored and as shown."""

from __future__ import annotations

from typing import Any

import msgspec

from heldard.plugin import EventDraft, EventType, Severity

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")

KERNEL_EVENTS = (
    EventType("consumer_quarantined", "A consumer failed too often and is held; its place in the log is kept."),
    EventType("consumer_resumed", "A held consumer runs again."),
    EventType("ingest_unleased", "A credential posts detections without frame tickets."),
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A committed event. seq: place in the log of events; id: its public name, a UUID."""

    seq: int
    id: str
    camera_id: str | None
    site_id: str | None
    event_type: str
    severity: Severity
    timestamp: str
    payload: dict[str, Any]
    evidence: str | None
    created_at: str


__all__ = ["KERNEL_EVENTS", "SEVERITIES", "Event", "EventDraft", "EventType"]
