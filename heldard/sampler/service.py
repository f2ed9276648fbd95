"""Brings what is sampled to what is asked for, stream by stream, and says how each is doing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Protocol

import structlog

from heldard.clock import Clock
from heldard.frames.ring import FrameRings
from heldard.plugin import EventDraft, EventType, Severity
from heldard.sampler import pyav
from heldard.sampler.decoder import Decoder
from heldard.sampler.ffmpeg import FfmpegDecoder, find_ffmpeg
from heldard.sampler.model import SampledTask, SamplerStatus, Size, StreamKey
from heldard.sampler.plan import Grant, Wish, merge, plan
from heldard.sampler.process import owner_mark, reap_orphans
from heldard.sampler.settings import SamplerSettings
from heldard.sampler.stream import Order, Stream, Tools

COALESCE_S = 0.2
"""Edits within this time are one change."""
TICK_S = 0.5

EVENT_TYPES = (
    EventType("camera_online", "A camera that gave no pictures gives them again, or for the first time."),
    EventType("camera_offline", "None of a camera's sampled streams has given pictures for `sampler.offline_grace_s`."),
    EventType("sampler_offline", "One stream has given no pictures for `sampler.offline_grace_s`; payload says why."),
)

log = structlog.get_logger(__name__)

Desired = Callable[[], Awaitable[Sequence[SampledTask]]]
"""The enabled tasks of enabled cameras, now."""
Emit = Callable[[EventDraft], Awaitable[object]]


class Handle(Protocol):
    async def stop(self) -> None: ...


class Supervisor(Protocol):
    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> Handle: ...
    def forget(self, name: str) -> None: ...


class SamplerService:
    """`start`, `poke` whenever cameras, tasks or their addresses may have changed, `status`, `stop`.

    instance: what tells this installation's processes from another's, such as its data directory.
    """

    def __init__(
        self, settings: SamplerSettings, clock: Clock, supervisor: Supervisor, rings: FrameRings,
        desired: Desired, emit: Emit, instance: str, *, rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._clock = clock
        self._supervisor = supervisor
        self._rings = rings
        self._desired = desired
        self._emit = emit
        self._instance = instance
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._streams: dict[StreamKey, tuple[Stream, Handle]] = {}
        self._shed: dict[StreamKey, tuple[Wish, Grant]] = {}
        self._sizes: dict[StreamKey, Size] = {}
        self._online: dict[str, bool] = {}
        self._poked = asyncio.Event()
        self._services: list[Handle] = []

    async def start(self) -> None:
        """End what an earlier run left behind, and begin to sample. Returns before the first frame."""
        reap_orphans(self._instance)
        self._poked.set()
        self._services = [
            self._supervisor.start("sampler_reconcile", self._reconcile_forever),
            self._supervisor.start("sampler_watch", self._watch_forever),
        ]

    async def stop(self) -> None:
        """End all decoders, at the same time; returns when they are gone."""
        for service in self._services:
            await service.stop()
        self._services = []
        await asyncio.gather(*(self._remove(key) for key in list(self._streams)))
        await self._zygote.stop()

    def reconfigure(self, settings: SamplerSettings) -> None:
        """Take up another budget; running streams keep everything else until a restart."""
        self._settings = settings
        self.poke()

    def poke(self) -> None:
        """What is wanted may have changed. Returns at once; it is looked at a moment later."""
        self._poked.set()

    def status(self) -> list[SamplerStatus]:
        """Every planned stream, by camera and profile; what the budget leaves nothing for is among them."""
        running = [stream.status() for stream, _ in self._streams.values()]
        shed = [_shed_status(wish, grant) for wish, grant in self._shed.values()]
        return sorted(running + shed, key=lambda status: (status.camera_id, status.stream_profile))

    def status_of(self, camera_id: str, profile: str) -> SamplerStatus | None:
        """One stream, None when nothing asks for it."""
        key = StreamKey(camera_id, profile)
        if key in self._streams:
            return self._streams[key][0].status()
        return _shed_status(*self._shed[key]) if key in self._shed else None

    def stale_after_s(self, camera_id: str, profile: str) -> float:
        """From which age on a stream's newest frame is not current: when the watchdog gives its decoder up."""
        running = self._streams.get(StreamKey(camera_id, profile))
        return self._settings.stall_s if running is None else running[0].stale_after_s

    async def _reconcile_forever(self) -> None:
        while True:
            await self._poked.wait()
            await self._clock.sleep(COALESCE_S)
            self._poked.clear()
            await self.reconcile()

    async def reconcile(self) -> None:
        """Plan anew and carry out the difference; streams whose orders stay the same are not touched."""
        tasks = await self._desired() if self._settings.enabled else ()
        urls = {StreamKey(task.camera_id, task.profile): task.url for task in tasks}
        wishes = {wish.key: wish for wish in merge(tasks, self._sizes)}
        grants = plan(wishes.values(), self._settings.max_total_fps)
        self._shed = {key: (wishes[key], grant) for key, grant in grants.items() if grant.fps == 0}
        orders = {key: Order(urls[key], grants[key], wishes[key]) for key in wishes if key not in self._shed}
        await asyncio.gather(*(self._remove(key) for key in self._streams.keys() - orders.keys()))
        for key, order in orders.items():
            if key in self._streams:
                self._streams[key][0].update(order)
            else:
                self._add(key, order)
        cameras = {key.camera_id for key in wishes}
        self._online = {camera_id: online for camera_id, online in self._online.items() if camera_id in cameras}
        self._sizes = {key: size for key, size in self._sizes.items() if key in wishes}

    async def _watch_forever(self) -> None:
        while True:
            for stream, _ in self._streams.values():
                stream.tick()
                self._learn_size(stream)
            self._rings.expire()
            await self._announce()
            await self._clock.sleep(TICK_S)

    def _learn_size(self, stream: Stream) -> None:
        """A source's size changes what its frames cost, so the plan may change with it."""
        size = stream.source_size
        if size is not None and self._sizes.get(stream.key) != size:
            self._sizes[stream.key] = size
            self._poked.set()

    async def _announce(self) -> None:
        """Events, once per change: a stream that stays away is told of once, and not at each attempt."""
        now = self._clock.monotonic()
        for stream in [stream for stream, _ in self._streams.values()]:
            if stream.health.down_since is None:
                stream.announced = True
            elif stream.announced is not False and self._is_away(stream, now):
                stream.announced = False
                await self._tell("sampler_offline", "warning", stream)
        for camera_id, streams in self._by_camera().items():
            await self._announce_camera(camera_id, streams)

    def _is_away(self, stream: Stream, now: float) -> bool:
        """Gone for long enough, and known why: a first connection under way is given its time."""
        return stream.health.cause is not None and stream.health.down_for(now) >= self._settings.offline_grace_s

    async def _announce_camera(self, camera_id: str, streams: list[Stream]) -> None:
        before = self._online.get(camera_id)
        if before is not True and any(stream.announced for stream in streams):
            self._online[camera_id] = True
            await self._tell("camera_online", "info", next(stream for stream in streams if stream.announced))
        elif before is not False and all(stream.announced is False for stream in streams):
            self._online[camera_id] = False
            await self._tell("camera_offline", "warning", streams[0])

    async def _tell(self, event_type: str, severity: Severity, stream: Stream) -> None:
        payload: dict[str, object] = {"profile": stream.key.profile}
        if severity != "info":
            payload |= {"state": stream.health.state, "cause": stream.health.cause, "reason": stream.reason}
        await self._emit(EventDraft(event_type, self._clock.now_ms(), severity, stream.key.camera_id, payload))

    def _by_camera(self) -> dict[str, list[Stream]]:
        cameras: dict[str, list[Stream]] = {}
        for key, (stream, _) in sorted(self._streams.items()):
            cameras.setdefault(key.camera_id, []).append(stream)
        return cameras

    def _add(self, key: StreamKey, order: Order) -> None:
        stream = Stream(key, order, self._tools)
        self._streams[key] = (stream, self._supervisor.start(_name(key), stream.run))

    async def _remove(self, key: StreamKey) -> None:
        _, handle = self._streams[key]
        await handle.stop()
        self._streams.pop(key, None)
        self._rings.close(*key)
        self._supervisor.forget(_name(key))

    @cached_property
    def _zygote(self) -> pyav.Zygote:
        return pyav.Zygote(owner_mark(self._instance))

    @cached_property
    def _tools(self) -> Tools:
        return Tools(self._settings, self._clock, self._rings, self._decoder, owner_mark(self._instance), self._rng)

    def _decoder(self, hwaccel: str) -> Decoder:
        """Who decodes: PyAV where it is installed and nothing is asked of it that only ffmpeg can.

        Raises ConfigError when there is no ffmpeg; asked at each attempt, so installing one is enough.
        """
        engine = self._settings.engine
        if engine == "pyav" or (engine == "auto" and hwaccel == "none" and pyav.available()):
            return pyav.PyavDecoder(self._zygote)
        return FfmpegDecoder(find_ffmpeg(self._settings.ffmpeg_path))


def _name(key: StreamKey) -> str:
    return f"sampler:{key.camera_id}:{key.profile}"


def _shed_status(wish: Wish, grant: Grant) -> SamplerStatus:
    return SamplerStatus(
        camera_id=wish.key.camera_id, stream_profile=wish.key.profile, state="budget_exhausted", fps=0.0, width=0,
        wanted_fps=wish.fps, wanted_width=wish.width, reason=grant.reason,
    )  # fmt: skip
