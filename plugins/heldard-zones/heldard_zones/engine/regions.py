"""Tracks in polygons: entering, staying, leaving, getting lost."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from heldard.plugin import Detection
from heldard_zones.engine.events import Step, of_stay
from heldard_zones.engine.identity import twin_of
from heldard_zones.engine.occupancy import is_cooling, live_of, recount
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.standing import follow_rest, say_enter
from heldard_zones.engine.state import MAX_PARKED, NEVER, SAID, TWIN, CameraState, Stay, Track
from heldard_zones.engine.zoneset import Regions, ZoneSet, refusal


def look_at_regions(
    state: CameraState, regions: Regions, seen: Iterable[tuple[Track, Detection]], at: int, step: Step
) -> None:
    """Each track against the regions it could be in and those that know it. This is where a batch's time goes."""
    cells, side, columns = regions.cells, regions.SIDE, regions.COLUMNS
    for track, detection in seen:
        box = track.box
        x, y, w, h = box
        x += w / 2
        y += h
        x = 0.0 if x < 0.0 else 1.0 if x > 1.0 else x
        y = 0.0 if y < 0.0 else 1.0 if y > 1.0 else y
        near, numbers = cells[int(y * side) * columns + int(x * side)]
        stays = track.stays
        if stays:
            if not numbers.issuperset(stays):
                near = regions.zones
        elif not near:
            continue
        for zone in near:
            stay = stays.get(zone.number)
            inside = zone.holds_at(x, y, box, stay is not None and stay.entered > 0)
            if stay is None and not inside:
                continue
            gate = refusal(zone, detection, box)
            if gate is not None:
                zone.refused[gate] += 1
            elif stay is None:
                stay = stays[zone.number] = Stay(seen=at, since=at, run=1, rest_x=x, rest_y=y, rest=at)
                _confirm_enter(state, zone, track, stay, at, step)
            else:
                _revisit(state, zone, track, stay, inside, (x, y), at, step)


def _revisit(
    state: CameraState, zone: Zone, track: Track, stay: Stay, inside: bool, point: tuple[float, float], at: int,
    step: Step,
) -> None:  # fmt: skip
    """A zone that knows the track sees it again."""
    stay.seen = at
    follow_rest(state, zone, track, stay, point, at, step)
    if not stay.entered:
        if inside:
            stay.run += 1
            _confirm_enter(state, zone, track, stay, at, step)
        else:
            del track.stays[zone.number]
    elif inside:
        if stay.leaving:
            stay.leaving = False
            if stay.dwell_at and stay.dwell_at <= at:
                stay.dwell_at = at  # it could not fall due while the object was seen outside
            state.next_due = min(state.next_due, stay.dwell_at or NEVER)
    else:
        if not stay.leaving:
            stay.leaving, stay.since, stay.run = True, at, 0
        stay.run += 1
        if stay.run >= zone.exit_frames or at - stay.since >= zone.exit_ms:
            leave(state, zone, track, stay, at, "left", step)
            del track.stays[zone.number]


def _confirm_enter(state: CameraState, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    if stay.run < zone.enter_frames and at - stay.since < zone.enter_ms:
        return
    stay.entered = at
    stay.visit = f"{track.track_id}@{at}"
    live = live_of(state, zone, at)
    if zone.static_suppression and _is_twin(state, zone, track):
        stay.static, stay.said = True, TWIN
        live.static += 1
        zone.refused["static"] += 1
    else:
        live.count += 1
        say_enter(state, zone, live, track, stay, at, None, step)
        if zone.dwell_ms:
            stay.dwell_at = at + zone.dwell_ms
            state.next_due = min(state.next_due, stay.dwell_at)
    recount(state, zone, live, at, step)


def _is_twin(state: CameraState, zone: Zone, track: Track) -> bool:
    live = state.lives.get(zone.number)
    if live is None or not live.static:
        return False
    return twin_of([*state.tracks.values(), *state.parked.values()], track, zone.number)


def leave(state: CameraState, zone: Zone, track: Track, stay: Stay, at: int, reason: str, step: Step) -> None:
    """End a stay that was entered. The caller removes it."""
    live = live_of(state, zone, at)
    if stay.static:
        live.static -= 1
    else:
        live.count -= 1
    if stay.said == SAID:
        left = stay.since if stay.leaving else stay.seen
        stayed = (left - stay.entered) / 1000
        extra = {"entered_ms": stay.entered, "left_ms": left, "was_static": stay.static}
        step.events.append(of_stay("exit", zone, track, stay, at, dwell_s=stayed, reason=reason, extra=extra))
    recount(state, zone, live, at, step)


def lose(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    """A track was not seen for the gap: a standing object is remembered, another one has left."""
    del track.stays[zone.number]
    if not stay.entered:
        return
    if stay.static and len(state.parked) < MAX_PARKED and zone.memory_ms(track.label) > zone.gap_ms:
        parked = state.parked.get(track.key)
        if parked is None:
            parked = msgspec.structs.replace(track, stays={}, walks={})
            state.parked[track.key] = parked
        parked.stays[zone.number] = stay
        state.dirty_parked = True
    else:
        leave(state, zone, track, stay, at, "lost", step)


def give_up(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    """A standing object was not seen for as long as it is remembered."""
    del track.stays[zone.number]
    if not track.stays:
        del state.parked[track.key]
    state.dirty_parked = True
    leave(state, zone, track, stay, at, "not_seen", step)


def dwell(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    """A stay has lasted; what stands still is told once, whatever the interval."""
    live = live_of(state, zone, at)
    repeated, standing = stay.dwells > 0, stay.static
    stay.dwells += 1
    stay.dwell_at = at + zone.dwell_repeat_ms if zone.dwell_repeat_ms else 0
    state.dirty_parked = state.dirty_parked or track.key in state.parked
    if standing and repeated:
        zone.refused["static"] += 1
    elif not live.open:
        zone.refused["schedule"] += 1
    elif stay.said == SAID and not is_cooling(state, zone, live, "dwell", at):
        stayed = (at - stay.entered) / 1000
        extra = {"repeat": stay.dwells - 1, "last_seen_ms": stay.seen}
        step.events.append(of_stay("dwell", zone, track, stay, at, dwell_s=stayed, extra=extra))
