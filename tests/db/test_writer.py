"""Group commit: what fails fails alone, what is answered is committed, and trouble passes without a restart."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from heldard.clock import SystemClock
from heldard.db import database
from heldard.db.database import Database
from heldard.db.group import UnitError, commit_group
from heldard.errors import DiskFullError, StoreError
from heldard.testing import VirtualClock

Unit = Callable[[sqlite3.Connection], Any]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "heldard.db", VirtualClock(), queue_limit=16)
    await opened.open()
    await opened.write(lambda connection: connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)"))
    yield opened
    await opened.close()


def put(number: int, text: str = "") -> Unit:
    return lambda connection: connection.execute("INSERT INTO t VALUES (?, ?)", (number, text)).rowcount


async def numbers(db: Database) -> list[int]:
    return [row["n"] for row in await db.fetch("SELECT n FROM t ORDER BY n")]


class Gate:
    """Keeps the writer's thread busy, so that what is queued meanwhile forms one group."""

    def __init__(self, db: Database) -> None:
        self._open = threading.Event()
        self.passed = db.writer.submit(lambda connection: self._open.wait(10))

    def open(self) -> None:
        self._open.set()


async def all_of(futures: list[asyncio.Future[Any]]) -> list[Any]:
    return await asyncio.gather(*futures, return_exceptions=True)


async def held_back(db: Database) -> Gate:
    gate = Gate(db)
    while db.writer.waiting:
        await SystemClock().sleep(0.001)
    return gate


async def test_what_waits_together_is_committed_together(db: Database) -> None:
    gate = await held_back(db)
    futures = [db.writer.submit(put(n)) for n in range(10)]
    groups = db.writer.figures.groups
    gate.open()
    assert await all_of(futures) == [1] * 10
    assert db.writer.figures.groups == groups + 2  # the gate's own, and one for all ten
    assert db.writer.figures.largest_group == 10


async def test_a_unit_that_fails_fails_alone(db: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (100, 'half')")
        connection.execute("INSERT INTO t VALUES (1, 'again')")

    gate = await held_back(db)
    futures = [db.writer.submit(unit) for unit in (put(1), half, put(2), put(1), put(3))]
    gate.open()
    first, broken, second, doubled, third = await all_of(futures)
    assert (first, second, third) == (1, 1, 1)
    assert isinstance(broken, sqlite3.IntegrityError)
    assert isinstance(doubled, sqlite3.IntegrityError)
    assert await numbers(db) == [1, 2, 3]


@pytest.mark.parametrize("raised", [SystemExit(3), StopIteration(), KeyboardInterrupt(), GeneratorExit()])
async def test_a_unit_may_raise_anything_and_nobody_else_hears_of_it(db: Database, raised: BaseException) -> None:
    def unit(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (9, '')")
        raise raised

    gate = await held_back(db)
    futures = [db.writer.submit(unit), db.writer.submit(put(1))]
    gate.open()
    broken, fine = await all_of(futures)
    assert isinstance(broken, UnitError)
    assert broken.__cause__ is raised
    assert fine == 1
    assert await numbers(db) == [1]


async def test_a_result_is_given_after_its_commit(db: Database) -> None:
    seen: list[int] = []

    def look(_: int) -> None:
        with sqlite3.connect(db.path) as other:
            seen.extend(n for (n,) in other.execute("SELECT n FROM t"))
        other.close()

    await db.write(put(1), look)
    assert seen == [1]


async def test_a_unit_whose_caller_is_gone_is_committed_and_told(db: Database) -> None:
    told: list[int] = []
    gate = await held_back(db)
    future = db.writer.submit(put(1), told.append)
    future.cancel()
    gate.open()
    await db.write(put(2))
    assert told == [1]
    assert await numbers(db) == [1, 2]


async def test_what_runs_after_a_commit_may_fail_and_the_others_are_still_answered(db: Database) -> None:
    def broken(_: Any) -> None:
        raise RuntimeError("a listener failed")

    gate = await held_back(db)
    futures = [db.writer.submit(put(1), broken), db.writer.submit(put(2))]
    gate.open()
    async with asyncio.timeout(30):
        assert await all_of(futures) == [1, 1]
    assert await numbers(db) == [1, 2]


async def test_told_comes_in_commit_order(db: Database) -> None:
    told: list[int] = []
    gate = await held_back(db)
    futures = [db.writer.submit(put(n), lambda _, n=n: told.append(n)) for n in range(12)]  # type: ignore[misc]
    gate.open()
    await all_of(futures)
    assert told == list(range(12))


async def test_a_full_queue_refuses_and_takes_again_once_there_is_room(db: Database) -> None:
    gate = await held_back(db)
    futures = [db.writer.submit(put(n)) for n in range(16)]
    with pytest.raises(StoreError) as refused:
        db.writer.submit(put(99))
    assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("writer_full", 503, 1)
    gate.open()
    assert await all_of(futures) == [1] * 16
    assert await db.write(put(99)) == 1
    assert db.writer.figures.refused == 1


async def test_closing_commits_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    db = Database(tmp_path / "heldard.db", VirtualClock())
    await db.open()
    await db.write(lambda connection: connection.execute("CREATE TABLE t (n INTEGER, text TEXT)"))
    gate = await held_back(db)
    futures = [db.writer.submit(put(n)) for n in range(50)]
    closing = asyncio.ensure_future(db.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="closing"):
        db.writer.submit(put(99))
    gate.open()
    await closing
    assert await all_of(futures) == [1] * 50
    with sqlite3.connect(db.path) as left:
        assert left.execute("SELECT count(*) FROM t").fetchone() == (50,)
    left.close()


# --- trouble ----------------------------------------------------------------------------------------------------------


async def limit_pages(db: Database, extra: int) -> None:
    """Let the file grow by so many pages, then be full; a large number makes room again."""

    def unit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + extra}")

    await db.write(unit)


async def test_a_full_disk_fails_the_unit_that_needs_room_and_no_other(db: Database) -> None:
    await limit_pages(db, 8)
    gate = await held_back(db)
    futures = [db.writer.submit(unit) for unit in (put(1), put(2, "x" * 200_000), put(3))]
    gate.open()
    first, large, third = await all_of(futures)
    assert (first, third) == (1, 1)
    assert isinstance(large, DiskFullError)
    assert (large.status, large.retry_after_s) == (507, 1)
    assert await numbers(db) == [1, 3]


async def test_a_full_disk_passes_without_a_restart(db: Database) -> None:
    await limit_pages(db, 4)
    with pytest.raises(DiskFullError, match="free some space"):
        await db.write(put(1, "x" * 100_000))
    await limit_pages(db, 100_000)
    assert await db.write(put(1, "x" * 100_000)) == 1


class Failing:
    """A connection on which one kind of statement fails for a while, as a broken disk would have it."""

    def __init__(self, connection: sqlite3.Connection, statement: str, code: int) -> None:
        self._connection = connection
        self._statement = statement
        self._code = code

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.startswith(self._statement):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR | 4 << 8, sqlite3.SQLITE_FULL])
def test_trouble_at_any_statement_leaves_nothing_half_written(tmp_path: Path, statement: str, code: int) -> None:
    connection = sqlite3.connect(tmp_path / "heldard.db", isolation_level=None)
    connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
    failing: Any = Failing(connection, statement, code)

    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE t SET text = 'half'")
        raise ValueError("so that there is something to roll back")

    try:
        outcomes = commit_group(failing, [put(1), wrong, put(2)])
    except sqlite3.OperationalError:
        assert statement == "ROLLBACK"  # the writer then opens another connection, which rolls back
    else:
        assert all(isinstance(outcome.error, (StoreError, DiskFullError, ValueError)) for outcome in outcomes)
    connection.close()
    left = sqlite3.connect(tmp_path / "heldard.db")
    assert left.execute("SELECT count(*) FROM t").fetchone() == (0,)
    left.close()


