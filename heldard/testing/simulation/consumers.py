"""Consumers of the simulation. What each does is a plain function of the log, so that the oracle can compute it too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

import msgspec

from heldard.plugin import Batch, Consumer, Delivery, Effects, RunsIn

DUE_AFTER_MS = 2500
OPEN_WITHIN_MS = 20_000

Fault = Callable[[str], Awaitable[None]]
"""What may happen inside a consumer: nothing, a wait, or an error."""

OPEN = "sim_open"
"""The kind of action that `Opener` asks for."""

LEDGERS = ("ledger", "tally", "remote")
TABLES = tuple(
    f"CREATE TABLE sim_{name} (id INTEGER PRIMARY KEY, camera TEXT, seq INTEGER, count INTEGER, at_ms INTEGER)"
    for name in LEDGERS
)


class Ledger(Consumer):
    """Writes each batch down with how many of its camera came before; the number lives in its state."""

    name = "ledger"

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._counts: dict[str, int] = {}

    async def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self._counts[camera_id] = int(state.get("count", b"0"))

    async def consume(self, batch: Batch, effects: Effects) -> None:
        count = self._counts[batch.camera_id] = self._counts[batch.camera_id] + 1
        await self._fault("ledger")
        row = (batch.camera_id, batch.seq, count, batch.at_ms)
        effects.execute("INSERT INTO sim_ledger (camera, seq, count, at_ms) VALUES (?, ?, ?, ?)", row)
        effects.put_state("count", str(count).encode())


class Tally(Consumer):
    """As the ledger, as a plain function: so it is given batches before they are committed."""

    name = "tally"

    def __init__(self, fault: Callable[[str], None]) -> None:
        self._fault = fault
        self._counts: dict[str, int] = {}

    def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self._counts[camera_id] = int(state.get("count", b"0"))

    def consume(self, batch: Batch, effects: Effects) -> None:
        count = self._counts[batch.camera_id] = self._counts.get(batch.camera_id, 0) + 1  # wrong where nobody restored
        self._fault(self.name)
        row = (batch.camera_id, batch.seq, count, batch.at_ms)
        effects.execute(f"INSERT INTO sim_{self.name} (camera, seq, count, at_ms) VALUES (?, ?, ?, ?)", row)
        effects.put_state("count", str(count).encode())


class Remote(Tally):
    """The same in a process of its own, which dies now and then and with it all that was restored."""

    name = "remote"
    runs_in: ClassVar[RunsIn] = "process"

    def __init__(self) -> None:
        super().__init__(_nothing)


def _nothing(_where: str) -> None:
    """Its process is what fails."""


class Opener(Consumer):
    """Keeps the picture of each batch with an event of its own, and asks for something to be done about it."""

    name = "opener"

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    async def consume(self, batch: Batch, effects: Effects) -> None:
        await self._fault("opener")
        effects.event("sim_seen", payload={"seq": batch.seq}, evidence=effects.keep_frame(batch.at_ms))
        effects.act(OPEN, payload={"seq": batch.seq}, expires_ms=batch.at_ms + OPEN_WITHIN_MS, key=str(batch.seq))


class Alarm(Consumer):
    """Raises an event some time after each batch of one task type, by a batch or a tick, dated by when it was due."""

    name = "alarm"
    task_types = frozenset({"anpr"})

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._due: dict[str, list[tuple[int, int]]] = {}

    async def restore(self, camera_id: str, state: Mapping[str, bytes]) -> None:
        self._due[camera_id] = msgspec.json.decode(state.get("due", b"[]"), type=list[tuple[int, int]])

    async def consume(self, batch: Batch, effects: Effects) -> None:
        self._ring(batch.camera_id, batch.at_ms, effects)
        await self._fault("alarm")
        self._due[batch.camera_id].append((batch.at_ms + DUE_AFTER_MS, batch.seq))
        self._keep(batch.camera_id, effects)

    async def tick(self, camera_id: str, now_ms: int, effects: Effects) -> None:
        if self._ring(camera_id, now_ms, effects):
            await self._fault("alarm.tick")
            self._keep(camera_id, effects)

    def _ring(self, camera_id: str, now_ms: int, effects: Effects) -> bool:
        due = [entry for entry in self._due[camera_id] if entry[0] <= now_ms]
        for at_ms, seq in due:
            effects.event("sim_alarm", payload={"seq": seq}, at_ms=at_ms)
        self._due[camera_id] = [entry for entry in self._due[camera_id] if entry[0] > now_ms]
        return bool(due)

    def _keep(self, camera_id: str, effects: Effects) -> None:
        effects.put_state("due", msgspec.json.encode(self._due[camera_id]))


class Actor(Consumer):
    """Acts on the world, which no rollback reaches: a list that outlives the process."""

    name = "actor"
    delivery: ClassVar[Delivery] = "at_most_once"

    def __init__(self, fault: Fault, acted: list[int]) -> None:
        self._fault = fault
        self._acted = acted

    async def consume(self, batch: Batch, effects: Effects) -> None:
        await asyncio.sleep(0)  # noqa: TID251 - a place for the process to die: claimed, and not yet done
        self._acted.append(batch.seq)
        await self._fault("actor")
