"""Builds the plugin's parts, once for each daemon."""

from __future__ import annotations

import weakref

from heldard.plugin import Endpoint, PluginContext, Service
from heldard_anpr.consumer import AnprConsumer
from heldard_anpr.decisions import routes as decision_routes
from heldard_anpr.decisions.recorder import Recorder
from heldard_anpr.gate import routes as gate_routes
from heldard_anpr.gate.service import SQL as GATE_SQL
from heldard_anpr.gate.service import Gate
from heldard_anpr.plates.confusion import shipped
from heldard_anpr.privacy import routes as privacy_routes
from heldard_anpr.privacy import service as privacy
from heldard_anpr.privacy.eraser import PlateEraser
from heldard_anpr.registry import routes as registry_routes
from heldard_anpr.settings import Settings
from heldard_anpr.stays import routes as stay_routes
from heldard_anpr.stays.pairing import tell_overstays

WATCH_S = 10.0
SWEEP_S = 600.0


class Parts:
    """Raises ValueError for a region or a pattern that is none."""

    def __init__(self, ctx: PluginContext) -> None:
        self.ctx = ctx
        self.settings: Settings = ctx.settings or Settings()
        self.recorder = Recorder(self.settings, self.settings.rules(shipped()), ctx.timezone)
        self.consumer = AnprConsumer(self.recorder)
        self.gate = Gate(ctx, self.settings)
        self.eraser = PlateEraser(ctx, self.consumer)

    def routes(self) -> list[Endpoint]:
        return [
            *registry_routes.routes(self.ctx, self.recorder),
            *decision_routes.routes(self.ctx, self.recorder),
            *gate_routes.routes(self.ctx, self.gate),
            *stay_routes.routes(self.ctx),
            *privacy_routes.routes(self.ctx),
        ]

    def services(self) -> list[Service]:
        return [Service("watch", self._watch), Service("sweep", self._sweep)]

    async def start(self) -> None:
        await decision_routes.take_up_confusions(self.ctx, self.recorder)
        await self.gate.make_safe()

    async def forget_camera(self, camera_id: str) -> None:
        """Another camera that comes to have the same id must not come to have the gate."""
        await self.ctx.write(lambda tx: tx.execute(GATE_SQL["drop_policy"], [camera_id]))

    async def _watch(self) -> None:
        """Overstays, and openings nobody heard the end of."""
        while True:
            now = self.ctx.clock.now_ms()
            await self.ctx.write(lambda tx, now=now: tell_overstays(tx, now))  # type: ignore[misc]
            await self.gate.settle()
            await self.ctx.clock.sleep(WATCH_S)

    async def _sweep(self) -> None:
        while True:
            gone = await privacy.sweep(self.ctx, self.settings.retention_days)
            if gone:
                self.ctx.log.info("entries_expired", count=gone)
            await self.ctx.clock.sleep(SWEEP_S)


_parts: weakref.WeakKeyDictionary[PluginContext, Parts] = weakref.WeakKeyDictionary()


def newest() -> Parts | None:
    """Those of the daemon that asked last, for hooks that are not given the context."""
    return list(_parts.values())[-1] if _parts else None


def parts_of(ctx: PluginContext) -> Parts:
    """The parts of one daemon: hooks are functions, and this is where they meet."""
    if ctx not in _parts:
        _parts[ctx] = Parts(ctx)
    return _parts[ctx]
