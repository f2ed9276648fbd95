"""Crashes at a chosen write: the writer's units run on a connection that counts, and at the count the process is dead.

What was committed before stays, what came after is refused, as if the power had gone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from heldard.db.group import Outcome, Unit
from heldard.db.writer import Told, Writer
from heldard.errors import StoreError

T = TypeVar("T")


class CrashPlan:
    """When to die. `steps` counts the write statements and commits seen so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.dead = False
        self._at: int | None = None
        self._passing: int | None = None

    def crash_at(self, step: int) -> None:
        """Die at the `step`-th write statement or commit from now, 1 for the next."""
        self._at = self.steps + step

    def refuse_after(self, units: int) -> None:
        """Let that many units of work pass, then refuse the next one as a store that is busy does."""
        self._passing = units

    def accept(self) -> None:
        """Refuse nothing any more."""
        self._passing = None

    def begin(self) -> None:
        """A unit of work begins; raises StoreError when dead or busy."""
        if self.dead:
            raise StoreError("the test crashed the daemon before")
        if self._passing is not None:
            if self._passing == 0:
                self._passing = None
                raise StoreError("the test keeps the store busy")
            self._passing -= 1

    def die(self) -> None:
        self.dead = True

    def step(self) -> None:
        """One more statement; raises StoreError when dead."""
        self.committed()
        if self.dead:
            raise StoreError("the test crashed the daemon here")

    def committed(self) -> None:
        """One more commit, which stands even when this was the step to die at."""
        self.steps += 1
        if self._at is not None and self.steps >= self._at:
            self.dead = True


class FaultyWriter:
    """Stands before a writer's `submit`."""

    def __init__(self, writer: Writer, plan: CrashPlan) -> None:
        self._submit = writer.submit
        self._submit_and_tell = writer.submit_and_tell
        self._plan = plan

    @classmethod
    def put_before(cls, writer: Writer, plan: CrashPlan) -> None:
        faulty = cls(writer, plan)
        setattr(writer, "submit", faulty.submit)  # noqa: B010 - a method is replaced, on purpose
        setattr(writer, "submit_and_tell", faulty.submit_and_tell)  # noqa: B010

    def submit(
        self, unit: Callable[[sqlite3.Connection], T], on_commit: Callable[[T], None] | None = None, *,
        hurry: bool = True,
    ) -> asyncio.Future[T]:  # fmt: skip
        """As Writer.submit; a crash right after the commit is one nobody hears of."""
        counted = _Counted(unit, self._plan)

        def heard(result: T) -> None:
            if counted.wrote:
                self._plan.committed()
            if on_commit is not None and not self._plan.dead:
                on_commit(result)

        return self._submit(counted, heard, hurry=hurry)

    def submit_and_tell(self, unit: Unit, told: Told, size: int = 0) -> None:
        """As Writer.submit_and_tell; after a crash whoever asked hears that the daemon is gone."""
        counted = _Counted(unit, self._plan)

        def heard(outcome: Outcome) -> None:
            if counted.wrote and outcome.error is None:
                self._plan.committed()
            told(Outcome(error=StoreError("the test crashed the daemon")) if self._plan.dead else outcome)

        self._submit_and_tell(counted, heard, size)


class _Counted:
    """A unit that runs on a counting connection, as long as the daemon lives."""

    def __init__(self, unit: Unit, plan: CrashPlan) -> None:
        self._unit = unit
        self._plan = plan
        self._refusal: StoreError | None = None
        self.wrote = False

    def __call__(self, connection: sqlite3.Connection) -> Any:
        if self._refusal is not None:
            raise self._refusal  # a group that runs again after one unit failed does not change what became of it
        try:
            self._plan.begin()
        except StoreError as error:
            self._refusal = error
            raise
        counting = _Counting(connection, self._plan)
        result = self._unit(counting)  # type: ignore[arg-type]
        self.wrote = counting.wrote
        return result


class _Counting:
    """A connection whose writing statements are steps of the plan."""

    def __init__(self, connection: sqlite3.Connection, plan: CrashPlan) -> None:
        self._connection = connection
        self._plan = plan
        self.wrote = False

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._connection.execute(sql, *parameters)

    def executemany(self, sql: str, *rows: Any) -> sqlite3.Cursor:
        self._count(sql)
        return self._connection.executemany(sql, *rows)

    def _count(self, sql: str) -> None:
        if not sql.lstrip().upper().startswith(("SELECT", "EXPLAIN", "--")):
            self.wrote = True
            self._plan.step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
