"""A zone as it is stored, and the same zone made ready for the engine.

The free-form `config` of a zone holds upstream's keys, which are forgiving (a value that makes no sense gives the
default), and ours, which are strict: a value that cannot be meant is refused when the zone is saved.
"""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Any, Final, Literal

import msgspec

from heldard.plugin import InvalidError, Severity
from heldard_zones.engine.geometry import (
    Box,
    Point,
    area,
    contains,
    distance_squared,
    edges_of,
    overlap_share,
    self_crossing,
)
from heldard_zones.engine.schedule import Schedule, Window

MAX_POINTS = 512
MAX_NAME = 200
MAX_LABELS = 200
MAX_CONFIG_BYTES = 65_536
MAX_DWELL_SECONDS = 366 * 86_400
MIN_POINTS: Final = {"region": 3, "presence": 3, "mask": 3, "line": 2}

Kind = Literal["region", "presence", "line", "mask"]
Anchor = Literal["bottom", "center", "overlap"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Frames = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)]
Polygon = list[tuple[Share, Share]]


class LabelLimits(msgspec.Struct, frozen=True):
    """Limits for one label, where they differ from the zone's. Sizes are the box's share of the picture."""

    min_confidence: Share | None = None
    min_area: Share | None = None
    max_area: Share | None = None


class Crowd(msgspec.Struct, frozen=True):
    """Occupancy alarms: more than `over`, fewer than `under` objects for `seconds`; standing ones count on request."""

    over: Annotated[int, msgspec.Meta(ge=0)] | None = None
    under: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seconds: Seconds = 0.0
    empty_seconds: Seconds | None = None
    count_static: bool = False


class OwnConfig(msgspec.Struct, frozen=True):
    """The keys of `config` that are ours. See docs/how-to/zones.md for what each does."""

    anchor: Anchor = "bottom"
    min_overlap: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    enter_frames: Frames | None = None
    enter_seconds: Seconds | None = None
    exit_frames: Frames | None = None
    exit_seconds: Seconds | None = None
    margin: Annotated[float, msgspec.Meta(ge=0, le=0.2)] = 0.015
    gap_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=120)] = 5.0
    min_area: Share = 0.0
    max_area: Share = 1.0
    per_label: dict[str, LabelLimits] = {}
    task_types: tuple[str, ...] = ()
    dwell_repeat_seconds: Seconds = 0.0
    static_memory_seconds: Seconds | None = None
    line_confirm_frames: Frames = 1
    recross_seconds: Seconds = 1.0
    occupancy: Crowd = Crowd()
    schedule: tuple[Window, ...] = ()
    timezone: str | None = None
    cooldown_seconds: Seconds = 0.0
    masks: tuple[Polygon, ...] = ()
    shadow: bool = False


class ZoneRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `zones`. number: the key inside; id: the key outside."""

    number: int
    id: str
    camera_id: str
    name: str
    kind: Kind = "region"
    polygon: list[tuple[float, float]]
    dwell_seconds: float = 0.0
    labels: list[str] = []
    severity: Severity = "info"
    config: Any = {}
    enabled: bool = True
    created_ms: int = 0
    updated_ms: int = 0


# Living things walk away without driving off: they are not remembered as parked for long.
_ANIMATE: Final = frozenset({"person", "dog", "cat", "bird", "horse", "sheep", "cow", "bear"})
_ANIMATE_MEMORY_MS: Final = 60_000
_PARKED_MEMORY_MS: Final = 86_400_000

Limits = tuple[float, float, float]
GATES: Final = ("task_type", "label", "confidence", "size", "mask", "static", "cooldown", "schedule", "capacity")
"""What can keep an object or an event back, in the order of asking. `inside` and `confirm` are states, not refusals."""


class Zone:
    """A zone ready for the engine: everything that can be worked out beforehand is. Times are milliseconds."""

    __slots__ = (
        "anchor", "bounds", "config", "cooldown_ms", "crowd", "direction", "dwell_ms", "dwell_repeat_ms", "edges",
        "enter_frames", "enter_ms", "exit_frames", "exit_ms", "gap_ms", "id", "is_rectangle", "kind", "known_limits",
        "labels", "line_confirm_frames", "margin", "margin_squared", "masks", "min_confidence", "min_overlap", "name",
        "number", "points", "recross_ms", "refused", "schedule", "severity", "shadow", "static_after_ms",
        "static_epsilon_squared", "static_memory_ms", "static_suppression", "task_types",
    )  # fmt: skip

    def __init__(self, row: ZoneRow, timezone: str = "UTC") -> None:
        config = row.config if isinstance(row.config, dict) else {}
        own = read_config(config)
        self.number, self.id, self.name, self.kind, self.severity = row.number, row.id, row.name, row.kind, row.severity
        self.config, self.shadow = own, own.shadow
        self._shape(row, own)
        self._timing(row, config, own)
        self._standing(config, own)
        self.labels = frozenset(row.labels)
        self.min_confidence = _number(config.get("min_confidence"), 0.5, 0.0, 1.0)
        self.known_limits: dict[str | None, Limits | None] = {}
        self.task_types = frozenset(kind.lower() for kind in own.task_types)
        self.crowd = own.occupancy
        direction = config.get("direction")
        self.direction = direction if direction in ("ab", "ba") else "any"
        self.schedule = Schedule(own.schedule, own.timezone or timezone) if own.schedule else None
        self.refused = dict.fromkeys(GATES, 0)

    def _shape(self, row: ZoneRow, own: OwnConfig) -> None:
        self.points: list[Point] = [(float(x), float(y)) for x, y in row.polygon]
        self.edges = () if row.kind == "line" else edges_of(self.points)
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        self.bounds = (min(xs), min(ys), max(xs), max(ys))
        self.is_rectangle = len(self.edges) == 4 and all(x1 == x2 or y1 == y2 for x1, y1, x2, y2 in self.edges)
        self.anchor, self.min_overlap = own.anchor, own.min_overlap
        self.margin, self.margin_squared = own.margin, own.margin**2
        self.masks = tuple(edges_of(mask) for mask in own.masks)

    def _timing(self, row: ZoneRow, config: dict[str, Any], own: OwnConfig) -> None:
        both = _integer(config.get("confirm_frames"), 0, 1, 10)
        self.enter_frames, self.enter_ms = _confirmation(own.enter_frames, own.enter_seconds, both, (3, 0.6))
        self.exit_frames, self.exit_ms = _confirmation(own.exit_frames, own.exit_seconds, both, (None, 1.0))
        self.gap_ms = round(own.gap_seconds * 1000)
        self.dwell_ms = round(max(0.0, row.dwell_seconds) * 1000)
        self.dwell_repeat_ms = round(own.dwell_repeat_seconds * 1000)
        self.line_confirm_frames, self.recross_ms = own.line_confirm_frames, round(own.recross_seconds * 1000)
        self.cooldown_ms = round(own.cooldown_seconds * 1000)

    def _standing(self, config: dict[str, Any], own: OwnConfig) -> None:
        self.static_suppression = config.get("static_suppression") is not False
        epsilon = _number(config.get("static_epsilon"), 0.02, 0.001, 0.5, positive=True)
        self.static_epsilon_squared = epsilon**2
        self.static_after_ms = (_integer(config.get("static_after_seconds") or None, 120, 5, 86_400)) * 1000
        given = own.static_memory_seconds
        self.static_memory_ms = None if given is None else round(given * 1000)

    def limits(self, label: str | None) -> Limits | None:
        """(confidence floor, smallest, largest area) for a label; None when the zone does not look at it."""
        try:
            return self.known_limits[label]
        except KeyError:
            found = self._limits(label)
            if len(self.known_limits) < 1000:
                self.known_limits[label] = found
            return found

    def _limits(self, label: str | None) -> Limits | None:
        if self.labels and label not in self.labels:
            return None
        own, special = self.config, self.config.per_label.get(label or "", LabelLimits())
        floor = special.min_confidence if special.min_confidence is not None else self.min_confidence
        smallest = special.min_area if special.min_area is not None else own.min_area
        largest = special.max_area if special.max_area is not None else own.max_area
        return floor, smallest, largest

    def memory_ms(self, label: str | None) -> int:
        """How long a standing object that is not seen stays remembered."""
        if self.static_memory_ms is not None:
            return max(self.static_memory_ms, self.gap_ms)
        return max(_ANIMATE_MEMORY_MS if label in _ANIMATE else _PARKED_MEMORY_MS, self.gap_ms)

    def holds(self, box: Box, staying: bool) -> bool:
        """Whether the box's anchor is in the zone; `staying` widens it by the margin, so that jitter does not leave."""
        x, y, w, h = box
        return self.holds_at(_share(x + w / 2), _share(y + h), box, staying)

    def holds_at(self, x: float, y: float, box: Box, staying: bool) -> bool:
        """The same with the box's bottom centre, within the picture, worked out already."""
        if self.anchor == "overlap":
            wanted = self.min_overlap - self.margin if staying else self.min_overlap
            return overlap_share(self.points, box) >= wanted
        if self.anchor == "center":
            y = _share(box[1] + box[3] / 2)
        left, top, right, bottom = self.bounds
        if left <= x <= right and top <= y <= bottom and (self.is_rectangle or contains(self.edges, x, y)):
            return True
        if not staying:
            return False
        margin = self.margin
        if x < left - margin or x > right + margin or y < top - margin or y > bottom + margin:
            return False
        return distance_squared(self.edges, x, y) <= self.margin_squared

    def is_masked(self, x: float, y: float) -> bool:
        return any(contains(mask, x, y) for mask in self.masks)


