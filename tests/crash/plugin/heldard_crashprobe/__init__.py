"""A plugin that leaves a trail: what it did once must be found once, however often the daemon is killed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from heldard.plugin import (
    Batch,
    Consumer,
    Delivery,
    Effects,
    EventType,
    Migrations,
    PluginContext,
    PluginInfo,
    hookimpl,
)


class Settings(msgspec.Struct, frozen=True):
    """trail: the file that stands for the outside world."""

    trail: str = ""


class Counting(Consumer):
    """Numbers the batches of each camera, in its state, in a table and in events."""

    name = "crashprobe_counting"

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self._counts[camera_id] = int(state.get("count", b"0"))

    def consume(self, batch: Batch, effects: Effects) -> None:
        count = self._counts[batch.camera_id] = self._counts[batch.camera_id] + 1
        effects.put_state("count", str(count).encode())
        row = (batch.camera_id, batch.seq, count, batch.at_ms)
        effects.execute("INSERT INTO crashprobe_counts (camera, seq, count, at_ms) VALUES (?, ?, ?, ?)", row)
        if count % 50 == 0:
            effects.event("crashprobe_fifty", payload={"count": count})


class Acting(Consumer):
    """Acts on the outside world: appends a line to a file, which no rollback takes back."""

    name = "crashprobe_acting"
    delivery: ClassVar[Delivery] = "at_most_once"

    def __init__(self, trail: str) -> None:
        self._file = os.open(trail, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def consume(self, batch: Batch, effects: Effects) -> None:
        os.write(self._file, f"{batch.seq}\n".encode())


@hookimpl
def heldard_register_plugin() -> PluginInfo:
    return PluginInfo("crashprobe", "1.0", ">=1.0,<2")


@hookimpl
def heldard_register_settings() -> type[Settings]:
    return Settings


@hookimpl
def heldard_register_migrations() -> Migrations:
    return Migrations("heldard_crashprobe")


@hookimpl
def heldard_register_event_types() -> Sequence[EventType]:
    return [EventType("crashprobe_fifty", "Fifty more batches of a camera were counted.")]


@hookimpl
def heldard_register_consumers(ctx: PluginContext) -> Sequence[Consumer]:
    return [Counting(), Acting(ctx.settings.trail)]
