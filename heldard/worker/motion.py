"""The reference detector for `detection`: whatever moves before a still camera, followed from frame to frame.

Background subtraction (OpenCV's MOG2: Zivkovic, "Improved adaptive Gaussian mixture model for background
subtraction", 2004) finds what differs from the empty scene, `heldard.worker.tracker` follows it.

What it can and cannot: it sees that something of some size and shape is there, not what it is. Upright and slim is
called `person`, everything else `car` (settings `person_label`, `vehicle_label`); a dog is a car to it. It needs a
camera that stands still. Things that stop stay known for `hold_s` seconds and then become part of the background.
What stood there when it began to look is part of the background, too; when that leaves, the bare spot is reported for
some two or three seconds until it is seen to be empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from heldard.worker import tracker
from heldard.worker.detector import Box, Detection, Picture

Pixels = npt.NDArray[np.uint8]

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Kind = Literal["person", "vehicle"]


class MotionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a task's `config` that this detector reads; others are ignored.

    analysis_width: the picture is shrunk to this many pixels for subtraction. variance: how far, in squared standard
    deviations, a pixel must be from its background. min_area: least share of the picture a thing covers.
    warm_up_s: learning only, nothing is reported. hold_s: how long something that stands still is still reported.
    person_shape: a thing at least this many times as high as wide is a person. memory_s: how fast the background
    follows the light.
    """

    analysis_width: Annotated[int, msgspec.Meta(ge=64, le=1920)] = 480
    variance: Annotated[float, msgspec.Meta(gt=0.0, le=1000.0)] = 30.0
    min_area: Share = 0.003
    warm_up_s: Annotated[float, msgspec.Meta(ge=0.0, le=600.0)] = 1.0
    hold_s: Annotated[float, msgspec.Meta(ge=1.0, le=86400.0)] = 300.0
    memory_s: Annotated[float, msgspec.Meta(ge=1.0, le=3600.0)] = 20.0
    person_shape: Annotated[float, msgspec.Meta(gt=0.0, le=20.0)] = 1.35
    person_label: str = "person"
    vehicle_label: str = "car"
    confirm_hits: Annotated[int, msgspec.Meta(ge=1, le=50)] = 3
    coast_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 1500


@dataclass
class Subject:
    """What is known of a tracked thing beyond its place. moved_ms: when it last moved by more than a trifle."""

    anchor: Box
    moved_ms: int
    person_votes: int = 0
    vehicle_votes: int = 0
    given_up: bool = False

    @property
    def kind(self) -> Kind:
        return "person" if self.person_votes > self.vehicle_votes else "vehicle"


@dataclass(frozen=True)
class Sighting:
    """A confirmed track in the frame just looked at. box: shares of the picture."""

    track: tracker.Track
    kind: Kind
    box: Box


