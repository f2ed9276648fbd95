"""Group commit: run units of work in one transaction, each under its own savepoint, and commit once.

A unit of work is a plain function of a connection. It may be run more than once, so it must have no other effect.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from heldard.errors import DiskFullError, HeldardError, StoreError

Unit = Callable[[sqlite3.Connection], Any]

_BROKEN = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one unit ended: committed with `value`, or not at all with `error`."""

    value: Any = None
    error: BaseException | None = None


class UnitError(Exception):
    """A unit raised something that no future may carry, such as SystemExit or StopIteration; that is its cause."""


def commit_group(connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
    """Run every unit and commit those that succeed. One outcome per unit, in order.

    A unit that raises fails alone. Trouble with the database itself fails what it hit: a full disk inside one unit
    fails that unit and runs the others again, a failed commit fails them all.

    The units run without savepoints first, for nearly always all succeed; when one does not, everything is rolled back
    and run again with a savepoint around each.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return [Outcome(error=explain(error))] * len(units)
    try:
        values = [unit(connection) for unit in units]
    except BaseException:  # noqa: BLE001 - which unit it was, and why, shows when they run apart
        _roll_back(connection)
        return _commit_apart(connection, units)
    failure = _commit(connection)
    return [Outcome(value, failure) for value in values]


def _commit_apart(connection: sqlite3.Connection, units: Sequence[Unit]) -> list[Outcome]:
    outcomes: list[Outcome | None] = [None] * len(units)
    while pending := [n for n, outcome in enumerate(outcomes) if outcome is None]:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            for n in pending:
                outcomes[n] = Outcome(error=explain(error))
            break
        values = _run_apart(connection, units, pending, outcomes)
        if values is None:
            continue
        failure = _commit(connection)
        for n, value in values.items():
            outcomes[n] = Outcome(value, failure)
    return [outcome for outcome in outcomes if outcome is not None]


def _commit(connection: sqlite3.Connection) -> BaseException | None:
    """Why the commit failed, when it did; then nothing of the transaction is left."""
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        return explain(error)
    return None


def _run_apart(
    connection: sqlite3.Connection, units: Sequence[Unit], pending: list[int], outcomes: list[Outcome | None]
) -> dict[int, Any] | None:
    """Values by unit; None when SQLite rolled the whole transaction back and the rest must run again."""
    values: dict[int, Any] = {}
    for n in pending:
        connection.execute("SAVEPOINT unit")
        try:
            values[n] = units[n](connection)
        except BaseException as error:  # noqa: BLE001 - the outcome carries it to whoever asked for the unit
            outcomes[n] = Outcome(error=explain(error))
            if not connection.in_transaction:
                return None
            connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")
    return values


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def is_broken(error: BaseException) -> bool:
    """Whether the connection should be opened anew after this error."""
    cause = error.__cause__ if isinstance(error, HeldardError) else error
    return isinstance(cause, sqlite3.Error) and _primary(cause) in _BROKEN


def explain(error: BaseException) -> BaseException:
    """SQLite's trouble with disk and locks as an error with an answer; everything else as it is."""
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        wrapped = UnitError(f"{type(error).__name__}: {error}")
        wrapped.__cause__ = error
        return wrapped
    if not isinstance(error, sqlite3.Error):
        return error
    code = _primary(error)
    if code == sqlite3.SQLITE_FULL:
        failure: HeldardError = DiskFullError("the disk is full: nothing was written; free some space, then retry")
    elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        failure = StoreError(
            "the database is locked by another process: nothing was written; retry", code="store_locked"
        )
    elif code in _BROKEN or code == sqlite3.SQLITE_READONLY:
        failure = StoreError(f"the database cannot be written ({error}): nothing was written; see `heldard doctor`")
    else:
        return error
    failure.__cause__ = error
    return failure


def _primary(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
