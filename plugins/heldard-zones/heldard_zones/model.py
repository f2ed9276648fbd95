"""What goes over the wire."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from heldard.plugin import Query, Severity, of_row, rfc3339
from heldard_zones.consumer import evidence_path
from heldard_zones.engine.rules import Kind, ZoneRow, hints

Coordinates = list[tuple[float, float]]


class ZoneCreate(msgspec.Struct, frozen=True):
    """A zone to draw. polygon: points as shares of the picture; config: see docs/how-to/zones.md."""

    name: str
    polygon: Coordinates
    kind: Kind | None = None
    dwell_seconds: float | None = None
    labels: list[str] | None = None
    severity: Severity | None = None
    config: Any = None
    enabled: bool | None = None


class ZonePatch(msgspec.Struct, frozen=True):
    """What shall be different; absent and null leave a field as it is. `config` is replaced as a whole."""

    name: str | None = None
    polygon: Coordinates | None = None
    kind: Kind | None = None
    dwell_seconds: float | None = None
    labels: list[str] | None = None
    severity: Severity | None = None
    config: Any = None
    enabled: bool | None = None


class ZoneView(msgspec.Struct, frozen=True):
    """hints: keys of `config` that have no effect; absent when there are none."""

    id: str
    camera_id: str
    name: str
    kind: str
    polygon: Coordinates
    dwell_seconds: float
    labels: list[str]
    severity: str
    config: Any
    enabled: bool
    created_at: str
    updated_at: str
    hints: list[str] | UnsetType = UNSET


class ZoneVersion(msgspec.Struct, frozen=True):
    """How a zone was drawn after `from`, up to and including `until`; null: it still is."""

    from_: str = msgspec.field(name="from")
    until: str | None
    zone: ZoneView


class ZoneEventView(msgspec.Struct, frozen=True, kw_only=True):
    """segment_id: always null, heldard records no video. visit: joins an enter with its dwells and its exit."""

    id: str
    camera_id: str
    zone_id: str
    zone_name: str
    track_id: str | None
    event_type: str
    label: str | None
    timestamp: str
    dwell_seconds: float | None
    evidence_path: str | None
    created_at: str
    segment_id: None = None
    task: str | None = None
    confidence: float | None = None
    bbox: list[float] | None = None
    visit: str | None = None
    reason: str | None = None
    severity: str = "info"
    shadow: bool = False


class Bucket(msgspec.Struct, frozen=True):
    zone_id: str
    zone_name: str
    event_type: str
    bucket_start: str
    count: int


class Aggregates(msgspec.Struct, frozen=True):
    """`from` and `to` with the counts between; buckets are aligned to the Unix epoch."""

    from_: str = msgspec.field(name="from")
    to: str
    bucket_minutes: int
    buckets: list[Bucket]


class ZoneFigures(msgspec.Struct, frozen=True):
    """count: moving objects inside; static_count: those that stand still."""

    zone_id: str
    count: int
    updated_at: str
    static_count: int


class OccupancyNow(msgspec.Struct, frozen=True):
    zones: list[ZoneFigures]


class OccupancyPoint(msgspec.Struct, frozen=True):
    """The figures from `at` on, until the next point."""

    at: str
    count: int
    static_count: int


class OccupancyHistory(msgspec.Struct, frozen=True):
    """peak: the most moving objects at once; busy_seconds: how long somebody moved inside; mean: over time."""

    zone_id: str
    from_: str = msgspec.field(name="from")
    to: str
    peak: int
    mean: float
    busy_seconds: float
    points: list[OccupancyPoint]
    truncated: bool


class ZoneCounts(msgspec.Struct, frozen=True):
    """Events by type, lines by direction, and how many detections or events each gate kept back.

    shadow: the zone raises nothing; its events are counted all the same.
    """

    zone_id: str
    zone_name: str
    kind: str
    shadow: bool
    events: dict[str, int]
    by_label: dict[str, dict[str, int]]
    net_ab: int | None
    refused: dict[str, int]


class Counts(msgspec.Struct, frozen=True):
    from_: str = msgspec.field(name="from")
    to: str
    zones: list[ZoneCounts]


class StayView(msgspec.Struct, frozen=True):
    """Somebody in a zone now. state: entering, inside, leaving, static."""

    zone_id: str
    zone_name: str
    track_id: str
    label: str | None
    state: str
    since: str
    last_seen_at: str
    bbox: list[float]
    visit: str | None


class Stays(msgspec.Struct, frozen=True):
    stays: list[StayView]


class ImportView(msgspec.Struct, frozen=True):
    """created: drawn now; existing: names that were taken and stay as they are; read: what the file said; notes: what
    could not be carried over."""

    created: list[ZoneView]
    existing: list[str]
    read: list[ZoneCreate]
    notes: list[str]


class EventQuery(Query, frozen=True, kw_only=True):
    """shadow: with events of shadow zones. cursor: from the header X-Next-Cursor of the page before."""

    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    zone_id: str | None = None
    event_type: str | None = None
    track_id: str | None = None
    visit: str | None = None
    shadow: bool = False
    limit: int | None = None
    cursor: str | None = None


class AggregateQuery(Query, frozen=True, kw_only=True):
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    bucket_minutes: int | None = None


class RangeQuery(Query, frozen=True, kw_only=True):
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None


class HistoryQuery(RangeQuery, frozen=True, kw_only=True):
    zone_id: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 10_000


class VersionsQuery(Query, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class DrawQuery(Query, frozen=True, kw_only=True):
    """draw: an SVG with the zone and the box over the picture, instead of the JPEG itself."""

    draw: bool = False


def zone_view(row: ZoneRow) -> ZoneView:
    return ZoneView(
        row.id, row.camera_id, row.name, row.kind, row.polygon, row.dwell_seconds, row.labels, row.severity,
        row.config, row.enabled, rfc3339(row.created_ms), rfc3339(row.updated_ms),
        hints(row.config) or UNSET,
    )  # fmt: skip


def event_view(row: dict[str, Any]) -> ZoneEventView:
    return ZoneEventView(
        id=of_row("zev", row["id"]),
        camera_id=row["camera_id"],
        zone_id=row["zone_id"],
        zone_name=row["zone_name"],
        track_id=row["track_id"],
        event_type=row["event_type"],
        label=row["label"],
        timestamp=rfc3339(row["at_ms"]),
        dwell_seconds=row["dwell_seconds"],
        evidence_path=evidence_path(row["evidence"]),
        created_at=rfc3339(row["created_ms"]),
        task=row["task"],
        confidence=row["confidence"],
        bbox=None if row["bbox"] is None else msgspec.json.decode(row["bbox"]),
        visit=row["visit"],
        reason=row["reason"],
        severity=row["severity"],
        shadow=bool(row["shadow"]),
    )


def offset_text(ms: int) -> str:
    """RFC 3339 ending in `+00:00`, the form upstream uses for ranges and occupancy."""
    return rfc3339(ms).removesuffix("Z") + "+00:00"
