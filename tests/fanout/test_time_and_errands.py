"""Time without traffic, state, deleted cameras, and work between two batches."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any, ClassVar

import pytest

from heldard import keys
from heldard.app import CONTEXTS
from heldard.errors import NotFoundError
from heldard.plugin import Batch, Effects, Migrations, PluginInfo, hookimpl
from heldard.testing import START_MS, detection, post

from .scripted import MakeKernel, Plugin, consumer, send, until

# --- time and state ---------------------------------------------------------------------------------------------------


async def test_state_is_given_back_at_the_start_and_time_goes_on_without_traffic(heldard_kernel: MakeKernel) -> None:
    def keep(batch: Batch, effects: Effects) -> None:
        effects.put_state("n", str(batch.seq).encode())

    async with heldard_kernel(Plugin(consumer("one", keep))) as kernel:
        await send(kernel, 2)
        after = consumer("one")
        kernel.use(Plugin(after))
        await kernel.restart()
        await kernel.advance(6)
        assert after.restored == [("gate", {"n": b"2"})]
        assert after.seen == []
        times = [now_ms for _, now_ms in after.ticks]
        assert times == sorted(set(times))
        assert len(times) >= 3
        assert times[-1] <= kernel.clock.now_ms() - 1500


async def test_a_tick_never_overtakes_a_batch_that_is_under_way(heldard_kernel: MakeKernel) -> None:
    one = consumer("one")
    async with heldard_kernel(Plugin(one)) as kernel:
        await send(kernel, 1)
        await kernel.advance(3)
        fanout = kernel.app[keys.FANOUT]
        at_ms = fanout.begin("gate", kernel.clock.now_ms())
        ticks = len(one.ticks)
        await kernel.advance(10)
        assert len(one.ticks) == ticks
        fanout.end("gate")
        await kernel.advance(3)
        assert one.ticks[ticks][1] > at_ms


async def test_time_does_not_run_backwards_when_the_wall_clock_does(heldard_kernel: MakeKernel) -> None:
    one = consumer("one")
    async with heldard_kernel(Plugin(one)) as kernel:
        await send(kernel, 1)
        kernel.clock.set_wall(START_MS - 30_000)
        await send(kernel, 1)
        await kernel.advance(5)
        await kernel.restart()
        await send(kernel, 1)
        await kernel.drain()
        assert [batch.at_ms for batch in one.seen] == [START_MS] * 3


async def test_time_goes_on_for_whoever_waits_when_the_wall_clock_was_set_back_by_years(
    heldard_kernel: MakeKernel,
) -> None:
    one = consumer("one")
    async with heldard_kernel(Plugin(one)) as kernel:
        await send(kernel, 1)
        kernel.clock.set_wall(START_MS - 10 * 365 * 24 * 3_600_000)
        await kernel.advance(20)
        await send(kernel, 1)
        await kernel.advance(20)
        ticks = [now_ms for _, now_ms in one.ticks]
        assert 38 <= len(ticks) <= 41
        assert all(999 <= later - earlier <= 1001 for earlier, later in itertools.pairwise(ticks))
        assert START_MS + 18_000 <= one.seen[-1].at_ms <= START_MS + 21_000


# --- cameras and errands ----------------------------------------------------------------------------------------------


async def test_a_deleted_camera_leaves_no_lane_no_state_and_nothing_unfinished(heldard_kernel: MakeKernel) -> None:
    never = asyncio.Event()

    async def hang(batch: Batch, effects: Effects) -> None:
        if batch.camera_id == "gate":
            await never.wait()
        effects.put_state("n", b"1")

    one = consumer("one", hang)
    settings = {"ingest": {"fanout_wait_ms": 0}, "fanout": {"consume_timeout_s": 3600}}
    async with heldard_kernel(Plugin(one), settings=settings) as kernel:
        await send(kernel, 5, "gate")
        await send(kernel, 1, "yard")
        await until(lambda: len(one.seen) == 2)
        fanout = kernel.app[keys.FANOUT]
        waiting = fanout.member("one").lanes["gate"].ask(lambda lane: asyncio.sleep(0))
        assert (await kernel.request("DELETE", "/api/v1/cameras/gate")).status == 204
        with pytest.raises(NotFoundError):
            await asyncio.wait_for(waiting, 30)
        await kernel.advance(1)
        assert one.forgotten == ["gate"]
        assert list(fanout.member("one").lanes) == ["yard"]
        assert await kernel.rows("SELECT seq FROM outbox WHERE fanned_out_ms IS NULL") == []
        assert (await kernel.consumer("one"))["lag"] == 0
        assert len(await kernel.rows("SELECT * FROM consumer_state")) == 1
        await send(kernel, 1, "gate")  # the same name again is another camera
        never.set()
        await kernel.drain()
        assert one.seen[-1].camera_id == "gate"


async def test_in_lane_runs_between_two_batches_and_commits_its_effects(heldard_kernel: MakeKernel) -> None:
    inside: list[bool] = []

    async def slow(batch: Batch, effects: Effects) -> None:
        inside.append(True)
        await asyncio.sleep(0)
        inside.pop()

    one = consumer("one", slow)
    async with heldard_kernel(Plugin(one)) as kernel:
        await send(kernel, 1)
        context = kernel.app[CONTEXTS]["scripted"]

        def work(effects: Effects) -> str:
            assert inside == []
            effects.event("scripted_seen", payload={"by": "errand"})
            return "done"

        posts = [kernel.post(post("gate", detection())) for _ in range(10)]
        results = await asyncio.gather(context.in_lane("one", "gate", work), *posts)
        assert results[0] == "done"
        assert [event["payload"] for event in await kernel.events("scripted_seen")] == [{"by": "errand"}]

        def broken(effects: Effects) -> None:
            effects.event("scripted_seen", payload={"by": "broken"})
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await context.in_lane("one", "gate", broken)
        assert len(await kernel.events("scripted_seen")) == 1


class Tabled(Plugin):
    """A plugin with a table of its own, for effects in SQL."""

    __name__ = "tabled"
    folder: ClassVar[str] = ""

    @hookimpl
    def heldard_register_plugin(self) -> PluginInfo:
        return PluginInfo("scripted", "1.0", ">=1.0,<2", tables=("scripted_*",))

    @hookimpl
    def heldard_register_migrations(self) -> Migrations:
        return Migrations("scripted_tables")


async def test_effects_in_sql_reach_the_plugins_own_tables_and_no_other(
    heldard_kernel: MakeKernel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scripted_tables" / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "0001_start.sql").write_text("CREATE TABLE scripted_things (seq INTEGER UNIQUE);")
    monkeypatch.syspath_prepend(tmp_path)

    def write(batch: Batch, effects: Effects) -> None:
        effects.execute("INSERT INTO scripted_things VALUES (?)", (batch.seq,))
        if batch.seq == 2:
            effects.execute("DELETE FROM outbox")

    one = consumer("one", write)
    async with heldard_kernel(Tabled(one), settings={"fanout": {"attempts": 1}}) as kernel:
        await send(kernel, 3)
        await kernel.drain()
        assert await kernel.rows("SELECT seq FROM scripted_things") == [{"seq": 1}, {"seq": 3}]
        (parked,) = await kernel.get("/api/v1/consumers/one/parked")
        assert "may not" in parked["error"]
        assert len(await kernel.rows("SELECT * FROM outbox")) == 3
    sys.modules.pop("scripted_tables", None)
