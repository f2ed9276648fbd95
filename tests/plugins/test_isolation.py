"""What a bad consumer can do, and that it does it to itself."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from heldard import keys
from heldard.plugin import Migrations
from heldard.testing import Kernel, Scene, detection, post

from .conftest import QUICK, make_plugin


async def _feed(kernel: Kernel, count: int, camera_id: str = "gate") -> None:
    await kernel.add_camera(camera_id)
    for number in range(count):
        reply = await kernel.post(post(camera_id, detection(at=(0.5, 0.5)), frame_id=f"{camera_id}-{number}"))
        assert reply.status == 200, reply.body


def _steady(hostile: Any, kind: str = "Steady") -> Any:
    return make_plugin("steady", getattr(hostile, kind), events=["steady_seen"])


@pytest.mark.parametrize("kind", ["Steady", "InThread", "InProcess"])
async def test_each_way_of_running_gives_the_same_effects_and_survives_a_restart(
    heldard_kernel: Any, hostile: Any, kind: str
) -> None:
    async with heldard_kernel(_steady(hostile, kind)) as kernel:
        for camera_id in ("gate", "yard"):
            await _feed(kernel, 3, camera_id)
        await kernel.restart()
        await _feed(kernel, 5)
        await kernel.drain()
        events = await kernel.events("steady_seen", camera_id="gate")
        assert [event["payload"]["count"] for event in events] == [1, 2, 3, 4, 5]
        assert len(await kernel.events("steady_seen", camera_id="yard")) == 3
        apart = {event["payload"]["pid"] for event in events} - {os.getpid()}
        assert len(apart) == (2 if kind == "InProcess" else 0)


async def test_a_process_reads_its_rows_and_frames_and_its_writes_are_committed(
    heldard_kernel: Any, hostile: Any, tmp_path: Path
) -> None:
    (tmp_path / "rows_tables" / "migrations").mkdir(parents=True)
    (tmp_path / "rows_tables" / "__init__.py").touch()
    (tmp_path / "rows_tables" / "migrations" / "0001_start.sql").write_text(
        "CREATE TABLE rows_seen (seq INTEGER PRIMARY KEY);"
        "CREATE TABLE rows_total (n INTEGER NOT NULL); INSERT INTO rows_total VALUES (0);"
    )
    plugin = make_plugin(
        "rows", events=["steady_seen"], heldard_register_migrations=lambda: Migrations("rows_tables"),
        heldard_register_consumers=lambda ctx: [hostile.Rows(ctx)],
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        async with heldard_kernel(plugin) as kernel:
            task = await kernel.task_for(Scene("gate"))
            for _ in range(3):
                await kernel.advance(1)
                held = kernel.hold_frame("gate", kernel.clock.now_ms())
                await kernel.post(post("gate", frame_id=f"{task}:{held.captured_ms}"))
                await kernel.settle()
            events = await kernel.events("steady_seen")
            assert [event["payload"]["rows"] for event in events] == [0, 1, 2]
            assert all(event["payload"]["bytes"] > 100 and event["evidence"] for event in events)
            assert all(event["payload"]["pid"] != os.getpid() for event in events)
            assert await kernel.rows("SELECT n FROM rows_total") == [{"n": 3}]


async def test_a_process_that_dies_is_started_anew_and_nothing_is_lost_or_doubled(
    heldard_kernel: Any, hostile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOSTILE_MARKER", str(tmp_path / "died"))
    async with heldard_kernel(_steady(hostile, "DiesInProcess"), settings=QUICK) as kernel:
        await _feed(kernel, 2, "yard")
        await _feed(kernel, 6)
        await kernel.drain()
        await _feed(kernel, 4, "yard")
        await kernel.drain()
        events = await kernel.events("steady_seen", camera_id="gate")
        assert [event["payload"]["count"] for event in events] == [1, 2, 3, 4, 5, 6]
        yard = await kernel.events("steady_seen", camera_id="yard")
        assert [event["payload"]["count"] for event in yard] == [1, 2, 3, 4]
        shown = await kernel.consumer("steady")
        assert "SIGSEGV" in shown["last_error"]
        assert (shown["failed"], shown["state"]) == (0, "active")


async def test_a_process_that_leaks_is_started_anew_at_its_limit(heldard_kernel: Any, hostile: Any) -> None:
    settings = {"fanout": {"process_memory_mb": 128}}
    async with heldard_kernel(_steady(hostile, "Leaks"), settings=settings) as kernel:
        await _feed(kernel, 8)
        await kernel.drain()
        events = await kernel.events("steady_seen")
        assert [event["payload"]["count"] for event in events] == list(range(1, 9))
        shown = await kernel.consumer("steady")
        assert shown["restarts"] >= 1
        assert shown["failed"] == 0
        assert "more than 128 MB" in shown["last_error"]


async def test_a_process_that_cannot_even_be_restored_within_its_limit_is_quarantined(
    heldard_kernel: Any, hostile: Any
) -> None:
    settings = {"fanout": {"process_memory_mb": 128, "attempts": 2, "quarantine_failures": 3, "retry_first_s": 0.01}}
    plugin = make_plugin("bad", hostile.RestoresTooMuch, events=["steady_seen"])
    async with heldard_kernel(plugin, settings=settings) as kernel:
        await _feed(kernel, 3)
        await kernel.advance(60)
        await kernel.drain()
        shown = await kernel.consumer("restores_too_much")
        assert shown["state"] == "quarantined"
        assert "more than 128 MB" in shown["last_error"]
        assert await kernel.events("steady_seen") == []


@pytest.mark.parametrize("kind", ["HangsInThread", "HangsInProcess", "Sleeps"])
async def test_a_call_that_hangs_is_given_up_in_time_and_quarantined_in_the_end(
    heldard_kernel: Any, hostile: Any, kind: str
) -> None:
    plugin = make_plugin("bad", getattr(hostile, kind))
    async with heldard_kernel(plugin, _steady(hostile), settings=QUICK) as kernel:
        await _feed(kernel, 4)
        await kernel.drain()
        assert len(await kernel.events("steady_seen")) == 4
        shown = await kernel.consumer(getattr(hostile, kind).name)
        assert shown["state"] == "quarantined"
        assert shown["timeouts"] >= 3
        assert "took longer than 0.3 s" in shown["last_error"]
        await kernel.get("/api/v1/plugins")


async def test_a_consumer_that_blocks_the_loop_is_interrupted_named_and_held(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.Blocks), _steady(hostile), settings=QUICK) as kernel:
        watchdog = kernel.app[keys.FANOUT].watchdog
        await _feed(kernel, 4)
        await kernel.drain()
        shown = await kernel.consumer("blocks")
        assert shown["state"] == "quarantined"
        assert "held the event loop" in shown["last_error"]
        assert shown["blocked"] == 1
        assert watchdog.last is not None
        assert watchdog.last.consumer == "blocks"
        assert "hostile_consumers" in watchdog.last.where
        assert len(await kernel.events("steady_seen")) == 4
        events = await kernel.events("consumer_quarantined")
        assert [event["payload"]["consumer"] for event in events] == ["blocks"]


async def test_blocking_a_bit_again_and_again_is_held_too(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.BlocksABit), settings=QUICK) as kernel:
        await _feed(kernel, 5)
        await kernel.drain()
        shown = await kernel.consumer("blocks")
        assert (shown["state"], shown["blocked"]) == ("quarantined", 3)
        assert shown["lag"] == 5 - shown["delivered"]


async def test_ticks_that_fail_again_and_again_are_quarantined(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.TicksBadly), settings=QUICK) as kernel:
        await _feed(kernel, 1)
        await kernel.advance(10)
        shown = await kernel.consumer("ticks_badly")
        assert (shown["state"], shown["delivered"]) == ("quarantined", 1)
        assert "no time" in shown["last_error"]


@pytest.mark.parametrize(
    ("kind", "said"), [("Raises", "it never works"), ("Exits", "SystemExit"), ("Writes", "may not use table 'outbox'")]
)
async def test_what_a_consumer_raises_or_asks_wrongly_stays_its_own(
    heldard_kernel: Any, hostile: Any, kind: str, said: str
) -> None:
    plugin = make_plugin("bad", getattr(hostile, kind))
    async with heldard_kernel(plugin, _steady(hostile), settings=QUICK) as kernel:
        await _feed(kernel, 5)
        await kernel.drain()
        assert len(await kernel.events("steady_seen")) == 5
        assert await kernel.rows("SELECT count(*) AS n FROM outbox") == [{"n": 5}]
        shown = await kernel.consumer(getattr(hostile, kind).name)
        assert shown["state"] == "quarantined"
        parked = await kernel.get(f"/api/v1/consumers/{shown['name']}/parked")
        assert any(said in row["error"] for row in parked)


async def test_a_consumer_that_keeps_the_writer_is_named_and_held(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.HoldsTheStore), settings=QUICK) as kernel:
        await _feed(kernel, 3)
        await kernel.drain()
        shown = await kernel.consumer("holds")
        assert shown["state"] == "quarantined"
        assert "held the store's writer" in shown["last_error"]


async def test_effects_have_a_size(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.Floods), _steady(hostile), settings=QUICK) as kernel:
        await _feed(kernel, 2)
        await kernel.drain()
        assert len(await kernel.events("steady_seen")) == 2
        parked = await kernel.get("/api/v1/consumers/floods/parked")
        assert [row["error"] for row in parked] == [
            "ValueError: 10001 operations in the effects of one batch; at most 10000",
            "ValueError: state 'all' is 16777217 bytes; at most 16777216: keep rows in a table",
        ]


async def test_a_hanging_thread_does_not_keep_the_daemon_from_stopping(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.HangsInThread), settings=QUICK) as kernel:
        await _feed(kernel, 1)
        await kernel.drain()
    left = [thread for thread in threading.enumerate() if thread.name.startswith("consumer-")]
    assert left
    assert all(thread.daemon for thread in left)


async def test_a_consumer_that_cannot_be_sent_to_a_process_is_refused(heldard_kernel: Any, hostile: Any) -> None:
    async with heldard_kernel(make_plugin("bad", hostile.Unpicklable)) as kernel:
        plugin = await kernel.get("/api/v1/plugins/bad")
        assert plugin["state"] == "refused"
        assert "cannot be sent" in plugin["reason"]
        assert await kernel.get("/api/v1/consumers") == []
