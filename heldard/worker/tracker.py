"""Gives boxes of successive frames an identity: a small multi-object tracker without appearance.

A step is a pure function of (state, boxes, time). Each track predicts its next box by constant velocity; boxes are
given to tracks greedily, best match first, by overlap (IoU) and, where nothing overlaps because something small moves
fast, by the distance of centres in units of its size. A track is confirmed after some matches and coasts without
being seen for a while before it ends. This is the scheme of SORT (Bewley et al., "Simple Online and Realtime
Tracking", 2016) with a constant velocity and greedy choice in place of the Kalman filter and the Hungarian method:
with a handful of movers and a still camera the difference is small, and every step can be followed by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
"""(x, y, width, height), any one unit."""

SHORTEST_MS = 40
"""Frames closer together than this came in a burst after a hold-up: their times are when they came, not when they were
taken, and a speed worked out from them would throw the prediction out of the picture."""


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """confirm_hits: matches before a track counts. coast_ms: how long one lives unseen. min_iou: least overlap with
    the predicted box. max_jump: greatest distance from the predicted centre, as a share of the box's diagonal.
    max_tracks: new boxes beyond it are ignored."""

    confirm_hits: int = 3
    coast_ms: int = 1500
    min_iou: float = 0.15
    max_jump: float = 0.6
    max_tracks: int = 100


@dataclass(frozen=True, slots=True)
class Track:
    """One thing followed. velocity: of the centre and the size, units per millisecond. recent: one bit per frame of
    its life, the newest lowest, set where it was seen (the last 16)."""

    id: int
    box: Box
    first_ms: int
    seen_ms: int
    hits: int = 1
    velocity: Box = (0.0, 0.0, 0.0, 0.0)
    recent: int = 1
    frames: int = 1
    origin: Box = (0.0, 0.0, 0.0, 0.0)

    def predicted(self, at_ms: int) -> Box:
        dt = at_ms - self.seen_ms
        x, y, w, h = (value + speed * dt for value, speed in zip(self.box, self.velocity, strict=True))
        return x, y, max(w, 1e-6), max(h, 1e-6)

    @property
    def seen_share(self) -> float:
        """Of its last frames (at most 16), how many it was seen in; Laplace's estimate, so a new track is modest."""
        considered = min(self.frames, 16)
        return (self.recent.bit_count() + 1) / (considered + 2)


@dataclass(frozen=True, slots=True)
class TrackerState:
    next_id: int = 1
    tracks: tuple[Track, ...] = ()


EMPTY = TrackerState()


def step(state: TrackerState, boxes: Sequence[Box], at_ms: int, settings: TrackerSettings) -> TrackerState:
    """The state after a frame taken at `at_ms` in which `boxes` were seen. Times must not run backwards."""
    alive = [t for t in state.tracks if at_ms - t.seen_ms <= settings.coast_ms]
    pairs = _assign(alive, boxes, at_ms, settings)
    tracks = [_seen(track, boxes[pairs[i]], at_ms) if i in pairs else _unseen(track) for i, track in enumerate(alive)]
    next_id = state.next_id
    taken = set(pairs.values())
    for index, box in enumerate(boxes):
        if index not in taken and len(tracks) < settings.max_tracks:
            tracks.append(Track(next_id, box, at_ms, at_ms, origin=box))
            next_id += 1
    return TrackerState(next_id, tuple(tracks))


def seen_now(state: TrackerState, at_ms: int, settings: TrackerSettings) -> tuple[Track, ...]:
    """The confirmed tracks that were seen in the frame of `at_ms`."""
    return tuple(t for t in state.tracks if t.seen_ms == at_ms and t.hits >= settings.confirm_hits)


def _assign(tracks: Sequence[Track], boxes: Sequence[Box], at_ms: int, settings: TrackerSettings) -> dict[int, int]:
    """Track index to box index, each used once, the best pairs first. Older tracks win ties."""
    scored = [
        (score, -i, -j)
        for i, track in enumerate(tracks)
        for j, box in enumerate(boxes)
        if (score := _likeness(track, box, at_ms, settings)) > 0
    ]
    pairs: dict[int, int] = {}
    used: set[int] = set()
    for _, minus_i, minus_j in sorted(scored, reverse=True):
        if -minus_i not in pairs and -minus_j not in used:
            pairs[-minus_i] = -minus_j
            used.add(-minus_j)
    return pairs


def _likeness(track: Track, box: Box, at_ms: int, settings: TrackerSettings) -> float:
    """To where it should be by now, or, a little less, to where it was: it may have stopped."""
    expected = _affinity(track.predicted(at_ms), box, settings)
    return max(expected, 0.9 * _affinity(track.box, box, settings))


def _affinity(predicted: Box, box: Box, settings: TrackerSettings) -> float:
    """0 = not the same thing. Any overlap counts more than any nearness."""
    overlap = iou(predicted, box)
    if overlap >= settings.min_iou:
        return 1 + overlap
    jump = _distance(predicted, box) / max(_diagonal(predicted), _diagonal(box), 1e-9)
    return 1 - jump / settings.max_jump if jump < settings.max_jump else 0.0


def _seen(track: Track, box: Box, at_ms: int) -> Track:
    dt = at_ms - track.seen_ms
    measured = [(new - old) / max(dt, SHORTEST_MS) for new, old in zip(box, track.box, strict=True)]
    # The first measure is taken as it is, later ones are smoothed; a burst says nothing about speed.
    weight = 1.0 if track.hits == 1 else 0.5 if dt >= SHORTEST_MS else 0.0
    vx, vy, vw, vh = (old + (new - old) * weight for new, old in zip(measured, track.velocity, strict=True))
    return replace(
        track, box=box, seen_ms=at_ms, hits=track.hits + 1, velocity=(vx, vy, vw, vh),
        recent=(track.recent << 1 | 1) & 0xFFFF, frames=track.frames + 1,
    )  # fmt: skip


def _unseen(track: Track) -> Track:
    return replace(track, recent=(track.recent << 1) & 0xFFFF, frames=track.frames + 1)


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _distance(a: Box, b: Box) -> float:
    (ax, ay), (bx, by) = centre(a), centre(b)
    return float(((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5)


def _diagonal(box: Box) -> float:
    return float((box[2] ** 2 + box[3] ** 2) ** 0.5)
