"""What falls due without anything being seen, in the order of time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from typing import Any

from heldard_zones.engine.events import Due, Step
from heldard_zones.engine.identity import LOST_MS
from heldard_zones.engine.lines import WALK_MS, cross_late, forget_walk
from heldard_zones.engine.occupancy import crowd_dues, recount
from heldard_zones.engine.regions import dwell, give_up, lose
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.standing import say_enter
from heldard_zones.engine.state import NEVER, NOT_SAID, CameraState, Live, Track
from heldard_zones.engine.zoneset import ZoneSet

_Owner = tuple[str, Any]
"""Whose due it is: ("live", zone number), ("track", key) or ("parked", key)."""


def fire(state: CameraState, zones: ZoneSet, until: int, step: Step) -> None:
    """Everything due before `until`, one after the other in the order of time; sets `next_due`."""
    agenda = _Agenda(state, zones)
    while (due := agenda.first()) is not None:
        at, _, (action, zone, *arguments) = due
        if at >= until:
            state.next_due = at
            return
        state.dirty_tracks = True
        action(state, zones, zone, *arguments, at, step)
        agenda.after(action, zone)
    state.next_due = NEVER


class _Agenda:
    """The first due of each owner, earliest on top. An entry is checked against its owner when it comes up, since what
    was done in between may have changed it."""

    def __init__(self, state: CameraState, zones: ZoneSet) -> None:
        self._state, self._zones = state, zones
        self._heap: list[tuple[int, int, int, int, _Owner]] = []
        self._places: dict[_Owner, int] = {}
        self._pushed = itertools.count()
        self._owner: _Owner = ("", None)
        self._put_all()

    def first(self) -> Due | None:
        """The next due, taken off; None when nothing will ever be due."""
        while self._heap:
            at, rank, _, _, owner = heapq.heappop(self._heap)
            due = self._due_of(owner)
            if due is not None and due[:2] == (at, rank):
                self._owner = owner
                return due
            self._put(owner)
        return None

    def after(self, action: Any, zone: Zone | None) -> None:
        """That due was carried out: what may have changed by it is put in anew."""
        kind, key = self._owner
        if action is _change_schedule:
            self._put_all()
            return
        self._put(self._owner)
        if zone is not None and kind != "live":
            self._put(("live", zone.number))
        if action is lose:
            self._put(("parked", key))

    def _put_all(self) -> None:
        state = self._state
        for kind, owners in (("live", state.lives), ("track", state.tracks), ("parked", state.parked)):
            for key in owners:
                self._put((kind, key))

    def _put(self, owner: _Owner) -> None:
        due = self._due_of(owner)
        if due is not None:
            place = self._places.setdefault(owner, len(self._places))
            heapq.heappush(self._heap, (*due[:2], place, next(self._pushed), owner))

    def _due_of(self, owner: _Owner) -> Due | None:
        kind, key = owner
        if kind == "live":
            return min(_live_dues(self._state, self._zones, key), key=_when, default=None)
        tracks, dues = (self._state.tracks, _track_dues) if kind == "track" else (self._state.parked, _parked_dues)
        track = tracks.get(key)
        return None if track is None else min(dues(self._state, self._zones, track), key=_when, default=None)


def _when(due: Due) -> tuple[int, int]:
    return due[:2]


def _live_dues(state: CameraState, zones: ZoneSet, number: int) -> Iterable[Due]:
    live, zone = state.lives.get(number), zones.by_number.get(number)
    if live is None or zone is None:
        return
    if live.change_at != NEVER:
        yield live.change_at, 0, (_change_schedule, zone, live)
    yield from crowd_dues(zone, live)


def _parked_dues(state: CameraState, zones: ZoneSet, track: Track) -> Iterable[Due]:
    for number, stay in track.stays.items():
        zone = zones.by_number[number]
        yield stay.seen + zone.memory_ms(track.label), 1, (give_up, zone, track, stay)
        if stay.dwell_at:
            yield stay.dwell_at, 2, (dwell, zone, track, stay)


def _track_dues(state: CameraState, zones: ZoneSet, track: Track) -> Iterable[Due]:
    if not track.stays and not track.walks:
        yield track.seen + LOST_MS, 1, (_forget_track, None, track)
    for number, stay in track.stays.items():
        zone = zones.by_number[number]
        yield stay.seen + zone.gap_ms, 1, (lose, zone, track, stay)
        if stay.dwell_at and not stay.leaving:
            yield stay.dwell_at, 2, (dwell, zone, track, stay)
    for number, walk in track.walks.items():
        zone = zones.by_number[number]
        yield walk.seen + WALK_MS, 1, (forget_walk, zone, track)
        if walk.net and walk.locked > state.now and not walk.static:
            yield walk.locked, 3, (cross_late, zone, track, walk)


def _forget_track(state: CameraState, zones: ZoneSet, zone: None, track: Track, at: int, step: Step) -> None:
    del state.tracks[track.key]


def _change_schedule(state: CameraState, zones: ZoneSet, zone: Zone, live: Live, at: int, step: Step) -> None:
    """The zone's hours begin or end. Who is inside when they begin enters then; who leaves later still leaves."""
    assert zone.schedule is not None
    was_open, live.open = live.open, zone.schedule.is_open(at)
    live.change_at = zone.schedule.next_change(at)
    state.dirty_lives = True
    if live.open and not was_open:
        for track in [*state.tracks.values(), *state.parked.values()]:
            stay = track.stays.get(zone.number)
            if stay is not None and stay.entered and stay.said == NOT_SAID:
                stay.entered, stay.dwells = at, 0
                say_enter(state, zone, live, track, stay, at, "schedule", step)
                stay.dwell_at = at + zone.dwell_ms if zone.dwell_ms else 0
        state.dirty_parked = True
    recount(state, zone, live, at, step)
