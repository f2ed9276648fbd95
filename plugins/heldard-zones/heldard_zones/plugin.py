"""What the kernel asks of this plugin: one short function per hook."""

from __future__ import annotations

from collections.abc import Sequence

import click

from heldard.plugin import (
    Consumer,
    Endpoint,
    EventType,
    Migrations,
    PluginContext,
    PluginInfo,
    Service,
    hookimpl,
)
from heldard_zones import __version__, routes
from heldard_zones.cli import zones as zones_command
from heldard_zones.consumer import ZoneConsumer
from heldard_zones.engine.schedule import load_timezone
from heldard_zones.pruning import pruning
from heldard_zones.service import Zones
from heldard_zones.settings import Settings

_EVENTS = {
    "zone_enter": "an object entered a zone; joined with its exit by `visit`",
    "zone_exit": "an object left a zone; `dwell_seconds` is how long it stayed, `reason` how that is known",
    "zone_dwell": "an object has been in a zone for the zone's dwell time",
    "zone_cross_ab": "an object crossed a line from A to B",
    "zone_cross_ba": "an object crossed a line from B to A",
    "zone_static_suppressed": "an object stands still; it is counted apart and not told again",
    "zone_occupancy_over": "more objects than the zone's limit for its time",
    "zone_occupancy_under": "fewer objects than the zone's limit for its time",
    "zone_occupancy_normal": "a zone's occupancy is within its limits again",
    "zone_empty": "nobody has been in a zone for its time",
}

_running: dict[str, Zones] = {}
"""The service of the daemon that asked last, for hooks that are not given the context."""


@hookimpl
def heldard_register_plugin() -> PluginInfo:
    return PluginInfo(
        name="zones",
        version=__version__,
        api=">=1.0,<2",
        summary="Zones and lines: enter, exit, dwell, crossings, occupancy, parked objects",
        tables=("zones", "zone_*"),
        derived=("zone_events", "zone_occupancy", "zone_occupancy_log", "zone_refusals"),
    )


@hookimpl
def heldard_register_settings() -> type[Settings]:
    return Settings


@hookimpl
def heldard_register_migrations() -> Migrations:
    return Migrations("heldard_zones")


@hookimpl
def heldard_register_event_types() -> Sequence[EventType]:
    return [EventType(name, description) for name, description in _EVENTS.items()]


@hookimpl
def heldard_register_consumers(ctx: PluginContext) -> Sequence[Consumer]:
    timezone = ctx.settings.timezone or ctx.timezone
    load_timezone(timezone)
    consumer = ZoneConsumer(ctx, timezone)
    _running["zones"] = Zones(ctx, consumer)
    return [consumer]


@hookimpl
def heldard_register_routes(ctx: PluginContext) -> Sequence[Endpoint]:
    return routes.endpoints(_running["zones"])


@hookimpl
def heldard_register_services(ctx: PluginContext) -> Sequence[Service]:
    return [pruning(ctx, _running["zones"].store)]


@hookimpl
def heldard_register_commands() -> Sequence[click.Command]:
    return [zones_command]


@hookimpl
async def heldard_on_camera_deleted(camera_id: str) -> None:
    await _running["zones"].store.forget_camera(camera_id)
