"""Driving consumers: order, both deliveries, and that one consumer costs no other anything."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Mapping

import pytest

from heldard import keys
from heldard.ingest.service import RecentFrames
from heldard.plugin import Batch, Effects, RunsIn
from heldard.testing import START_MS, detection, post

from .scripted import MakeKernel, Plugin, Scripted, consumer, raises, send, until

# --- order and memory -------------------------------------------------------------------------------------------------


async def test_a_slow_consumer_reads_the_log_once_its_lane_is_full_and_misses_nothing(
    heldard_kernel: MakeKernel,
) -> None:
    going_on = asyncio.Event()

    async def wait(batch: Batch, effects: Effects) -> None:
        await going_on.wait()

    slow, quick = consumer("slow", wait), consumer("quick")
    settings = {"fanout": {"lane_limit": 4}, "ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(slow, quick), settings=settings) as kernel:
        await send(kernel, 60)
        await until(lambda: quick.seqs == list(range(1, 61)))
        lane = kernel.app[keys.FANOUT].member("slow").lanes["gate"]
        assert lane.behind
        assert len(lane._queue) == 4
        going_on.set()
        await kernel.drain()
        assert slow.seqs == list(range(1, 61))
        assert not lane.behind
        await kernel.advance(1)
        assert await kernel.rows("SELECT seq FROM outbox WHERE fanned_out_ms IS NULL") == []
        assert [batch.replayed for batch in slow.seen] == [False] * 4 + [True] * 56


async def test_a_slow_consumer_delays_neither_ticks_nor_batches_of_another(heldard_kernel: MakeKernel) -> None:
    never = asyncio.Event()

    async def hang(batch: Batch, effects: Effects) -> None:
        await never.wait()

    slow, quick = consumer("slow", hang), consumer("quick")
    settings = {"ingest": {"fanout_wait_ms": 0}, "fanout": {"consume_timeout_s": 3600}}
    async with heldard_kernel(Plugin(slow, quick), settings=settings) as kernel:
        await send(kernel, 3)
        await until(lambda: quick.seqs == [1, 2, 3])
        lane = kernel.app[keys.FANOUT].member("quick").lanes["gate"]
        for second in (1, 2, 3):
            await until(lambda: lane.idle)
            kernel.app[keys.FANOUT].tick(START_MS + second * 1000)
            await until(lambda second=second: quick.ticks[-1:] == [("gate", START_MS + second * 1000)])  # type: ignore[misc]
        assert slow.ticks == []
        assert slow.seqs == [1]
        never.set()


async def test_cameras_do_not_wait_for_each_other(heldard_kernel: MakeKernel) -> None:
    never = asyncio.Event()

    async def hang(batch: Batch, effects: Effects) -> None:
        if batch.camera_id == "gate":
            await never.wait()

    picky = consumer("picky", hang)
    settings = {"ingest": {"fanout_wait_ms": 0}, "fanout": {"consume_timeout_s": 3600}}
    async with heldard_kernel(Plugin(picky), settings=settings) as kernel:
        await send(kernel, 2, "gate")
        await send(kernel, 2, "yard")
        await until(lambda: sum(batch.camera_id == "yard" for batch in picky.seen) == 2)
        never.set()


async def test_one_commit_takes_a_batch_and_what_idle_plain_consumers_make_of_it(heldard_kernel: MakeKernel) -> None:
    def work(batch: Batch, effects: Effects) -> None:
        effects.event("scripted_seen", payload={"seq": batch.seq})

    async with heldard_kernel(Plugin(consumer("one", work), consumer("other", work))) as kernel:
        await send(kernel, 1)
        await kernel.settle()
        figures = kernel.app[keys.DB].writer.figures
        groups, units = figures.groups, figures.units
        reply = await kernel.post(post("gate", detection()))
        assert reply.body["fanned_out"] is True
        assert (figures.groups - groups, figures.units - units) == (1, 3)
        assert [event["payload"]["seq"] for event in await kernel.events("scripted_seen")] == [1, 1, 2, 2]


async def test_what_was_made_of_a_batch_that_turns_out_a_duplicate_is_undone(heldard_kernel: MakeKernel) -> None:
    """As after a restart, when only the log knows which frames it has."""

    class Counter(Scripted):
        name = "counter"
        count = 0

        def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
            super().restore(camera_id, state)
            self.count = int(state.get("count", b"0"))

        def consume(self, batch: Batch, effects: Effects) -> None:
            super().consume(batch, effects)
            self.count += 1
            effects.put_state("count", b"%d" % self.count)
            effects.event("scripted_seen", payload={"count": self.count})

    counter = Counter()
    async with heldard_kernel(Plugin(counter)) as kernel:
        await kernel.add_camera("gate")
        for frame in ("f1", "f2"):
            await kernel.post(post("gate", detection(), frame_id=frame))
        kernel.app[keys.INGEST].recent = RecentFrames()
        again = await kernel.post(post("gate", detection(), frame_id="f1"))
        assert (again.body["duplicate"], again.body["seq"]) == (True, 1)
        assert len(counter.seen) == 3
        for frame in ("f3", "f4"):
            assert (await kernel.post(post("gate", detection(), frame_id=frame))).body["fanned_out"] is True
        assert [event["payload"]["count"] for event in await kernel.events("scripted_seen")] == [1, 2, 3, 4]
        assert await kernel.rows("SELECT state, attempts FROM consumer_fanout") == [
            {"state": 1, "attempts": None} for _ in range(4)
        ]


async def test_i11_a_consumer_gets_only_the_task_types_it_wants(heldard_kernel: MakeKernel) -> None:
    plates = consumer("plates", task_types=frozenset({"anpr"}))
    async with heldard_kernel(Plugin(plates, consumer("everything"))) as kernel:
        for kind in ("detection", "ANPR", "anpr", "faces"):
            await send(kernel, 1, task_type=kind)
        await kernel.settle()
        assert [batch.task_type for batch in plates.seen] == ["ANPR", "anpr"]
        assert (await kernel.consumer("plates"))["lag"] == 0


async def test_i17_x58_a_batch_carries_task_frame_epoch_and_provenance(heldard_kernel: MakeKernel) -> None:
    one = consumer("one")
    async with heldard_kernel(Plugin(one)) as kernel:
        await kernel.add_camera()
        task = await kernel.add_task()
        await kernel.post(post("gate", detection(track="7"), frame_id=f"{task}:{START_MS}", epoch="run3"))
        await kernel.settle()
    (batch,) = one.seen
    assert (batch.task_id, batch.frame_id, batch.epoch, batch.captured_ms, batch.at_ms) == (
        task, f"w:{task}:{START_MS}", "run3", START_MS, START_MS,
    )  # fmt: skip
    assert batch.provenance.producer == "apikey:system"
    assert batch.detections[0].track_id == "7"


# --- effects ----------------------------------------------------------------------------------------------------------


async def test_x12_effects_and_claim_are_one_commit_and_a_failure_leaves_neither(heldard_kernel: MakeKernel) -> None:
    def half(batch: Batch, effects: Effects) -> None:
        effects.put_state("n", str(batch.seq).encode())
        effects.event("scripted_seen", payload={})
        effects.event("never_registered", payload={})

    broken = consumer("broken", half)
    async with heldard_kernel(Plugin(broken), settings={"fanout": {"attempts": 1}}) as kernel:
        await send(kernel, 1)
        await kernel.settle()
        assert await kernel.events("scripted_seen") == []
        assert await kernel.state("broken") == {}
        (claim,) = await kernel.rows("SELECT state, error FROM consumer_fanout")
        assert claim["state"] == 2
        assert "never_registered" in claim["error"]


async def test_failures_are_retried_with_growing_waits_and_the_state_is_given_back_each_time(
    heldard_kernel: MakeKernel,
) -> None:
    times: list[int] = []

    def fail(batch: Batch, effects: Effects) -> None:
        times.append(kernel.clock.now_ms())
        if len(times) < 4:
            raise ValueError("not yet")
        effects.event("scripted_seen", payload={"tries": len(times)})

    flaky = consumer("flaky", fail)
    async with heldard_kernel(Plugin(flaky), settings={"ingest": {"fanout_wait_ms": 0}}) as kernel:
        await send(kernel, 1)
        await kernel.drain()
        waits = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert waits == [200, 400, 800]
        assert [event["payload"] for event in await kernel.events("scripted_seen")] == [{"tries": 4}]
        assert len(flaky.restored) == 4
        status = await kernel.consumer("flaky")
        assert (status["retried"], status["failed"], status["parked"], status["delivered"]) == (3, 0, 0, 1)
        assert (await kernel.rows("SELECT state, attempts FROM consumer_fanout")) == [{"state": 1, "attempts": 4}]


async def test_a_batch_that_always_fails_is_parked_and_the_lane_goes_on(heldard_kernel: MakeKernel) -> None:
    def poison(batch: Batch, effects: Effects) -> None:
        if batch.seq == 2:
            raise ValueError("poison")
        effects.event("scripted_seen", payload={"seq": batch.seq})

    one = consumer("one", poison)
    async with heldard_kernel(Plugin(one), settings={"ingest": {"fanout_wait_ms": 0}}) as kernel:
        await send(kernel, 4)
        await kernel.drain()
        assert [event["payload"]["seq"] for event in await kernel.events("scripted_seen")] == [1, 3, 4]
        (parked,) = await kernel.get("/api/v1/consumers/one/parked")
        assert (parked["seq"], parked["state"], parked["attempts"]) == (2, "failed", 5)
        assert "poison" in parked["error"]
        one.work = None
        reply = await kernel.request("POST", "/api/v1/consumers/one/redrive")
        assert reply.body == {"done": [2], "failed": {}}
        assert await kernel.get("/api/v1/consumers/one/parked") == []
        again = await kernel.request("POST", "/api/v1/consumers/one/redrive")
        assert again.body == {"done": [], "failed": {}}
        await kernel.advance(1)
        assert await kernel.rows("SELECT seq FROM outbox WHERE fanned_out_ms IS NULL") == []


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), StopIteration(), GeneratorExit()])
async def test_a_consumer_may_raise_anything_and_ends_only_its_own_batch(
    heldard_kernel: MakeKernel, error: BaseException
) -> None:
    bad, good = consumer("bad", raises(error)), consumer("good")
    async with heldard_kernel(Plugin(bad, good), settings={"fanout": {"attempts": 1}}) as kernel:
        await send(kernel, 2)
        await kernel.drain()
        assert good.seqs == [1, 2]
        assert (await kernel.consumer("bad"))["parked"] == 2


@pytest.mark.parametrize("runs_in", ["loop", "thread"])
async def test_a_consumer_that_hangs_is_timed_out_and_counted(heldard_kernel: MakeKernel, runs_in: RunsIn) -> None:
    released = threading.Event()

    async def hang(batch: Batch, effects: Effects) -> None:
        if runs_in == "thread":
            released.wait(10)
        else:
            await asyncio.Event().wait()

    stuck, good = consumer("stuck", hang, runs_in=runs_in), consumer("good")
    settings = {"fanout": {"attempts": 1, "consume_timeout_s": 0.05}, "ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(stuck, good), settings=settings) as kernel:
        await send(kernel, 1)
        await until(lambda: kernel.app[keys.FANOUT].member("stuck").failed == 1)
        released.set()
        assert good.seqs == [1]
        assert (await kernel.consumer("stuck"))["timeouts"] == 1


# --- at most once -----------------------------------------------------------------------------------------------------


async def test_at_most_once_claims_before_it_runs_and_is_never_run_again(heldard_kernel: MakeKernel) -> None:
    states: list[int] = []
    going_on = asyncio.Event()

    async def act(batch: Batch, effects: Effects) -> None:
        states.extend(row["state"] for row in await kernel.rows("SELECT state FROM consumer_fanout"))
        if batch.seq == 2:
            await going_on.wait()

    actor = consumer("actor", act, delivery="at_most_once")
    async with heldard_kernel(Plugin(actor), settings={"ingest": {"fanout_wait_ms": 0}}) as kernel:
        await send(kernel, 2)
        await until(lambda: actor.seqs == [1, 2])
        assert states[0] == 0
        await kernel.crash()
        kernel.use(Plugin(consumer("actor", delivery="at_most_once")))
        await kernel.start()
        await kernel.drain()
        claims = await kernel.rows("SELECT seq, state FROM consumer_fanout ORDER BY seq")
        assert claims == [{"seq": 1, "state": 1}, {"seq": 2, "state": 3}]
        (interrupted,) = await kernel.get("/api/v1/consumers/actor/parked")
        assert interrupted["state"] == "interrupted"
        assert actor.seqs == [1, 2]
        reply = await kernel.request("POST", "/api/v1/consumers/actor/redrive")
        assert (reply.status, reply.body["code"]) == (409, "at_most_once")
        await kernel.advance(1)
        assert await kernel.rows("SELECT seq FROM outbox WHERE fanned_out_ms IS NULL") == []


async def test_at_most_once_ends_a_batch_and_claims_the_next_in_one_commit(heldard_kernel: MakeKernel) -> None:
    go_on = asyncio.Event()
    states: list[list[int]] = []

    async def act(batch: Batch, effects: Effects) -> None:
        await go_on.wait()
        rows = await kernel.rows("SELECT state FROM consumer_fanout ORDER BY seq")
        states.append([row["state"] for row in rows])

    actor = consumer("actor", act, delivery="at_most_once")
    async with heldard_kernel(Plugin(actor), settings={"ingest": {"fanout_wait_ms": 0}}) as kernel:
        await send(kernel, 1)
        await until(lambda: actor.seqs == [1])
        await send(kernel, 4)
        figures = kernel.app[keys.DB].writer.figures
        units = figures.units
        go_on.set()
        lane = kernel.app[keys.FANOUT].member("actor").lanes["gate"]
        await until(lambda: len(states) == 5 and lane.idle)
        assert states == [[0], [1, 0], [1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1, 0]]
        assert (
            figures.units - units <= 7
        )  # the first ends; one claim, three ends with the next claim, one end; it would be nine


async def test_at_most_once_that_fails_is_not_tried_again(heldard_kernel: MakeKernel) -> None:
    actor = consumer("actor", raises(ValueError("no")), delivery="at_most_once")
    async with heldard_kernel(Plugin(actor)) as kernel:
        await send(kernel, 2)
        await kernel.drain()
        assert actor.seqs == [1, 2]
        assert [row["state"] for row in await kernel.get("/api/v1/consumers/actor/parked")] == ["failed", "failed"]


async def test_at_most_once_that_cannot_be_restored_is_parked(heldard_kernel: MakeKernel) -> None:
    actor = consumer("actor", delivery="at_most_once")

    def broken(camera_id: str, state: Mapping[str, bytes]) -> None:
        raise ValueError("no memory")

    actor.restore = broken
    async with heldard_kernel(Plugin(actor)) as kernel:
        await send(kernel, 1)
        await kernel.drain()
        (parked,) = await kernel.get("/api/v1/consumers/actor/parked")
        assert "no memory" in parked["error"]
        assert actor.seen == []
