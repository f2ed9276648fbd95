"""The reference detector for `anpr`: vehicles as `heldard.worker.motion` finds them, and what stands on their plates.

Each frame in which a plate was read says so in that detection's attributes; a frame in which it was not read says
nothing, so that whoever counts readings counts readings. Reading costs some 40 ms of a small machine's core, so it is
rationed: the vehicle read least often comes first, each at most every `read_interval_ms`, and one whose text has
settled only every `settled_interval_ms`.

Attributes: `vehicle_type` (the vehicle label; size and shape do not tell more), `direction` (`inbound` or `outbound`,
once the motion shows it), and with a reading `plate`, `plate_confidence`, `plate_char_confidences` (one per
character, where known), `plate_bbox` (shares of the picture).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from heldard.worker import tracker
from heldard.worker.detector import Box, Detection, Picture
from heldard.worker.motion import MotionScene, MotionSettings, Pixels, Sighting, rounded
from heldard.worker.plate_text import PlateText, plate_of
from heldard.worker.reader import TextReader, shared_reader

Heading = Literal["down", "up", "left", "right"]
_AXIS: dict[Heading, tuple[int, int]] = {"down": (0, 1), "up": (0, -1), "left": (-1, 0), "right": (1, 0)}


class PlateSettings(MotionSettings, frozen=True, kw_only=True):
    """The keys of an `anpr` task's `config`, besides those of MotionSettings.

    inbound: which way across the picture leads in. direction: fixes it where the camera sees one lane only.
    min_vehicle_px: vehicles narrower than this are not read. plate_pattern: a regular expression that a plate must
    match whole. reads_per_frame: how many vehicles are read at most in one frame. settled_reads: equal readings of
    one vehicle after which it is read less often.
    """

    inbound: Heading = "down"
    direction: Literal["inbound", "outbound"] | None = None
    min_vehicle_px: Annotated[int, msgspec.Meta(ge=16, le=4096)] = 110
    min_plate_confidence: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.5
    plate_pattern: str | None = None
    reads_per_frame: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    read_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 200
    settled_reads: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    settled_interval_ms: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 2_000


@dataclass
class Readings:
    """What was read on one vehicle. attempts counts the looks that found nothing, too."""

    last_ms: int = 0
    attempts: int = 0
    texts: Counter[str] = field(default_factory=Counter)

    def due_ms(self, settings: PlateSettings) -> int:
        """When it should be read again."""
        settled = bool(self.texts) and max(self.texts.values()) >= settings.settled_reads
        return self.last_ms + (settings.settled_interval_ms if settled else settings.read_interval_ms)


class PlateDetector:
    """Vehicles and their plates. One per task."""

    def __init__(self, config: Mapping[str, Any], reader: TextReader | None = None) -> None:
        self.settings = msgspec.convert(dict(config), PlateSettings)
        self._pattern = _compiled(self.settings.plate_pattern)
        self._scene = MotionScene(self.settings)
        self._reader = reader or shared_reader()
        self._readings: dict[int, Readings] = {}

    def detect(self, picture: Picture) -> Sequence[Detection]:
        image, at_ms = picture.bgr, picture.captured_ms
        vehicles = [s for s in self._scene.look(image, at_ms) if s.kind == "vehicle"]
        self._readings = {s.track.id: self._readings.get(s.track.id, Readings()) for s in vehicles}
        plates = {s.track.id: self._read(s, image, at_ms) for s in self._to_read(vehicles, image, at_ms)}
        return [self._detection(s, plates.get(s.track.id)) for s in vehicles]

    def _to_read(self, vehicles: Sequence[Sighting], image: Pixels, at_ms: int) -> list[Sighting]:
        """Those whose turn it is, the least often read first."""
        due = [
            s
            for s in vehicles
            if s.box[2] * image.shape[1] >= self.settings.min_vehicle_px
            and at_ms >= self._readings[s.track.id].due_ms(self.settings)
        ]
        due.sort(key=lambda s: (sum(self._readings[s.track.id].texts.values()), self._readings[s.track.id].last_ms))
        return due[: self.settings.reads_per_frame]

    def _read(self, sighting: Sighting, image: Pixels, at_ms: int) -> PlateText | None:
        readings = self._readings[sighting.track.id]
        readings.last_ms, readings.attempts = at_ms, readings.attempts + 1
        left, top, right, bottom = crop_of(sighting.box, image.shape[1], image.shape[0])
        plate = plate_of(self._reader.read(image[top:bottom, left:right]), self._pattern)
        if plate is None or plate.confidence < self.settings.min_plate_confidence:
            return None
        readings.texts[plate.text] += 1
        return _placed(plate, left, top, image)

    def _detection(self, sighting: Sighting, plate: PlateText | None) -> Detection:
        attributes: dict[str, Any] = {"vehicle_type": self.settings.vehicle_label}
        direction = self.settings.direction or heading(sighting.track, self.settings.inbound)
        if direction is not None:
            attributes["direction"] = direction
        if plate is not None:
            attributes |= _plate_attributes(plate)
        confidence = round(sighting.track.seen_share, 4)
        return Detection(
            self.settings.vehicle_label, confidence, rounded(sighting.box), str(sighting.track.id), attributes
        )


def heading(track: tracker.Track, inbound: Heading) -> Literal["inbound", "outbound"] | None:
    """Which way a track has gone since it was first seen, None until it has gone a quarter of its size."""
    (x0, y0), (x1, y1) = tracker.centre(track.origin), tracker.centre(track.box)
    along_x, along_y = _AXIS[inbound]
    gone = (x1 - x0) * along_x + (y1 - y0) * along_y
    size = track.box[2] if along_x else track.box[3]
    if abs(gone) < 0.25 * size:
        return None
    return "inbound" if gone > 0 else "outbound"


def crop_of(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of a box with a little of its surroundings, within the picture."""
    x, y, w, h = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    pad = 0.04 * max(w, h)
    return (
        max(0, int(x - pad)),
        max(0, int(y - pad)),
        min(width, int(x + w + pad) + 1),
        min(height, int(y + h + pad) + 1),
    )


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"plate_pattern: {pattern!r} is not a regular expression ({error})") from error


def _placed(plate: PlateText, left: int, top: int, image: Pixels) -> PlateText:
    """The same with its box in shares of the whole picture instead of pixels of the crop."""
    if plate.box is None:
        return plate
    x, y, w, h = plate.box
    height, width = image.shape[:2]
    box = rounded(((left + x) / width, (top + y) / height, w / width, h / height))
    return PlateText(plate.text, plate.confidence, plate.character_confidences, box)


def _plate_attributes(plate: PlateText) -> dict[str, Any]:
    attributes: dict[str, Any] = {"plate": plate.text, "plate_confidence": round(plate.confidence, 4)}
    if plate.character_confidences:
        attributes["plate_char_confidences"] = [round(c, 4) for c in plate.character_confidences]
    if plate.box is not None:
        attributes["plate_bbox"] = list(plate.box)
    return attributes
