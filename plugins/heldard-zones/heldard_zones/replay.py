"""Runs the live engine over stored batches, away from everything live: for backtests and for `why`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from heldard.plugin import Batch, InvalidError, PluginContext
from heldard_zones import engine
from heldard_zones.engine import Trace, ZoneEvent, ZoneSet
from heldard_zones.engine.rules import Zone
from heldard_zones.engine.state import CameraState

CHUNK = 500
"""Batches taken to the thread at once: some ten milliseconds of work."""


class Replay:
    """One camera's zones from an empty state on. Events of other zones than `zone` are left out."""

    def __init__(self, zones: Sequence[Zone], zone: Zone, begin_ms: int) -> None:
        self.zone = zone
        self.events: list[ZoneEvent] = []
        self.batches = 0
        self.detections = 0
        self._zones = ZoneSet(zones)
        self._state = CameraState()
        self._take(engine.settle(self._state, self._zones, begin_ms))

    def feed(self, batches: Sequence[Batch], trace: Trace | None = None, before: Callable[[Batch], None] | None = None,
             ) -> None:  # fmt: skip
        for batch in batches:
            if before is not None:
                before(batch)
            self.batches += 1
            self.detections += len(batch.detections)
            self._take(engine.observe(self._state, self._zones, batch, trace))

    def end(self, at_ms: int) -> None:
        self._take(engine.advance(self._state, self._zones, at_ms))

    def _take(self, step: engine.Step) -> None:
        self.events += [event for event in step.events if event.zone is self.zone]


async def over_log(
    ctx: PluginContext, camera_id: str, from_ms: int, to_ms: int, most: int, feed: Callable[[Sequence[Batch]], None]
) -> None:
    """Hand the stored batches of a range to `feed`, in order, in a thread of its own.

    Raises InvalidError when there are more than `most` detections.
    """
    chunk: list[Batch] = []
    total = 0
    async for batch in ctx.batches(camera_id, from_ms, to_ms):
        chunk.append(batch)
        total += len(batch.detections)
        if total > most:
            raise InvalidError(f"more than {most} detections in this range: ask for a shorter one", code="too_much")
        if len(chunk) >= CHUNK:
            await asyncio.to_thread(feed, chunk)
            chunk = []
    await asyncio.to_thread(feed, chunk)
