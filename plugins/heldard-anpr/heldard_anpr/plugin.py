"""The plugin's table of contents: one short function for each hook."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from heldard.plugin import (
    ActionHandler,
    Consumer,
    Endpoint,
    Eraser,
    EventType,
    Migrations,
    PluginContext,
    PluginInfo,
    Service,
    hookimpl,
)
from heldard_anpr import __version__
from heldard_anpr.parts import newest, parts_of
from heldard_anpr.settings import Settings

TABLES = (
    "vehicles", "visitor_passes", "watchlist", "entry_events", "gate_policies", "gate_settings", "anpr_*",
)  # fmt: skip
DERIVED = (
    "entry_events", "anpr_visits", "anpr_reads", "anpr_decisions", "anpr_reviews", "anpr_openings", "anpr_stays",
)  # fmt: skip
EVENT_TYPES = (
    EventType("entry_matched", "A vehicle that a list lets in."),
    EventType("entry_unmatched", "A vehicle on no list, or without a readable plate."),
    EventType("entry_exception", "A vehicle that a person should look at; the authorization says why."),
    EventType("entry_blocked", "A vehicle on the block list."),
    EventType("entry_amended", "Better reads changed what was decided of a visit."),
    EventType("gate_opened", "A gate was opened.", of_action=True),
    EventType("gate_open_failed", "A gate was to open and did not, or nobody knows whether it did.", of_action=True),
    EventType("gate_review_not_actuated", "A gate stayed shut although somebody may be waiting; the reason says why."),
    EventType("anpr_overstay", "A vehicle is inside for longer than allowed."),
    EventType("anpr_tailgating", "A second vehicle was gone within moments of an opening that was not its own."),
)


@hookimpl
def heldard_register_plugin() -> PluginInfo:
    return PluginInfo(
        "anpr", __version__, ">=1.1,<2", "Plates: one explained decision per visit, lists, a gate", TABLES, DERIVED
    )


@hookimpl
def heldard_register_settings() -> type[msgspec.Struct]:
    return Settings


@hookimpl
def heldard_register_migrations() -> Migrations:
    return Migrations("heldard_anpr")


@hookimpl
def heldard_register_event_types() -> Sequence[EventType]:
    return EVENT_TYPES


@hookimpl
def heldard_register_consumers(ctx: PluginContext) -> Sequence[Consumer]:
    return [parts_of(ctx).consumer]


@hookimpl
def heldard_register_actions(ctx: PluginContext) -> Sequence[ActionHandler]:
    return [parts_of(ctx).gate.handler]


@hookimpl
def heldard_register_routes(ctx: PluginContext) -> Sequence[Endpoint]:
    return parts_of(ctx).routes()


@hookimpl
def heldard_register_erasers(ctx: PluginContext) -> Sequence[Eraser]:
    return [parts_of(ctx).eraser]


@hookimpl
def heldard_register_services(ctx: PluginContext) -> Sequence[Service]:
    return parts_of(ctx).services()


@hookimpl
def heldard_register_commands() -> Sequence[click.Command]:
    from heldard_anpr.commands import group

    return [group]


@hookimpl
async def heldard_on_start(ctx: PluginContext) -> None:
    await parts_of(ctx).start()


@hookimpl
async def heldard_on_camera_deleted(camera_id: str) -> None:
    """Its gate goes with it. Entry events stay: who came is a fact of the site."""
    parts = newest()
    if parts is not None:
        await parts.forget_camera(camera_id)