class MotionDetector:
    """Follows what moves. One per task."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.settings = msgspec.convert(dict(config), MotionSettings)
        self._scene = MotionScene(self.settings)

    def detect(self, picture: Picture) -> Sequence[Detection]:
        labels = {"person": self.settings.person_label, "vehicle": self.settings.vehicle_label}
        return [
            Detection(labels[s.kind], round(s.track.seen_share, 4), rounded(s.box), str(s.track.id))
            for s in self._scene.look(picture.bgr, picture.captured_ms)
        ]


def rounded(box: Box) -> Box:
    """Five decimals, clamped to the picture."""
    x, y = min(max(box[0], 0.0), 1.0), min(max(box[1], 0.0), 1.0)
    width, height = min(box[2], 1 - x), min(box[3], 1 - y)
    return round(x, 5), round(y, 5), round(width, 5), round(height, 5)


class MotionScene:
    """Background, tracks and what is known of each thing; the part that both reference detectors share."""

    def __init__(self, settings: MotionSettings) -> None:
        self.settings = settings
        self._tracking = tracker.TrackerSettings(confirm_hits=settings.confirm_hits, coast_ms=settings.coast_ms)
        self._state = tracker.EMPTY
        self._subjects: dict[int, Subject] = {}
        self._background: Background | None = None
        self._last_ms = 0

    def look(self, bgr: Pixels, at_ms: int) -> list[Sighting]:
        """The confirmed things in this frame. Frames must come in order; one from the past is looked at as now."""
        at_ms = max(at_ms, self._last_ms)
        since_s, self._last_ms = (at_ms - self._last_ms) / 1000 if self._last_ms else 0.0, at_ms
        small = shrunk(bgr, self.settings.analysis_width)
        if self._background is None or self._background.shape != small.shape:
            self._background = Background(small, self.settings, at_ms)
            self._state, self._subjects = tracker.TrackerState(self._state.next_id), {}
            return []
        mask = self._background.differing(small, at_ms)
        boxes = [] if mask is None else blobs(mask, self.settings.min_area)
        self._state = tracker.step(self._state, boxes, at_ms, self._tracking)
        self._remember(small, at_ms)
        self._background.learn(small, self._protected(), since_s)
        return self._sightings(at_ms, small.shape[1], small.shape[0])

    def _sightings(self, at_ms: int, width: int, height: int) -> list[Sighting]:
        return [
            Sighting(
                track, self._subjects[track.id].kind,
                (track.box[0] / width, track.box[1] / height, track.box[2] / width, track.box[3] / height),
            )
            for track in tracker.seen_now(self._state, at_ms, self._tracking)
            if self._worth_telling(track)
        ]  # fmt: skip

    def _worth_telling(self, track: tracker.Track) -> bool:
        """Not yet part of the background, and told apart, or seen for long enough without being told apart."""
        subject = self._subjects[track.id]
        decided = subject.person_votes != subject.vehicle_votes or track.hits >= 2 * self.settings.confirm_hits
        return decided and not subject.given_up

    def _remember(self, small: Pixels, at_ms: int) -> None:
        """Votes on what each thing is, and whether it still deserves to be kept out of the background."""
        alive = {track.id: track for track in self._state.tracks}
        self._subjects = {i: s for i, s in self._subjects.items() if i in alive}
        for track in alive.values():
            subject = self._subjects.setdefault(track.id, Subject(track.box, at_ms))
            if track.seen_ms != at_ms:
                continue
            self._vote(subject, track.box, small)
            if _moved(subject.anchor, track.box):
                subject.anchor, subject.moved_ms, subject.given_up = track.box, at_ms, False
            stood_s = (at_ms - subject.moved_ms) / 1000
            if stood_s > self.settings.hold_s or (stood_s > 1 and self._is_ghost(track, small)):
                self._give_up(subject, track, small)

    def _give_up(self, subject: Subject, track: tracker.Track, small: Pixels) -> None:
        """What is there now belongs to the empty scene from here on."""
        subject.given_up = True
        if self._background is not None:
            self._background.replace(track.box, small)

    def _vote(self, subject: Subject, box: Box, small: Pixels) -> None:
        """A thing cut by the picture's edge shows a part of its shape: cut short and still slim is slim, cut narrow
        and still wide is wide, and nothing else can be told."""
        height, width = small.shape[:2]
        slim = box[3] >= self.settings.person_shape * box[2]
        cut_short = box[1] <= 1 or box[1] + box[3] >= height - 1
        cut_narrow = box[0] <= 1 or box[0] + box[2] >= width - 1
        if slim and not cut_narrow:
            subject.person_votes += 1
        elif not slim and not cut_short:
            subject.vehicle_votes += 1

    def _is_ghost(self, track: tracker.Track, small: Pixels) -> bool:
        """Whether the box is where something used to be when the background was learned, and left.

        Then the edges at its outline are in the background and not in the picture.
        """
        if self._background is None or track.hits < self._tracking.confirm_hits:
            return False
        # What came here from elsewhere is most likely still here: it takes more to call it a ghost. Something that
        # leaves drags its outline along for a moment, so a ghost, too, has moved a little.
        needed = 2.0 if _moved(track.origin, track.box, by=0.7) else 1.5
        return _edges(self._background.picture(), track.box) > needed * _edges(small, track.box)

    def _protected(self) -> list[Box]:
        """Where the background must not learn, because something stands or moves there."""
        return [
            track.box
            for track in self._state.tracks
            if track.hits >= self._tracking.confirm_hits and not self._subjects[track.id].given_up
        ]


def _moved(anchor: Box, box: Box, by: float = 0.1) -> bool:
    """By more than this share of its size."""
    (x0, y0), (x1, y1) = tracker.centre(anchor), tracker.centre(box)
    return abs(x0 - x1) > by * box[2] or abs(y0 - y1) > by * box[3]


def _edges(pixels: Pixels, box: Box) -> float:
    """How much contrast there is within the box."""
    x, y, w, h = (round(value) for value in box)
    grey = cv2.cvtColor(pixels[y : y + h, x : x + w], cv2.COLOR_BGR2GRAY)
    return float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()) if grey.size else 0.0


def shrunk(bgr: Pixels, width: int) -> Pixels:
    """The picture at `width` pixels across, never enlarged."""
    height_now, width_now = bgr.shape[:2]
    if width_now <= width:
        return bgr
    size = (width, max(1, round(height_now * width / width_now)))
    return cv2.resize(bgr, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


@dataclass
class Background:
    """The empty scene, learned and kept up to date everywhere but where something is."""

    first: Pixels
    settings: MotionSettings
    since_ms: int
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.shape = self.first.shape
        self._model = cv2.createBackgroundSubtractorMOG2(varThreshold=self.settings.variance, detectShadows=True)
        self._model.apply(self.first, learningRate=1.0)
        self._warm = False
        self._picture: Pixels | None = None

    def differing(self, pixels: Pixels, at_ms: int) -> Pixels | None:
        """A mask of what is not background, shadows left out; None while there is none to compare with."""
        if not self._warm:
            self._warm = at_ms - self.since_ms >= self.settings.warm_up_s * 1000
            return None
        mask = self._model.apply(pixels, learningRate=0.0)
        _, solid = cv2.threshold(mask, 200, 255, cv2.THRESH_BINARY)
        # Specks go, then gaps within one thing (a windscreen the colour of the road) close.
        solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, _KERNEL_SMALL)
        return cv2.morphologyEx(solid, cv2.MORPH_CLOSE, _KERNEL_GAP).astype(np.uint8, copy=False)

    def learn(self, pixels: Pixels, protected: Sequence[Box], since_s: float) -> None:
        """Follow the light. Within `protected` the model is shown what it already knows."""
        rate = 0.3 if not self._warm else min(0.3, since_s / self.settings.memory_s)
        known = pixels
        if protected:
            known, background = pixels.copy(), self.picture()
            for box in protected:
                area = _grown(box)
                known[area] = background[area]
        self._model.apply(known, learningRate=rate)
        self._picture = None

    def replace(self, box: Box, pixels: Pixels) -> None:
        """Within the box, the empty scene looks like `pixels` from now on; elsewhere it stays as it is."""
        known = self.picture().copy()
        area = _grown(box)
        known[area] = pixels[area]
        # A rate of 1 forgets all that was learned, so the whole scene is given anew.
        self._model.apply(known, learningRate=1.0)
        self._picture = None

    def picture(self) -> Pixels:
        """What the empty scene looks like."""
        if self._picture is None:
            self._picture = self._model.getBackgroundImage().astype(np.uint8, copy=False)
        return self._picture


_KERNEL_SMALL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
_KERNEL_GAP = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))


def _grown(box: Box) -> tuple[slice, slice]:
    """The box with a rim of two pixels, which smoothing and shadows leave."""
    x, y, w, h = (round(value) for value in box)
    return np.s_[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2]


def blobs(mask: Pixels, min_area: float) -> list[Box]:
    """Bounding boxes of what is connected in a mask, in pixels, the largest first; at most 50."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    least = min_area * mask.shape[0] * mask.shape[1]
    boxes = [cv2.boundingRect(contour) for contour in contours if cv2.contourArea(contour) >= least]
    found = sorted(((float(x), float(y), float(w), float(h)) for x, y, w, h in boxes), key=lambda b: -b[2] * b[3])
    return [box for i, box in enumerate(found) if not any(_inside(box, larger) for larger in found[:i])][:50]


def _inside(box: Box, larger: Box) -> bool:
    """More than half of it lies within the larger one's box."""
    width = min(box[0] + box[2], larger[0] + larger[2]) - max(box[0], larger[0])
    height = min(box[1] + box[3], larger[1] + larger[3]) - max(box[1], larger[1])
    return width > 0 and height > 0 and width * height > 0.5 * box[2] * box[3]
