"""PyAV as a decoder: decodes only what is needed, in processes forked from one that has the libraries loaded.

Against ffmpeg it costs a fraction of the memory (the libraries' pages are shared), decodes each group of pictures no
further than to the last picture wanted, changes rate and width without a new session, follows a change of resolution,
and keeps the camera's password out of the list of processes. It decodes in software only.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import sys
from typing import Any

import structlog

from heldard.sampler.decoder import Job, Seen
from heldard.sampler.ffmpeg import FILE_FORMATS, PROTOCOLS
from heldard.sampler.model import Size
from heldard.sampler.process import Child, Exit, Running, Sink

log = structlog.get_logger(__name__)

_START = (
    "import sys; sys.path[:] = sys.argv[1].split(':');"
    "from heldard.sampler.pyav_zygote import serve; serve(int(sys.argv[2]))"
)


def available() -> bool:
    """Whether the extra `pyav` is installed."""
    return importlib.util.find_spec("av") is not None


class Zygote:
    """The process that is forked for each stream; started when first needed, and again if it died."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._process: Child | None = None
        self._channel: socket.socket | None = None
        self._children: dict[int, Forked] = {}
        self._number = 0
        self._starting = asyncio.Lock()

    async def spawn(self, job: dict[str, Any], child: Forked, descriptors: list[int]) -> None:
        """Fork for `job`; returns when the process exists. Raises OSError when it cannot."""
        channel = await self._running()
        self._number += 1
        self._children[self._number] = child
        socket.send_fds(channel, [json.dumps({**job, "number": self._number}).encode()], descriptors)
        await child.started
        if child.pid == 0:
            raise OSError("the process that PyAV decoders are forked from ended")

    async def stop(self) -> None:
        """End it; its children, if any are left, end with it."""
        if self._process is not None:
            await self._process.kill()
        self._lost()

    async def _running(self) -> socket.socket:
        async with self._starting:
            if self._channel is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                ours.setblocking(False)
                with theirs:
                    command = [
                        sys.executable,
                        "-I",
                        "-c",
                        _START,
                        ":".join(filter(None, sys.path)),
                        str(theirs.fileno()),
                    ]
                    self._process = await Child.start(
                        command, owner=self._owner, stdout=_ignore, stderr=self._said, pass_fds=(theirs.fileno(),)
                    )
                self._channel = ours
                asyncio.get_running_loop().add_reader(ours, self._hear)
        return self._channel

    def _hear(self) -> None:
        assert self._channel is not None, "only read while it is open"
        try:
            message = self._channel.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            message = b""
        if not message:
            self._lost()
            return
        said = json.loads(message)
        if "pid" in said:
            self._children[said["number"]].begun(said["pid"])
        else:
            self._children.pop(said["number"]).ended(Exit(said["code"], said["cpu_s"]))

    def _lost(self) -> None:
        """It is gone, and with it all children."""
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        for child in self._children.values():
            child.ended(Exit(-signal.SIGKILL, child.cpu_s()))
        self._children.clear()

    def _said(self, data: bytes) -> None:
        log.warning("pyav_zygote_said", said=data.decode("utf-8", "replace")[-2000:])


class Forked(Running):
    """A process forked by the zygote."""

    def __init__(self) -> None:
        super().__init__()
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.control_fd = -1
        self._pidfd = -1

    async def start(self, zygote: Zygote, job: dict[str, Any], stdout: Sink, stderr: Sink, seen_fd: int) -> None:
        descriptors: list[int] = []
        try:
            descriptors.append(await self._pipe_to(stdout))
            descriptors.append(await self._pipe_to(stderr))
            control, self.control_fd = os.pipe2(os.O_CLOEXEC)
            descriptors += [seen_fd, control]
            await zygote.spawn(job, self, descriptors)
        except BaseException:
            self.kill_now()
            self._close_control()
            raise
        finally:
            for descriptor in descriptors:
                if descriptor != seen_fd:
                    os.close(descriptor)

    def begun(self, pid: int) -> None:
        self.pid = pid
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            log.debug("pyav_child_gone_at_once", pid=pid)
        if not self.started.done():
            self.started.set_result(None)
        else:  # nobody waits for it any more
            self.signal(signal.SIGKILL)

    def ended(self, ended: Exit) -> None:
        if not self.started.done():
            self.started.set_result(None)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._close_control()
        self._ended(ended)

    def signal(self, number: int) -> None:
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return  # gone; the zygote is about to say so

    def _close_control(self) -> None:
        if self.control_fd >= 0:
            os.close(self.control_fd)
            self.control_fd = -1


class PyavDecoder:
    """See `heldard.sampler.decoder.Decoder`."""

    name = "pyav"
    adapts = True

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote

    async def start(self, job: Job, *, owner: str, stdout: Sink, stderr: Sink, seen_fd: int) -> Running:
        del owner  # the zygote's mark is inherited
        child = Forked()
        await child.start(self._zygote, instructions(job), stdout, stderr, seen_fd)
        return child

    def retune(self, running: Running, fps: float, width: int) -> bool:
        assert isinstance(running, Forked), "only what this decoder started"
        if running.control_fd >= 0:
            os.write(running.control_fd, f"rate {fps} {width}\n".encode())
        return True

    def read(self, line: str, seen: Seen) -> None:
        kind, *values = line.split()
        if kind == "p":
            seen.packet(float(values[0]), int(values[1]), key=values[2] == "1")
        elif kind == "s":
            seen.size = Size(int(values[0]), int(values[1]))

    def hear(self, line: str, seen: Seen) -> str | None:
        del seen
        return line.removeprefix("[error] ").strip() or None


def instructions(job: Job) -> dict[str, Any]:
    """A job as `heldard.sampler.pyav_decode` takes it. The password goes with it, over a private socket."""
    scheme, timeout_us = job.source.scheme, str(int(job.io_timeout_s * 1_000_000))
    options = {"protocol_whitelist": PROTOCOLS[scheme]}
    if scheme in {"rtsp", "rtsps"}:
        options |= {"rtsp_transport": job.rtsp_transport, "allowed_media_types": "video", "timeout": timeout_us}
        options["probesize"] = "32"  # the session's description names the codec, the decoder finds the rest
    elif scheme in {"http", "https"}:
        options |= {"rw_timeout": timeout_us}
    else:
        options |= {"format_whitelist": FILE_FORMATS}
    if not job.source.is_file:
        options |= {"fpsprobesize": "0", "analyzeduration": "0"}
    return {
        "url": job.source.url, "options": options, "open": {}, "fps": job.fps, "width": job.width,
        "jpeg_quality": job.jpeg_quality, "skip_loop_filter": job.skip_loop_filter,
        "paced": job.source.is_file, "loop": job.source.loop,
    }  # fmt: skip


def _ignore(data: bytes) -> None:
    """The zygote itself writes nothing there."""
