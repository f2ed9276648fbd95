"""A stage for the zone engine: zones, tracks that walk, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from heldard_zones import engine
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import CameraState, copy

from heldard.plugin import Batch, Detection

MIDDLE = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]
START_MS = 1_700_000_000_000


def box_at(x: float, y: float, w: float = 0.1, h: float = 0.2) -> tuple[float, float, float, float]:
    """A box whose bottom centre is at (x, y)."""
    return x - w / 2, y - h, w, h


class Stage:
    """One camera. Times are seconds since the start."""

    def __init__(self) -> None:
        self.state = CameraState()
        self.zones = engine.ZoneSet()
        self.rows: list[ZoneRow] = []
        self.events: list[engine.ZoneEvent] = []
        self.occupancy: list[engine.Occupancy] = []
        self.seq = 0
        self.now = 0.0

    def zone(self, polygon: Any = MIDDLE, name: str = "yard", **fields: Any) -> Zone:
        known = {key: fields.pop(key) for key in ("kind", "labels", "dwell_seconds", "severity") if key in fields}
        number = len(self.rows) + 1
        self.rows.append(
            ZoneRow(
                number=number, id=f"zone_{number}", camera_id="cam", name=name, polygon=polygon, config=fields, **known
            )
        )
        self.use(*self.rows)
        return self.zones.by_number.get(number) or self.zones.masks[-1]

    def use(self, *rows: ZoneRow) -> list[engine.ZoneEvent]:
        kept = {zone.number: zone for zone in self.zones.by_number.values()}
        unchanged = {row.number: kept[row.number] for row in rows if row in self.rows and row.number in kept}
        self.rows = list(rows)
        new = engine.ZoneSet(unchanged.get(row.number) or Zone(row) for row in rows if row.enabled)
        step = engine.change_zones(self.state, self.zones, new, self.ms(self.now))
        self.zones = new
        return self._take(step)

    def ms(self, seconds: float) -> int:
        return START_MS + round(seconds * 1000)

    def see(
        self, at: float, *seen: dict[str, Any], task: str = "ai_1", epoch: str = "e1", task_type: str = "detection"
    ):
        """One batch; each of `seen` is a detection's fields with `at` as the bottom centre or `bbox`."""
        self.seq += 1
        self.now = at
        batch = Batch(
            seq=self.seq, camera_id="cam", task_type=task_type, at_ms=self.ms(at), received_ms=self.ms(at),
            detections=tuple(detection(index, **fields) for index, fields in enumerate(seen)),
            task_id=task, epoch=epoch, captured_ms=self.ms(at),
        )  # fmt: skip
        return self._take(engine.observe(self.state, self.zones, batch))

    def walk(self, track: str, path: Iterable[tuple[float, float, float]], **fields: Any) -> list[engine.ZoneEvent]:
        """One object alone: (seconds, x, y) each."""
        found: list[engine.ZoneEvent] = []
        for at, x, y in path:
            found += self.see(at, {"track_id": track, "at": (x, y), **fields})
        return found

    def stand(
        self, track: str, start: float, end: float, x: float = 0.5, y: float = 0.5, fps: float = 5.0, **fields: Any
    ):
        count = round((end - start) * fps)
        return self.walk(track, ((start + n / fps, x, y) for n in range(count + 1)), **fields)

    def tick(self, at: float) -> list[engine.ZoneEvent]:
        self.now = max(self.now, at)
        return self._take(engine.advance(self.state, self.zones, self.ms(at)))

    def restart(self) -> None:
        """Everything in memory is gone but what was kept."""
        self.state = copy(self.state)

    def told(self) -> list[str]:
        return [event.type for event in self.events]

    def at(self, event: engine.ZoneEvent) -> float:
        return (event.at - START_MS) / 1000

    def count(self, number: int = 1) -> tuple[int, int]:
        live = self.state.lives[number]
        return live.count, live.static

    def _take(self, step: engine.Step) -> list[engine.ZoneEvent]:
        self.events += step.events
        self.occupancy += step.occupancy
        return step.events


def detection(index: int = 0, at: tuple[float, float] | None = None, **fields: Any) -> Detection:
    given = {"label": "person", "confidence": 0.9, **fields}
    if at is not None:
        given["bbox"] = box_at(*at)
    return Detection(index, **given)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def kernel(heldard_kernel):
    async with heldard_kernel("zones") as running:
        await running.add_camera("gate")
        yield running
