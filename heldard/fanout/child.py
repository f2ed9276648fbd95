"""Run as a module: the process of one consumer that declared `runs_in = "process"`.

    python -m heldard.fanout.child DESCRIPTOR PARENT_PID

It takes calls over the socket it inherits, one at a time, and ends when the daemon does, however that ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import inspect
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from heldard.clock import Clock, SystemClock
from heldard.errors import ForbiddenError
from heldard.fanout import wire
from heldard.plugin import Batch, Consumer, Effects, Frame, FrameSource

_PR_SET_PDEATHSIG = 1


class Daemon:
    """The daemon, as the consumer's process sees it. It is a `FrameSource`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def tell(self, message: Any) -> None:
        self._connection.sendall(wire.pack(message))

    def next(self) -> Any:
        return wire.receive(self._connection)

    def ask(self, what: str, *arguments: Any) -> Any:
        self.tell(wire.Ask(what, arguments))
        answer = self.next()
        if isinstance(answer, wire.Raised):
            raise ForbiddenError(answer.text, code="asked_from_process")
        return answer

    def find(self, camera_id: str, captured_ms: int) -> Frame | None:
        frame: Frame | None = self.ask("frame", camera_id, captured_ms)
        return frame


daemon: Daemon | None = None
"""Set once, before the consumer is unpickled."""


class ProcessContext:
    """The part of `PluginContext` that reaches into a process: settings, clock, rows of own tables, frames."""

    def __init__(self, name: str, settings: Any, site_id: str | None, timezone: str) -> None:
        self.name = name
        self.settings = settings
        self.site_id = site_id
        self.timezone = timezone
        self.clock: Clock = SystemClock()

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        assert daemon is not None
        rows: list[dict[str, Any]] = daemon.ask("fetch", sql, parameters)
        return rows

    def frame(self, camera_id: str, captured_ms: int) -> Frame | None:
        assert daemon is not None
        return daemon.find(camera_id, captured_ms)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ForbiddenError(
            f"ctx.{name} does not reach into a consumer's own process: settings, clock, site_id, fetch and frame do",
            code="asked_from_process",
        )


def main() -> None:
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the daemon that started this process is gone")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which then ends us
    os.dup2(2, 1)  # what plugins print belongs into the log
    global daemon
    daemon = Daemon(socket.socket(fileno=descriptor))
    with asyncio.Runner() as runner:
        serve(daemon, runner)


def serve(told: Daemon, runner: asyncio.Runner) -> None:
    """Take calls until the daemon hangs up."""
    try:
        start: wire.Start = told.next()
        sys.path[:] = start.path
        try:
            consumer: Consumer = wire.unpack(start.consumer)
            told.tell(None)
        except Exception as error:  # noqa: BLE001 - the daemon shows it
            told.tell(_raised(error))
            return
        while True:
            told.tell(answer(consumer, told.next(), told, lambda waiting: runner.run(_finish(waiting))))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def answer(consumer: Consumer, call: wire.Call, frames: FrameSource, finish: Callable[[Any], None]) -> Any:
    """Carry out a call; `finish` awaits what the consumer's method gives back when it is a coroutine."""
    try:
        effects = Effects(call.camera_id or "", call.at_ms, frames)
        arguments = [dataclasses.replace(given, frames=frames) if isinstance(given, Batch) else given
                     for given in call.arguments]  # fmt: skip
        if call.camera_id is not None:
            arguments.append(effects)
        waiting = getattr(consumer, call.method)(*arguments)
        if inspect.isawaitable(waiting):
            finish(waiting)
        filled = wire.Filled(
            effects.operations, effects.state, [frame.captured_ms for frame in effects.frames.values()], effects.actions
        )
        wire.pack(filled.operations)
        return filled
    except Exception as error:  # noqa: BLE001 - the daemon counts it
        return _raised(error)


def _raised(error: Exception) -> wire.Raised:
    return wire.Raised(f"{type(error).__name__}: {error}", traceback.format_exc())


async def _finish(answer: Any) -> None:
    await answer


if __name__ == "__main__":
    from heldard.fanout import child

    child.main()  # under its own name, so that unpickled contexts find the daemon
