"""Zones: detections x zones per second, beside supervision and OpenCV in the same run.

Ours is the whole engine: identity, membership with hysteresis, parked objects, dwell, occupancy and events. The others
answer the bare question (is the point in the polygon, was the line crossed) and keep no state but the line's side.
Without supervision or OpenCV installed their columns are empty.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from heldard_zones import engine
from heldard_zones.engine.geometry import contains
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import CameraState, encode_tracks

from heldard.plugin import Batch, Detection

DETECTIONS = 10
BATCHES = 2000
ROUNDS = 5
OUT = Path(".bench/zones.json")


def octagons(count: int, seed: int = 1) -> list[list[tuple[float, float]]]:
    """Polygons of eight corners, about a twentieth of the picture each."""
    place = random.Random(seed)
    found = []
    for _ in range(count):
        x, y = place.uniform(0.2, 0.8), place.uniform(0.2, 0.8)
        corners = [(math.cos(n * math.pi / 4 + 0.1), math.sin(n * math.pi / 4 + 0.1)) for n in range(8)]
        found.append([(x + 0.12 * dx, y + 0.12 * dy) for dx, dy in corners])
    return found


def walk(batches: int, detections: int, seed: int = 2) -> list[Batch]:
    """Tracks that cross the picture slowly, five frames a second."""
    place = random.Random(seed)
    starts = [(place.uniform(0.1, 0.9), place.uniform(0.1, 0.9)) for _ in range(detections)]
    speeds = [(place.uniform(-0.002, 0.002), place.uniform(-0.002, 0.002)) for _ in range(detections)]
    found = []
    for n in range(batches):
        seen = []
        for track, ((x, y), (dx, dy)) in enumerate(zip(starts, speeds, strict=True)):
            left, top = (x + dx * n) % 1 - 0.03, (y + dy * n) % 1 - 0.1
            seen.append(Detection(track, "person", 0.9, (left, top, 0.06, 0.1), str(track)))
        at = 1_000_000 + n * 200
        found.append(Batch(n, "gate", "detection", at, at, tuple(seen), task_id="ai_1", captured_ms=at))
    return found


def zone_set(polygons: list[list[tuple[float, float]]], kind: str = "region") -> engine.ZoneSet:
    rows = (
        ZoneRow(number=n, id=f"z{n}", camera_id="gate", name=f"z{n}", polygon=points, kind=kind)  # type: ignore[arg-type]
        for n, points in enumerate(polygons, 1)
    )
    return engine.ZoneSet(Zone(row) for row in rows)


def best_of(run: Callable[[], None]) -> float:
    """Processor seconds of the quickest of some rounds: others use this machine too."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


def run_engine(zones: engine.ZoneSet, batches: list[Batch], *, keep: bool = False) -> None:
    state = CameraState()
    for batch in batches:
        engine.observe(state, zones, batch)
        if keep and state.is_worth_keeping():
            encode_tracks(state.tracks)


def run_geometry(polygons: list[list[tuple[float, float]]], batches: list[Batch]) -> None:
    zones = [Zone(ZoneRow(number=1, id="z", camera_id="c", name="z", polygon=points)) for points in polygons]
    shapes = [(*zone.bounds, zone.edges) for zone in zones]
    for batch in batches:
        for detection in batch.detections:
            assert detection.bbox is not None
            x, y, w, h = detection.bbox
            x += w / 2
            y += h
            for left, top, right, bottom, edges in shapes:
                if left <= x <= right and top <= y <= bottom:
                    contains(edges, x, y)


def supervision_polygons(polygons: list[list[tuple[float, float]]], batches: list[Batch]) -> Callable[[], None] | None:
    if find_spec("supervision") is None:
        return None
    import numpy
    import supervision

    shapes = [numpy.array([(x * 1280, y * 720) for x, y in points]).astype(int) for points in polygons]
    zones = [
        supervision.PolygonZone(shape, triggering_anchors=(supervision.Position.BOTTOM_CENTER,)) for shape in shapes
    ]
    frames = _frames(batches)

    def run() -> None:
        for frame in frames:
            for zone in zones:
                zone.trigger(frame)

    return run


