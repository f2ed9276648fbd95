"""From a batch to what the engine takes in. Workers' attributes are anybody's JSON: what does not fit is left out."""

from __future__ import annotations

import math
from typing import Any

from heldard.plugin import Batch, Box, Detection
from heldard_anpr.engine.model import Direction, Seen, Sighting
from heldard_anpr.plates.matching import LENGTH_LIMIT
from heldard_anpr.plates.normal import normalise

EMPTY = len("{}")
TEXT_LIMIT = 64
"""Characters of a worker's text that are kept."""


def seen(batch: Batch, default_direction: Direction = "unknown") -> Seen:
    """What one batch shows. `default_direction`: of a camera that looks one way only."""
    task = batch.task_id or batch.task_type.lower()
    found = (_sighting(detection, f"{task}/{batch.epoch}", default_direction) for detection in batch.detections)
    return Seen(
        seq=batch.seq,
        at_ms=batch.at_ms,
        camera_id=batch.camera_id,
        sightings=tuple(sighting for sighting in found if sighting is not None),
        captured_ms=batch.captured_ms,
        frame_id=batch.frame_id,
        site_id=batch.site_id,
        native=batch.provenance.source == "camera_native",
        producer=batch.provenance.producer,
    )


def _sighting(detection: Detection, run: str, default_direction: Direction) -> Sighting | None:
    """None where there is nothing to go by: no attributes, or neither a track nor a plate."""
    if len(detection.raw_attributes) <= EMPTY:
        return None
    attributes: Any = detection.attributes
    if not isinstance(attributes, dict) or not attributes:
        return None
    raw = _text(attributes.get("plate"))
    text = normalise(raw)[:LENGTH_LIMIT]
    if detection.track_id is None and not text:
        return None
    track = None if detection.track_id is None else f"{run}/{detection.track_id}"
    direction = attributes.get("direction")
    versions = attributes.get("model_versions")
    return Sighting(
        index=detection.index,
        track=track,
        raw=raw,
        text=text,
        confidence=_share(attributes.get("plate_confidence")),
        chars=_chars(raw, text, attributes.get("plate_char_confidences")),
        plate_box=_box(attributes.get("plate_bbox")),
        vehicle_box=detection.bbox,
        detection_confidence=detection.confidence,
        direction=direction if direction in ("inbound", "outbound") else default_direction,
        vehicle_type=_text(attributes.get("vehicle_type")) or _text(detection.label),
        color=_text(attributes.get("color")),
        make=_text(attributes.get("make")),
        model=_text(attributes.get("model")),
        model_versions=versions if isinstance(versions, dict) else None,
    )


def _text(value: Any) -> str:
    return value.strip()[:TEXT_LIMIT] if isinstance(value, str) else ""


def _share(value: Any) -> float | None:
    """A number as 0..1; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(float(value), 0.0), 1.0)


def _chars(raw: str, text: str, values: Any) -> tuple[float, ...]:
    """Confidence of each character of the normal form; empty unless the worker gave one for each of its own."""
    if not isinstance(values, list) or not text:
        return ()
    shares = [_share(value) for value in values]
    given = [share for share in shares if share is not None]
    if len(given) != len(shares):
        return ()
    if len(given) == len(text):
        return tuple(given)
    forms = [normalise(character) for character in raw]
    if len(given) != len(raw) or any(len(form) > 1 for form in forms) or "".join(forms) != text:
        return ()
    return tuple(share for share, form in zip(given, forms, strict=True) if form)


def _box(value: Any) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    shares = [_share(part) for part in value]
    x, y, w, h = shares
    return None if x is None or y is None or w is None or h is None else (x, y, w, h)
