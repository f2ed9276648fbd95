"""Child processes: what they say, how they end, and that none outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heldard.clock import SystemClock
from heldard.sampler.process import OWNER, Child, owner_mark, reap_orphans

SH = "/bin/sh"


class Said:
    def __init__(self) -> None:
        self.out = b""
        self.err = b""

    def stdout(self, data: bytes) -> None:
        self.out += data

    def stderr(self, data: bytes) -> None:
        self.err += data


async def start(script: str, said: Said | None = None, owner: str = "x:1:1:1") -> Child:
    said = said or Said()
    return await Child.start([SH, "-c", script], owner=owner, stdout=said.stdout, stderr=said.stderr)


def state(pid: int) -> str:
    """One letter, as proc(5) has it; X when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def alive(pid: int) -> bool:
    return state(pid) not in "ZX"


def wait_gone(pid: int, within_s: float) -> None:
    deadline = time.perf_counter() + within_s
    while alive(pid):
        assert time.perf_counter() < deadline, f"process {pid} still lives after {within_s} s"
        time.sleep(0.01)


async def test_a_child_s_output_complaints_exit_code_and_cpu_time_are_known() -> None:
    said = Said()
    child = await start("echo out; echo err >&2; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exit 3", said)
    ended = await child.exited
    assert (said.out, said.err, ended.code) == (b"out\n", b"err\n", 3)
    assert 0 < ended.cpu_s < 10
    assert child.cpu_s() == ended.cpu_s


async def test_a_child_that_ignores_being_asked_is_killed_with_all_it_started() -> None:
    said = Said()
    child = await start("trap '' TERM; sleep 300 & echo $!; wait; sleep 300", said)
    while not said.out:
        await child_turn()
    ended = await child.stop(grace_s=0.2)
    assert ended.code == -signal.SIGKILL
    wait_gone(int(said.out), 2)


async def child_turn() -> None:
    await SystemClock().sleep(0.01)


async def test_a_stopped_process_can_be_killed() -> None:
    child = await start("sleep 300")
    os.kill(child.pid, signal.SIGSTOP)
    while state(child.pid) != "T":
        await child_turn()
    assert (await child.stop(grace_s=0.2)).code == -signal.SIGKILL


async def test_a_child_gets_none_of_the_daemon_s_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELDARD_AUTH__SECRET", "hush")
    said = Said()
    await (await start("env", said)).exited
    assert b"hush" not in said.out
    assert b"HELDARD_OWNER=x:1:1:1" in said.out


async def test_what_cannot_be_run_ends_with_a_complaint() -> None:
    said = Said()
    child = await Child.start(["/nowhere/ffmpeg"], owner="x", stdout=said.stdout, stderr=said.stderr)
    assert (await child.exited).code != 0
    assert b"No such file" in said.err


OWNER_PROGRAM = """
import asyncio, sys
from heldard.sampler.process import Child, owner_mark

async def main():
    ignore = lambda data: None
    child = await Child.start(["/bin/sleep", "300"], owner=owner_mark(sys.argv[1]), stdout=ignore, stderr=ignore)
    print(child.pid, flush=True)
    await child.exited

asyncio.run(main())
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has started a child, and the child's process id."""
    process = subprocess.Popen([sys.executable, "-c", OWNER_PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        child = int(process.stdout.readline())
        deadline = time.perf_counter() + 5
        while b"sleep" not in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
            assert time.perf_counter() < deadline
            time.sleep(0.01)
        yield process, child
        process.kill()


def test_x10_a_child_dies_with_its_owner_even_when_that_is_killed(owner: tuple[subprocess.Popen[str], int]) -> None:
    process, child = owner
    process.kill()
    process.wait()
    wait_gone(child, 2)


def orphan(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "300"], env={OWNER: mark}, start_new_session=True)


def test_orphans_of_an_earlier_run_are_killed_at_start_and_nobody_else_s(tmp_path: Path) -> None:
    digest, namespace, pid, began = owner_mark(str(tmp_path)).split(":")
    marks = {
        "orphan": f"{digest}:{namespace}:{pid}:{int(began) - 1}",
        "ours": owner_mark(str(tmp_path)),
        "other installation": owner_mark(str(tmp_path / "other")).rpartition(":")[0] + ":1",
        "other namespace": f"{digest}:1:{pid}:1",
        "unreadable": "garbage",
    }
    processes = {name: orphan(mark) for name, mark in marks.items()}
    try:
        assert reap_orphans(str(tmp_path)) == [processes["orphan"].pid]
        assert processes["orphan"].wait(2) == -signal.SIGKILL
        assert [name for name, process in processes.items() if process.poll() is None] == [
            "ours", "other installation", "other namespace", "unreadable",
        ]  # fmt: skip
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_children_of_a_living_owner_are_not_orphans(owner: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    _, child = owner
    assert reap_orphans(str(tmp_path)) == []
    assert alive(child)
