"""The last frames of each stream, in memory: what workers are given, and what evidence is taken from."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace

from heldard.clock import Clock
from heldard.plugin import Frame

MB = 1024 * 1024


class FrameRings:
    """A ring of frames per (camera, profile), bounded in seconds, in bytes, and in bytes over all rings.

    It is the `FrameSource` of `heldard.plugin`. The newest frame of a stream stays, whatever the bounds, until the
    stream is closed. Everything runs on the event loop's thread.
    """

    def __init__(self, clock: Clock, *, seconds: float, ring_bytes: int, total_bytes: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ring_bytes = ring_bytes
        self._total_bytes = total_bytes
        self._rings: dict[tuple[str, str], _Ring] = {}
        self._held: dict[tuple[str, int], Frame] = {}
        self.size_bytes = 0

    def put(self, frame: Frame) -> Frame:
        """Take a frame in, wake who waits for it, and return it as it is held.

        Its capture time is moved by the fewest milliseconds that make it later than the stream's last one and unlike
        that of any held frame of the camera; `frame_id` follows. Raises ValueError for a frame without bytes.
        """
        if not frame.jpeg:
            raise ValueError(f"a frame of {frame.camera_id}/{frame.profile} has no bytes")
        ring = self._rings.setdefault((frame.camera_id, frame.profile), _Ring())
        frame = self._stamped(frame, ring.last_ms + 1)
        ring.add(frame, self._clock.monotonic())
        self._held[frame.camera_id, frame.captured_ms] = frame
        self.size_bytes += len(frame.jpeg)
        self._trim(ring)
        return frame

    def latest(self, camera_id: str, profile: str) -> Frame | None:
        """The newest frame of an open stream, however old: see `age_s`."""
        ring = self._rings.get((camera_id, profile))
        return None if ring is None or not ring.open else ring.frames[-1][1]

    def age_s(self, camera_id: str, profile: str) -> float | None:
        """Seconds since the newest frame came, whatever became of the wall clock; None without one."""
        ring = self._rings.get((camera_id, profile))
        return None if ring is None or not ring.open else self._clock.monotonic() - ring.frames[-1][0]

    def may_have_given(self, camera_id: str, profile: str, captured_ms: int) -> bool:
        """Whether a frame of that moment can be one that the stream gave since the start.

        One that is later than its newest and later than now is from before a start after which the clock was behind.
        """
        ring = self._rings.get((camera_id, profile))
        newest_ms = 0 if ring is None else ring.last_ms
        return captured_ms <= max(newest_ms, self._clock.now_ms())

    def find(self, camera_id: str, captured_ms: int) -> Frame | None:
        """The frame of that camera taken at exactly that millisecond, or None when it is no longer held."""
        return self._held.get((camera_id, captured_ms))

    async def wait_next(self, camera_id: str, profile: str, after_ms: int, timeout_s: float) -> Frame | None:
        """The newest frame taken after `after_ms`, as soon as there is one; None when `timeout_s` passes without."""
        ring = self._rings.setdefault((camera_id, profile), _Ring())
        newest = self.latest(camera_id, profile)
        if newest is not None and newest.captured_ms > after_ms:
            return newest
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    frame = await ring.next_frame()
                    if frame.captured_ms > after_ms:
                        return frame
        except TimeoutError:
            return None

    def close(self, camera_id: str, profile: str) -> None:
        """The stream is no longer sampled: its newest frame is no longer current. `find` still has what is held."""
        ring = self._rings.get((camera_id, profile))
        if ring is not None:
            ring.open = False

    def forget(self, camera_id: str) -> None:
        """Drop everything of a camera."""
        for key in [key for key in self._rings if key[0] == camera_id]:
            self._drop(self._rings[key], keep=0)
            del self._rings[key]

    def expire(self) -> None:
        """Drop what is older than the rings keep. Called now and then: streams without new frames age too."""
        for key, ring in list(self._rings.items()):
            self._trim(ring)
            if not ring.frames and not ring.waiters:
                del self._rings[key]

    def _stamped(self, frame: Frame, earliest_ms: int) -> Frame:
        captured_ms = max(frame.captured_ms, earliest_ms)
        while (frame.camera_id, captured_ms) in self._held:
            captured_ms += 1
        if captured_ms == frame.captured_ms:
            return frame
        frame_id = f"{frame.camera_id}:{frame.profile}:{captured_ms}"
        return replace(frame, captured_ms=captured_ms, frame_id=frame_id)

    def _trim(self, ring: _Ring) -> None:
        oldest = self._clock.monotonic() - self._seconds
        keep = 1 if ring.open else 0
        while len(ring.frames) > keep and (ring.frames[0][0] < oldest or ring.size_bytes > self._ring_bytes):
            self._drop_oldest(ring)
        while self.size_bytes > self._total_bytes:
            crowded = [other for other in self._rings.values() if len(other.frames) > (1 if other.open else 0)]
            if not crowded:
                break
            self._drop_oldest(min(crowded, key=lambda other: other.frames[0][0]))

    def _drop(self, ring: _Ring, keep: int) -> None:
        while len(ring.frames) > keep:
            self._drop_oldest(ring)

    def _drop_oldest(self, ring: _Ring) -> None:
        _, frame = ring.frames.popleft()
        ring.size_bytes -= len(frame.jpeg)
        self.size_bytes -= len(frame.jpeg)
        del self._held[frame.camera_id, frame.captured_ms]


class _Ring:
    """One stream's frames, oldest first, each with the moment it came."""

    __slots__ = ("_next", "frames", "last_ms", "open", "size_bytes", "waiters")

    def __init__(self) -> None:
        self.frames: deque[tuple[float, Frame]] = deque()
        self.size_bytes = 0
        self.last_ms = 0
        self.open = False
        self.waiters = 0
        self._next: asyncio.Future[Frame] | None = None

    def add(self, frame: Frame, at: float) -> None:
        self.frames.append((at, frame))
        self.size_bytes += len(frame.jpeg)
        self.last_ms = frame.captured_ms
        self.open = True
        if self._next is not None:
            self._next.set_result(frame)
            self._next = None

    async def next_frame(self) -> Frame:
        """The next frame to be added. One future serves all who wait; the shield keeps it from their cancellations."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        self.waiters += 1
        try:
            return await asyncio.shield(self._next)
        finally:
            self.waiters -= 1
