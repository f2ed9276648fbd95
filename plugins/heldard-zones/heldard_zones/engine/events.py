"""What the engine says: events, and figures that changed."""

from __future__ import annotations

from typing import Any

import msgspec

from heldard_zones.engine.geometry import Box
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.state import Live, Stay, Track

Due = tuple[int, int, tuple[Any, ...]]
"""When, rank among equals, and what to call."""


class ZoneEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened in a zone. type: enter, exit, dwell, cross_ab, cross_ba, static_suppressed,
    occupancy_over, occupancy_under, occupancy_normal or empty. visit: joins an enter with its dwells and its exit.

    frame: capture time of the frame that shows it. reason: why, where there is more than one way.
    """

    type: str
    zone: Zone
    at: int
    track_id: str | None = None
    task: str | None = None
    label: str | None = None
    confidence: float | None = None
    box: Box | None = None
    frame: int | None = None
    dwell_s: float | None = None
    visit: str | None = None
    reason: str | None = None
    extra: dict[str, Any] = {}


class Occupancy(msgspec.Struct, frozen=True, gc=False):
    """A zone's figures from `at` on."""

    zone: Zone
    at: int
    count: int
    static: int


class Step(msgspec.Struct):
    """What one call brought about, in order."""

    events: list[ZoneEvent] = []
    occupancy: list[Occupancy] = []


def of_track(kind: str, zone: Zone, track: Track, at: int, **more: Any) -> ZoneEvent:
    return ZoneEvent(
        kind, zone, at, track.track_id, track.task, track.label, track.confidence, track.box, track.frame, **more
    )


def of_stay(kind: str, zone: Zone, track: Track, stay: Stay, at: int, **more: Any) -> ZoneEvent:
    return of_track(kind, zone, track, at, visit=stay.visit, **more)


def of_crowd(kind: str, zone: Zone, live: Live, at: int) -> ZoneEvent:
    extra = {"count": live.count, "static_count": live.static, "over": zone.crowd.over, "under": zone.crowd.under}
    return ZoneEvent(kind, zone, at, extra=extra)
