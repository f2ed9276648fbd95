"""Objects that stand still, and how an enter is raised or withheld."""

from __future__ import annotations

from heldard_zones.engine.events import Step, of_stay, of_track
from heldard_zones.engine.occupancy import is_cooling, live_of, recount
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.state import MUTED, NOT_SAID, SAID, TWIN, CameraState, Live, Stay, Track, Walk


def follow_rest(
    state: CameraState, zone: Zone, track: Track, at_rest: Stay | Walk, point: tuple[float, float], at: int, step: Step
) -> None:
    """Follow whether the track stands still. Moving on takes it out of the standing ones, standing puts it in again."""
    dx, dy = point[0] - at_rest.rest_x, point[1] - at_rest.rest_y
    if dx * dx + dy * dy >= zone.static_epsilon_squared:
        at_rest.rest_x, at_rest.rest_y, at_rest.rest = point[0], point[1], at
        if at_rest.static:
            _set_static(state, zone, track, at_rest, False, at, step)
    elif not at_rest.static and at - at_rest.rest >= zone.static_after_ms and zone.static_suppression:
        if isinstance(at_rest, Stay) and not at_rest.entered:
            return
        _set_static(state, zone, track, at_rest, True, at, step)


def _set_static(
    state: CameraState, zone: Zone, track: Track, at_rest: Stay | Walk, static: bool, at: int, step: Step
) -> None:
    at_rest.static = static
    visit = at_rest.visit if isinstance(at_rest, Stay) else None
    if static and (not isinstance(at_rest, Stay) or at_rest.said == SAID):
        extra = {"static_since_ms": at_rest.rest}
        step.events.append(of_track("static_suppressed", zone, track, at, visit=visit, extra=extra))
    if isinstance(at_rest, Stay):
        live = live_of(state, zone, at)
        change = -1 if static else 1
        live.count += change
        live.static -= change
        if not static and at_rest.said == TWIN:
            # Seen twice, as it seemed; but it moves on its own.
            at_rest.said, at_rest.entered = NOT_SAID, at
            at_rest.dwell_at = at + zone.dwell_ms if zone.dwell_ms else 0
            say_enter(state, zone, live, track, at_rest, at, "moved", step)
        recount(state, zone, live, at, step)


def say_enter(
    state: CameraState, zone: Zone, live: Live, track: Track, stay: Stay, at: int, reason: str | None, step: Step
) -> None:
    """Raise the enter, unless the schedule is closed (it is raised when it opens) or a cooldown runs (never)."""
    if not live.open:
        zone.refused["schedule"] += 1
    elif is_cooling(state, zone, live, "enter", at):
        stay.said = MUTED
    else:
        stay.said = SAID
        since = stay.since if reason is None else stay.entered
        step.events.append(of_stay("enter", zone, track, stay, at, reason=reason, extra={"since_ms": since}))
