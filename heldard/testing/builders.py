"""Detections and batches, with everything a test does not care about filled in."""

from __future__ import annotations

from typing import Any

import msgspec

from heldard.plugin import Batch, Box, Detection, Frame, FrameSource
from heldard.testing.clock import START_MS

Point = tuple[float, float]


def box_at(point: Point, size: Point = (0.06, 0.2)) -> Box:
    """The box of that width and height whose bottom centre, the ground point, is at `point`."""
    return (round(point[0] - size[0] / 2, 6), round(point[1] - size[1], 6), size[0], size[1])


def detection(
    label: str = "person",
    *,
    at: Point | None = None,
    size: Point = (0.06, 0.2),
    bbox: Box | None = None,
    track: str | None = None,
    confidence: float = 0.9,
    **attributes: Any,
) -> dict[str, Any]:
    """One detection as a worker posts it. `at` is the ground point of a box of `size`; `bbox` is a box as it is."""
    found: dict[str, Any] = {"label": label, "confidence": confidence, "attributes": attributes}
    box = box_at(at, size) if at is not None else bbox
    if box is not None:
        found["bbox"] = list(box)
    if track is not None:
        found["track_id"] = track
    return found


def post(camera_id: str, *detections: dict[str, Any], task_type: str = "detection", **fields: Any) -> dict[str, Any]:
    """The body of `POST /api/v1/ai/events`; `fields` are any others of it, such as `frame_id` or `epoch`."""
    return {"camera_id": camera_id, "task_type": task_type, "detections": list(detections), **fields}


def batch(
    *detections: dict[str, Any],
    seq: int = 1,
    at_ms: int = START_MS,
    camera_id: str = "gate",
    task_type: str = "detection",
    frames: FrameSource | None = None,
    **fields: Any,
) -> Batch:
    """A batch as a consumer gets it, for tests without a kernel; `fields` are any others of `Batch`."""
    given = {"received_ms": at_ms, "captured_ms": at_ms, "task_id": "ai_1", "epoch": "run1", **fields}
    return Batch(
        seq=seq,
        camera_id=camera_id,
        task_type=task_type,
        at_ms=at_ms,
        detections=tuple(_seen(index, found) for index, found in enumerate(detections)),
        frames=frames,
        **given,
    )


def _seen(index: int, found: dict[str, Any]) -> Detection:
    bbox = found.get("bbox")
    return Detection(
        index,
        label=found.get("label"),
        confidence=found.get("confidence"),
        bbox=None if bbox is None else tuple(bbox),
        track_id=found.get("track_id"),
        raw_attributes=msgspec.json.encode(found.get("attributes") or {}),
    )


JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300"
    "080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a1c1c20242e2720222c231c1c2837292c30313434341f27393d38"
    "323c2e333432ffc0000b080001000101011100ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b51000"
    "02010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a16171819"
    "1a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495"
    "969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8"
    "f9faffda0008010100003f00fbd003ffd9"
)
"""A picture of one grey pixel."""


def frame(camera_id: str = "gate", captured_ms: int = START_MS, *, profile: str = "sub", jpeg: bytes = JPEG) -> Frame:
    """A frame as the sampler makes them."""
    return Frame(f"{camera_id}:{profile}:{captured_ms}", camera_id, profile, captured_ms, 1, 1, 1, jpeg)
