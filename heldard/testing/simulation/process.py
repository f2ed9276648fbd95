"""A consumer's own process in a simulated run: it answers as the real one does, hangs, grows, and dies at any call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from heldard.fanout import child, wire
from heldard.fanout.process import ProcessDriver
from heldard.plugin import Consumer, Frame, FrameSource

Chance = Callable[[float], bool]
"""Whether something of this likelihood happens now."""

MEMORY_BYTES = 2**20


class SimProcessDriver(ProcessDriver):
    """The kernel's driver, with children that live on the simulation's loop."""

    def __init__(
        self, consumer: Consumer, timeout_s: float, frames: FrameSource, fetch: Any, on_restart: Callable[[str], None],
        chance: Chance, share: float,
    ) -> None:  # fmt: skip
        super().__init__(consumer, timeout_s, MEMORY_BYTES, frames, fetch, on_restart)
        self._source = frames
        self._chance = chance
        self._share = share

    async def _start_child(self) -> Any:
        return SimChild(self._source, self._chance, self._share)


class SimChild:
    """What `heldard.fanout.child` does behind its socket. Everything passes as the bytes it would be there."""

    def __init__(self, frames: FrameSource, chance: Chance, share: float) -> None:
        self._frames = frames
        self._chance = chance
        self._share = share
        self._consumer: Consumer | None = None

    @property
    def rss_bytes(self) -> int:
        return 2 * MEMORY_BYTES if self._chance(self._share) else MEMORY_BYTES // 2

    async def exchange(self, message: Any, serve: Callable[[wire.Ask], Awaitable[Any]]) -> Any:
        """Raises ConnectionError when it died: before it did anything, or with its answer unsent."""
        await self._live()
        answer = self._answer(_passed(message))
        await self._live()
        return _passed(answer)

    async def _live(self) -> None:
        await asyncio.sleep(0)  # noqa: TID251 - on virtual time
        if self._chance(self._share):
            raise ConnectionError("the process died")
        if self._chance(self._share / 4):
            await asyncio.sleep(3600)  # noqa: TID251 - on virtual time: it hangs

    def _answer(self, message: Any) -> Any:
        if isinstance(message, wire.Start):
            self._consumer = wire.unpack(message.consumer)
            return None
        assert self._consumer is not None
        return child.answer(self._consumer, message, self, _no_waiting)

    def find(self, camera_id: str, captured_ms: int) -> Frame | None:
        """As the process asks the daemon for it."""
        return self._frames.find(camera_id, captured_ms)

    async def kill(self) -> int:
        return -9


def _passed(message: Any) -> Any:
    return wire.unpack(wire.pack(message)[wire.LENGTH.size :])


def _no_waiting(_answer: Awaitable[None]) -> None:
    raise AssertionError("consumers of the simulation do not await in a process: it has no second loop")
