"""Drives a consumer in a process of its own: it can hang, leak or crash there, and only its own lag shows it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pickle
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from heldard.fanout import wire
from heldard.fanout.drive import ConsumerRestartedError, ConsumeTimeoutError
from heldard.plugin import Batch, Consumer, Effects, FrameSource

START_TIMEOUT_S = 30.0
"""Importing the plugin may take this long; it is not part of a call's time."""

_PAGE = os.sysconf("SC_PAGE_SIZE")

Fetch = Callable[[str, Any], Awaitable[list[dict[str, Any]]]]
"""Rows of the plugin's own tables."""


class ConsumerRaisedError(Exception):
    """What the consumer raised, as text; its traceback is in the notes."""


class ConsumerDiedError(Exception):
    """The consumer's process ended in the middle of a call."""


class ProcessDriver:
    """One process, started at the first call, one call at a time; started anew after it died or was killed."""

    def __init__(
        self, consumer: Consumer, timeout_s: float, memory_bytes: int, frames: FrameSource, fetch: Fetch,
        on_restart: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._consumer = consumer
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._frames = frames
        self._fetch = fetch
        self._on_restart = on_restart
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._under_way = 0
        self.life = 0

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    @property
    def rss_bytes(self) -> int | None:
        return None if self._child is None else self._child.rss_bytes

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.process.pid

    def check(self) -> None:
        try:
            pickle.dumps(self._consumer)
        except Exception as error:
            raise ValueError(
                f"consumer {self._consumer.name!r} has runs_in = 'process' but cannot be sent to one: {error}"
            ) from error

    async def call(self, method: Callable[..., Any], *arguments: Any, life: int | None = None) -> None:
        self._under_way += 1
        try:
            async with self._turn:
                if life not in (None, self.life):
                    raise ConsumerRestartedError("its process was started anew")
                await self._call(method.__name__, arguments)
        finally:
            self._under_way -= 1

    async def _call(self, method: str, arguments: tuple[Any, ...]) -> None:
        effects = arguments[-1] if arguments and isinstance(arguments[-1], Effects) else None
        plain = tuple(
            dataclasses.replace(given, frames=None) if isinstance(given, Batch) else given
            for given in (arguments if effects is None else arguments[:-1])
        )
        camera_id, at_ms = (None, 0) if effects is None else (effects.camera_id, effects.at_ms)
        call = wire.Call(method, plain, camera_id, at_ms)
        try:
            child = await self._running()
            async with asyncio.timeout(self._timeout_s):
                answer = await child.exchange(call, self._serve)
        except TimeoutError:
            await self._end()
            raise ConsumeTimeoutError(f"took longer than {self._timeout_s} s; its process was killed") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            said = f"its process ended in the middle of a call ({_ending(await self._end())})"
            self._on_restart(said)
            raise ConsumerDiedError(said) from None
        except BaseException:
            await self._end()
            raise
        if isinstance(answer, wire.Raised):
            error = ConsumerRaisedError(answer.text)
            error.add_note(answer.trace)
            raise error
        if effects is not None:
            _fill(effects, answer)
        await self._hold_to_memory(method)

    async def _running(self) -> _Child:
        if self._child is None:
            self._child = await self._start_child()
            async with asyncio.timeout(START_TIMEOUT_S):
                answer = await self._child.exchange(wire.Start(sys.path, pickle.dumps(self._consumer)), self._serve)
            if isinstance(answer, wire.Raised):
                await self._end()
                raise ConsumerDiedError(f"it could not be set up in its process: {answer.text}")
        return self._child

    async def _start_child(self) -> _Child:
        return await _Child.start()

    async def _serve(self, ask: wire.Ask) -> Any:
        """What a call asks of the daemon."""
        try:
            if ask.what == "frame":
                return self._frames.find(*ask.arguments)
            return await self._fetch(*ask.arguments)
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked
            return wire.Raised(str(error))

    async def _hold_to_memory(self, method: str) -> None:
        """Start anew what grew too large. Raises ConsumerDiedError when what it restores is too large by itself."""
        rss = self.rss_bytes
        if rss is None or rss <= self._memory_bytes:
            return
        said = f"its process held {rss // 2**20} MB, more than {self._memory_bytes // 2**20} MB, and was started anew"
        self._on_restart(said)
        await self._end()
        if method == "restore":
            raise ConsumerDiedError(said)

    async def _end(self) -> int | None:
        """Kill the process; how it ended. Every lane has to restore."""
        child, self._child = self._child, None
        self.life += 1
        return None if child is None else await child.kill()

    async def close(self) -> None:
        if self._child is not None:
            await self._end()


class _Child:
    """A process and the connection to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "heldard.fanout.child", str(theirs.fileno()), str(os.getpid()),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    @property
    def rss_bytes(self) -> int | None:
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]) * _PAGE
        except OSError:
            return None

    async def exchange(self, message: Any, serve: Callable[[wire.Ask], Awaitable[Any]]) -> Any:
        """Send a message; the answer, after everything that was asked meanwhile was served."""
        while True:
            self._writer.write(wire.pack(message))
            await self._writer.drain()
            (length,) = wire.LENGTH.unpack(await self._reader.readexactly(wire.LENGTH.size))
            if length > wire.LIMIT_BYTES:
                raise ConnectionError(f"a message of {length} bytes")
            answer = wire.unpack(await self._reader.readexactly(length))
            if not isinstance(answer, wire.Ask):
                return answer
            message = await serve(answer)

    async def kill(self) -> int | None:
        self._writer.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return await asyncio.shield(self.process.wait())


def _fill(effects: Effects, filled: wire.Filled) -> None:
    effects.operations += filled.operations
    effects.state.update(filled.state)
    effects.actions += filled.actions
    for captured_ms in filled.frames:
        effects.keep_frame(captured_ms)


def _ending(code: int | None) -> str:
    if code is None:
        return "nobody knows how"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
