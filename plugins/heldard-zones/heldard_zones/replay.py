"""Runs the live engine over stored batches, away from everything live: for backtests and for `why`."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence

from heldard.plugin import Batch, InvalidError, PluginContext
from heldard_zones import engine
from heldard_zones.consumer import redrawn
from heldard_zones.engine import Trace, ZoneEvent, ZoneSet
from heldard_zones.engine.rules import Zone, ZoneRow
from heldard_zones.engine.state import CameraState
from heldard_zones.store import Version

CHUNK = 500
"""Batches taken to the thread at once: some ten milliseconds of work."""


class History:
    """The zones of a camera over a range of time: which are in force first, and each change after that."""

    def __init__(self, versions: Sequence[Version], begin_ms: int, to_ms: int) -> None:
        """versions: oldest first, as `Store.versions` gives them."""
        edges = {version.from_ms for version in versions} | {version.until_ms for version in versions}
        times = sorted(at for at in edges if at is not None and begin_ms <= at < to_ms)
        self.first = _standing(versions, begin_ms - 1)
        self.changes = [(at, _standing(versions, at)) for at in times]


def _standing(versions: Sequence[Version], at_ms: int) -> list[ZoneRow]:
    return sorted((version.row for version in versions if version.stands(at_ms)), key=lambda row: row.number)


class Replay:
    """One camera's zones from an empty state on, redrawn when they were. Events of other zones than the one of `number`
    are left out."""

    def __init__(self, history: History, number: int, timezone: str, begin_ms: int) -> None:
        self.events: list[ZoneEvent] = []
        self.refused: Counter[str] = Counter()
        self.batches = 0
        self.detections = 0
        self._number = number
        self._timezone = timezone
        self._rows = history.first
        self._changes = deque(history.changes)
        self._zones = redrawn(ZoneSet(), [], history.first, timezone)
        self._state = CameraState()
        self._take(engine.settle(self._state, self._zones, begin_ms))

    @property
    def zone(self) -> Zone | None:
        """The zone of `number` as it is drawn at this moment; None while there is none."""
        return self._zones.every.get(self._number)

    def feed(self, batches: Sequence[Batch], trace: Trace | None = None, before: Callable[[Batch], None] | None = None,
             ) -> None:  # fmt: skip
        for batch in batches:
            if self._changes and self._changes[0][0] < batch.at_ms:
                self._redraw(batch.at_ms)
            if before is not None:
                before(batch)
            self.batches += 1
            self.detections += len(batch.detections)
            self._take(engine.observe(self._state, self._zones, batch, trace))

    def end(self, at_ms: int) -> None:
        self._redraw(at_ms)
        self._take(engine.advance(self._state, self._zones, at_ms))
        self._count_refused()

    def _redraw(self, until_ms: int) -> None:
        """Every change from before then, each at its time."""
        while self._changes and self._changes[0][0] < until_ms:
            at_ms, rows = self._changes.popleft()
            new = redrawn(self._zones, self._rows, rows, self._timezone)
            self._take(engine.change_zones(self._state, self._zones, new, at_ms))
            if new.every.get(self._number) is not self.zone:
                self._count_refused()
            self._rows, self._zones = rows, new

    def _count_refused(self) -> None:
        """Take over what the zone, as it was drawn until now, has counted."""
        if (zone := self.zone) is not None:
            self.refused.update(zone.refused)

    def _take(self, step: engine.Step) -> None:
        self.events += [event for event in step.events if event.zone.number == self._number]


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
