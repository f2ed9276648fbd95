"""A people counter written by somebody who knows heldard only from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web

from heldard.plugin import (
    Batch,
    Consumer,
    Effects,
    Endpoint,
    EventType,
    Migrations,
    PluginContext,
    PluginInfo,
    hookimpl,
    route,
)

VERSION = "1.0.0"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    line_x: Annotated[float, msgspec.Meta(ge=0, le=1, description="Where the line stands.")] = 0.5


class Counter(Consumer):
    name = "people_counter"

    def __init__(self, line_x: float) -> None:
        self.line_x = line_x
        self.sides: dict[str, dict[str, str]] = {}

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self.sides[camera_id] = msgspec.json.decode(state.get("sides", b"{}"), type=dict[str, str])

    def consume(self, batch: Batch, effects: Effects) -> None:
        sides = self.sides[batch.camera_id]
        for one in batch.detections:
            point = one.ground_point
            if one.label != "person" or one.track_id is None or point is None:
                continue
            track, side = f"{batch.task_id} {batch.epoch} {one.track_id}", "right" if point[0] > self.line_x else "left"
            before = sides.get(track, side)
            sides[track] = side
            if before != side:
                effects.execute(
                    "INSERT INTO people_counter_passes (camera_id, at_ms, direction) VALUES (?, ?, ?)",
                    (batch.camera_id, batch.at_ms, side),
                )
                effects.event("people_counter_passed", payload={"direction": side, "track": one.track_id})
        if batch.detections:
            effects.put_state("sides", msgspec.json.encode(sides))


class Counts(msgspec.Struct, frozen=True):
    version: str
    left: int
    right: int


@hookimpl
def heldard_register_plugin() -> PluginInfo:
    return PluginInfo("people_counter", VERSION, ">=1.0,<2", "Counts people who cross a line")


@hookimpl
def heldard_register_settings() -> type[Settings]:
    return Settings


@hookimpl
def heldard_register_migrations() -> Migrations:
    return Migrations("people_counter")


@hookimpl
def heldard_register_event_types() -> list[EventType]:
    return [EventType("people_counter_passed", "Somebody crossed the line.")]


@hookimpl
def heldard_register_consumers(ctx: PluginContext) -> list[Consumer]:
    return [Counter(ctx.settings.line_x)]


@hookimpl
def heldard_register_routes(ctx: PluginContext) -> list[Endpoint]:
    @route("GET", "/api/v1/people-counter", capability="events:read", unscoped=True)
    async def counts(request: web.Request) -> Counts:
        """How many people crossed the line, each way."""
        rows: list[dict[str, Any]] = await ctx.fetch("SELECT direction FROM people_counter_passes")
        directions = [row["direction"] for row in rows]
        return Counts(VERSION, directions.count("left"), directions.count("right"))

    return [counts]
