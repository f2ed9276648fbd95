"""Who gets how much of the budget: a pure function of wishes and budget.

Price. One unit is one frame per second of 1280x720. A frame of w x h pixels costs max(1/16, w*h / (1280*720)): below
320x180 the work per frame no longer shrinks with it. Where the source's size is not known yet, 16:9 is assumed.

Ladder. Each stream has levels, each at least as dear as the one before: nothing; the floor (0.5 fps at 320 px); then
the width doubled until it is what was asked; then the rate raised by 0.25 fps until it is what was asked. Nothing on
the ladder is above the wish, and no width is above the source's.

Order. All steps of all streams are put into one fixed order, and the longest prefix that the budget pays is taken:
first everyone's floor, by priority; then, priority by priority, everyone of that priority one level up in turn (by
camera id and profile), until all have what they asked for. So a higher priority is satisfied before a lower one gets
more than its floor, equals are never more than one level apart, and since a larger budget only pays a longer prefix,
nobody ever loses by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from heldard.sampler.model import SampledTask, Size, StreamKey

FLOOR_FPS = 0.5
FLOOR_WIDTH = 320
STEP_FPS = 0.25
UNIT_PIXELS = 1280 * 720
MIN_PRICE = 1 / 16

_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Wish:
    """What the tasks of one stream ask for together. source: the pictures as the camera sends them, once known."""

    key: StreamKey
    priority: int
    fps: float
    width: int
    source: Size | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a stream gets. fps and width are 0 when it gets nothing. level: its place on its ladder, of `levels`."""

    key: StreamKey
    fps: float
    width: int
    cost: float
    level: int
    levels: int
    reason: str


@dataclass(frozen=True, slots=True)
class Level:
    fps: float
    width: int
    cost: float


def merge(tasks: Iterable[SampledTask], sources: dict[StreamKey, Size]) -> list[Wish]:
    """One wish per (camera, profile): the highest rate, width and priority that any of its tasks asks for."""
    merged: dict[StreamKey, Wish] = {}
    for task in tasks:
        key = StreamKey(task.camera_id, task.profile)
        wish = Wish(key, task.priority, task.fps, task.width, sources.get(key))
        before = merged.get(key, wish)
        merged[key] = Wish(
            key,
            max(before.priority, wish.priority),
            max(before.fps, wish.fps),
            max(before.width, wish.width),
            wish.source,
        )
    return sorted(merged.values(), key=_rank)


def plan(wishes: Iterable[Wish], budget: float) -> dict[StreamKey, Grant]:
    """Share `budget` (units, see above) among `wishes` (one per key). The order of `wishes` does not matter."""
    ranked = sorted(wishes, key=_rank)
    ladders = {wish.key: ladder(wish) for wish in ranked}
    reached = dict.fromkeys(ladders, 0)
    left = budget
    for key in _steps(ranked, ladders):
        levels, at = ladders[key], reached[key]
        extra = levels[at + 1].cost - levels[at].cost
        if extra > left + _TINY:
            break
        left -= extra
        reached[key] = at + 1
    return {wish.key: _grant(wish, ladders[wish.key], reached[wish.key], budget) for wish in ranked}


def price(width: int, source: Size | None) -> float:
    """Units one frame per second of that width costs."""
    height = width * 9 / 16 if source is None else width * source.height / source.width
    return max(MIN_PRICE, width * height / UNIT_PIXELS)


def ladder(wish: Wish) -> list[Level]:
    """The levels of a wish, from nothing to all of it."""
    full = wish.width if wish.source is None else min(wish.width, wish.source.width)
    fps = min(FLOOR_FPS, wish.fps)
    widths = [min(FLOOR_WIDTH, full)]
    while widths[-1] < full:
        widths.append(min(widths[-1] * 2, full))
    rates: list[float] = []
    while fps + len(rates) * STEP_FPS < wish.fps - _TINY:
        rates.append(min(fps + (len(rates) + 1) * STEP_FPS, wish.fps))
    wanted = [(fps, width) for width in widths] + [(rate, full) for rate in rates]
    return [Level(0.0, 0, 0.0)] + [Level(rate, width, rate * price(width, wish.source)) for rate, width in wanted]


def _rank(wish: Wish) -> tuple[int, StreamKey]:
    return -wish.priority, wish.key


def _steps(ranked: list[Wish], ladders: dict[StreamKey, list[Level]]) -> Iterator[StreamKey]:
    """Whose turn it is to rise by one level, in the order in which the budget is spent."""
    for wish in ranked:
        yield wish.key
    for _, group in groupby(ranked, key=lambda wish: wish.priority):
        equals = [wish.key for wish in group]
        for level in range(2, max(len(ladders[key]) for key in equals)):
            yield from (key for key in equals if level < len(ladders[key]))


def _grant(wish: Wish, levels: list[Level], reached: int, budget: float) -> Grant:
    level = levels[reached]
    return Grant(
        wish.key, level.fps, level.width, level.cost, reached, len(levels) - 1, _reason(wish, levels, reached, budget)
    )


def _reason(wish: Wish, levels: list[Level], reached: int, budget: float) -> str:
    asked = f"asked for {wish.fps:g} fps at {wish.width} px"
    level = levels[reached]
    if reached == 0:
        return f"{asked}; the budget of {budget:g} is spent on streams that go first: raise sampler.max_total_fps"
    if reached < len(levels) - 1:
        return f"{asked}; the budget of {budget:g} leaves {level.fps:g} fps at {level.width} px"
    if level.width < wish.width:
        return f"{asked}; the camera sends {level.width} px"
    return f"as {asked}"
