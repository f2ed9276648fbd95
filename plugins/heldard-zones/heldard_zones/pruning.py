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
            await _forget_deleted(ctx, store)
            if gone:
                ctx.log.info("zones_pruned", rows=gone)
            await ctx.clock.sleep(EVERY_S)

    return Service("prune", run)


async def _forget_deleted(ctx: PluginContext, store: Store) -> None:
    """Zones of cameras that were deleted while nobody told us, so that a new camera of that name begins without."""
    drawn_on = await store.cameras()  # first: a camera is there before its zones are
    known = {camera.id for camera in await ctx.cameras()}
    for camera_id in drawn_on:
        if camera_id not in known:
            await store.forget_camera(camera_id)
            ctx.log.warning("zones_of_deleted_camera_removed", camera=camera_id)
