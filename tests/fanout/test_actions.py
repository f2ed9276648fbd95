"""Actions in the world: each at most once, by kind, and none that waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from heldard.plugin import (
    ActionHandler,
    ActionOutcome,
    Batch,
    Consumer,
    Effects,
    PluginContext,
    PluginInfo,
    hookimpl,
)
from heldard.testing import detection, post
from heldard.testing.kernel import Kernel

MakeKernel = Callable[..., Kernel]
MINUTE_MS = 60_000


class Opener(Consumer):
    """Asks for one action of each kind per batch."""

    name = "opener"

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds

    def consume(self, batch: Batch, effects: Effects) -> None:
        for kind in self._kinds:
            effects.act(kind, payload={"seq": batch.seq}, expires_ms=batch.at_ms + MINUTE_MS, key=f"{kind}-{batch.seq}")


class Plugin:
    __name__ = "opening"

    def __init__(self, asks: Sequence[str], timeout_s: float = 30.0, **handles: Callable[[int], Any]) -> None:
        self._asks = asks
        self._timeout_s = timeout_s
        self._handles = handles
        self.done: list[tuple[str, int]] = []

    @hookimpl
    def heldard_register_plugin(self) -> PluginInfo:
        return PluginInfo("opening", "1.0", ">=1.0,<2")

    @hookimpl
    def heldard_register_consumers(self) -> Sequence[Consumer]:
        return [Opener(self._asks)]

    @hookimpl
    def heldard_register_actions(self, ctx: PluginContext) -> Sequence[ActionHandler]:
        return [
            ActionHandler(kind, self._runner(kind, work), timeout_s=self._timeout_s)
            for kind, work in self._handles.items()
        ]

    def _runner(self, kind: str, work: Callable[[int], Any]) -> Any:
        async def run(payload: dict[str, Any]) -> ActionOutcome:
            self.done.append((kind, payload["seq"]))
            if (waiting := work(payload["seq"])) is not None:
                await waiting
            return {"did": kind}

        return run


async def _send(kernel: Kernel, count: int) -> None:
    await kernel.add_camera("gate")
    for _ in range(count):
        assert (await kernel.post(post("gate", detection()))).status == 200


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


async def _ended(kernel: Kernel, count: int) -> list[dict[str, Any]]:
    """Actions once so many have an end."""
    sql = "SELECT kind, key, state, outcome FROM actions WHERE state >= 2 ORDER BY id"
    async with asyncio.timeout(30):
        while len(rows := await kernel.rows(sql)) < count:
            await asyncio.sleep(0.002)
    return rows


async def test_actions_nobody_handles_keep_none_of_another_kind_waiting(heldard_kernel: MakeKernel) -> None:
    plugin = Plugin(["siren", "gate"], gate=lambda seq: None)
    async with heldard_kernel(plugin) as kernel:
        await _send(kernel, 120)
        await _until(lambda: plugin.done == [("gate", seq) for seq in range(1, 121)])


async def test_an_action_that_takes_long_keeps_none_of_another_kind_waiting(heldard_kernel: MakeKernel) -> None:
    going_on = asyncio.Event()
    plugin = Plugin(["siren", "gate"], siren=lambda seq: going_on.wait(), gate=lambda seq: None)
    async with heldard_kernel(plugin) as kernel:
        await _send(kernel, 3)
        await _until(lambda: [seq for kind, seq in plugin.done if kind == "gate"] == [1, 2, 3])
        going_on.set()
        assert [row["state"] for row in await _ended(kernel, 6)] == [2] * 6


async def test_what_was_not_done_in_time_is_not_done_after_a_restart_either(heldard_kernel: MakeKernel) -> None:
    plugin = Plugin(["siren"])
    async with heldard_kernel(plugin) as kernel:
        await _send(kernel, 2)
        await kernel.advance(61)
        await kernel.restart()
        assert [row["state"] for row in await kernel.rows("SELECT state FROM actions")] == [5, 5]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("no relay"), "RuntimeError: no relay"),
        (TimeoutError("no answer of the relay"), "TimeoutError: no answer of the relay"),
        (SystemExit(1), "ConsumerAbortedError: raised SystemExit: 1"),
        (asyncio.CancelledError(), "ConsumerAbortedError: raised CancelledError: "),
    ],
)
async def test_a_handler_that_fails_is_named_and_not_asked_again(
    heldard_kernel: MakeKernel, error: BaseException, said: str
) -> None:
    def fail(seq: int) -> None:
        raise error

    plugin = Plugin(["gate"], gate=fail)
    async with heldard_kernel(plugin) as kernel:
        await _send(kernel, 2)
        rows = await _ended(kernel, 2)
        assert [(row["state"], row["outcome"]) for row in rows] == [(3, f'{{"error":"{said}"}}')] * 2
        await kernel.restart()
        assert plugin.done == [("gate", 1), ("gate", 2)]


async def test_a_handler_that_takes_too_long_is_given_up(heldard_kernel: MakeKernel) -> None:
    never = asyncio.Event()
    plugin = Plugin(["gate"], timeout_s=0.05, gate=lambda seq: never.wait())
    async with heldard_kernel(plugin) as kernel:
        await _send(kernel, 1)
        (row,) = await _ended(kernel, 1)
        assert row["outcome"] == '{"error":"took longer than 0.05 s"}'


async def test_an_action_that_was_running_when_the_daemon_died_is_interrupted_and_not_repeated(
    heldard_kernel: MakeKernel,
) -> None:
    never = asyncio.Event()
    plugin = Plugin(["gate"], gate=lambda seq: never.wait())
    async with heldard_kernel(plugin) as kernel:
        await _send(kernel, 1)
        await _until(lambda: plugin.done == [("gate", 1)])
        await kernel.crash()
        await kernel.start()
        assert [row["state"] for row in await kernel.rows("SELECT state FROM actions")] == [4]
        assert plugin.done == [("gate", 1)]