async def test_after_an_io_error_another_connection_is_opened(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    connect = db.connect

    def counting() -> sqlite3.Connection:
        opened.append(1)
        return connect()

    monkeypatch.setattr(db.writer, "_connect", counting)

    def broken(connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    with pytest.raises(StoreError, match="nothing was written"):
        await db.write(broken)
    assert await db.write(put(1)) == 1
    assert opened == [1]


async def test_a_database_that_cannot_be_opened_is_tried_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(db.writer, "_connect", refuse)
    with pytest.raises(StoreError):
        await db.write(broken)
    with pytest.raises(StoreError, match="cannot be opened"):
        await db.write(put(1))
    monkeypatch.undo()
    assert await db.write(put(1)) == 1


_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


async def test_another_process_that_locks_the_file_is_waited_for_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 50)
    db = Database(tmp_path / "heldard.db", VirtualClock())
    await db.open()
    try:
        await db.write(lambda connection: connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)"))
        locker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LOCK, str(db.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
        )
        assert locker.stdout is not None
        assert await locker.stdout.readline() == b"locked\n"
        with pytest.raises(StoreError) as refused:
            await db.write(put(1))
        assert (refused.value.code, refused.value.status) == ("store_locked", 503)
        assert await numbers(db) == []  # readers are not held up
        await locker.communicate(b"")
        assert await db.write(put(1)) == 1
    finally:
        await db.close()


async def test_readers_are_few_and_say_so(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import AsyncExitStack

    from heldard.db import readers

    monkeypatch.setattr(readers, "WAIT_S", 0.01)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(db.readers.use())
        with pytest.raises(StoreError) as refused:
            await db.fetch("SELECT 1")
        assert refused.value.code == "readers_busy"
    assert [row[0] for row in await db.fetch("SELECT 1")] == [1]


async def test_readers_cannot_write(db: Database) -> None:
    with pytest.raises((StoreError, sqlite3.OperationalError)):
        await db.fetch("INSERT INTO t VALUES (1, '')")


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
async def test_durability_is_the_synchronous_level(tmp_path: Path, durability: str, level: int) -> None:
    db = Database(tmp_path / "heldard.db", VirtualClock(), durability)
    connection = db.connect()
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
