"""What is sent to the service manager, and when the watchdog is not fed."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from heldard.clock import SystemClock
from heldard.db.database import Database
from heldard.notify import Notifier, Watchdog


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(1)
        yield address, receiver


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "heldard.db", SystemClock(), "normal")
    await database.open()
    yield database
    await database.close()


def test_each_state_is_one_datagram(listening: tuple[str, socket.socket]) -> None:
    address, receiver = listening
    notifier = Notifier({"NOTIFY_SOCKET": address})
    said: tuple[tuple[Callable[[], None], bytes], ...] = (
        (lambda: notifier.ready("up"), b"READY=1\nSTATUS=up"),
        (notifier.reloading, b"RELOADING=1\n"),
        (lambda: notifier.alive("up"), b"WATCHDOG=1\nSTATUS=up"),
        (notifier.stopping, b"STOPPING=1\n"),
    )
    for say, first in said:
        say()
        assert receiver.recv(4096).startswith(first)


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0heldard-test-notify")
        receiver.settimeout(1)
        Notifier({"NOTIFY_SOCKET": "@heldard-test-notify"}).stopping()
        assert receiver.recv(4096).startswith(b"STOPPING=1")


def test_nobody_listening_is_no_trouble(tmp_path: Path) -> None:
    Notifier({}).ready("up")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).ready("up")


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_on_where_it_is_meant_for_this_process(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/n", **environment}, pid=7).watchdog_s == seconds
    assert Notifier(environment, pid=7).watchdog_s is None


async def test_a_stuck_writer_is_not_alive(db: Database) -> None:
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "200000"}), db, SystemClock())
    assert await watchdog.writer_moves()
    held = threading.Event()
    stuck = db.writer.submit(lambda _: held.wait(10))
    assert not await watchdog.writer_moves()
    held.set()
    await stuck
    assert await watchdog.writer_moves()


async def test_a_writer_that_can_only_fail_is_alive(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or locked disk is not cured by a restart."""
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "2000000"}), db, SystemClock())

    def failing(_path: object) -> object:
        raise OSError("no room")

    monkeypatch.setattr("heldard.db.writer.commit_group", lambda *_: failing(None))
    assert await watchdog.writer_moves()
