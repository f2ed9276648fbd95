"""What happens in the demo's video: who moves where and when, and the truth that tests and the summary compare with.

Everything here is a pure function of the scene's own time in seconds. Positions are pixels of the SIZE picture, y
downwards; a mover's position is its ground point, the middle of where it touches the road. Nothing is told to the
worker or the daemon: they see only the pixels that `heldard.demo.paint` makes of this.

The scene is played in a loop, so it is empty at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import msgspec

SIZE = (1280, 720)
FPS = 12
DURATION_S = 46.0

Point = tuple[float, float]
Direction = Literal["inbound", "outbound"]

# Normalised, as the zones API takes them.
FORECOURT: tuple[Point, ...] = ((0.785, 0.40), (0.985, 0.40), (0.985, 0.80), (0.785, 0.80))
LAY_BY: tuple[Point, ...] = ((0.05, 0.55), (0.27, 0.55), (0.27, 0.92), (0.05, 0.92))
GATE_LINE: tuple[Point, Point] = ((0.765, 0.62), (0.29, 0.62))
"""Drawn right to left: inbound cars (downwards) cross from side A to side B."""


@dataclass(frozen=True)
class Vehicle:
    """A car or van with a plate. `path`: (seconds since its start, ground point) in time order, linear in between."""

    plate: str
    colour: tuple[int, int, int]
    body: Literal["car", "van"]
    direction: Direction
    start_s: float
    path: tuple[tuple[float, Point], ...]

    @property
    def end_s(self) -> float:
        return self.start_s + self.path[-1][0]

    def ground(self, at_s: float) -> Point | None:
        """Where it stands at that time, None while it is not in the scene."""
        return along(self.path, at_s - self.start_s)


@dataclass(frozen=True)
class Person:
    """Somebody who walks. `path` as for Vehicle."""

    name: str
    coat: tuple[int, int, int]
    start_s: float
    path: tuple[tuple[float, Point], ...]

    @property
    def end_s(self) -> float:
        return self.start_s + self.path[-1][0]

    def ground(self, at_s: float) -> Point | None:
        return along(self.path, at_s - self.start_s)


def along(path: tuple[tuple[float, Point], ...], at_s: float) -> Point | None:
    """The point of a timed path at `at_s`, None before its start and after its end."""
    for (t0, (x0, y0)), (t1, (x1, y1)) in pairwise(path):
        if t0 <= at_s <= t1:
            share = (at_s - t0) / (t1 - t0)
            return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
    return None


def depth(y: float) -> float:
    """How large things look whose ground point is at `y`: 1 at the lower edge of the picture, smaller further off."""
    return 0.62 + 0.38 * y / SIZE[1]


# The road runs from top to bottom. Above 0 and below EXIT_Y a mover of any kind is out of the picture.
_START_Y, _EXIT_Y = -6.0, 1040.0
_IN_X, _OUT_X, _LAY_BY_X = (558.0, 520.0), (786.0, 832.0), (330.0, 205.0)


def _lane_x(ends: tuple[float, float], y: float) -> float:
    """A lane's middle at `y`, given it at the picture's upper and lower edge."""
    return ends[0] + (ends[1] - ends[0]) * y / SIZE[1]


def _drive(lane: tuple[float, float], from_y: float, to_y: float, seconds: float) -> tuple[tuple[float, Point], ...]:
    return (0.0, (_lane_x(lane, from_y), from_y)), (seconds, (_lane_x(lane, to_y), to_y))


def _inbound(plate: str, start_s: float, colour: tuple[int, int, int], body: Literal["car", "van"] = "car") -> Vehicle:
    return Vehicle(plate, colour, body, "inbound", start_s, _drive(_IN_X, _START_Y, _EXIT_Y, 5.2))


def _outbound(plate: str, start_s: float, colour: tuple[int, int, int], body: Literal["car", "van"] = "car") -> Vehicle:
    return Vehicle(plate, colour, body, "outbound", start_s, _drive(_OUT_X, _EXIT_Y, _START_Y, 5.2))


def _parks(plate: str, start_s: float, stays_s: float, colour: tuple[int, int, int]) -> Vehicle:
    """Comes down the lay-by, brakes in two steps, stands, and drives on out of the picture."""
    stops: list[tuple[float, float]] = [(0.0, _START_Y), (2.0, 380.0), (3.0, 520.0), (4.2, 590.0)]
    leaves = stops[-1][0] + stays_s
    stops += [(leaves, 590.0), (leaves + 1.0, 650.0), (leaves + 3.2, _EXIT_Y)]
    path = tuple((t, (_lane_x(_LAY_BY_X, y), y)) for t, y in stops)
    return Vehicle(plate, colour, "car", "inbound", start_s, path)


VEHICLES: tuple[Vehicle, ...] = (
    _inbound("KBD4081", 3.5, (150, 60, 36)),
    _outbound("MXT8823", 5.5, (40, 42, 150)),
    _parks("PLC7350", 8.0, 16.0, (190, 190, 185)),
    _inbound("RVA2946", 9.8, (46, 120, 60)),
    _outbound("HJN5162", 12.6, (196, 196, 200), "van"),
    _inbound("TWE6708", 16.1, (205, 205, 205), "van"),
    _outbound("DKF3497", 19.7, (130, 70, 120)),
    _inbound("NPG1825", 22.4, (30, 100, 190)),
    _outbound("CYL9034", 26.8, (160, 120, 40)),
    _inbound("XHM4579", 28.7, (70, 40, 140)),
    _outbound("AUK7216", 33.6, (60, 130, 140), "van"),
    _inbound("FTR8603", 35.0, (170, 150, 60)),
)

PEOPLE: tuple[Person, ...] = (
    Person("anna", (60, 60, 190), 4.5, ((0.0, (1120.0, -6.0)), (8.0, (1140.0, 880.0)))),
    Person("ben", (170, 80, 40), 13.0, ((0.0, (1150.0, 880.0)), (8.0, (1105.0, -6.0)))),
    Person("carla", (40, 150, 60), 22.5, ((0.0, (1320.0, 500.0)), (2.6, (1060.0, 500.0)), (6.4, (1075.0, 880.0)))),
    Person("dora", (150, 40, 150), 33.0, ((0.0, (1090.0, -6.0)), (8.4, (1180.0, 880.0)))),
)


# --- the truth --------------------------------------------------------------------------------------------------------


class PlateTruth(msgspec.Struct, frozen=True):
    """One drawn plate and when any of it can be seen."""

    plate: str
    direction: Direction
    from_s: float
    to_s: float


class CrossingTruth(msgspec.Struct, frozen=True):
    """One passage of a vehicle's ground point over GATE_LINE. `ab` is inbound."""

    plate: str
    at_s: float
    direction: Literal["ab", "ba"]


