"""What a PyAV child does: open a stream, decode as little as will do, write JPEGs.

Runs in a process forked from `pyav_zygote`, which imports this module once for all; so it imports little. Pictures go
to standard output as parts (`heldard.sampler.multipart`), reports of the compressed video to descriptor 3 as lines
(`p seconds bytes key`, `s width height`), complaints to standard error; `rate fps width` comes in on descriptor 4.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from heldard.sampler.pacing import Pacing

SEEN_FD, CONTROL_FD = 3, 4
REPORT_S = 0.5
GUESSED_INTERVAL_S = 0.04
ENCODER_TIME_BASE = Fraction(1, 30)
CLOCK_SET_S = 10.0
"""A time stamp this far back is a new clock, not a picture out of order."""
MAX_FAILURES = 250
"""Packets in a row that cannot be decoded before the stream is given up."""


class UndecodableError(Exception):
    """The stream cannot be decoded."""


class Timeline:
    """Seconds since the start for every packet: also for those without a time stamp, as RTSP's first ones are, and over
    the end of a looped file."""

    def __init__(self) -> None:
        self._latest = 0.0
        self._base: float | None = None

    def at(self, packet: Any) -> float:
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None:
            self._latest += GUESSED_INTERVAL_S
            return self._latest
        seconds = float(stamp * packet.time_base)
        if self._base is None:
            self._base = seconds - self._latest - (GUESSED_INTERVAL_S if self._latest else 0.0)
        at = seconds - self._base
        self._latest = max(self._latest, at) if at > self._latest - CLOCK_SET_S else at
        return at

    def start_over(self) -> None:
        self._latest += GUESSED_INTERVAL_S
        self._base = None


class Session:
    """One stream, from opening to its end."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.width = int(job["width"])
        self.pacing = Pacing(job["fps"])
        self.timeline = Timeline()
        self.arrived: dict[int | None, int] = {}
        self.decoded = False  # anything since the decoder was last emptied
        self.by_arrival = False  # MJPEG carries no times
        self.failures = 0
        self.written = 0
        self.lines: list[str] = []
        self.reported = 0.0
        self.size = (0, 0)
        self.encoder: Any = None
        self.reformatter = VideoReformatter()

    def run(self) -> None:
        with av.open(self.job["url"], options=self.job["options"], **self.job["open"]) as container:
            if not container.streams.video:
                raise UndecodableError("the stream does not contain any stream of pictures")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            if self.job["skip_loop_filter"]:
                stream.codec_context.options = {"skip_loop_filter": "all"}
            self.by_arrival = stream.codec_context.name == "mjpeg" and not self.job["paced"]
            for packet, at in self._packets(container, stream):
                self._packet(stream.codec_context, packet, at)

    def _packets(self, container: Any, stream: Any) -> Iterator[tuple[Any, float]]:
        """Packets with the seconds of their pictures, in real time for files, which start over at their end."""
        began = None
        while True:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                at = time.monotonic() if self.by_arrival else self.timeline.at(packet)  # noqa: TID251
                if self.job["paced"]:
                    began = time.monotonic() - at if began is None else began  # noqa: TID251 - in a process of its own
                    time.sleep(max(0.0, began + at - time.monotonic()))  # noqa: TID251 - in a process of its own
                yield packet, at
            if not self.job["loop"]:
                return
            self.timeline.start_over()
            container.seek(0)
            stream.codec_context.flush_buffers()

    def _packet(self, context: Any, packet: Any, at: float) -> None:
        self._hear()
        now_ms = time.time_ns() // 1_000_000
        self._report(f"p {at:.4f} {packet.size} {int(packet.is_keyframe)}", now_ms / 1000)
        verdict = self.pacing.packet(at, key=packet.is_keyframe)
        if verdict.keep:
            self.arrived[packet.pts] = now_ms
        if verdict.decode:
            self._emit(self._decode(context, packet))
        if verdict.last or not verdict.decode:
            self._drain(context)

    def _drain(self, context: Any) -> None:
        """Have the pictures that are wanted out of the decoder, which may hold some back to put them in order."""
        if self.arrived:
            self._emit(self._decode(context, None))
        if self.decoded:
            context.flush_buffers()
        self.decoded = False
        self.arrived.clear()

    def _decode(self, context: Any, packet: Any) -> list[Any]:
        self.decoded = True
        try:
            pictures = list(context.decode(packet))
        except av.error.InvalidDataError:
            self.failures += 1
            if self.failures > MAX_FAILURES:
                raise UndecodableError(f"error while decoding: {MAX_FAILURES} packets in a row") from None
            return []
        self.failures = 0 if pictures else self.failures
        return pictures

    def _emit(self, pictures: list[Any]) -> None:
        for picture in pictures:
            if (picture.width, picture.height) != self.size:
                self.size = (picture.width, picture.height)
                self.encoder = None
                self._report(f"s {picture.width} {picture.height}", 0)
            if (captured_ms := self.arrived.pop(picture.pts, None)) is not None:
                self._write(picture, captured_ms)

    def _write(self, picture: Any, captured_ms: int) -> None:
        if self.encoder is None:
            self.encoder = self._new_encoder(picture)
        scaled = self.reformatter.reformat(
            picture, width=self.encoder.width, height=self.encoder.height, format="yuvj420p", interpolation="BICUBIC"
        )
        self.written += 1
        # The encoder demands times that rise, and PyAV converts them to its time base.
        scaled.time_base, scaled.pts = ENCODER_TIME_BASE, self.written
        for encoded in self.encoder.encode(scaled):
            jpeg = bytes(encoded)
            head = f"--\r\nContent-length: {len(jpeg)}\r\nX-captured-ms: {captured_ms}\r\n\r\n"
            write_all(1, head.encode() + jpeg + b"\r\n")

    def _new_encoder(self, picture: Any) -> Any:
        """Scaled down to the width asked for, never up, to an even height as ffmpeg's `scale=W:-2`."""
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width = min(self.width, picture.width)
        encoder.height = max(2, round(picture.height * encoder.width / picture.width / 2) * 2)
        encoder.pix_fmt = "yuvj420p"
        encoder.time_base = ENCODER_TIME_BASE
        encoder.thread_count = 1
        encoder.qmin = encoder.qmax = self.job["jpeg_quality"]
        return encoder

    def _hear(self) -> None:
        """Another rate or width, if one was sent."""
        try:
            said = os.read(CONTROL_FD, 4096).decode()
        except BlockingIOError:
            return
        for line in said.splitlines():
            _, fps, width = line.split()
            self.pacing.set_fps(float(fps))
            self.width, self.encoder = int(width), None

    def _report(self, line: str, now_s: float) -> None:
        self.lines.append(line)
        if now_s == 0 or now_s - self.reported >= REPORT_S:
            self.reported = now_s or self.reported
            write_all(SEEN_FD, ("\n".join(self.lines) + "\n").encode())
            self.lines = []


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def run(job: dict[str, Any]) -> int:
    """Decode to the end; the exit code, after a line on standard error that says why."""
    try:
        Session(job).run()
    except (OSError, UndecodableError, av.error.FFmpegError) as error:
        write_all(2, f"[error] {error}\n".encode())
        return 1
    return 0
