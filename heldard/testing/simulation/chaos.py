"""The faults of a simulated run, each drawn when its moment comes."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from dataclasses import dataclass

from heldard.errors import StoreError


@dataclass(frozen=True)
class Profile:
    """How bad a run is. Shares are per statement, per consume, per request."""

    crashes: int
    store: float
    reads: float
    consumer: float
    hang: float
    give_up: float
    batches: int
    lane_limit: int

    @classmethod
    def of(cls, dice: random.Random) -> Profile:
        return cls(
            crashes=dice.choice([0, 1, 1, 2, 3]),
            store=dice.choice([0, 0, 0.005, 0.03]),
            reads=dice.choice([0, 0, 0.02]),
            consumer=dice.choice([0, 0, 0.1, 0.4]),
            hang=dice.choice([0, 0, 0.02]),
            give_up=dice.choice([0, 0.1, 0.3]),
            batches=dice.randint(4, 16),
            lane_limit=dice.choice([1, 2, 8, 256]),
        )


class Chaos:
    """The faults of a run, each drawn when its moment comes."""

    def __init__(self, dice: random.Random, profile: Profile) -> None:
        self._dice = dice
        self._profile = profile
        self.on = True

    def stop(self) -> None:
        self.on = False

    def chance(self, share: float) -> bool:
        return self.on and self._dice.random() < share

    def latency(self) -> float:
        return self._dice.choice((0, 0, 0.0001, 0.001, 0.003, 0.02)) if self.on else 0.0005

    async def consumer(self, where: str) -> None:
        """Slow, hanging, raising, or fine."""
        if self.chance(0.3):
            await asyncio.sleep(self.latency())  # noqa: TID251 - on virtual time
        if self.chance(self._profile.hang):
            await asyncio.sleep(3600)  # noqa: TID251
        self.plain_consumer(where)

    def plain_consumer(self, where: str) -> None:
        """Raising or fine."""
        if self.chance(self._profile.consumer):
            raise self._dice.choice((ValueError, KeyError, asyncio.CancelledError, SystemExit))(where)

    def statement(self, sql: str) -> None:
        """Before a statement of the writer: SQLite's own errors."""
        if self.chance(self._profile.store):
            code = self._dice.choice((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY))
            error = sqlite3.OperationalError(f"injected at {sql[:20]}")
            error.sqlite_errorcode = code
            raise error

    def read(self) -> None:
        if self.chance(self._profile.reads):
            raise StoreError("injected: a read failed")
