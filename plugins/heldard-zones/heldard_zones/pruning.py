"""Keeps the plugin's tables from growing for ever."""

from __future__ import annotations

from heldard.plugin import PluginContext, Service
from heldard_zones.store import Store

EVERY_S = 3600.0
DAY_MS = 86_400_000


def pruning(ctx: PluginContext, store: Store) -> Service:
    async def run() -> None:
        while True:
            now, settings = ctx.clock.now_ms(), ctx.settings
            gone = await store.prune(
                now - settings.keep_events_days * DAY_MS, now - settings.keep_history_days * DAY_MS
            )
            if gone:
                ctx.log.info("zones_pruned", rows=gone)
            await ctx.clock.sleep(EVERY_S)

    return Service("prune", run)
