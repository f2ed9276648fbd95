"""The interface between the sampler and whatever decodes: a program that gives JPEGs and says what it saw.

A `Decoder` knows how to make a command line out of a `Job` and how to read what the child says of the compressed video.
`Decoding` runs one child: frames come by its standard output (`heldard.sampler.multipart`), what it saw of the
compressed video by a second pipe that is read once a second, and its complaints by standard error.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, Protocol

from heldard.sampler.model import Cause, Size
from heldard.sampler.multipart import BrokenStreamError, PartReader, jpeg_size
from heldard.sampler.process import Exit, Running, Sink
from heldard.sampler.source import Source, mask

Strategy = Literal["keyframes", "full"]
"""keyframes: only they are decoded, the cheapest by far. full: every picture is, since keyframes come too rarely."""

MAX_COMPLAINTS = 20
MAX_LINE = 1000
SEEN_KEYFRAMES = 8


@dataclass(frozen=True, slots=True)
class Job:
    """One stream to be decoded. fps: pictures wanted per second. width: at most so many pixels wide.

    captured: whether the decoder may say when a picture arrived (`x-captured-ms`).
    """

    source: Source
    fps: float
    width: int
    strategy: Strategy = "full"
    hwaccel: str = "none"
    jpeg_quality: int = 5
    rtsp_transport: str = "tcp"
    io_timeout_s: float = 15.0
    skip_loop_filter: bool = False


@dataclass(slots=True)
class Seen:
    """What a stream shows of itself: compressed packets, as they came from the source.

    keyframes: presentation times in seconds of the last few. bytes, packets: since the child started. size: of the
    pictures. resized: whether that changed since the child started. tick_s: seconds per unit of the
    child's time stamps, once it told.
    """

    packets: int = 0
    bytes: int = 0
    first_s: float | None = None
    last_s: float | None = None
    keyframes: deque[float] = field(default_factory=lambda: deque(maxlen=SEEN_KEYFRAMES))
    size: Size | None = None
    resized: bool = False
    tick_s: float = 0.0

    def picture(self, size: Size) -> None:
        """Pictures have this size from here on."""
        self.resized = self.resized or (self.size is not None and self.size != size)
        self.size = size

    def packet(self, at_s: float, size_bytes: int, *, key: bool) -> None:
        self.packets += 1
        self.bytes += size_bytes
        if key:
            if self.keyframes and at_s < self.keyframes[-1]:
                self.keyframes.clear()
            self.keyframes.append(at_s)
        if self.last_s is None or at_s > self.last_s:
            self.last_s = at_s
        elif at_s < self.last_s - 10:  # the source's clock was set back; B-frames go back by less
            self.first_s, self.last_s, self.packets = at_s, at_s, 1
        if self.first_s is None:
            self.first_s = at_s

    @property
    def fps(self) -> float | None:
        if self.first_s is None or self.last_s is None or self.packets < 10 or self.last_s <= self.first_s:
            return None
        return (self.packets - 1) / (self.last_s - self.first_s)

    @property
    def gop_s(self) -> float | None:
        """The longest of the last few intervals between keyframes, counting the one under way; None before two."""
        if len(self.keyframes) < 2 or self.last_s is None:
            return None
        times = [*self.keyframes, max(self.last_s, self.keyframes[-1])]
        return max(later - earlier for earlier, later in pairwise(times))


class Decoder(Protocol):
    """One way to decode. `name` is what status shows.

    adapts: it decodes by itself no more than is needed, so that the job's strategy means nothing to it.
    """

    name: str
    adapts: bool

    async def start(self, job: Job, *, owner: str, stdout: Sink, stderr: Sink, seen_fd: int) -> Running:
        """Start a process that sends multipart JPEGs to `stdout`, complaints to `stderr`, reports to `seen_fd`.

        Raises OSError when it cannot be started. The caller closes `seen_fd`.
        """

    def retune(self, running: Running, fps: float, width: int) -> bool:
        """Have it go on at another rate and width; False when that takes a new process."""

    def read(self, line: str, seen: Seen) -> None:
        """Take one line of the child's reports into `seen`."""

    def hear(self, line: str, seen: Seen) -> str | None:
        """What one line of the child's standard error says to people, None for nothing; may also tell of `seen`."""


FrameSink = Callable[[bytes, Size, int | None], None]
"""jpeg, its size, and when it was captured (ms since the epoch) if the decoder knows better than "now"."""


