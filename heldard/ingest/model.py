"""What workers post and what they are told."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from heldard.plugin import Box

MAX_DETECTIONS = 1000
MAX_TEXT = 512

Confidence = Annotated[float, Meta(ge=0, le=1)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]


def _no_attributes() -> msgspec.Raw:
    # A factory, because a default of this type has no place in a JSON schema.
    return _EMPTY


_EMPTY = msgspec.Raw(b"{}")


class DetectionPost(msgspec.Struct, frozen=True, gc=False):
    """One thing seen. bbox: `[x, y, width, height]`, finite numbers, as shares of the picture."""

    label: Text | None = None
    confidence: Confidence | None = None
    bbox: Box | None = None
    track_id: Text | None = None
    attributes: msgspec.Raw = msgspec.field(default_factory=_no_attributes)


class EventPost(msgspec.Struct, frozen=True):
    """The worker's own event about the frame."""

    event_type: str
    severity: str | None = None
    payload: Any = None


class BatchPost(msgspec.Struct, frozen=True):
    """Body of `POST /ai/events`: the detections of one frame.

    timestamp: RFC 3339, shown with the detections; time itself is the server's. frame_id: makes the post idempotent.
    epoch: identity of the worker's run; track ids of two epochs are unrelated.
    """

    camera_id: Text
    task_type: Text
    timestamp: str | None = None
    frame_id: Text | None = None
    detections: list[DetectionPost] = []
    event: EventPost | None = None
    frame_ticket: Text | None = None
    epoch: Annotated[str, Meta(max_length=64)] | None = None


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer to a batch. A duplicate stored nothing and carries the original's `seq`."""

    detections_ingested: int
    ticketed: bool | None = None
    seq: int | None = None
    duplicate: bool = False
    fanned_out: bool | None = None


class DetectionView(msgspec.Struct, frozen=True, kw_only=True):
    """A stored detection as the API shows it. `timestamp` is the worker's where it sent one, `at` the trusted time."""

    id: str
    seq: int
    camera_id: str
    task_type: str
    task_id: str | None
    timestamp: str
    at: str
    label: str | None
    confidence: float | None
    bbox: Box | None
    track_id: str | None
    attributes: dict[str, Any]
    frame_id: str | None
    created_at: str


class OutboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the log. `payload` only when asked for."""

    seq: int
    topic: str
    camera_id: str
    site_id: str | None
    frame_id: str | None
    task_type: str
    detection_count: int
    created_at: str
    at: str
    fanned_out_at: str | None
    payload: list[DetectionView] | None = None


class OutboxPage(msgspec.Struct, frozen=True, kw_only=True):
    entries: list[OutboxEntry]
    next_seq: int | None
    count: int
