"""Why a zone said something about a track, or why not: each look, gate by gate.

It is worked out by running the live engine over the stored detections again, so it costs nothing while nobody asks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Final

import msgspec

from heldard.plugin import Batch, Detection, InvalidError, Query, rfc3339
from heldard_zones.engine import ZoneEvent
from heldard_zones.engine.rules import NEVER_CONFIRMED, Zone, ZoneRow
from heldard_zones.engine.state import MUTED, NOT_SAID, TWIN, Stay, Track, Walk
from heldard_zones.model import ZoneVersion
from heldard_zones.replay import History, Replay, over_log
from heldard_zones.service import Zones, version_view
from heldard_zones.store import Version

GATES: Final = (
    "task_type",
    "label",
    "confidence",
    "size",
    "mask",
    "inside",
    "confirm",
    "static",
    "cooldown",
    "schedule",
)
"""In the order of asking. The first that says no is why there is no event."""
LEAD_MS: Final = 180_000
MOST_LOOKS: Final = 5_000


class WhyQuery(Query, frozen=True, kw_only=True):
    """track_id: the worker's id; without one, every track is summed up. Times default to the last hour."""

    track_id: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_LOOKS)] = 500


class Look(msgspec.Struct, frozen=True):
    """One look of the zone at the track. gates: what each said, `ok` or why not; stopped_by: the first that said no,
    null when the object counts as inside and was told. events: what this frame raised."""

    at: str
    seq: int
    label: str | None
    confidence: float | None
    bbox: list[float]
    gates: dict[str, str]
    stopped_by: str | None
    events: list[str]


class TrackSummary(msgspec.Struct, frozen=True):
    """A track's looks by what stopped them. furthest: the last gate any look came to, null when nothing stopped it."""

    track_id: str
    task: str
    label: str | None
    first_at: str
    last_at: str
    looks: int
    stopped_by: dict[str, int]
    furthest: str | None
    events: dict[str, int]


class Raised(msgspec.Struct, frozen=True):
    event_type: str
    timestamp: str
    track_id: str | None
    reason: str | None


class Why(msgspec.Struct, frozen=True):
    """verdict: the answer in a sentence. untracked: detections without a track id or a box, which no zone looks at.
    drawn: how the zone was drawn in that time, oldest first; each look is explained with the one of its moment.
    """

    zone_id: str
    zone_name: str
    track_id: str | None
    from_: str = msgspec.field(name="from")
    to: str
    verdict: str
    tracks: list[TrackSummary]
    looks: list[Look]
    events: list[Raised]
    untracked: int
    truncated: bool
    drawn: list[ZoneVersion]


class _Tally:
    """What was seen of one track."""

    def __init__(self, track: Track, at: str) -> None:
        self.track_id, self.task, self.label = track.track_id, track.task, track.label
        self.first_at = self.last_at = at
        self.looks = 0
        self.stopped_by: dict[str, int] = {}
        self.events: dict[str, int] = {}

    def summary(self) -> TrackSummary:
        furthest = max(self.stopped_by, key=GATES.index, default=None)
        told = any(name != "static_suppressed" for name in self.events)
        return TrackSummary(
            self.track_id, self.task, self.label, self.first_at, self.last_at, self.looks, self.stopped_by,
            None if told else furthest, self.events,
        )  # fmt: skip


