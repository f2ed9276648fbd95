"""Cameras made of nothing: a decoder whose pictures come on the daemon's own clock, and whose faults are chosen."""

from __future__ import annotations

import asyncio
from typing import Literal

from heldard.clock import Clock
from heldard.sampler.decoder import Job, Seen
from heldard.sampler.process import Exit, Running, Sink
from heldard.testing.builders import JPEG

Mode = Literal["on", "off", "frozen"]
"""on: pictures come. off: nothing answers at its address. frozen: the connection stands, and nothing comes."""

_PADDING = 4096
"""Bytes of comment that make a one-pixel picture as heavy as a small real one."""

PICTURE = JPEG[:2] + b"\xff\xfe" + (_PADDING + 2).to_bytes(2, "big") + bytes(_PADDING) + JPEG[2:]
PART = b"--film\r\nContent-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE + b"\r\n"
CONNECT_S = 0.2


class Film:
    """Which camera does what. Cameras are told by the host in their address."""

    def __init__(self) -> None:
        self._modes: dict[str, Mode] = {}

    def set(self, host: str, mode: Mode) -> None:
        self._modes[host] = mode

    def mode(self, address: str) -> Mode:
        return next((mode for host, mode in self._modes.items() if host in address), "on")


class FilmDecoder:
    """A `heldard.sampler.decoder.Decoder` without a process."""

    name = "film"
    adapts = True

    def __init__(self, film: Film, clock: Clock) -> None:
        self._film = film
        self._clock = clock

    async def start(self, job: Job, *, owner: str, stdout: Sink, stderr: Sink, seen_fd: int) -> Running:
        return Reel(self._film, self._clock, job, stdout, stderr)

    def retune(self, running: Running, fps: float, width: int) -> bool:
        assert isinstance(running, Reel)
        running.fps = fps
        return True

    def read(self, line: str, seen: Seen) -> None:
        raise AssertionError(f"nothing is reported, yet there is {line!r}")

    def hear(self, line: str, seen: Seen) -> str | None:
        return line


class Reel(Running):
    """One connection to one camera."""

    def __init__(self, film: Film, clock: Clock, job: Job, stdout: Sink, stderr: Sink) -> None:
        super().__init__()
        self.fps = job.fps
        self._film = film
        self._clock = clock
        self._address = repr(job.source)
        self._stdout = stdout
        self._stderr = stderr
        self._playing = asyncio.get_running_loop().create_task(self._play())

    def signal(self, number: int) -> None:
        self._end(-number)

    async def _play(self) -> None:
        await self._clock.sleep(CONNECT_S)
        while (mode := self._film.mode(self._address)) != "off":
            if mode == "on":
                self._stdout(PART)
            await self._clock.sleep(1 / self.fps)
        self._stderr(b"Connection refused\n")
        self._end(1)

    def _end(self, code: int) -> None:
        if self._exit is None:
            if code < 0:
                self._playing.cancel()
            self._ended(Exit(code, 0.0))
