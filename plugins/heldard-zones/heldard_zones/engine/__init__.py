"""The zone engine: what tracks do in zones, as a function of (state, batch or time, zones).

No clock, no database, no logging: `observe` and `advance` change the state they are given and return what happened.
The same state and the same input give the same events, live, replayed or in a backtest. The state belongs to the
caller, who can copy it (`heldard_zones.engine.state.copy`) or keep it at rest.

Time. Observations are taken at the batch's time. What falls due without them (a lost track's exit, dwell, the end of
a line's lockout, occupancy, a schedule's edge) is dated by when it was due. `advance(t)` fires what was due before t,
since a batch of exactly t may still speak against it; `observe` fires what is due up to and including its time after
looking at the batch. So it does not matter how often or when `advance` is called.

Where to read on: `identity` (which track is which), `regions` and `lines` (what they do there), `standing` (what does
not move), `agenda` (what falls due), `occupancy` (a zone's figures), `rules` (a zone made ready), `state` (what is
kept).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heldard.plugin import Batch, Detection
from heldard_zones.engine.agenda import fire
from heldard_zones.engine.events import Occupancy, Step, ZoneEvent
from heldard_zones.engine.identity import LOST_MS, identify
from heldard_zones.engine.lines import look_at_lines
from heldard_zones.engine.occupancy import live_of, recount
from heldard_zones.engine.regions import leave, look_at_regions
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.state import NEVER, CameraState, Stay, Track
from heldard_zones.engine.zoneset import ZoneSet, refusal

__all__ = [
    "Occupancy",
    "Step",
    "Trace",
    "ZoneEvent",
    "ZoneSet",
    "advance",
    "change_zones",
    "observe",
    "refusal",
    "settle",
]

Trace = Callable[[Track, Zone, Detection, str | None, list[ZoneEvent]], None]
"""Told of every look of a zone at a track: the track after it, the gate that hid it, and the events of that track."""


def observe(state: CameraState, zones: ZoneSet, batch: Batch, trace: Trace | None = None) -> Step:
    """Take in one batch: everything due before it, what it shows, and what is due at its very time."""
    step = Step()
    at = max(batch.at_ms, state.now)
    if state.next_due < at:
        fire(state, zones, at, step)
    state.now = at
    if not zones.by_number:
        return step
    regions, lines = zones.for_task(batch.task_type)
    seen = identify(state, batch, at)
    state.dirty_tracks = state.dirty_tracks or bool(seen)
    if trace is not None or zones.masks:
        _look_one_by_one(state, zones, batch.task_type, seen, at, step, trace)
    else:
        look_at_regions(state, regions, seen, at, step)
        if lines:
            look_at_lines(state, zones, lines, seen, at, step)
    state.next_due = min(state.next_due, at + min(zones.min_gap, LOST_MS))
    if state.next_due <= at:
        fire(state, zones, at + 1, step)
    return step


def _look_one_by_one(
    state: CameraState, zones: ZoneSet, task_type: str, seen: Sequence[tuple[Track, Detection]], at: int, step: Step,
    trace: Trace | None,
) -> None:  # fmt: skip
    """As all at once, for a camera with masks and for somebody who wants to hear of each look."""
    regions, lines = zones.for_task(task_type)
    for track, detection in seen:
        before = len(step.events)
        masked = zones.masks_out(track.box)
        if masked:
            for zone in regions.zones + lines:
                zone.refused["mask"] += 1
        else:
            look_at_regions(state, regions, ((track, detection),), at, step)
            look_at_lines(state, zones, lines, ((track, detection),), at, step)
        if trace is not None:
            for zone in regions.zones + lines:
                gate = "mask" if masked else refusal(zone, detection, track.box)
                trace(track, zone, detection, gate, step.events[before:])


def advance(state: CameraState, zones: ZoneSet, now: int) -> Step:
    """Time has come to `now`: everything that was due before it."""
    step = Step()
    if state.next_due < now:
        fire(state, zones, now, step)
    state.now = max(state.now, now)
    return step


def settle(state: CameraState, zones: ZoneSet, at: int) -> Step:
    """Make a state that was kept fit the zones there are: nothing of zones that are gone, figures for each that is."""
    step = Step()
    _drop_unknown(state, zones)
    for zone in zones.by_number.values():
        if zone.number not in state.lives:
            recount(state, zone, live_of(state, zone, at), at, step)
    state.next_due = 0
    return step


def change_zones(state: CameraState, old: ZoneSet, new: ZoneSet, at: int) -> Step:
    """Go over from one set of zones to another between two batches.

    Stays of a zone that is gone end with reason `zone_removed`; those of a zone that was edited go on when the object,
    as last seen, would still be in it, and end with `zone_edited` when not. Other zones notice nothing.
    """
    step = Step()
    fire(state, old, at, step)
    state.now = max(state.now, at)
    for number, zone in old.by_number.items():
        edited = new.by_number.get(number)
        if edited is not zone:
            _revise(state, zone, edited, at, step)
            if edited is None:
                state.lives.pop(number, None)
    _drop_unknown(state, new)
    for zone in new.by_number.values():
        if old.by_number.get(zone.number) is not zone:
            live = live_of(state, zone, at)
            if zone.schedule is not None:
                live.open, live.change_at = zone.schedule.is_open(at), zone.schedule.next_change(at)
            else:
                live.open, live.change_at = True, NEVER
            recount(state, zone, live, at, step)
    state.next_due = 0
    state.dirty_parked = state.dirty_lives = True
    return step


def _revise(state: CameraState, zone: Zone, edited: Zone | None, at: int, step: Step) -> None:
    same_kind = edited is not None and (edited.kind == "line") == (zone.kind == "line") and edited.shadow == zone.shadow
    for track in [*state.tracks.values(), *state.parked.values()]:
        if not same_kind or (edited is not None and edited.points != zone.points):
            track.walks.pop(zone.number, None)
        stay = track.stays.get(zone.number)
        if stay is None:
            continue
        if same_kind and edited is not None and _still_fits(edited, track, stay):
            if stay.entered and edited.dwell_ms != zone.dwell_ms:
                due = stay.entered + edited.dwell_ms
                stay.dwell_at = max(due, at) if edited.dwell_ms and not stay.dwells else 0
            continue
        if stay.entered:
            leave(state, zone, track, stay, at, "zone_removed" if edited is None else "zone_edited", step)
        del track.stays[zone.number]


def _still_fits(zone: Zone, track: Track, stay: Stay) -> bool:
    seen = Detection(0, track.label, track.confidence, track.box, track.track_id)
    return refusal(zone, seen, track.box) is None and zone.holds(track.box, stay.entered > 0)


def _drop_unknown(state: CameraState, zones: ZoneSet) -> None:
    """No stay, line or figure of a zone that does not exist."""
    for track in [*state.tracks.values(), *state.parked.values()]:
        for number in [number for number in track.stays if number not in zones.by_number]:
            del track.stays[number]
        for number in [number for number in track.walks if number not in zones.by_number]:
            del track.walks[number]
    for key in [key for key, track in state.parked.items() if not track.stays]:
        del state.parked[key]
    for number in [number for number in state.lives if number not in zones.by_number]:
        del state.lives[number]