class Inquiry:
    """Listens to the engine."""

    def __init__(self, number: int, track_id: str | None, from_ms: int, limit: int) -> None:
        self._number, self._track_id, self._from_ms, self._limit = number, track_id, from_ms, limit
        self._batch: Batch | None = None
        self._tallies: dict[str, _Tally] = {}
        self.looks: list[Look] = []
        self.untracked = 0
        self.truncated = False

    def before(self, replay: Replay, batch: Batch) -> None:
        self._batch = batch
        if batch.at_ms >= self._from_ms:
            self.untracked += sum(d.track_id is None or d.bbox is None for d in batch.detections)
            zone = replay.zone
            if zone is not None and zone.task_types and batch.task_type.lower() not in zone.task_types:
                for detection in batch.detections:
                    self._unwanted(zone, batch, detection)

    def _unwanted(self, zone: Zone, batch: Batch, detection: Detection) -> None:
        if detection.track_id is None or detection.bbox is None:
            return
        task = batch.task_id or batch.task_type
        key = f"{task}|{batch.epoch}|{detection.track_id}"
        track = Track(key, task, detection.track_id, detection.label, detection.confidence, batch.at_ms, batch.at_ms,
                      detection.bbox)  # fmt: skip
        gates = {"task_type": f"{batch.task_type} is not one of {', '.join(sorted(zone.task_types))}"}
        self._note(track, detection, gates, "task_type", [])

    def look(self, track: Track, zone: Zone, detection: Detection, gate: str | None, events: list[ZoneEvent]) -> None:
        batch = self._batch
        assert batch is not None
        if zone.number != self._number or batch.at_ms < self._from_ms:
            return
        names = [event.type for event in events if event.zone.number == zone.number]
        gates, stopped_by = explain(zone, track, detection, gate, batch.at_ms)
        self._note(track, detection, gates, None if names else stopped_by, names)

    def _note(
        self, track: Track, detection: Detection, gates: dict[str, str], stopped_by: str | None, names: list[str]
    ) -> None:
        batch = self._batch
        assert batch is not None
        if self._track_id is not None and detection.track_id != self._track_id:
            return
        at = rfc3339(batch.at_ms)
        tally = self._tallies.setdefault(track.key, _Tally(track, at))
        tally.last_at = at
        tally.looks += 1
        if stopped_by is not None:
            tally.stopped_by[stopped_by] = tally.stopped_by.get(stopped_by, 0) + 1
        for name in names:
            tally.events[name] = tally.events.get(name, 0) + 1
        if self._track_id is None:
            return
        if len(self.looks) >= self._limit:
            self.truncated = True
            return
        assert detection.bbox is not None
        self.looks.append(
            Look(at, batch.seq, detection.label, detection.confidence, list(detection.bbox), gates, stopped_by, names)
        )

    def tracks(self) -> list[TrackSummary]:
        return [tally.summary() for tally in self._tallies.values()]


def explain(
    zone: Zone, track: Track, detection: Detection, gate: str | None, at: int
) -> tuple[dict[str, str], str | None]:
    """What each gate said after this look, and the first that said no."""
    said: dict[str, str] = {}
    for name in ("label", "confidence", "size", "mask"):
        if name == gate:
            return {**said, name: _refused(zone, track, detection, name)}, name
        said[name] = "ok"
    if zone.kind == "line":
        return _of_walk(zone, track.walks.get(zone.number), said)
    stay = track.stays.get(zone.number)
    if stay is None:
        return said | {"inside": "outside"}, "inside"
    return _of_stay(zone, track, stay, at, said)


def _refused(zone: Zone, track: Track, detection: Detection, gate: str) -> str:
    limits = zone.limits(detection.label) or (0.0, 0.0, 1.0)
    if gate == "label":
        return f"{detection.label} is not one of {', '.join(sorted(zone.labels))}"
    if gate == "confidence":
        return f"{detection.confidence} is below {limits[0]}"
    if gate == "size":
        area = track.box[2] * track.box[3]
        return f"{area:.4f} of the picture is not within {limits[1]} and {limits[2]}"
    return "in an exclusion mask"


def _of_walk(zone: Zone, walk: Walk | None, said: dict[str, str]) -> tuple[dict[str, str], str]:
    if walk is None or not (walk.net or walk.static):
        return said | {"inside": "no crossing in this step"}, "inside"
    said["inside"] = "ok"
    if walk.static:
        return said | {"static": "stands still"}, "static"
    held = f"{walk.held} of {zone.line_confirm_frames} frames"
    return said | {"confirm": f"crossed, {held}; waits for that, the lockout or the margin"}, "confirm"


