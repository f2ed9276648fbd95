"""The zones of a camera as the engine asks for them: by task, by place, by number; and who they look at at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from heldard.plugin import Detection
from heldard_zones.engine.geometry import Box, contains, distance_squared, edges_of
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.state import NEVER

MOST_TASK_TYPES: Final = 64
"""Types of task whose zones are kept sorted out; workers name them as they like."""


class Regions:
    """Regions by where they are, so that a point is only held against those whose bounds are near it."""

    SIDE: Final = 16
    COLUMNS: Final = SIDE + 1  # a point on the right or lower edge of the picture has a cell of its own

    def __init__(self, zones: tuple[Zone, ...]) -> None:
        self.zones = zones
        places = range(self.COLUMNS)
        self.cells = [self._near(column / self.SIDE, row / self.SIDE) for row in places for column in places]
        """By row and column, each `1 / SIDE` wide: the regions near, oldest first, and their numbers."""

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


def refusal(zone: Zone, detection: Detection, box: Box) -> str | None:
    """The first gate that keeps a detection from the zone's eyes: label, confidence, size, mask; None when it sees it.

    A detection without a confidence is not below any floor: its worker does not grade.
    """
    label = detection.label
    known = zone.known_limits
    limits = known[label] if label in known else zone.limits(label)
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
