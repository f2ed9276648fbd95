"""A zone's running figures, what is raised about them, and the pause between events."""

from __future__ import annotations

from collections.abc import Iterable

from heldard_zones.engine.events import Due, Occupancy, Step, of_crowd
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.state import CameraState, Live
from heldard_zones.engine.zoneset import ZoneSet


def live_of(state: CameraState, zone: Zone, at: int) -> Live:
    """The zone's running figures, about to change."""
    state.dirty_lives = True
    live = state.lives.get(zone.number)
    if live is None:
        live = Live()
        if zone.schedule is not None:
            live.open, live.change_at = zone.schedule.is_open(at), zone.schedule.next_change(at)
            state.next_due = min(state.next_due, live.change_at)
        state.lives[zone.number] = live
    return live


def recount(state: CameraState, zone: Zone, live: Live, at: int, step: Step) -> None:
    """Report changed figures and start or end what depends on them."""
    if live.shown != (live.count, live.static):
        live.shown = (live.count, live.static)
        _report(step, Occupancy(zone, at, live.count, live.static))
    crowd = zone.crowd
    present = live.count + (live.static if crowd.count_static else 0)
    too_many = live.open and crowd.over is not None and present > crowd.over
    too_few = live.open and crowd.under is not None and present < crowd.under
    live.over = (live.over or at) if too_many else 0
    live.under = (live.under or at) if too_few else 0
    if (live.over_said and not too_many) or (live.under_said and not too_few):
        live.over_said = live.over_said and too_many
        live.under_said = live.under_said and too_few
        step.events.append(of_crowd("occupancy_normal", zone, live, at))
    if live.count + live.static:
        live.empty, live.empty_said = 0, False
    elif not live.empty_said:
        live.empty = live.empty or at
    for due, _, _ in crowd_dues(zone, live):
        state.next_due = min(state.next_due, due)


def _report(step: Step, figures: Occupancy) -> None:
    """Of several changes in one moment the last one stands."""
    last = step.occupancy[-1] if step.occupancy else None
    if last is not None and last.zone is figures.zone and last.at == figures.at:
        step.occupancy[-1] = figures
    else:
        step.occupancy.append(figures)


def is_cooling(state: CameraState, zone: Zone, live: Live, kind: str, at: int) -> bool:
    """Whether an event of this kind was raised less than the cooldown ago; if not, this one is."""
    if not zone.cooldown_ms:
        return False
    last = live.last.get(kind)
    if last is not None and at - last < zone.cooldown_ms:
        zone.refused["cooldown"] += 1
        return True
    live.last[kind] = at
    state.dirty_lives = True
    return False


def _crowd_alarm(state: CameraState, zones: ZoneSet, zone: Zone, live: Live, which: str, at: int, step: Step) -> None:
    setattr(live, f"{which}_said", True)
    state.dirty_lives = True
    if live.open:
        step.events.append(of_crowd("empty" if which == "empty" else f"occupancy_{which}", zone, live, at))


def crowd_dues(zone: Zone, live: Live) -> Iterable[Due]:
    crowd = zone.crowd
    wait = round(crowd.seconds * 1000)
    if live.over and not live.over_said:
        yield live.over + wait, 4, (_crowd_alarm, zone, live, "over")
    if live.under and not live.under_said:
        yield live.under + wait, 4, (_crowd_alarm, zone, live, "under")
    if live.empty and not live.empty_said and crowd.empty_seconds is not None:
        yield live.empty + round(crowd.empty_seconds * 1000), 4, (_crowd_alarm, zone, live, "empty")