def supervision_lines(lines: list[list[tuple[float, float]]], batches: list[Batch]) -> Callable[[], None] | None:
    if find_spec("supervision") is None:
        return None
    import supervision

    def point(place: tuple[float, float]) -> Any:
        return supervision.Point(place[0] * 1280, place[1] * 720)

    anchors = (supervision.Position.BOTTOM_CENTER,)
    zones = [supervision.LineZone(point(a), point(b), triggering_anchors=anchors) for a, b in lines]
    frames = _frames(batches)

    def run() -> None:
        for frame in frames:
            for zone in zones:
                zone.trigger(frame)

    return run


def _frames(batches: list[Batch]) -> list[Any]:
    """The batches in supervision's own form, made before the clock starts."""
    import numpy
    import supervision

    frames = []
    for batch in batches:
        boxes = [detection.bbox for detection in batch.detections if detection.bbox is not None]
        corners = [(x * 1280, max(0, y) * 720, (x + w) * 1280, (y + h) * 720) for x, y, w, h in boxes]
        numbers = numpy.arange(len(boxes))
        frames.append(
            supervision.Detections(
                xyxy=numpy.clip(numpy.array(corners), 0, 1279), class_id=numbers * 0, tracker_id=numbers,
                confidence=numpy.full(len(boxes), 0.9),
            )
        )  # fmt: skip
    return frames


def opencv(polygons: list[list[tuple[float, float]]], batches: list[Batch]) -> Callable[[], None] | None:
    if find_spec("cv2") is None:
        return None
    import cv2
    import numpy

    shapes = [numpy.array(points, dtype=numpy.float32) for points in polygons]

    def run() -> None:
        for batch in batches:
            for detection in batch.detections:
                assert detection.bbox is not None
                x, y, w, h = detection.bbox
                for shape in shapes:
                    cv2.pointPolygonTest(shape, (x + w / 2, y + h), False)

    return run


def measure() -> list[dict[str, Any]]:
    batches = walk(BATCHES, DETECTIONS)
    found = []
    for count in (1, 3, 10, 30):
        polygons = octagons(count)
        found.append(
            _row(f"{count} polygons", count, batches, {
                "engine": lambda polygons=polygons: run_engine(zone_set(polygons), batches),
                "engine, state kept": lambda polygons=polygons: run_engine(zone_set(polygons), batches, keep=True),
                "bare geometry": lambda polygons=polygons: run_geometry(polygons, batches),
                "supervision": supervision_polygons(polygons, batches),
                "cv2": opencv(polygons, batches),
            })
        )  # fmt: skip
    for count in (1, 3):
        place = random.Random(3)
        lines = [[(place.random(), place.random()), (place.random(), place.random())] for _ in range(count)]
        found.append(
            _row(f"{count} lines", count, batches, {
                "engine": lambda lines=lines: run_engine(zone_set(lines, "line"), batches),
                "engine, state kept": lambda lines=lines: run_engine(zone_set(lines, "line"), batches, keep=True),
                "supervision": supervision_lines(lines, batches),
            })
        )  # fmt: skip
    return found


def _row(name: str, zones: int, batches: list[Batch], runs: dict[str, Callable[[], None] | None]) -> dict[str, Any]:
    tests = len(batches) * DETECTIONS * zones
    row: dict[str, Any] = {"case": name, "detections": DETECTIONS}
    for who, run in runs.items():
        if run is not None:
            seconds = best_of(run)
            row[who] = {"tests_per_s": round(tests / seconds), "us_per_batch": round(seconds / len(batches) * 1e6, 2)}
    if "supervision" in row:
        row["engine/supervision"] = round(row["engine"]["tests_per_s"] / row["supervision"]["tests_per_s"], 1)
    return row


def main() -> None:
    rows = measure()
    who = ("engine", "engine, state kept", "bare geometry", "supervision", "cv2")
    print(f"{'M tests/s (us a batch of 10)':28}" + "".join(f"{name:>22}" for name in who) + f"{'ratio':>8}")
    for row in rows:
        cells = [
            f"{row[name]['tests_per_s'] / 1e6:.2f} ({row[name]['us_per_batch']:.1f})" if name in row else "-"
            for name in who
        ]
        ratio = row.get("engine/supervision", "-")
        print(f"{row['case']:28}" + "".join(f"{cell:>22}" for cell in cells) + f"{ratio:>8}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