def _share(value: float) -> float:
    return 0.0 if value < 0.0 else 1.0 if value > 1.0 else value


def read_config(config: dict[str, Any]) -> OwnConfig:
    """Our keys of a zone's config; upstream's are read by `Zone`. Raises InvalidError naming the key."""
    try:
        return msgspec.convert(config, OwnConfig)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        raise InvalidError(f"config{where.rstrip('`')}: {message}", code="bad_zone_config") from None


_UPSTREAMS: Final = (
    "confirm_frames", "min_confidence", "static_suppression", "static_epsilon", "static_after_seconds", "direction",
)  # fmt: skip


def hints(config: Any) -> list[str]:
    """What in a zone's config has no effect, with the key that was perhaps meant."""
    if not isinstance(config, dict):
        return []
    known = [*_UPSTREAMS, *OwnConfig.__struct_fields__]
    found = []
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            found.append(f"config.{key} does nothing" + (f"; did you mean {near[0]}?" if near else ""))
    return found


def check_row(row: ZoneRow, timezone: str) -> None:
    """Refuse a zone that cannot work. Raises InvalidError that names the field."""
    if not row.name.strip() or len(row.name) > MAX_NAME:
        raise InvalidError(f"name: must have 1 to {MAX_NAME} characters and not be blank")
    if len(row.labels) > MAX_LABELS:
        raise InvalidError(f"labels: at most {MAX_LABELS}, not {len(row.labels)}")
    if len(msgspec.json.encode(row.config)) > MAX_CONFIG_BYTES:
        raise InvalidError(f"config: is over {MAX_CONFIG_BYTES} bytes")
    if not row.dwell_seconds <= MAX_DWELL_SECONDS:
        raise InvalidError(f"dwell_seconds: at most {MAX_DWELL_SECONDS}, a year")
    if any(not label.strip() for label in row.labels):
        raise InvalidError("labels: each must be a word such as person, not blank")
    check_shape("polygon", row.kind, row.polygon)
    own = read_config(row.config if isinstance(row.config, dict) else {})
    for number, mask in enumerate(own.masks):
        check_shape(f"config.masks[{number}]", "mask", mask)
    if own.timezone is not None or own.schedule:
        Schedule(own.schedule, own.timezone or timezone)
    if own.min_area > own.max_area:
        raise InvalidError("config.min_area: is larger than max_area, so nothing would fit", code="bad_zone_config")
    if own.anchor == "overlap" and own.min_overlap <= own.margin:
        raise InvalidError("config.margin: must be smaller than min_overlap, or no object would ever leave")


def check_shape(field: str, kind: Kind, points: list[tuple[float, float]]) -> None:
    """Refuse points that make no polygon or line. Raises InvalidError; a self-crossing names edges and place."""
    least = MIN_POINTS[kind]
    if not least <= len(points) <= MAX_POINTS:
        raise InvalidError(f"{field}: a {kind} has {least} to {MAX_POINTS} points, not {len(points)}")
    for number, (x, y) in enumerate(points):
        if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= 1 and 0 <= y <= 1):
            raise InvalidError(f"{field}[{number}]: ({x}, {y}) is outside the picture; coordinates are shares, 0..1")
    if kind == "line":
        if all(point == points[0] for point in points):
            raise InvalidError(f"{field}: the line has no length")
    else:
        _check_polygon(field, points)


def _check_polygon(field: str, points: list[tuple[float, float]]) -> None:
    crossing = self_crossing(points)
    if crossing is not None:
        one, two, (x, y) = crossing
        raise InvalidError(
            f"{field}: edge {one} meets edge {two} at ({x:.4f}, {y:.4f}); draw it without crossing itself",
            code="polygon_crosses_itself",
            details={"edges": [one, two], "at": [x, y]},
        )
    if len(edges_of(points)) < 3 or area(points) == 0:
        raise InvalidError(f"{field}: the polygon has no area")


def _confirmation(
    frames: int | None, seconds: float | None, both: int, default: tuple[int | None, float]
) -> tuple[int, int]:
    """(frames, milliseconds), whichever is reached first; a way that is not used is out of reach.

    What the zone names itself wins over `confirm_frames`, which wins over the default.
    """
    if frames is None and seconds is None:
        frames, seconds = (both, None) if both else default
    return frames or NEVER_CONFIRMED, NEVER_CONFIRMED if seconds is None else round(seconds * 1000)


NEVER_CONFIRMED: Final = 1 << 62
"""Out of reach: more frames or milliseconds than there will be."""


def _number(value: Any, default: float, least: float, most: float, *, positive: bool = False) -> float:
    """Upstream's forgiving reading: what is no number (or not positive) is the default, the rest is clamped."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return default
    return default if positive and value <= 0 else float(min(max(value, least), most))


def _integer(value: Any, default: int, least: int, most: int) -> int:
    """The same for whole numbers."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return default
    return min(max(value, least), most)
