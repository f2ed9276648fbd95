"""Consumers that do what a test says, in a plugin of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from heldard.plugin import Batch, Consumer, Delivery, Effects, EventType, PluginInfo, RunsIn, hookimpl
from heldard.testing import detection, post
from heldard.testing.kernel import Kernel

MakeKernel = Callable[..., Kernel]
Work = Callable[[Batch, Effects], Awaitable[None] | None]


class Scripted(Consumer):
    """Does what the test says, and remembers what it was given."""

    def __init__(self, work: Work | None = None) -> None:
        self.work = work
        self.seen: list[Batch] = []
        self.ticks: list[tuple[str, int]] = []
        self.restored: list[tuple[str, dict[str, bytes]]] = []
        self.forgotten: list[str] = []

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self.restored.append((camera_id, dict(state)))

    def consume(self, batch: Batch, effects: Effects) -> Awaitable[None] | None:
        self.seen.append(batch)
        return None if self.work is None else self.work(batch, effects)

    def tick(self, camera_id: str, now_ms: int, effects: Effects) -> None:
        self.ticks.append((camera_id, now_ms))

    def forget(self, camera_id: str) -> None:
        self.forgotten.append(camera_id)

    @property
    def seqs(self) -> list[int]:
        return [batch.seq for batch in self.seen]


def consumer(
    name: str, work: Work | None = None, *, delivery: Delivery = "effects", runs_in: RunsIn = "loop",
    task_types: frozenset[str] | None = None,
) -> Any:  # fmt: skip
    fields: dict[str, Any] = {"name": name, "delivery": delivery, "runs_in": runs_in, "task_types": task_types}
    return type(name, (Scripted,), fields)(work)


class Plugin:
    __name__ = "scripted"

    def __init__(self, *consumers: Consumer) -> None:
        self.consumers = consumers

    @hookimpl
    def heldard_register_plugin(self) -> PluginInfo:
        return PluginInfo("scripted", "1.0", ">=1.0,<2")

    @hookimpl
    def heldard_register_event_types(self) -> Sequence[EventType]:
        return [EventType("scripted_seen", "Seen.")]

    @hookimpl
    def heldard_register_consumers(self) -> Sequence[Consumer]:
        return self.consumers


async def send(kernel: Kernel, count: int, camera: str = "gate", **fields: Any) -> None:
    await kernel.add_camera(camera)
    for _ in range(count):
        assert (await kernel.post(post(camera, detection(), **fields))).status == 200


async def until(condition: Callable[[], bool]) -> None:
    """For what happens while a consumer is busy: the kernel does not come to rest before it is done."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def raises(error: BaseException) -> Work:
    def work(batch: Batch, effects: Effects) -> None:
        raise error

    return work
