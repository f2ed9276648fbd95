"""One stream from its address to its ring: starts its decoder, watches it, and starts it again."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from heldard.clock import Clock
from heldard.errors import HeldardError
from heldard.frames.ring import MB, FrameRings
from heldard.plugin import Frame
from heldard.sampler.decoder import Decoder, Decoding, Job, Strategy, classify
from heldard.sampler.health import Health, Ladder
from heldard.sampler.model import Cause, SamplerStatus, Size, StreamKey
from heldard.sampler.plan import Grant, Wish
from heldard.sampler.settings import SamplerSettings
from heldard.sampler.source import mask, resolve
from heldard.sampler.strategy import choose

KILL_AFTER_S = 1.5

log = structlog.get_logger(__name__)

Why = Literal["changed", "strategy", "hwaccel", "resized", "stall"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a stream shall do: its address, what it was granted and what was asked for. Credentials are in `url`."""

    url: str | None
    grant: Grant
    wish: Wish

    @property
    def width(self) -> int:
        """How wide pictures may be: what was asked for, whatever the source's width is now, unless it was cut down."""
        return self.wish.width if self.grant.level == self.grant.levels else self.grant.width

    def differs(self, other: Order, source: Size | None) -> bool:
        """Whether going from one to the other takes a new decoder: widths above the source's are all the same."""
        widest = source.width if source else max(self.width, other.width)
        mine, theirs = (min(order.width, widest) for order in (self, other))
        return (self.url, self.grant.fps, mine) != (other.url, other.grant.fps, theirs)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all streams share."""

    settings: SamplerSettings
    clock: Clock
    rings: FrameRings
    decoder: Callable[[str], Decoder]
    owner: str
    rng: random.Random


class Stream:
    """`run` is its life; `update` and `tick` steer it. All on the event loop."""

    def __init__(self, key: StreamKey, order: Order, tools: Tools) -> None:
        self.key = key
        self.order = order
        self.source_size: Size | None = None
        self.health = Health(tools.clock.monotonic(), Ladder(tools.rng), tools.settings.stall_s)
        self.announced: bool | None = None
        self._tools = tools
        self._log = log.bind(camera_id=key.camera_id, stream_profile=key.profile)
        self._strategy: Strategy = "full"
        self._keyframes_failed = False
        self._hwaccel: str = tools.settings.hwaccel
        self._decoding: Decoding | None = None
        self._began = 0.0
        self._ending: tuple[Why, float] | None = None
        self._wake = asyncio.Event()
        self._lost = False
        self._past_cpu_s = 0.0
        self._past_bytes = 0
        self._sequence = 0

    async def run(self) -> None:
        """Decode, for ever; ends only by being cancelled, and then leaves no process behind."""
        while True:
            self._wake.clear()
            cause = await self._attempt()
            if cause is not None:
                await self._pause(cause)

    def update(self, order: Order) -> None:
        """Take a new order; the decoder is replaced only when it takes another one to fulfil it."""
        before, self.order = self.order, order
        if not before.differs(order, self.source_size):
            return
        if before.url != order.url:
            self.health.renewed(self._now())
            self._strategy, self._keyframes_failed, self.source_size = "full", False, None
            self._hwaccel = self._tools.settings.hwaccel
        elif self._retuned():
            return
        self._replace("changed")
        self._wake.set()

    def _retuned(self) -> bool:
        """Whether the running decoder can go on under the new order."""
        order, decoding = self.order, self._decoding
        return decoding is not None and self._ending is None and decoding.retune(order.grant.fps, order.width)

    def tick(self) -> None:
        """Look after the decoder; called about twice a second."""
        decoding, now = self._decoding, self._now()
        if decoding is None:
            return
        decoding.look()
        self.source_size = decoding.seen.size or self.source_size
        if self._ending is not None:
            if now - self._ending[1] > KILL_AFTER_S:
                decoding.child.kill_now()
        elif self.health.overdue(now, self.order.grant.fps):
            self.health.stalled(now, decoding.complaint)
            self._replace("stall")
        else:
            self._reconsider(decoding, now)

    def status(self) -> SamplerStatus:
        health, now, decoding = self.health, self._now(), self._decoding
        age_s = self._tools.rings.age_s(*self.key)
        seen = decoding.seen if decoding else None
        return SamplerStatus(
            camera_id=self.key.camera_id,
            stream_profile=self.key.profile,
            state=health.state,
            cause=health.cause,
            reason=self.reason,
            fps=self.order.grant.fps,
            width=min(self.order.grant.width, self.source_size.width) if self.source_size else self.order.grant.width,
            wanted_fps=self.order.wish.fps,
            wanted_width=self.order.wish.width,
            frames=health.frames,
            observed_fps=health.observed_fps(now),
            last_frame_age_ms=None if age_s is None else int(age_s * 1000),
            restarts=dict(health.restarts),
            stalls=health.stalls,
            retry_in_s=None if health.retry_at is None else round(max(0.0, health.retry_at - now), 1),
            pid=decoding.child.pid if decoding else None,
            engine=decoding.decoder.name if decoding else None,
            strategy=_strategy(decoding) if decoding else None,
            hwaccel=("none" if decoding.decoder.adapts else decoding.job.hwaccel) if decoding else None,
            source_width=self.source_size.width if self.source_size else None,
            source_height=self.source_size.height if self.source_size else None,
            source_fps=_rounded(seen.fps if seen else None),
            gop_s=_rounded(seen.gop_s if seen else None),
            bytes=self._past_bytes + (seen.bytes if seen else 0),
            decode_cpu_s=round(self._past_cpu_s + (decoding.child.cpu_s() if decoding else 0.0), 2),
        )

    @property
    def stale_after_s(self) -> float:
        return self.health.patience_s(self.order.grant.fps)

    @property
    def reason(self) -> str:
        """In words, why the stream is as it is."""
        if self.health.cause is None:
            return f"{'waiting for a picture; ' if self.health.state == 'connecting' else ''}{self.order.grant.reason}"
        said = self.health.complaint.strip().splitlines()
        return f"{_MEANING[self.health.cause]}{': ' + said[-1][:300] if said else ''}"

    async def _attempt(self) -> Cause | None:
        """One decoder from start to end. Returns why it is gone, None when it was replaced for a better one."""
        try:
            decoding = Decoding(
                self._tools.decoder(self._hwaccel), self._job(), self._frame, self._tools.settings.max_frame_mb * MB
            )
            await decoding.start(self._tools.owner)
        except (HeldardError, OSError) as error:
            cause: Cause = "config" if isinstance(error, HeldardError) else "decoder"
            self.health.ended(self._now(), cause, mask(str(error)))
            return cause
        self._decoding, self._began, self._ending = decoding, self._now(), None
        self.health.started(self._began)
        try:
            ended = await decoding.finished()
        finally:
            await decoding.stop()
            self._account(decoding)
        return self._ended(decoding, ended.code)

    def _ended(self, decoding: Decoding, code: int) -> Cause | None:
        now = self._now()
        if self._ending is not None and self._ending[0] != "stall":
            self.health.reconnecting(now, self._ending[0])
            return None
        if self._ending is not None:
            return "timeout"
        cause = classify(code, decoding.complaint)
        if self._hardware_failed(decoding, cause):
            self._hwaccel = "none"
            self._log.warning("hwaccel_unavailable", hwaccel=decoding.job.hwaccel, said=decoding.complaint[-500:])
            self.health.reconnecting(now, "hwaccel")
            return None
        self.health.ended(now, cause, decoding.complaint or _how(code))
        return cause

    def _hardware_failed(self, decoding: Decoding, cause: Cause) -> bool:
        """It gave no picture, and that is not the network's or the camera's doing."""
        no_picture = decoding.job.hwaccel != "none" and decoding.frames == 0
        return no_picture and (cause in {"decoder", "codec"} or decoding.seen.packets > 0)

    async def _pause(self, cause: Cause) -> None:
        if cause == "ended" and self._finished_file():
            await self._wake.wait()
            return
        delay_s = self.health.retry(self._now())
        if not self._lost:
            self._lost = True
            self._log.warning("stream_lost", cause=cause, said=self.health.complaint[-500:])
        await _sleep_unless(self._tools.clock, delay_s, self._wake)

    def _finished_file(self) -> bool:
        """A file that shall play once has done so."""
        source = resolve(self.order.url or "", self._tools.settings)
        return source.is_file and not source.loop

    def _job(self) -> Job:
        settings, order = self._tools.settings, self.order
        if order.url is None:
            raise HeldardError(f"the camera has no address for its {self.key.profile} stream")
        return Job(
            resolve(order.url, settings),
            order.grant.fps,
            order.width,
            self._strategy,
            self._hwaccel,
            settings.jpeg_quality,
            settings.rtsp_transport,
            settings.io_timeout_s,
            settings.skip_loop_filter,
        )

    def _frame(self, jpeg: bytes, size: Size, captured_ms: int | None) -> None:
        if self._ending is not None:
            return
        clock, key = self._tools.clock, self.key
        at_ms = clock.now_ms() if captured_ms is None else captured_ms
        self._sequence += 1
        self._tools.rings.put(
            Frame(f"{key.camera_id}:{key.profile}:{at_ms}", *key, at_ms, self._sequence, size.width, size.height, jpeg)
        )
        self.health.frame(clock.monotonic())
        if self._lost:
            self._lost = False
            self._log.info("stream_recovered", restarts=dict(self.health.restarts))

    def _reconsider(self, decoding: Decoding, now: float) -> None:
        fps = self.order.grant.fps
        if decoding.seen.resized:
            self._replace("resized")
            return
        if decoding.decoder.adapts:
            return
        better = choose(self._strategy, fps, decoding.seen, now - self._began, was_wrong=self._keyframes_failed)
        if better != self._strategy:
            self._keyframes_failed = self._keyframes_failed or better == "full"
            self._strategy = better
            self._log.info("stream_strategy_changed", strategy=better, gop_s=decoding.seen.gop_s, fps=fps)
            self._replace("strategy")

    def _replace(self, why: Why) -> None:
        if self._decoding is not None and self._ending is None:
            self._ending = (why, self._now())
            self._decoding.child.signal(signal.SIGTERM)

    def _account(self, decoding: Decoding) -> None:
        self._past_cpu_s += decoding.child.cpu_s()
        self._past_bytes += decoding.seen.bytes
        self._decoding = None

    def _now(self) -> float:
        return self._tools.clock.monotonic()


_MEANING: dict[Cause, str] = {
    "auth": "the camera refuses the name or password",
    "refused": "nothing answers at the camera's address and port",
    "unreachable": "the camera's address cannot be reached",
    "timeout": "the camera sends nothing",
    "not_found": "there is no such stream",
    "codec": "what the camera sends cannot be decoded",
    "ended": "the stream ended",
    "lost": "the connection broke",
    "busy": "the camera cannot serve this now; too many others may be watching it",
    "decoder": "the decoder failed",
    "config": "the stream cannot be started",
}


def _how(code: int) -> str:
    return f"it was ended by signal {-code}" if code < 0 else ""


def _strategy(decoding: Decoding) -> str:
    return "adaptive" if decoding.decoder.adapts else decoding.job.strategy


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


async def _sleep_unless(clock: Clock, seconds: float, wake: asyncio.Event) -> None:
    """Sleep, or return as soon as `wake` is set."""
    async with asyncio.TaskGroup() as group:
        tasks = (group.create_task(clock.sleep(seconds)), group.create_task(wake.wait()))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
