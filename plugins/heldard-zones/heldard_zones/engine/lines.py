"""Tracks and lines: paths that cross."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from heldard.plugin import Detection
from heldard_zones.engine.events import Step, of_track
from heldard_zones.engine.geometry import crossings
from heldard_zones.engine.occupancy import is_cooling, live_of
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.standing import follow_rest
from heldard_zones.engine.state import CameraState, Track, Walk
from heldard_zones.engine.zoneset import ZoneSet, refusal

WALK_MS: Final = 120_000
"""How long a line remembers where a track was."""


def look_at_lines(
    state: CameraState, zones: ZoneSet, lines: tuple[Zone, ...], seen: Iterable[tuple[Track, Detection]], at: int,
    step: Step,
) -> None:  # fmt: skip
    """Each track against each line: where it goes from where the line last saw it."""
    for track, detection in seen:
        left, top, w, h = track.box
        x, foot, middle = _clamp(left + w / 2), _clamp(top + h), _clamp(top + h / 2)
        for zone in lines:
            gate = refusal(zone, detection, track.box)
            if gate is not None:
                zone.refused[gate] += 1
                continue
            y = foot if zone.anchor == "bottom" else middle
            walk = track.walks.get(zone.number)
            if walk is None:
                track.walks[zone.number] = Walk(x, y, at, x, y, at)
                continue
            follow_rest(state, zone, track, walk, (x, y), at, step)
            _walk_on(zones, zone, walk, x, y, at)
            if walk.net:
                _try_cross(state, zones, zone, track, walk, at, step)


def _clamp(share: float) -> float:
    return 0.0 if share < 0.0 else 1.0 if share > 1.0 else share


def _walk_on(zones: ZoneSet, zone: Zone, walk: Walk, x: float, y: float, at: int) -> None:
    """Move to (x, y) and note what was crossed on the way, however long the step is."""
    net = 0
    left, top, right, bottom = zone.bounds
    if not (
        (x < left and walk.x < left)
        or (x > right and walk.x > right)
        or (y < top and walk.y < top)
        or (y > bottom and walk.y > bottom)
    ):
        net = crossings(zone.points, walk.x, walk.y, x, y)
    if net and zones.distance_to_line(zone, x, y) == 0:
        walk.seen = at  # on the line is not across; the step is judged when it goes on
        return
    walk.x, walk.y, walk.seen = x, y, at
    walk.net += net
    walk.held = 1 if net else walk.held + 1


def _try_cross(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, walk: Walk, at: int, step: Step) -> None:
    """Raise a noted crossing once it counts: held long enough, no lockout, and, when the track has crossed before,
    off the line by its margin, so that standing on a line is one crossing and not many."""
    if walk.static or walk.held < zone.line_confirm_frames or (walk.crossed and _is_near(zones, zone, walk)):
        return
    if at < walk.locked:
        state.next_due = min(state.next_due, walk.locked)
        return
    direction = "ab" if walk.net > 0 else "ba"
    walk.net, walk.crossed, walk.locked = 0, True, at + zone.recross_ms
    live = live_of(state, zone, at)
    if zone.direction not in ("any", direction):
        return
    if not live.open:
        zone.refused["schedule"] += 1
    elif not is_cooling(state, zone, live, "cross", at):
        step.events.append(of_track(f"cross_{direction}", zone, track, at))


def _is_near(zones: ZoneSet, zone: Zone, walk: Walk) -> bool:
    return zones.distance_to_line(zone, walk.x, walk.y) <= zone.margin_squared


def cross_late(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, walk: Walk, at: int, step: Step) -> None:
    """The lockout is over and the track is on the other side than was last said."""
    locked = walk.locked
    _try_cross(state, zones, zone, track, walk, at, step)
    if walk.locked == locked:
        walk.locked = 0


def forget_walk(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, at: int, step: Step) -> None:
    del track.walks[zone.number]