class StayTruth(msgspec.Struct, frozen=True):
    """One stay of a mover's ground point in a zone. `who` is a person's name or a plate."""

    who: str
    zone: Literal["forecourt", "lay-by"]
    enter_s: float
    exit_s: float


class Truth(msgspec.Struct, frozen=True):
    """What a perfect observer would report of one round of the scene. Times are seconds from its start."""

    duration_s: float
    fps: int
    size: tuple[int, int]
    plates: list[PlateTruth]
    crossings: list[CrossingTruth]
    stays: list[StayTruth]


def truth() -> Truth:
    """Derived from the same paths that are painted, in steps of 10 ms."""
    stays = [s for person in PEOPLE for s in _stays(person, "forecourt", FORECOURT)]
    stays += [s for vehicle in VEHICLES for s in _stays(vehicle, "lay-by", LAY_BY)]
    return Truth(
        duration_s=DURATION_S,
        fps=FPS,
        size=SIZE,
        plates=[PlateTruth(v.plate, v.direction, v.start_s, v.end_s) for v in VEHICLES],
        crossings=sorted((c for v in VEHICLES for c in _crossings(v)), key=lambda c: c.at_s),
        stays=sorted(stays, key=lambda s: s.enter_s),
    )


_STEP_S = 0.01


def _track(mover: Vehicle | Person) -> list[tuple[float, Point]]:
    """(time, normalised ground point) all along the mover's path."""
    steps = int((mover.end_s - mover.start_s) / _STEP_S)
    times = [mover.start_s + i * _STEP_S for i in range(steps + 1)]
    points = [(t, mover.ground(t)) for t in times]
    return [(t, (p[0] / SIZE[0], p[1] / SIZE[1])) for t, p in points if p is not None]


def _stays(
    mover: Vehicle | Person, name: Literal["forecourt", "lay-by"], polygon: tuple[Point, ...]
) -> list[StayTruth]:
    who = mover.plate if isinstance(mover, Vehicle) else mover.name
    inside = [t for t, point in _track(mover) if _within(point, polygon)]
    return [StayTruth(who, name, round(inside[0], 2), round(inside[-1], 2))] if inside else []


def _within(point: Point, rectangle: tuple[Point, ...]) -> bool:
    """Both zones of the scene are upright rectangles."""
    (left, top), (right, bottom) = rectangle[0], rectangle[2]
    return left <= point[0] < right and top <= point[1] < bottom


def _crossings(vehicle: Vehicle) -> list[CrossingTruth]:
    (right, y), (left, _) = GATE_LINE
    found = []
    for (_, before), (t, after) in pairwise(_track(vehicle)):
        if (before[1] < y) != (after[1] < y) and left < after[0] < right:
            found.append(CrossingTruth(vehicle.plate, round(t, 2), "ab" if after[1] >= y else "ba"))
    return found
