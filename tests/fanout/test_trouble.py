"""Consumers that keep failing are held; the trouble of the store is nobody's failure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from heldard import keys
from heldard.errors import BusyError, DiskFullError, StoreError
from heldard.plugin import Batch, Effects

from .scripted import MakeKernel, Plugin, consumer, raises, send

# --- quarantine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_failure_that_does_not_come_again_is_told_all_the_same(
    heldard_kernel: MakeKernel, at_once: bool
) -> None:
    """Where batches come one by one they are consumed before their commit, where they pile up several go together."""
    failed: set[int] = set()
    going_on = asyncio.Event()

    def sometimes(batch: Batch, effects: Effects) -> None:
        if batch.seq == 5 and batch.seq not in failed:
            failed.add(batch.seq)
            raise ValueError("once")

    async def when_all_are_there(batch: Batch, effects: Effects) -> None:
        await going_on.wait()
        sometimes(batch, effects)

    shaky = consumer("shaky", when_all_are_there if at_once else sometimes)
    async with heldard_kernel(Plugin(shaky), settings={"ingest": {"fanout_wait_ms": 0 if at_once else 250}}) as kernel:
        await send(kernel, 10)
        going_on.set()
        await kernel.drain()
        status = await kernel.consumer("shaky")
        assert (status["last_error"], status["retried"], status["parked"]) == ("ValueError: once", 1, 0)


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
            await asyncio.wait_for(waiting, 30)
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
