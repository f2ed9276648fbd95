"""Consumers that do their worst, and one that does its work."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from heldard.plugin import Batch, Consumer, Effects, PluginContext, Tx


class Steady(Consumer):
    """Counts batches per camera in its state and says so with each."""

    name = "steady"

    def __init__(self, ctx: PluginContext | None = None) -> None:
        self.counts: dict[str, int] = {}
        self.ctx = ctx

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self.counts[camera_id] = int(state.get("count", b"0"))

    def consume(self, batch: Batch, effects: Effects) -> None:
        self.counts[batch.camera_id] += 1
        count = self.counts[batch.camera_id]
        effects.put_state("count", str(count).encode())
        effects.event("steady_seen", payload={"count": count, "seq": batch.seq, "pid": os.getpid()})


class InThread(Steady):
    runs_in = "thread"


class InProcess(Steady):
    runs_in = "process"


class Rows(InProcess):
    """Writes and reads rows of its own table and looks at the analysed picture, from its own process."""

    name = "rows"

    async def consume(self, batch: Batch, effects: Effects) -> None:
        assert self.ctx is not None
        rows = await self.ctx.fetch("SELECT count(*) AS n FROM rows_seen")
        picture = batch.frame()
        effects.execute("INSERT INTO rows_seen (seq) VALUES (?)", (batch.seq,))
        effects.transact(add_one)
        effects.event(
            "steady_seen",
            payload={"rows": rows[0]["n"], "bytes": len(picture.jpeg) if picture else 0, "pid": os.getpid()},
            evidence=effects.keep_frame(batch.captured_ms),
        )


def add_one(tx: Tx) -> None:
    tx.execute("UPDATE rows_total SET n = n + 1")


class Raises(Consumer):
    name = "raises"

    def consume(self, batch: Batch, effects: Effects) -> None:
        effects.event("steady_seen", payload={})
        raise RuntimeError("it never works")


class RaisesSometimes(Consumer):
    """Fails the first attempt at each tenth batch."""

    name = "sometimes"

    def __init__(self) -> None:
        self.failed: set[int] = set()

    def consume(self, batch: Batch, effects: Effects) -> None:
        if batch.seq % 10 == 0 and batch.seq not in self.failed:
            self.failed.add(batch.seq)
            raise RuntimeError("one in ten")


class Sleeps(Consumer):
    name = "sleeps"

    async def consume(self, batch: Batch, effects: Effects) -> None:
        await asyncio.sleep(60)


class Blocks(Consumer):
    name = "blocks"

    def consume(self, batch: Batch, effects: Effects) -> None:
        time.sleep(60)


class BlocksABit(Consumer):
    name = "blocks"

    def consume(self, batch: Batch, effects: Effects) -> None:
        time.sleep(0.08)


class HangsInThread(Blocks):
    runs_in = "thread"


class HangsInProcess(Blocks):
    runs_in = "process"


class DiesInProcess(Steady):
    """Kills its process at the third batch, once."""

    runs_in = "process"

    def consume(self, batch: Batch, effects: Effects) -> None:
        super().consume(batch, effects)
        marker = os.environ["HOSTILE_MARKER"]
        if self.counts[batch.camera_id] == 3 and not os.path.exists(marker):
            with open(marker, "w"):
                os.kill(os.getpid(), signal.SIGSEGV)


class Leaks(InProcess):
    """Keeps 40 MB of each batch."""

    def __init__(self, ctx: PluginContext | None = None) -> None:
        super().__init__(ctx)
        self.kept: list[bytes] = []

    def consume(self, batch: Batch, effects: Effects) -> None:
        super().consume(batch, effects)
        self.kept.append(b"x" * (40 * 2**20))


class RestoresTooMuch(InProcess):
    """Needs more than it may have before its first batch."""

    name = "restores_too_much"

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        super().restore(camera_id, state)
        self.held = b"x" * (200 * 2**20)


class Writes(Consumer):
    """Reaches for other tables and gives events that nobody can write."""

    name = "writes"

    def consume(self, batch: Batch, effects: Effects) -> None:
        if batch.seq % 2:
            effects.execute("DELETE FROM outbox")
        else:
            effects.event(17, payload={"a": object()})  # type: ignore[arg-type]


class Floods(Consumer):
    name = "floods"

    def consume(self, batch: Batch, effects: Effects) -> None:
        if batch.seq == 1:
            effects.put_state("all", b"x" * (16 * 2**20 + 1))
        for number in range(10_001 if batch.seq > 1 else 0):
            effects.event("steady_seen", payload={"n": number})


class HoldsTheStore(Consumer):
    name = "holds"

    def consume(self, batch: Batch, effects: Effects) -> None:
        effects.transact(lambda tx: time.sleep(0.25))


class Exits(Consumer):
    name = "exits"

    def consume(self, batch: Batch, effects: Effects) -> None:
        raise SystemExit(3)


class TicksBadly(Consumer):
    name = "ticks_badly"

    def consume(self, batch: Batch, effects: Effects) -> None:
        effects.put_state("k", b"v")

    def tick(self, camera_id: str, now_ms: int, effects: Effects) -> None:
        raise RuntimeError("no time")


class Unpicklable(InProcess):
    def __init__(self, ctx: Any = None) -> None:
        super().__init__(ctx)
        self.held = lambda: None
