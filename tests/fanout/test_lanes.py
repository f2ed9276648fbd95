"""Driving consumers: order, both deliveries, failures, holding, time, and that one consumer costs no other anything."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from heldard import keys
from heldard.app import CONTEXTS
from heldard.errors import BusyError, DiskFullError, NotFoundError, StoreError
from heldard.ingest.service import RecentFrames
from heldard.plugin import Batch, Consumer, Delivery, Effects, EventType, Migrations, PluginInfo, RunsIn, hookimpl
from heldard.testing import START_MS, detection, post
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
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def raises(error: BaseException) -> Work:
    def work(batch: Batch, effects: Effects) -> None:
        raise error

    return work


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


# --- quarantine -------------------------------------------------------------------------------------------------------


async def test_a_consumer_that_keeps_failing_is_held_and_resumes_without_loss(heldard_kernel: MakeKernel) -> None:
    bad, good = consumer("bad", raises(ValueError("broken today"))), consumer("good")
    settings = {"fanout": {"attempts": 1, "quarantine_failures": 3}, "ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(bad, good), settings=settings) as kernel:
        await send(kernel, 10)
        await kernel.settle()
        status = await kernel.consumer("bad")
        assert (status["state"], status["parked"], status["lag"]) == ("quarantined", 3, 7)
        assert status["last_error"] == "ValueError: broken today"
        assert good.seqs == list(range(1, 11))
        (event,) = await kernel.events("consumer_quarantined")
        assert (event["severity"], event["payload"]["consumer"]) == ("critical", "bad")

        await kernel.restart()  # held across a restart
        assert (await kernel.consumer("bad"))["state"] == "quarantined"
        bad.work = None
        bad.seen.clear()
        reply = await kernel.request("POST", "/api/v1/consumers/bad/resume")
        assert (reply.status, reply.body["state"]) == (200, "active")
        await kernel.drain()
        assert bad.seqs == list(range(4, 11))
        assert (await kernel.request("POST", "/api/v1/consumers/bad/redrive")).body["done"] == [1, 2, 3]
        assert len(await kernel.events("consumer_resumed")) == 1
        assert (await kernel.request("POST", "/api/v1/consumers/bad/resume")).status == 200
        assert len(await kernel.events("consumer_resumed")) == 1  # it was not held


async def test_errands_of_a_held_consumer_are_refused_and_not_left_waiting(heldard_kernel: MakeKernel) -> None:
    bad = consumer("bad", raises(ValueError("no")))
    settings = {"fanout": {"attempts": 1, "quarantine_failures": 1}, "ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(bad), settings=settings) as kernel:
        await kernel.add_camera()
        fanout = kernel.app[keys.FANOUT]
        lane = fanout._lane(fanout.member("bad"), "gate")
        await fanout.member("bad").hold("on purpose")
        waiting = lane.ask(lambda lane: asyncio.sleep(0))
        with pytest.raises(BusyError, match="quarantined"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(BusyError, match="quarantined"):
            await fanout.in_lane("bad", "gate", lambda effects: None)
        reply = await kernel.request("POST", "/api/v1/consumers/bad/redrive")
        assert (reply.status, reply.body["code"]) == (503, "consumer_held")


async def test_an_unknown_consumer_is_404(heldard_kernel: MakeKernel) -> None:
    async with heldard_kernel() as kernel:
        for path in ("resume", "redrive"):
            assert (await kernel.request("POST", f"/api/v1/consumers/nobody/{path}")).status == 404
        assert (await kernel.request("GET", "/api/v1/consumers/nobody/parked")).status == 404


# --- the store's trouble is nobody's failure --------------------------------------------------------------------------


async def test_a_store_that_is_busy_is_waited_out_and_no_consumer_is_blamed(heldard_kernel: MakeKernel) -> None:
    one = consumer("one", lambda batch, effects: effects.event("scripted_seen", payload={}))
    settings = {"fanout": {"attempts": 1, "quarantine_failures": 1}, "ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(one), settings=settings) as kernel:
        member = kernel.app[keys.FANOUT].member("one")
        commit = member.commit
        trouble: list[Exception] = [StoreError("locked"), DiskFullError("full"), StoreError("locked")] * 3

        async def failing(unit: Any) -> None:
            if trouble:
                raise trouble.pop()
            await commit(unit)

        member.commit = failing  # type: ignore[method-assign]
        await send(kernel, 4)
        await kernel.drain()
        assert trouble == []
        assert len(await kernel.events("scripted_seen")) == 4
        status = await kernel.consumer("one")
        assert (status["state"], status["failed"], status["parked"]) == ("active", 0, 0)


async def test_errors_of_the_store_that_a_consumer_meets_are_not_its_own(heldard_kernel: MakeKernel) -> None:
    trouble = [StoreError("locked")] * 7

    def ask(batch: Batch, effects: Effects) -> None:
        if trouble:
            raise trouble.pop()

    one = consumer("one", ask)
    settings = {"fanout": {"attempts": 2}, "ingest": {"fanout_wait_ms": 0}}
    async with heldard_kernel(Plugin(one), settings=settings) as kernel:
        await send(kernel, 1)
        await kernel.drain()
        assert (await kernel.consumer("one"))["parked"] == 0
        assert trouble == []


# --- once, whoever drives ---------------------------------------------------------------------------------------------


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
            await asyncio.wait_for(waiting, 5)
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
