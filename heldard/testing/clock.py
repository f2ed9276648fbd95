"""Time that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools

START_MS = 1_767_268_800_000
"""Where virtual time begins: 2026-01-01T12:00:00Z."""

_TURNS = 20
"""Turns of the event loop that sleepers are given when they wake, before time moves on."""


class VirtualClock:
    """A `heldard.clock.Clock` that stands still until `advance`.

    `set_wall` moves wall time alone, as an administrator or NTP does.
    """

    def __init__(self, now_ms: int = START_MS) -> None:
        self._wall_ms = now_ms
        self._elapsed_ms = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return self._wall_ms + self._elapsed_ms

    def monotonic(self) -> float:
        return self._elapsed_ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Return when `advance` has moved time this far. No time at all still gives others their turn."""
        if seconds <= 0:
            await _turn()
            return
        wake_at = self._elapsed_ms + max(1, round(seconds * 1000))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (wake_at, next(self._order), future))
        await future

    @property
    def next_wake_ms(self) -> int | None:
        """Wall time of the next sleeper's waking; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] + self._wall_ms if self._sleepers else None

    @property
    def sleepers(self) -> int:
        """How many wait for time to move."""
        return sum(not future.done() for _, _, future in self._sleepers)

    def set_wall(self, now_ms: int) -> None:
        """Set the wall clock; nobody wakes, durations are not touched."""
        self._wall_ms = now_ms - self._elapsed_ms

    def jump_to(self, now_ms: int) -> None:
        """Move straight to a wall time and wake, in order, everybody who is due. Never backwards."""
        self._elapsed_ms = max(self._elapsed_ms, now_ms - self._wall_ms)
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_ms:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def advance(self, seconds: float) -> None:
        """Move time by `seconds`, stopping at each sleeper's time so that what it does happens then."""
        until = self.now_ms() + round(seconds * 1000)
        await _turn()
        while (wake := self.next_wake_ms) is not None and wake <= until:
            self.jump_to(wake)
            await _turn()
        self.jump_to(until)
        await _turn()


async def _turn() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)  # noqa: TID251 - this is a clock
