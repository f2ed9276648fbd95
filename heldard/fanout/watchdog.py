"""A thread that sees when the event loop is held, says by whom while it is held, and can break it off.

The loop answers a ping every few milliseconds; when the answer stays away, the stack of the loop's thread tells whose
code is running. A consumer's call that goes on for too long is interrupted by a signal, whose handler raises in the
main thread between two instructions, also out of `time.sleep`. Code that hangs inside a C extension cannot be broken
off: only a thread or a process of its own keeps the loop free of it.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog

from heldard.clock import SystemClock

SIGNAL = signal.SIGURG
"""Ignored by default, so it harms nobody should it arrive late."""

_REAL = SystemClock()

log: Any = structlog.get_logger("heldard.watchdog")


class LoopInterrupt(BaseException):
    """Raised inside a consumer's call that held the event loop for too long. Not an Exception: few catch it."""


@dataclass(frozen=True, slots=True)
class Held:
    """The event loop was not free. plugin, consumer: whose code ran, None when it was not a plugin's.

    where: the innermost line of the plugin, or of anything, as `module:line function`.
    """

    plugin: str | None
    consumer: str | None
    where: str
    seconds: float


class Watchdog:
    """Started and stopped on the event loop's thread. `owner_of` tells the plugin a module belongs to, or None."""

    def __init__(
        self,
        blocked_s: float,
        limit_s: float,
        owner_of: Callable[[str], str | None] = lambda _module: None,
        on_held: Callable[[Held], None] = lambda _held: None,
    ) -> None:
        self.blocked_s = blocked_s
        self.limit_s = limit_s
        self.owner_of = owner_of
        self.on_held = on_held
        self.last: Held | None = None
        self._call: tuple[str, float] | None = None
        self._seen: tuple[str, float] | None = None
        self._seen_s = 0.0
        self._pinged: float | None = None
        self._told: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._before: Any = None

    # --- on the event loop ------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._stop.clear()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(SIGNAL, self._interrupt)
        self._thread = threading.Thread(target=self._watch, name="heldard-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Safe to call twice."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if threading.current_thread() is threading.main_thread():
            signal.signal(SIGNAL, self._before)

    def enter(self, consumer: str, now: float) -> None:
        """A consumer's call begins on the loop."""
        self._call = (consumer, now)

    def leave(self) -> None:
        self._call = None

    def _answer(self) -> None:
        self._pinged = None
        self._told = None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        call = self._call
        if call is not None and call is self._seen and self._seen_s > self.limit_s:
            raise LoopInterrupt

    # --- on the watchdog's thread -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        assert self._loop is not None
        period_s = self.blocked_s / 4
        while not self._stop.wait(period_s):
            now = _REAL.monotonic()
            self._observe(period_s)
            if self._pinged is None:
                self._pinged = now
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # the loop is closed
                    return
                continue
            self._look(now)

    def _observe(self, period_s: float) -> None:
        """How long the call under way has been seen to run, in this thread's own turns: a machine that stood still, or
        let nobody run, does not count against the consumer that happened to be on."""
        call = self._call
        self._seen_s = self._seen_s + period_s if call is not None and call is self._seen else 0.0
        self._seen = call
        if self._seen_s > self.limit_s:
            signal.pthread_kill(self._thread_id, SIGNAL)

    def _look(self, now: float) -> None:
        call, pinged = self._call, self._pinged
        if pinged is None or now - pinged <= self.blocked_s or self._told == pinged:
            return
        self._told = pinged
        held = self._describe(call[0] if call is not None else None, now - pinged)
        if held is None:
            return
        self.last = held
        log.warning(
            "event_loop_held", plugin=held.plugin, consumer=held.consumer, where=held.where,
            seconds=round(held.seconds, 3), note="still held while this is written",
        )  # fmt: skip
        self.on_held(held)

    def _describe(self, consumer: str | None, seconds: float) -> Held | None:
        """What the loop's thread runs now; None when it is gone."""
        frame = sys._current_frames().get(self._thread_id)
        innermost = frame
        while frame is not None:
            owner = self.owner_of(str(frame.f_globals.get("__name__", "")))
            if owner is not None:
                return Held(owner, consumer, _line(frame), seconds)
            frame = frame.f_back
        return None if innermost is None else Held(None, consumer, _line(innermost), seconds)


def _line(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno} {frame.f_code.co_name}"
