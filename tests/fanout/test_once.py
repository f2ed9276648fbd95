"""A batch is driven once for each consumer, whoever drives it, also after a crash."""

from __future__ import annotations

import asyncio
from typing import Any

from heldard import keys
from heldard.plugin import Batch, Effects
from heldard.testing import START_MS, detection, post

from .scripted import MakeKernel, Plugin, consumer, raises, send


async def test_two_drainers_inline_delivery_and_a_redrive_race_for_one_batch_and_one_wins(
    heldard_kernel: MakeKernel,
) -> None:
    """Two whole fan-outs on one database: what a second process, or a bug in ours, would do."""
    from heldard.fanout.service import Fanout

    def seen(batch: Batch, effects: Effects) -> None:
        effects.event("scripted_seen", payload={"seq": batch.seq})

    async with heldard_kernel(Plugin(consumer("one", seen))) as kernel:
        await kernel.add_camera()
        mine = kernel.app[keys.FANOUT]
        others: list[Fanout] = []
        for _ in range(2):
            other = Fanout(
                mine.db, mine.names, mine._sources, mine.events, mine.log, mine.frames, mine.evidence,
                mine._supervisor, mine.clock, mine.settings,
            )  # fmt: skip
            plugin = kernel.plugin("scripted")
            assert plugin.guard is not None
            await other.register("scripted", consumer("one", seen), plugin.guard)
            others.append(other)
        lanes = [other._lane for other in others]
        for number, other in enumerate(others):
            other._supervisor = _Renaming(mine._supervisor, number)  # type: ignore[assignment]
        assert lanes
        for _ in range(5):
            await asyncio.gather(*(kernel.post(post("gate", detection())) for _ in range(10)))
            for other in others:
                await other.wake(other.member("one"))
            await kernel.drain()
            await mine.redrive(mine.member("one"))
        for other in others:
            while not all(lane.idle for lane in other.member("one").lanes.values()):
                await kernel.advance(1)
        seqs = [event["payload"]["seq"] for event in await kernel.events("scripted_seen")]
        assert sorted(seqs) == list(range(1, 51))
        claims = await kernel.rows("SELECT seq, count(*) AS n, min(state) AS s FROM consumer_fanout GROUP BY seq")
        assert [(row["n"], row["s"]) for row in claims] == [(1, 1)] * 50
        assert sum(other.member("one").failed for other in others) == 0


class _Renaming:
    """Lets two fan-outs run lanes of one name."""

    def __init__(self, supervisor: Any, number: int) -> None:
        self._supervisor = supervisor
        self._number = number

    def start(self, name: str, run: Any) -> Any:
        return self._supervisor.start(f"{name}.{self._number}", run)


async def test_what_a_crash_left_is_finished_at_the_start_in_order(heldard_kernel: MakeKernel) -> None:
    never = asyncio.Event()

    async def hang(batch: Batch, effects: Effects) -> None:
        await never.wait()

    settings = {"ingest": {"fanout_wait_ms": 0}, "fanout": {"consume_timeout_s": 3600}}
    async with heldard_kernel(Plugin(consumer("one", hang)), settings=settings) as kernel:
        await send(kernel, 100)
        await kernel.crash()
        after = consumer("one")
        kernel.use(Plugin(after))
        await kernel.start()
        await kernel.drain()
        assert after.seqs == list(range(1, 101))
        assert all(batch.replayed for batch in after.seen)
        await kernel.advance(1)
        assert await kernel.rows("SELECT seq FROM outbox WHERE fanned_out_ms IS NULL") == []


async def test_x15_replayed_batches_carry_the_time_they_had(heldard_kernel: MakeKernel) -> None:
    first = consumer("one", raises(ValueError("later")))
    settings = {"ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(first), settings=settings) as kernel:
        await send(kernel, 1)
        await kernel.advance(0.05)
        await kernel.crash()
        kernel.clock.jump_to(START_MS + 3_600_000)
        after = consumer("one")
        kernel.use(Plugin(after))
        await kernel.start()
        await kernel.drain()
        assert [batch.at_ms for batch in after.seen] == [START_MS]


async def test_a_new_consumer_begins_after_what_is_in_the_log(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel(Plugin(consumer("old"))) as kernel:
        await send(kernel, 3)
        old, new = consumer("old"), consumer("new")
        kernel.use(Plugin(old, new))
        await kernel.restart()
        await send(kernel, 1)
        await kernel.drain()
        assert (old.seqs, new.seqs) == ([4], [4])
