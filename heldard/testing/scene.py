"""A small language for what a camera sees: tracks that enter, walk, stand, hide and leave.

    scene = Scene("gate", fps=5)
    scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.8, 0.9), seconds=4).stand(10).leave()
    scene.vehicle("2").enter(3, at=(0.5, 0.95)).hide(2).stand(5)

Times are seconds since the scene begins; points are ground points, as shares of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from heldard.testing.builders import Point, detection

SIZES: dict[str, Point] = {"person": (0.06, 0.2), "car": (0.2, 0.15)}


@dataclass(frozen=True, slots=True)
class Shot:
    """One analysed frame: when, and the detections as posted. Frames without anything in them are shots too."""

    second: float
    detections: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Leg:
    start_s: float
    end_s: float
    start: Point
    end: Point
    seen: bool

    def where(self, second: float) -> Point:
        share = (second - self.start_s) / (self.end_s - self.start_s) if self.end_s > self.start_s else 1.0
        return (
            self.start[0] + (self.end[0] - self.start[0]) * share,
            self.start[1] + (self.end[1] - self.start[1]) * share,
        )


class Track:
    """One thing a tracker follows. Each call says what it does next and returns the track."""

    def __init__(self, track: str | None, label: str, fields: dict[str, Any]) -> None:
        self.track = track
        self.label = label
        self._fields = {"size": SIZES.get(label, (0.1, 0.1)), **fields}
        self._legs: list[_Leg] = []
        self._changes: list[tuple[float, dict[str, Any]]] = []
        self._now = 0.0
        self._at: Point | None = None

    def enter(self, second: float, at: Point) -> Track:
        """Appear there at that second of the scene."""
        if second < self._now:
            raise ValueError(f"track {self.track} is at second {self._now} already, it cannot enter at {second}")
        self._now, self._at = second, at
        return self

    def walk_to(self, point: Point, *, seconds: float) -> Track:
        """Move there in a straight line."""
        return self._leg(point, seconds, seen=True)

    def stand(self, seconds: float) -> Track:
        """Stay where it is."""
        return self._leg(self._here, seconds, seen=True)

    def hide(self, seconds: float, *, to: Point | None = None) -> Track:
        """Be there, or move, but not be seen."""
        return self._leg(to or self._here, seconds, seen=False)

    def becomes(self, **fields: Any) -> Track:
        """From now on other fields of `detection`, such as `confidence`, `label`, or attributes like `plate`."""
        self._changes.append((self._now, fields))
        return self

    def leave(self) -> Track:
        """Be gone; it may enter again."""
        self._at = None
        return self

    @property
    def end_s(self) -> float:
        return self._now

    def seen_at(self, second: float) -> dict[str, Any] | None:
        """Its detection at that second, None while it is not seen."""
        for leg in reversed(self._legs):  # where two meet, the later one counts
            if leg.start_s <= second <= leg.end_s:
                return self._detection(second, leg.where(second)) if leg.seen else None
        return None

    @property
    def _here(self) -> Point:
        if self._at is None:
            raise ValueError(f"track {self.track} has not entered")
        return self._at

    def _leg(self, end: Point, seconds: float, *, seen: bool) -> Track:
        self._legs.append(_Leg(self._now, self._now + seconds, self._here, end, seen))
        self._now += seconds
        self._at = end
        return self

    def _detection(self, second: float, at: Point) -> dict[str, Any]:
        fields = {"label": self.label, **self._fields}
        for since, changed in self._changes:
            if since <= second:
                fields.update(changed)
        return detection(at=at, track=self.track, **fields)


class Scene:
    """What one camera's task sees. `fps`: analysed frames a second."""

    def __init__(
        self, camera_id: str = "gate", *, task_type: str = "detection", fps: float = 5.0, epoch: str = "run1"
    ) -> None:
        self.camera_id = camera_id
        self.task_type = task_type
        self.fps = fps
        self.epoch = epoch
        self.tracks: list[Track] = []

    def track(self, track: str | None, label: str, **fields: Any) -> Track:
        """Something with any label; `fields` as for `detection`. A track of None is seen but not followed."""
        made = Track(track, label, fields)
        self.tracks.append(made)
        return made

    def person(self, track: str | None, **fields: Any) -> Track:
        return self.track(track, "person", **fields)

    def vehicle(self, track: str | None, **fields: Any) -> Track:
        return self.track(track, "car", **fields)

    @property
    def seconds(self) -> float:
        """How long it lasts: until the last track has ended."""
        return max((track.end_s for track in self.tracks), default=0.0)

    def shots(self, seconds: float | None = None) -> Iterator[Shot]:
        """Every analysed frame, in order, for `seconds` or as long as the scene lasts."""
        length = self.seconds if seconds is None else seconds
        for number in range(int(length * self.fps + 1e-6) + 1):
            second = number / self.fps
            found = [seen for track in self.tracks if (seen := track.seen_at(second)) is not None]
            yield Shot(second, tuple(found))
