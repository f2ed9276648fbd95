"""Child processes that cannot outlive the daemon, and the way to find those that did.

A child has its own process group, dies with its parent, is waited for through a pidfd (no thread, no signal handler)
and leaves its exact CPU time behind. Its environment names its owner, so that a later run can recognise an orphan.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

OWNER = "HELDARD_OWNER"
PIPE_BYTES = 256 * 1024
_SHIM = str(Path(__file__).with_name("exec_child.py"))
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

log = structlog.get_logger(__name__)

Sink = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended. code: negative for a signal, as in subprocess. cpu_s: user and system time."""

    code: int
    cpu_s: float


class Running(abc.ABC):
    """A process that decodes, however it was started. What it writes is handed to sinks on the event loop, as it comes.

    `exited` is done when the process is gone and its pipes are read to their end. `pid` is 0 before the start.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._exit: Exit | None = None
        self._transports: list[asyncio.ReadTransport] = []
        self._open_pipes = 0

    @abc.abstractmethod
    def signal(self, number: int) -> None:
        """Send a signal; nothing when the process is gone."""

    async def stop(self, grace_s: float = 1.5) -> Exit:
        """Ask it to end, and kill it when it has not after `grace_s`. Returns when it is gone."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await asyncio.shield(self.exited)
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> Exit:
        """`kill_now`, and wait until it is gone."""
        self.kill_now()
        return await asyncio.shield(self.exited)

    def kill_now(self) -> None:
        """End it at once, stopped or hanging as it may be, and close its pipes even if others still hold them."""
        self.signal(signal.SIGKILL)
        self._close_pipes()

    def cpu_s(self) -> float:
        """User and system time so far."""
        return self._exit.cpu_s if self._exit else cpu_s(self.pid)

    async def _pipe_to(self, sink: Sink) -> int:
        """A pipe read into `sink`; the descriptor to write to, which the caller closes once the process has it."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(PermissionError):  # the user's share of pipe memory is used up: smaller ones do
            fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        loop, pipe = asyncio.get_running_loop(), os.fdopen(read_fd, "rb", 0)
        try:
            transport, _ = await loop.connect_read_pipe(lambda: _PipeReader(sink, self._pipe_closed), pipe)
        except BaseException:
            pipe.close()
            os.close(write_fd)
            raise
        self._open_pipes += 1
        self._transports.append(transport)
        return write_fd

    def _close_pipes(self) -> None:
        for transport in self._transports:
            transport.close()

    def _ended(self, ended: Exit) -> None:
        self._exit = ended
        self._settle()

    def _pipe_closed(self) -> None:
        self._open_pipes -= 1
        self._settle()

    def _settle(self) -> None:
        if self._exit is not None and self._open_pipes == 0 and not self.exited.done():
            self.exited.set_result(self._exit)


class Child(Running):
    """A child of this process, with a process group of its own."""

    @classmethod
    async def start(
        cls, command: Sequence[str], *, owner: str, stdout: Sink, stderr: Sink, pass_fds: Sequence[int] = ()
    ) -> Child:
        """Start `command` (an absolute path and its arguments). Raises OSError when it cannot be started."""
        child = cls()
        pipes: list[int] = []
        try:
            pipes.append(await child._pipe_to(stdout))
            pipes.append(await child._pipe_to(stderr))
            child._start(command, owner, pipes, pass_fds)
        except BaseException:
            child._close_pipes()
            raise
        finally:
            for descriptor in pipes:
                os.close(descriptor)
        return child

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        if self._exit is None:
            os.killpg(self.pid, number)

    def _start(self, command: Sequence[str], owner: str, pipes: Sequence[int], pass_fds: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _SHIM, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=pipes[0],
            stderr=pipes[1],
            pass_fds=tuple(pass_fds),
            process_group=0,
            env={**_environment(), OWNER: owner},
        )
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._ended(Exit(self._process.returncode, usage.ru_utime + usage.ru_stime))


class _PipeReader(asyncio.Protocol):
    def __init__(self, sink: Sink, closed: Callable[[], None]) -> None:
        self._sink = sink
        self._closed = closed

    def data_received(self, data: bytes) -> None:
        self._sink(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()


def owner_mark(instance: str) -> str:
    """What this process writes into its children: which installation, and exactly which process."""
    digest = hashlib.sha256(instance.encode()).hexdigest()[:16]
    return f"{digest}:{_pid_namespace()}:{os.getpid()}:{_start_time(os.getpid())}"


def reap_orphans(instance: str) -> list[int]:
    """Kill the children that an earlier, now dead process of this installation left behind; their process ids.

    Only processes with our mark, of our user and in our pid namespace are looked at.
    """
    mine = owner_mark(instance).split(":")
    killed = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (owner := _owner_of(entry)) is not None and _is_orphan(owner.split(":"), mine):
            pid = int(entry.name)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(pid)
    if killed:
        log.warning("decoder_orphans_killed", pids=killed)
    return killed


def cpu_s(pid: int) -> float:
    """User and system time of a running process, from /proc; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _environment() -> dict[str, str]:
    """The parts of ours that a decoder may need; tokens and keys of the daemon stay with it."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "LD_LIBRARY_PATH",
        "LIBVA_DRIVER_NAME",
        "CUDA_VISIBLE_DEVICES",
        "XDG_RUNTIME_DIR",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}


def _is_orphan(owner: list[str], mine: list[str]) -> bool:
    same_installation = len(owner) == 4 and owner[:2] == mine[:2]
    return same_installation and owner[2:] != mine[2:] and _start_time(int(owner[2])) != owner[3]


def _owner_of(process: Path) -> str | None:
    prefix = f"{OWNER}=".encode()
    try:
        variables = (process / "environ").read_bytes().split(b"\0")
    except OSError:  # gone by now, or another user's
        return None
    return next((variable[len(prefix) :].decode() for variable in variables if variable.startswith(prefix)), None)


def _start_time(pid: int) -> str:
    """Ticks since boot at which that process started; with its id, this names a process for good. Empty when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)
