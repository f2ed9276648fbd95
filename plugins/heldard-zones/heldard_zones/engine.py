"""The zone engine: what tracks do in zones, as a function of (state, batch or time, zones).

No clock, no database, no logging: `observe` and `advance` change the state they are given and return what happened.
The same state and the same input give the same events, live, replayed or in a backtest. The state belongs to the
caller, who can copy it (`heldard_zones.state.copy`) or keep it at rest.

Time. Observations are taken at the batch's time. What falls due without them (a lost track's exit, dwell, the end of
a line's lockout, occupancy, a schedule's edge) is dated by when it was due. `advance(t)` fires what was due before t,
since a batch of exactly t may still speak against it; `observe` fires what is due up to and including its time after
looking at the batch. So it does not matter how often or when `advance` is called.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from heldard.plugin import Batch, Detection
from heldard_zones.geometry import Box, contains, crossings, distance_squared, edges_of
from heldard_zones.identity import LOST_MS, identify, twin_of
from heldard_zones.rules import Zone
from heldard_zones.state import MAX_PARKED, MUTED, NEVER, NOT_SAID, SAID, TWIN, CameraState, Live, Stay, Track, Walk

MOST_TASK_TYPES: Final = 64
"""Types of task whose zones are kept sorted out; workers name them as they like."""
WALK_MS: Final = 120_000
"""How long a line remembers where a track was."""


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


Trace = Callable[[Track, Zone, Detection, str | None, list[ZoneEvent]], None]
"""Told of every look of a zone at a track: the track after it, the gate that hid it, and the events of that track."""


class Regions:
    """Regions by where they are, so that a point is only held against those whose bounds are near it."""

    SIDE: Final = 16

    def __init__(self, zones: tuple[Zone, ...]) -> None:
        self.zones = zones
        side = self.SIDE
        self._cells = [self._near(column / side, row / side) for row in range(side) for column in range(side)]

    def _near(self, left: float, top: float) -> tuple[tuple[Zone, ...], frozenset[int]]:
        right, bottom = left + 1 / self.SIDE, top + 1 / self.SIDE
        near = tuple(
            zone
            for zone in self.zones
            if zone.anchor != "bottom"
            or (
                zone.bounds[0] <= right
                and left <= zone.bounds[2]
                and zone.bounds[1] <= bottom
                and top <= zone.bounds[3]
            )
        )
        return near, frozenset(zone.number for zone in near)

    def at(self, x: float, y: float, stays: dict[int, Stay]) -> tuple[Zone, ...]:
        """The regions, oldest first, that a ground point could be in or that already know the track."""
        side = self.SIDE
        column, row = int(x * side), int(y * side)
        near, numbers = self._cells[(row if row < side else side - 1) * side + (column if column < side else side - 1)]
        for number in stays:
            if number not in numbers:
                return self.zones
        return near


class ZoneSet:
    """The enabled zones of one camera, oldest first."""

    def __init__(self, zones: Iterable[Zone] = ()) -> None:
        every = tuple(zones)
        self.by_number = {zone.number: zone for zone in every if zone.kind != "mask"}
        self.every = {zone.number: zone for zone in every}
        self.masks = tuple(zone for zone in every if zone.kind == "mask")
        self._regions = tuple(zone for zone in every if zone.kind in ("region", "presence"))
        self._lines = tuple(zone for zone in every if zone.kind == "line")
        self._line_edges = {zone.number: edges_of(zone.points)[: len(zone.points) - 1] for zone in self._lines}
        self._by_task: dict[str, tuple[Regions, tuple[Zone, ...]]] = {}
        self.min_gap = min((zone.gap_ms for zone in self.by_number.values()), default=NEVER)

    def for_task(self, task_type: str) -> tuple[Regions, tuple[Zone, ...]]:
        """(regions, lines) that look at this type of task."""
        found = self._by_task.get(task_type)
        if found is None:
            wanted = task_type.lower()
            found = (
                Regions(tuple(zone for zone in self._regions if not zone.task_types or wanted in zone.task_types)),
                tuple(zone for zone in self._lines if not zone.task_types or wanted in zone.task_types),
            )
            if len(self._by_task) >= MOST_TASK_TYPES:
                self._by_task.clear()
            self._by_task[task_type] = found
        return found

    def distance_to_line(self, zone: Zone, x: float, y: float) -> float:
        """Squared."""
        return distance_squared(self._line_edges[zone.number], x, y)

    def masks_out(self, box: Box) -> bool:
        """Whether the ground point lies in a mask of the camera."""
        x, y, w, h = box
        return any(contains(mask.edges, x + w / 2, min(y + h, 1.0)) for mask in self.masks)


# --- a batch --------------------------------------------------------------------------------------------------------


def observe(state: CameraState, zones: ZoneSet, batch: Batch, trace: Trace | None = None) -> Step:
    """Take in one batch: everything due before it, what it shows, and what is due at its very time."""
    step = Step()
    at = max(batch.at_ms, state.now)
    if state.next_due < at:
        _fire(state, zones, at, step)
    state.now = at
    if not zones.by_number:
        return step
    regions, lines = zones.for_task(batch.task_type)
    seen = identify(state, batch, at)
    state.dirty_tracks = state.dirty_tracks or bool(seen)
    for track, detection in seen:
        before = len(step.events)
        masked = bool(zones.masks) and zones.masks_out(track.box)
        if masked:
            for zone in regions.zones + lines:
                zone.refused["mask"] += 1
        else:
            _look_at_regions(state, regions, track, detection, at, step)
            if lines:
                _look_at_lines(state, zones, lines, track, detection, at, step)
        if trace is not None:
            for zone in regions.zones + lines:
                gate = "mask" if masked else refusal(zone, detection, track.box)
                trace(track, zone, detection, gate, step.events[before:])
    state.next_due = min(state.next_due, at + min(zones.min_gap, LOST_MS))
    if state.next_due <= at:
        _fire(state, zones, at + 1, step)
    return step


def advance(state: CameraState, zones: ZoneSet, now: int) -> Step:
    """Time has come to `now`: everything that was due before it."""
    step = Step()
    if state.next_due < now:
        _fire(state, zones, now, step)
    state.now = max(state.now, now)
    return step


def refusal(zone: Zone, detection: Detection, box: Box) -> str | None:
    """The first gate that keeps a detection from the zone's eyes: label, confidence, size, mask; None when it sees it.

    A detection without a confidence is not below any floor: its worker does not grade.
    """
    limits = zone.limits(detection.label)
    if limits is None:
        return "label"
    floor, smallest, largest = limits
    confidence = detection.confidence
    if confidence is not None and confidence < floor:
        return "confidence"
    x, y, w, h = box
    if not smallest <= w * h <= largest:
        return "size"
    if zone.masks and zone.is_masked(x + w / 2, y + h):
        return "mask"
    return None


def _look_at_regions(
    state: CameraState, regions: Regions, track: Track, detection: Detection, at: int, step: Step
) -> None:
    box = track.box
    x, y, w, h = box
    x += w / 2
    y += h
    x = 0.0 if x < 0.0 else 1.0 if x > 1.0 else x
    y = 0.0 if y < 0.0 else 1.0 if y > 1.0 else y
    stays = track.stays
    for zone in regions.at(x, y, stays):
        stay = stays.get(zone.number)
        if stay is None:
            if zone.anchor == "bottom":
                left, top, right, bottom = zone.bounds
                if x < left or x > right or y < top or y > bottom:
                    continue
                if not zone.is_rectangle and not contains(zone.edges, x, y):
                    continue
            elif not zone.holds(box, False):
                continue
        gate = refusal(zone, detection, box)
        if gate is not None:
            zone.refused[gate] += 1
        elif stay is None:
            stay = Stay(seen=at, since=at, run=1, rest_x=x, rest_y=y, rest=at)
            stays[zone.number] = stay
            _confirm_enter(state, zone, track, stay, at, step)
        else:
            _revisit(state, zone, track, stay, (x, y), at, step)


def _revisit(
    state: CameraState, zone: Zone, track: Track, stay: Stay, point: tuple[float, float], at: int, step: Step
) -> None:
    """A zone that knows the track sees it again."""
    stay.seen = at
    _rest(state, zone, track, stay, point, at, step)
    inside = zone.holds(track.box, stay.entered > 0)
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
            _leave(state, zone, track, stay, at, "left", step)
            del track.stays[zone.number]


def _confirm_enter(state: CameraState, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    if stay.run < zone.enter_frames and at - stay.since < zone.enter_ms:
        return
    stay.entered = at
    stay.visit = f"{track.track_id}@{at}"
    live = _live(state, zone, at)
    if zone.static_suppression and _is_twin(state, zone, track):
        stay.static, stay.said = True, TWIN
        live.static += 1
        zone.refused["static"] += 1
    else:
        live.count += 1
        _say_enter(state, zone, live, track, stay, at, None, step)
        if zone.dwell_ms:
            stay.dwell_at = at + zone.dwell_ms
            state.next_due = min(state.next_due, stay.dwell_at)
    _recount(state, zone, live, at, step)


def _is_twin(state: CameraState, zone: Zone, track: Track) -> bool:
    live = state.lives.get(zone.number)
    if live is None or not live.static:
        return False
    return twin_of([*state.tracks.values(), *state.parked.values()], track, zone.number)


def _say_enter(
    state: CameraState, zone: Zone, live: Live, track: Track, stay: Stay, at: int, reason: str | None, step: Step
) -> None:
    """Raise the enter, unless the schedule is closed (it is raised when it opens) or a cooldown runs (never)."""
    if not live.open:
        zone.refused["schedule"] += 1
    elif _is_cooling(state, zone, live, "enter", at):
        stay.said = MUTED
    else:
        stay.said = SAID
        since = stay.since if reason is None else stay.entered
        step.events.append(_of_stay("enter", zone, track, stay, at, reason=reason, extra={"since_ms": since}))


def _leave(state: CameraState, zone: Zone, track: Track, stay: Stay, at: int, reason: str, step: Step) -> None:
    """End a stay that was entered. The caller removes it."""
    live = _live(state, zone, at)
    if stay.static:
        live.static -= 1
    else:
        live.count -= 1
    if stay.said == SAID:
        left = stay.since if stay.leaving else stay.seen
        stayed = (left - stay.entered) / 1000
        extra = {"entered_ms": stay.entered, "left_ms": left, "was_static": stay.static}
        step.events.append(_of_stay("exit", zone, track, stay, at, dwell_s=stayed, reason=reason, extra=extra))
    _recount(state, zone, live, at, step)


def _rest(
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
        step.events.append(_of_track("static_suppressed", zone, track, at, visit=visit, extra=extra))
    if isinstance(at_rest, Stay):
        live = _live(state, zone, at)
        change = -1 if static else 1
        live.count += change
        live.static -= change
        if not static and at_rest.said == TWIN:
            # Seen twice, as it seemed; but it moves on its own.
            at_rest.said, at_rest.entered = NOT_SAID, at
            at_rest.dwell_at = at + zone.dwell_ms if zone.dwell_ms else 0
            _say_enter(state, zone, live, track, at_rest, at, "moved", step)
        _recount(state, zone, live, at, step)


# --- lines ----------------------------------------------------------------------------------------------------------


def _look_at_lines(
    state: CameraState, zones: ZoneSet, lines: tuple[Zone, ...], track: Track, detection: Detection, at: int, step: Step
) -> None:
    left, top, w, h = track.box
    x, y = min(max(left + w / 2, 0.0), 1.0), top + h
    for zone in lines:
        gate = refusal(zone, detection, track.box)
        if gate is not None:
            zone.refused[gate] += 1
            continue
        py = min(max(y if zone.anchor == "bottom" else top + h / 2, 0.0), 1.0)
        walk = track.walks.get(zone.number)
        if walk is None:
            track.walks[zone.number] = Walk(x, py, at, x, py, at)
            continue
        _rest(state, zone, track, walk, (x, py), at, step)
        _walk_on(zones, zone, walk, x, py, at)
        if walk.net:
            _try_cross(state, zones, zone, track, walk, at, step)


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
    live = _live(state, zone, at)
    if zone.direction not in ("any", direction):
        return
    if not live.open:
        zone.refused["schedule"] += 1
    elif not _is_cooling(state, zone, live, "cross", at):
        step.events.append(_of_track(f"cross_{direction}", zone, track, at))


def _is_near(zones: ZoneSet, zone: Zone, walk: Walk) -> bool:
    return zones.distance_to_line(zone, walk.x, walk.y) <= zone.margin_squared


# --- what falls due -------------------------------------------------------------------------------------------------

_Due = tuple[int, int, tuple[Any, ...]]
"""When, rank among equals, and what to call."""

_Owner = tuple[str, Any]
"""Whose due it is: ("live", zone number), ("track", key) or ("parked", key)."""


def _fire(state: CameraState, zones: ZoneSet, until: int, step: Step) -> None:
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

    def first(self) -> _Due | None:
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
        if action is _lose:
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

    def _due_of(self, owner: _Owner) -> _Due | None:
        kind, key = owner
        if kind == "live":
            return min(_live_dues(self._state, self._zones, key), key=_when, default=None)
        tracks, dues = (self._state.tracks, _track_dues) if kind == "track" else (self._state.parked, _parked_dues)
        track = tracks.get(key)
        return None if track is None else min(dues(self._state, self._zones, track), key=_when, default=None)


def _when(due: _Due) -> tuple[int, int]:
    return due[:2]


def _live_dues(state: CameraState, zones: ZoneSet, number: int) -> Iterable[_Due]:
    live, zone = state.lives.get(number), zones.by_number.get(number)
    if live is None or zone is None:
        return
    if live.change_at != NEVER:
        yield live.change_at, 0, (_change_schedule, zone, live)
    yield from _crowd_dues(zone, live)


def _parked_dues(state: CameraState, zones: ZoneSet, track: Track) -> Iterable[_Due]:
    for number, stay in track.stays.items():
        zone = zones.by_number[number]
        yield stay.seen + zone.memory_ms(track.label), 1, (_give_up, zone, track, stay)
        if stay.dwell_at:
            yield stay.dwell_at, 2, (_dwell, zone, track, stay)


def _track_dues(state: CameraState, zones: ZoneSet, track: Track) -> Iterable[_Due]:
    if not track.stays and not track.walks:
        yield track.seen + LOST_MS, 1, (_forget_track, None, track)
    for number, stay in track.stays.items():
        zone = zones.by_number[number]
        yield stay.seen + zone.gap_ms, 1, (_lose, zone, track, stay)
        if stay.dwell_at and not stay.leaving:
            yield stay.dwell_at, 2, (_dwell, zone, track, stay)
    for number, walk in track.walks.items():
        zone = zones.by_number[number]
        yield walk.seen + WALK_MS, 1, (_forget_walk, zone, track)
        if walk.net and walk.locked > state.now and not walk.static:
            yield walk.locked, 3, (_cross_late, zone, track, walk)


def _crowd_dues(zone: Zone, live: Live) -> Iterable[_Due]:
    crowd = zone.crowd
    wait = round(crowd.seconds * 1000)
    if live.over and not live.over_said:
        yield live.over + wait, 4, (_crowd_alarm, zone, live, "over")
    if live.under and not live.under_said:
        yield live.under + wait, 4, (_crowd_alarm, zone, live, "under")
    if live.empty and not live.empty_said and crowd.empty_seconds is not None:
        yield live.empty + round(crowd.empty_seconds * 1000), 4, (_crowd_alarm, zone, live, "empty")


def _lose(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
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
        _leave(state, zone, track, stay, at, "lost", step)


def _give_up(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    """A standing object was not seen for as long as it is remembered."""
    del track.stays[zone.number]
    if not track.stays:
        del state.parked[track.key]
    state.dirty_parked = True
    _leave(state, zone, track, stay, at, "not_seen", step)


def _forget_track(state: CameraState, zones: ZoneSet, zone: None, track: Track, at: int, step: Step) -> None:
    del state.tracks[track.key]


def _forget_walk(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, at: int, step: Step) -> None:
    del track.walks[zone.number]


def _cross_late(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, walk: Walk, at: int, step: Step) -> None:
    """The lockout is over and the track is on the other side than was last said."""
    locked = walk.locked
    _try_cross(state, zones, zone, track, walk, at, step)
    if walk.locked == locked:
        walk.locked = 0


def _dwell(state: CameraState, zones: ZoneSet, zone: Zone, track: Track, stay: Stay, at: int, step: Step) -> None:
    """A stay has lasted; what stands still is told once, whatever the interval."""
    live = _live(state, zone, at)
    repeated, standing = stay.dwells > 0, stay.static
    stay.dwells += 1
    stay.dwell_at = at + zone.dwell_repeat_ms if zone.dwell_repeat_ms else 0
    state.dirty_parked = state.dirty_parked or track.key in state.parked
    if standing and repeated:
        zone.refused["static"] += 1
    elif not live.open:
        zone.refused["schedule"] += 1
    elif stay.said == SAID and not _is_cooling(state, zone, live, "dwell", at):
        stayed = (at - stay.entered) / 1000
        extra = {"repeat": stay.dwells - 1, "last_seen_ms": stay.seen}
        step.events.append(_of_stay("dwell", zone, track, stay, at, dwell_s=stayed, extra=extra))


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
                _say_enter(state, zone, live, track, stay, at, "schedule", step)
                stay.dwell_at = at + zone.dwell_ms if zone.dwell_ms else 0
        state.dirty_parked = True
    _recount(state, zone, live, at, step)


# --- occupancy ------------------------------------------------------------------------------------------------------


def _live(state: CameraState, zone: Zone, at: int) -> Live:
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


def _recount(state: CameraState, zone: Zone, live: Live, at: int, step: Step) -> None:
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
        step.events.append(_of_crowd("occupancy_normal", zone, live, at))
    if live.count + live.static:
        live.empty, live.empty_said = 0, False
    elif not live.empty_said:
        live.empty = live.empty or at
    for due, _, _ in _crowd_dues(zone, live):
        state.next_due = min(state.next_due, due)


def _report(step: Step, figures: Occupancy) -> None:
    """Of several changes in one moment the last one stands."""
    last = step.occupancy[-1] if step.occupancy else None
    if last is not None and last.zone is figures.zone and last.at == figures.at:
        step.occupancy[-1] = figures
    else:
        step.occupancy.append(figures)


def _crowd_alarm(state: CameraState, zones: ZoneSet, zone: Zone, live: Live, which: str, at: int, step: Step) -> None:
    setattr(live, f"{which}_said", True)
    state.dirty_lives = True
    if live.open:
        step.events.append(_of_crowd("empty" if which == "empty" else f"occupancy_{which}", zone, live, at))


def _is_cooling(state: CameraState, zone: Zone, live: Live, kind: str, at: int) -> bool:
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


# --- zones that change ----------------------------------------------------------------------------------------------


def settle(state: CameraState, zones: ZoneSet, at: int) -> Step:
    """Make a state that was kept fit the zones there are: nothing of zones that are gone, figures for each that is."""
    step = Step()
    _drop_unknown(state, zones)
    for zone in zones.by_number.values():
        if zone.number not in state.lives:
            _recount(state, zone, _live(state, zone, at), at, step)
    state.next_due = 0
    return step


def change_zones(state: CameraState, old: ZoneSet, new: ZoneSet, at: int) -> Step:
    """Go over from one set of zones to another between two batches.

    Stays of a zone that is gone end with reason `zone_removed`; those of a zone that was edited go on when the object,
    as last seen, would still be in it, and end with `zone_edited` when not. Other zones notice nothing.
    """
    step = Step()
    _fire(state, old, at, step)
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
            live = _live(state, zone, at)
            if zone.schedule is not None:
                live.open, live.change_at = zone.schedule.is_open(at), zone.schedule.next_change(at)
            else:
                live.open, live.change_at = True, NEVER
            _recount(state, zone, live, at, step)
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
            _leave(state, zone, track, stay, at, "zone_removed" if edited is None else "zone_edited", step)
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


# --- events ---------------------------------------------------------------------------------------------------------


def _of_track(kind: str, zone: Zone, track: Track, at: int, **more: Any) -> ZoneEvent:
    return ZoneEvent(
        kind, zone, at, track.track_id, track.task, track.label, track.confidence, track.box, track.frame, **more
    )


def _of_stay(kind: str, zone: Zone, track: Track, stay: Stay, at: int, **more: Any) -> ZoneEvent:
    return _of_track(kind, zone, track, at, visit=stay.visit, **more)


def _of_crowd(kind: str, zone: Zone, live: Live, at: int) -> ZoneEvent:
    extra = {"count": live.count, "static_count": live.static, "over": zone.crowd.over, "under": zone.crowd.under}
    return ZoneEvent(kind, zone, at, extra=extra)