class Decoding:
    """One running child of one stream."""

    def __init__(self, decoder: Decoder, job: Job, frame: FrameSink, max_frame_bytes: int) -> None:
        self.decoder = decoder
        self.job = job
        self.seen = Seen()
        self.frames = 0
        self._frame = frame
        self._parts = PartReader(self._part, max_frame_bytes)
        self._complaints: deque[str] = deque(maxlen=MAX_COMPLAINTS)
        self._line = ""
        self._said = ""
        self._child: Running | None = None
        self._seen_fd = -1
        self._failure: str | None = None

    async def start(self, owner: str) -> None:
        """Start the child. Raises OSError when it cannot be started."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_fd, True)
        try:
            self._child = await self.decoder.start(
                self.job, owner=owner, stdout=self._read_stdout, stderr=self._read_stderr, seen_fd=write_fd
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        self._seen_fd = read_fd

    @property
    def child(self) -> Running:
        assert self._child is not None, "not started"
        return self._child

    def retune(self, fps: float, width: int) -> bool:
        """Go on at another rate and width; False when that takes a new decoder."""
        if not self.decoder.retune(self.child, fps, width):
            return False
        self.job = replace(self.job, fps=fps, width=width)
        return True

    async def finished(self) -> Exit:
        """Wait for the child's end, however it comes."""
        return await asyncio.shield(self.child.exited)

    async def stop(self) -> None:
        """End the child if it still runs, take in its last reports and close everything; cancelled, it kills."""
        try:
            await self.child.stop()
        except asyncio.CancelledError:
            await self.child.kill()
            raise
        finally:
            self.look()
            self.close()

    def look(self) -> None:
        """Take in what the child reported of the compressed video since last time. Never waits."""
        while self._seen_fd >= 0:
            try:
                data = os.read(self._seen_fd, 65536)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            *lines, self._line = (self._line + data.decode("ascii", "replace")).split("\n")
            for line in lines:
                self.decoder.read(line, self.seen)

    def close(self) -> None:
        if self._seen_fd >= 0:
            os.close(self._seen_fd)
            self._seen_fd = -1

    @property
    def complaint(self) -> str:
        """What the child complained of last, a few lines, without credentials."""
        return "\n".join([*self._complaints, *([self._failure] if self._failure else [])])

    def _read_stdout(self, data: bytes) -> None:
        if self._failure is not None:
            return
        try:
            self._parts.feed(data)
        except BrokenStreamError as error:
            self._failure = str(error)
            self.child.signal(9)

    def _part(self, headers: dict[str, str], jpeg: bytes) -> None:
        size = jpeg_size(jpeg)
        if size is None:
            raise BrokenStreamError("the decoder sent a picture that is no JPEG")
        self.frames += 1
        captured = headers.get("x-captured-ms", "")
        self._frame(jpeg, size, int(captured) if captured.isdecimal() else None)

    def _read_stderr(self, data: bytes) -> None:
        *lines, self._said = (self._said + data.decode("utf-8", "replace")).split("\n")
        self._said = self._said[-MAX_LINE:]
        for line in lines:
            complaint = self.decoder.hear(line[:MAX_LINE], self.seen)
            if complaint is not None:
                self._complaints.append(mask(complaint))


# Which words of ffmpeg (and of the C library's strerror, which it quotes) mean what; the first match counts.
_WORDS: tuple[tuple[Cause, str], ...] = (
    ("auth", r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|authorization failed"),
    ("not_found", r"\b404\b|\b454\b|no such file"),
    ("refused", r"connection refused"),
    ("unreachable", r"no route to host|network is unreachable|host is unreachable|resolve hostname|name or service"),
    ("timeout", r"timed out|timeout"),
    ("lost", r"connection reset|broken pipe|i/o error|input/output error|connection aborted"),
    ("busy", r"http error 5\d\d|5xx server error|failed: (?:453|5\d\d)"),
    (
        "codec",
        r"invalid data found|could not find codec|unknown codec|decoder .*not found|unsupported|no decoder"
        r"|matches no streams|does not contain any stream|moov atom not found|picture that is no jpeg"
        r"|not on whitelist|not in whitelist|error while decoding",
    ),
)
_CAUSES = tuple((cause, re.compile(pattern, re.IGNORECASE)) for cause, pattern in _WORDS)


def classify(exit_code: int, complaint: str) -> Cause:
    """Why a child that was not stopped by us ended."""
    for cause, pattern in _CAUSES:
        if pattern.search(complaint):
            return cause
    return "ended" if exit_code == 0 else "decoder"
