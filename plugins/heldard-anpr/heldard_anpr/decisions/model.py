"""Entry events and decision records as the API shows them."""

from __future__ import annotations

from typing import Any

import msgspec

from heldard.plugin import Box, Query


class EntryEvent(msgspec.Struct, frozen=True):
    id: str
    site_id: str | None
    camera_id: str | None
    event_type: str
    timestamp: str
    direction: str
    plate: str | None
    plate_confidence: float | None
    subject: dict[str, Any]
    authorization: dict[str, Any]
    auth_status: str
    evidence: dict[str, Any]
    workflow_status: str
    workflow: dict[str, Any]
    audit: dict[str, Any]
    track_id: str | None
    created_at: str


class EventsQuery(Query, frozen=True, rename={"from_": "from"}):
    """from, to: RFC 3339, half open. cursor: what the header `x-next-cursor` of the page before said."""

    from_: str | None = None
    to: str | None = None
    plate: str | None = None
    auth_status: str | None = None
    workflow_status: str | None = None
    event_type: str | None = None
    camera_id: str | None = None
    limit: int = 200
    cursor: str | None = None


class ReportQuery(Query, frozen=True, rename={"from_": "from"}):
    """date: YYYY-MM-DD in the site's time zone; or from and to. Default: today."""

    date: str | None = None
    from_: str | None = None
    to: str | None = None
    limit: int = 1000


class Report(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    from_: str
    to: str
    total: int
    by_auth_status: dict[str, int]
    events: list[EntryEvent]


class ReadRecord(msgspec.Struct, frozen=True):
    """One reading. fate: vote, or why it had none: below_floor, same_frame, weaker, doubted (another plate on the
    track of a decided visit). crop: where its picture can be had, None when its frame was not kept."""

    number: int
    at: str
    frame_id: str | None
    captured_at: str | None
    track_id: str | None
    raw: str
    text: str
    confidence: float
    chars: list[float]
    weight: float
    plate_box: Box | None
    vehicle_box: Box | None
    fate: str
    evidence: str | None
    crop: str | None


class DecisionRecord(msgspec.Struct, frozen=True):
    """One decision of a visit, the first or an amendment; see docs/explanation/plate-decisions.md for `record`."""

    number: int
    at: str
    record: dict[str, Any]


class ReviewRecord(msgspec.Struct, frozen=True):
    at: str
    from_status: str
    to_status: str
    by: str
    note: str | None
    plate_before: str | None
    plate_after: str | None


class VisitRecord(msgspec.Struct, frozen=True):
    """repeats: the plate was there shortly before, so the event is the earlier visit's."""

    id: str
    camera_id: str
    started_at: str
    last_seen_at: str
    ended_at: str | None
    event_id: str | None
    repeats: bool
    reads: list[ReadRecord]
    decisions: list[DecisionRecord]


class OpeningRecord(msgspec.Struct, frozen=True):
    camera_id: str
    asked_at: str
    asked_by: str
    state: str
    ended_at: str | None
    detail: str | None


class Explanation(msgspec.Struct, frozen=True):
    """All that is known of how an entry event came about."""

    event: EntryEvent
    visits: list[VisitRecord]
    openings: list[OpeningRecord]
    reviews: list[ReviewRecord]


class VisitsQuery(Query, frozen=True, rename={"from_": "from"}):
    """unread: only visits without an event, that is, without a plate that was decided on."""

    from_: str | None = None
    to: str | None = None
    camera_id: str | None = None
    unread: bool = False
    limit: int = 200


class FiguresQuery(Query, frozen=True, rename={"from_": "from"}):
    """from, to: RFC 3339, by when the visit began. Default: the last 24 hours."""

    from_: str | None = None
    to: str | None = None


class Figures(msgspec.Struct, frozen=True):
    """How well one camera's plates are read. with_event: visits that led to an event, repeats of one among them.
    unread: ended with reads but without one that voted. reads: by what became of them."""

    camera_id: str
    visits: int
    with_event: int
    repeats: int
    unread: int
    reads: dict[str, int]


class VisitLine(msgspec.Struct, frozen=True):
    id: str
    camera_id: str
    started_at: str
    ended_at: str | None
    reads: int
    event_id: str | None
