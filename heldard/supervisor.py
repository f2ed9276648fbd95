"""Everything that runs in the background runs here: named, restarted with backoff, visible in health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Literal

import msgspec
import structlog

from heldard.clock import Clock

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
HEALTHY_AFTER_S = 30.0
"""A service that ran this long begins with the first backoff again."""


class ServiceStatus(msgspec.Struct, frozen=True):
    """What health shows of a background service. `restarts` only ever rises."""

    name: str
    state: Literal["running", "waiting", "stopped"]
    restarts: int
    last_error: str | None


class Handle:
    """One running service."""

    def __init__(self, name: str, task: asyncio.Task[None]) -> None:
        self.name = name
        self.restarts = 0
        self.state: Literal["running", "waiting", "stopped"] = "running"
        self.last_error: str | None = None
        self._task = task

    @property
    def status(self) -> ServiceStatus:
        return ServiceStatus(self.name, self.state, self.restarts, self.last_error)

    async def stop(self) -> None:
        """Cancel and wait for it. Safe to call twice."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.state = "stopped"


class Supervisor:
    """Starts services and restarts those that raise or return. `once` runs something to its end.

    Both run in a context of their own: what was set for the request that started them is not theirs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log: Any = structlog.get_logger("heldard.supervisor")
        self._handles: dict[str, Handle] = {}
        # As they began: what stops, stops in the same order each time.
        self._errands: dict[asyncio.Task[Any], None] = {}

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> Handle:
        """Run `run` for ever. Raises ValueError when a service of that name runs already."""
        held = self._handles.get(name)
        if held is not None and held.state != "stopped":
            raise ValueError(f"a service named {name} runs already")
        box: list[Handle] = []
        task = asyncio.get_running_loop().create_task(self._keep(run, box), name=name, context=Context())
        handle = Handle(name, task)
        box.append(handle)
        self._handles[name] = handle
        return handle

    def once(self, name: str, run: Awaitable[Any]) -> None:
        """Run something to its end; a failure is logged with its name."""
        task = asyncio.get_running_loop().create_task(_as_coroutine(run), name=name, context=Context())
        self._errands[task] = None
        task.add_done_callback(self._errand_done)

    def forget(self, name: str) -> None:
        """Drop a stopped service from health."""
        if name in self._handles and self._handles[name].state == "stopped":
            del self._handles[name]

    async def end(self, name: str) -> None:
        """Stop a service for good; it is no longer in health."""
        if (handle := self._handles.pop(name, None)) is not None:
            await handle.stop()

    def status(self) -> list[ServiceStatus]:
        return [handle.status for _, handle in sorted(self._handles.items())]

    async def stop(self) -> None:
        """Stop every service and errand, newest first."""
        for handle in reversed(list(self._handles.values())):
            await handle.stop()
        for task in list(self._errands):
            task.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)

    async def _keep(self, run: Callable[[], Awaitable[None]], box: list[Handle]) -> None:
        backoff_s = FIRST_BACKOFF_S
        handle = box[0]
        while True:
            began = self._clock.monotonic()
            handle.state = "running"
            try:
                await run()
                handle.last_error = "it returned"
            # A service's failure is its own, SystemExit too: logged and restarted.
            except (Exception, asyncio.CancelledError, SystemExit) as error:
                if _is_stopped(error):
                    raise
                handle.last_error = f"{type(error).__name__}: {error}"
                self._log.warning("service_failed", service=handle.name, error=handle.last_error, exc_info=True)
            if self._clock.monotonic() - began > HEALTHY_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            handle.state = "waiting"
            handle.restarts += 1
            await self._clock.sleep(backoff_s)
            backoff_s = min(LONGEST_BACKOFF_S, backoff_s * 2)

    def _errand_done(self, task: asyncio.Task[Any]) -> None:
        del self._errands[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("errand_failed", errand=task.get_name(), exc_info=error)


def _is_stopped(error: BaseException) -> bool:
    """Whether the running service is being stopped, not something that it awaits: that is only its failure."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _as_coroutine(run: Awaitable[Any]) -> Any:
    return await run
