"""What the kernel offers to one plugin: the other side of `heldard.plugin.PluginContext`."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from heldard.cameras.service import Cameras
from heldard.clock import Clock
from heldard.db.database import Database
from heldard.erasure.service import Erasures
from heldard.fanout.child import ProcessContext
from heldard.fanout.commit import Committed, EffectWriter, PluginTx, UnitEffects
from heldard.fanout.service import Fanout
from heldard.frames.evidence import EvidenceStore
from heldard.ingest.log import DetectionLog
from heldard.plugin import Batch, CameraInfo, Effects, Erasure, Frame, FrameSource, Tx
from heldard.plugins import Plugin

T = TypeVar("T")


@dataclass(frozen=True)
class KernelParts:
    """The parts of the kernel that contexts are made of."""

    db: Database
    cameras: Cameras
    fanout: Fanout
    log: DetectionLog
    frames: FrameSource
    evidence: EvidenceStore
    erasures: Erasures
    clock: Clock
    site_id: str | None
    timezone: str


class KernelContext:
    """One plugin's way into the kernel."""

    def __init__(self, plugin: Plugin, parts: KernelParts) -> None:
        assert plugin.guard is not None
        self._plugin = plugin
        self._parts = parts
        self._guard = plugin.guard
        self.name = plugin.name
        self.settings = plugin.settings
        self.clock = parts.clock
        self.site_id = parts.site_id
        self.timezone = parts.timezone
        self.log: Any = structlog.get_logger(f"heldard.plugins.{plugin.name}").bind(plugin=plugin.name)
        self._writer = EffectWriter(
            0, plugin.guard, parts.fanout.names, parts.fanout.events, parts.fanout.decide_severity, parts.clock.now_ms
        )

    def __reduce__(self) -> Any:
        """What reaches into a consumer's own process: see `heldard.fanout.child.ProcessContext`."""
        return ProcessContext, (self.name, self.settings, self.site_id, self.timezone)

    async def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        self._guard.check(sql)
        return [dict(row) for row in await self._parts.db.fetch(sql, parameters)]

    async def write(self, work: Callable[[Tx], T]) -> T:
        unit = functools.partial(self.inside, work=work)
        result, _ = await self._parts.db.change(unit, lambda done: self._parts.fanout.told(done[1]))
        return result

    def inside(self, connection: sqlite3.Connection, work: Callable[[Tx], T]) -> tuple[T, Committed]:
        """Let the plugin work within somebody's unit: its result, and what is to be told after the commit."""
        effect = UnitEffects(self._writer, connection, "")
        result = work(PluginTx(connection, self._guard, effect))
        return result, Committed(effect.events, effect.actions)

    async def in_lane(self, consumer: str, camera_id: str, work: Callable[[Effects], T]) -> T:
        return await self._parts.fanout.in_lane(consumer, camera_id, work)

    async def camera(self, camera_id: str) -> CameraInfo:
        return self._parts.cameras.get(camera_id).info

    async def cameras(self) -> list[CameraInfo]:
        return [camera.info for camera in self._parts.cameras.all()]

    def frame(self, camera_id: str, captured_ms: int) -> Frame | None:
        return self._parts.frames.find(camera_id, captured_ms)

    def evidence_path(self, name: str) -> Path | None:
        """Where a kept frame lies; None when there is none of that name."""
        path = self._parts.evidence.path(name)
        return path if path is not None and path.exists() else None

    def batches(self, camera_id: str, from_ms: int, to_ms: int) -> AsyncIterator[Batch]:
        return self._parts.log.between(camera_id, from_ms, to_ms)

    async def erase(
        self, kind: str, subject: str, *, by: str, options: Mapping[str, Any] | None = None, wait_s: float = 20.0
    ) -> Erasure:
        view = await self._parts.erasures.ask(kind, subject, options or {}, by, wait_s)
        return Erasure(id=view.id, done=view.state == "done", counts=view.counts, error=view.error)
