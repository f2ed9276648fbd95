"""What passes before the cameras, as a pure function of time: who walks where, which car stands at the gate.

Each minute has its own dice, so that a minute is the same whoever asks for it, and whenever.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from heldard.testing.builders import detection

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

WALK_MS = 40_000
STAND_MS = 16_000
ZONE = [[0.3, 0.3], [0.7, 0.3], [0.7, 1.0], [0.3, 1.0]]
NARROWER = [[0.35, 0.3], [0.65, 0.3], [0.65, 1.0], [0.35, 1.0]]
WELL_INSIDE = (0.37, 0.63)
"""From where to where, across the picture, a walker is in either zone without doubt."""

PEOPLE_AN_HOUR = {"night": 12, "day": 60, "rush": 300}
CARS_AN_HOUR = {"night": 4, "day": 30, "rush": 60}


@dataclass(frozen=True, slots=True)
class Passer:
    track: str
    begins_ms: int
    lane: float
    plate: str | None


def period_at(hour: float) -> str:
    """What traffic is like at that hour of the day."""
    if 7 <= hour < 9 or 16.5 <= hour < 18.5:
        return "rush"
    return "day" if 9 <= hour < 20 else "night"


def seen_at(camera: str, now_ms: int, *, cars: bool) -> list[dict[str, Any]]:
    """The detections in a picture taken at that moment."""
    minute = now_ms // MINUTE_MS
    return [
        _look(passer, now_ms)
        for passer in (*passers(camera, minute - 1, cars), *passers(camera, minute, cars))
        if passer.begins_ms <= now_ms < passer.begins_ms + (STAND_MS if cars else WALK_MS)
    ]


@lru_cache(maxsize=64)
def passers(camera: str, minute: int, cars: bool) -> tuple[Passer, ...]:
    """Who comes in that minute of Unix time."""
    dice = random.Random(f"{camera} {minute}")
    period = period_at(minute % 1440 / 60)
    if cars:
        return _car(dice, minute) if dice.random() < CARS_AN_HOUR[period] / 60 else ()
    mean = PEOPLE_AN_HOUR[period] / 60
    count = int(mean) + (dice.random() < mean % 1)
    return tuple(
        Passer(
            f"p{minute % 1_000_000}-{n}", minute * MINUTE_MS + dice.randrange(MINUTE_MS), 0.35 + 0.6 * n / (count + 1),
            None,
        )
        for n in range(count)
    )  # fmt: skip


def plate(number: int) -> str:
    dice = random.Random(number)
    letters = "".join(dice.choice("ABCDEFHJKLMNPRSTUVWXYZ") for _ in range(3))
    return f"{letters}{dice.randrange(1000, 10_000)}"


def _car(dice: random.Random, minute: int) -> tuple[Passer, ...]:
    begins_ms = minute * MINUTE_MS + dice.randrange(MINUTE_MS - 2 * STAND_MS)  # one at a time
    return (Passer(f"c{minute % 1_000_000}", begins_ms, 0.8, plate(minute % 100_000)),)


def _look(passer: Passer, now_ms: int) -> dict[str, Any]:
    if passer.plate is not None:
        return detection(
            "car", at=(0.5, passer.lane), size=(0.2, 0.15), track=passer.track,
            plate=passer.plate, plate_confidence=0.96,
        )  # fmt: skip
    way = 0.02 + 0.96 * (now_ms - passer.begins_ms) / WALK_MS
    return detection("person", at=(round(way, 4), round(passer.lane, 4)), track=passer.track)
