"""The in-process kernel: scenes reach consumers, time is moved by hand, restarts and crashes keep what they must."""

from __future__ import annotations

from typing import Any

import pytest

from heldard.plugin import Batch, Consumer, Effects, EventType, PluginInfo, hookimpl
from heldard.testing import START_MS, Bench, Scene, VirtualClock, batch, detection, post


class Passer(Consumer):
    """Raises an event for each track it sees for the first time, and one for each ten seconds without a batch."""

    name = "passer"

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.last_ms = 0

    def restore(self, camera_id: str, state: Any) -> None:
        self.seen = set(state.get("seen", b"").decode().split())

    def consume(self, given: Batch, effects: Effects) -> None:
        for found in given.detections:
            if found.track_id is not None and found.track_id not in self.seen:
                self.seen.add(found.track_id)
                effects.event("passer_new", payload={"track": found.track_id, "task": given.task_id})
                effects.put_state("seen", " ".join(sorted(self.seen)).encode())


class PasserPlugin:
    __name__ = "passer"

    @staticmethod
    @hookimpl
    def heldard_register_plugin() -> PluginInfo:
        return PluginInfo("passer", "1.0", ">=1.0,<2")

    @staticmethod
    @hookimpl
    def heldard_register_event_types() -> list[EventType]:
        return [EventType("passer_new", "A track was seen for the first time.")]

    @staticmethod
    @hookimpl
    def heldard_register_consumers() -> list[Consumer]:
        return [Passer()]


def _walk() -> Scene:
    scene = Scene("gate", fps=2)
    scene.person("1").enter(0, at=(0.1, 0.9)).walk_to((0.8, 0.9), seconds=3).leave()
    scene.vehicle("2").enter(1, at=(0.5, 0.9)).hide(1).stand(1)
    return scene


def _tracks(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["payload"]["track"], event["timestamp"]) for event in events]


async def test_a_scene_reaches_consumers_at_the_time_it_was_seen(heldard_kernel: Any) -> None:
    async with heldard_kernel(PasserPlugin()) as kernel:
        replies = await kernel.play(_walk())
        assert [reply.status for reply in replies] == [200] * 7
        events = await kernel.events("passer_new")
    assert _tracks(events) == [("1", "2026-01-01T12:00:00Z"), ("2", "2026-01-01T12:00:02Z")]


async def test_a_restart_gives_the_state_back(heldard_kernel: Any) -> None:
    async with heldard_kernel(PasserPlugin()) as kernel:
        await kernel.play(_walk())
        await kernel.restart()
        await kernel.play(_walk())
        assert len(await kernel.events("passer_new")) == 2
        assert await kernel.state("passer") == {"seen": b"1 2"}


@pytest.mark.parametrize("step", range(1, 12))
async def test_after_a_crash_at_any_write_a_retry_has_each_effect_once(heldard_kernel: Any, step: int) -> None:
    body = post("gate", detection(at=(0.5, 0.9), track="1"), frame_id="cam-1")
    async with heldard_kernel(PasserPlugin()) as kernel:
        await kernel.add_camera()
        kernel.crash_plan.crash_at(step)
        first = await kernel.post(body)
        await kernel.settle()
        await kernel.crash()
        await kernel.start()
        await kernel.drain()
        kept = await kernel.rows("SELECT count(*) AS n FROM outbox")
        assert kept[0]["n"] == 1 or first.status == 503
        again = await kernel.post(body)
        await kernel.drain()
        assert again.status == 200
        assert len(await kernel.events("passer_new")) == 1


async def test_time_stands_still_until_it_is_moved_and_sleepers_wake_in_order(heldard_clock: VirtualClock) -> None:
    import asyncio

    woken: list[tuple[str, int]] = []

    async def sleep(name: str, seconds: float) -> None:
        await heldard_clock.sleep(seconds)
        woken.append((name, heldard_clock.now_ms() - START_MS))

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 1.0)):
            group.create_task(sleep(name, seconds))
        await heldard_clock.advance(0.5)
        assert woken == []
        heldard_clock.set_wall(START_MS + 3_600_500)
        await heldard_clock.advance(10)
    assert [name for name, _ in woken] == ["a", "b", "c"]
    assert [when - 3_600_000 for _, when in woken] == [1000, 1000, 3000]
    assert heldard_clock.monotonic() == 10.5


def test_the_bench_runs_a_consumer_without_a_kernel() -> None:
    with Bench(Passer(), event_types=["passer_new"]) as bench:
        seen = batch(detection(track="7"), seq=1)
        assert [event.payload["track"] for event in bench.consume(seen)] == ["7"]
        assert bench.consume(seen) == []
        bench.restart(Passer())
        assert bench.consume(batch(detection(track="7"), seq=2)) == []
        assert bench.state == {"gate": {"seen": b"7"}}


def test_the_bench_refuses_unregistered_event_types() -> None:
    with Bench(Passer(), event_types=[]) as bench, pytest.raises(ValueError, match="not registered"):
        bench.consume(batch(detection(track="7")))


def test_a_scene_says_where_each_track_is() -> None:
    shots = list(_walk().shots())
    assert [shot.second for shot in shots] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert [[found["track_id"] for found in shot.detections] for shot in shots] == [
        ["1"], ["1"], ["1"], ["1"], ["1", "2"], ["1", "2"], ["1", "2"],
    ]  # fmt: skip