def _of_stay(zone: Zone, track: Track, stay: Stay, at: int, said: dict[str, str]) -> tuple[dict[str, str], str | None]:
    said["inside"] = "ok" if zone.holds(track.box, False) else "outside, within the margin"
    if not stay.entered:
        return said | {"confirm": _progress(stay, at, zone.enter_frames, zone.enter_ms)}, "confirm"
    if stay.leaving:
        said["inside"] = "outside"
        return said | {"confirm": f"leaving: {_progress(stay, at, zone.exit_frames, zone.exit_ms)}"}, "inside"
    said["confirm"] = "ok"
    if stay.said == TWIN or stay.static:
        return said | {"static": "stands still; told once"}, "static"
    said["static"] = f"moved {(at - stay.rest) / 1000:.1f} s ago" if zone.static_suppression else "not asked"
    if stay.said == MUTED:
        return said | {"cooldown": "this visit began while a cooldown ran"}, "cooldown"
    said["cooldown"] = "ok"
    if stay.said == NOT_SAID:
        return said | {"schedule": "outside the zone's hours"}, "schedule"
    return said | {"schedule": "ok"}, None


def _progress(stay: Stay, at: int, frames: int, ms: int) -> str:
    ways = []
    if frames < NEVER_CONFIRMED:
        ways.append(f"{stay.run} of {frames} frames")
    if ms < NEVER_CONFIRMED:
        ways.append(f"{(at - stay.since) / 1000:.1f} of {ms / 1000:.1f} s")
    return " or ".join(ways)


async def ask(zones: Zones, row: ZoneRow, query: WhyQuery, from_ms: int, to_ms: int) -> Why:
    """Run the camera's zones over the range, each as it was drawn then."""
    begin_ms = from_ms - LEAD_MS
    versions = await zones.store.versions(row.camera_id, begin_ms, to_ms)
    own = [version for version in versions if version.row.number == row.number] or [Version(-1, None, row)]
    if all(version.row.kind == "mask" for version in own):
        raise InvalidError("a mask raises nothing: ask a zone that it hides objects from", code="mask_has_no_events")
    silent = not any(version.row.enabled for version in own)
    if silent:
        own = [replace(version, row=msgspec.structs.replace(version.row, enabled=True)) for version in own]
    others = [version for version in versions if version.row.number != row.number]
    history = History([*others, *own], begin_ms, to_ms)
    inquiry = Inquiry(row.number, query.track_id, from_ms, query.limit)
    replay = Replay(history, row.number, zones.consumer.timezone, begin_ms)
    most = zones.ctx.settings.max_backtest_detections
    await over_log(
        zones.ctx, row.camera_id, begin_ms, to_ms, most,
        lambda batches: replay.feed(batches, inquiry.look, partial(inquiry.before, replay)),
    )  # fmt: skip
    replay.end(to_ms)
    told = [event for event in replay.events if from_ms <= event.at < to_ms]
    if query.track_id is not None:
        told = [event for event in told if event.track_id == query.track_id]
    tracks = inquiry.tracks()
    raised = [Raised(event.type, rfc3339(event.at), event.track_id, event.reason) for event in told[:MOST_LOOKS]]
    answer = verdict(query.track_id, tracks, raised, silent=silent)
    drawn = [version_view(version) for version in own if version.until_ms is None or version.until_ms >= from_ms]
    return Why(
        row.id, row.name, query.track_id, rfc3339(from_ms), rfc3339(to_ms), answer, tracks, inquiry.looks, raised,
        inquiry.untracked, inquiry.truncated, drawn,
    )  # fmt: skip


def verdict(track_id: str | None, tracks: list[TrackSummary], raised: list[Raised], *, silent: bool) -> str:
    """The answer in a sentence. silent: the zone was disabled all the time."""
    if silent:
        return "the zone was disabled; this is what it would have said"
    if raised:
        return "; ".join(f"{event.event_type} at {event.timestamp}" for event in raised[:5])
    if not tracks:
        return "no detection with that track id in this range" if track_id else "no tracked detections in this range"
    furthest = [track.furthest for track in tracks if track.furthest is not None]
    gate = max(furthest, key=GATES.index, default=None)
    if gate is None:
        return "nothing kept it back, and nothing was due"
    stopped = sum(track.stopped_by.get(gate, 0) for track in tracks)
    looks = sum(track.looks for track in tracks)
    return f"no event: of {looks} looks none came further than {gate}, where {stopped} were stopped"
