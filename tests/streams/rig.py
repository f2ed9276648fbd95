"""A sampler on real streams: real supervisor, real decoders, events collected."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from heldard.clock import SystemClock
from heldard.frames.ring import MB, FrameRings
from heldard.plugin import EventDraft
from heldard.sampler.ffmpeg import find_ffmpeg
from heldard.sampler.model import SampledTask, SamplerStatus
from heldard.sampler.process import OWNER, owner_mark
from heldard.sampler.service import SamplerService
from heldard.sampler.settings import SamplerSettings
from heldard.supervisor import Supervisor

CLOCK = SystemClock()
USER, PASSWORD = "watcher", "s3cret:pass"
SERVER = Path(__file__).with_name("rtsp_server.py")


class Rig:
    """What a test steers: `tasks` is what is asked for, `events` what was told."""

    def __init__(self, service: SamplerService, rings: FrameRings, tasks: list[SampledTask]) -> None:
        self.service = service
        self.rings = rings
        self.tasks = tasks
        self.events: list[EventDraft] = []

    def want(self, camera_id: str, url: str | None, fps: float = 5, width: int = 320, profile: str = "sub") -> None:
        """Ask for a stream, or for another thing of one."""
        self.tasks[:] = [task for task in self.tasks if (task.camera_id, task.profile) != (camera_id, profile)]
        self.tasks.append(SampledTask(camera_id=camera_id, profile=profile, fps=fps, width=width, url=url))
        self.service.poke()

    def drop(self, camera_id: str) -> None:
        self.tasks[:] = [task for task in self.tasks if task.camera_id != camera_id]
        self.service.poke()

    def status(self, camera_id: str = "cam") -> SamplerStatus:
        found = self.service.status_of(camera_id, "sub")
        assert found is not None, f"{camera_id} is not planned"
        return found

    async def until(
        self, holds: Callable[[SamplerStatus], bool], camera_id: str = "cam", within_s: float = 15
    ) -> SamplerStatus:
        """The first status that `holds`; fails with the last one seen."""
        deadline = CLOCK.monotonic() + within_s
        status = None
        while CLOCK.monotonic() < deadline:
            status = self.service.status_of(camera_id, "sub")
            if status is not None and holds(status):
                return status
            await CLOCK.sleep(0.05)
        raise AssertionError(f"not within {within_s} s; last seen {status}")

    async def sampling(self, camera_id: str = "cam", within_s: float = 15) -> SamplerStatus:
        return await self.until(lambda status: status.state == "sampling", camera_id, within_s)

    async def rate(self, camera_id: str, frames: int) -> float:
        """Frames per second of the next so many frames, by their capture times."""
        first = self.rings.latest(camera_id, "sub")
        assert first is not None
        last = first
        for _ in range(frames):
            newer = await self.rings.wait_next(camera_id, "sub", last.captured_ms, 10)
            assert newer is not None, "no further frame within 10 s"
            last = newer
        return frames * 1000 / (last.captured_ms - first.captured_ms)

    async def told(self, *event_types: str, within_s: float = 15) -> None:
        """Wait until exactly these events have been told, in this order."""
        deadline = CLOCK.monotonic() + within_s
        while self.told_types != list(event_types):
            assert CLOCK.monotonic() < deadline, f"told {self.events}"
            await CLOCK.sleep(0.05)

    @property
    def told_types(self) -> list[str]:
        return [event.event_type for event in self.events]


@contextlib.asynccontextmanager
async def running_sampler(tmp_path: Path, **settings: object) -> AsyncIterator[Rig]:
    """A sampler, stopped at the end together with all its children."""
    supervisor = Supervisor(CLOCK)
    rings = FrameRings(CLOCK, seconds=20, ring_bytes=16 * MB, total_bytes=64 * MB)
    tasks: list[SampledTask] = []

    async def desired() -> list[SampledTask]:
        return list(tasks)

    async def emit(event: EventDraft) -> None:
        rig.events.append(event)

    service = SamplerService(
        SamplerSettings(**{"media_dir": str(tmp_path), "offline_grace_s": 1.0, **settings}),  # type: ignore[arg-type]
        CLOCK, supervisor, rings, desired, emit, str(tmp_path), rng=random.Random(1),
    )  # fmt: skip
    rig = Rig(service, rings, tasks)
    await service.start()
    try:
        yield rig
    finally:
        await service.stop()
        await supervisor.stop()
        deadline = CLOCK.monotonic() + 2
        while left := decoders_of(str(tmp_path)):
            assert CLOCK.monotonic() < deadline, f"decoders outlived the sampler: {left}"
            await CLOCK.sleep(0.02)


def decoders_of(instance: str) -> list[int]:
    """Process ids of everything that a sampler of this process has started and that still runs, wherever it hangs."""
    mark = f"{OWNER}={owner_mark(instance)}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # gone by now, or another user's; a dead process has no environment
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


class RtspServer:
    """The server of `rtsp_server.py` in a process of its own."""

    def __init__(self, auth: str = "none", port: int = 0) -> None:
        self._process = subprocess.Popen(
            ["/usr/bin/python3", str(SERVER), "--auth", auth, "--port", str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip():
            self.kill()
            raise RuntimeError("the RTSP server did not start")
        self.port = int(line)

    def url(self, path: str, user: str = "", password: str = "") -> str:
        login = f"{user}:{password.replace(':', '%3A')}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self.port}/{path}"

    def command(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def freeze(self) -> None:
        """Sockets stay open, nothing comes any more."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def rtsp_server_problem() -> str | None:
    """Why the RTSP server cannot run here, None when it can."""
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0');"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
        "assert all(Gst.ElementFactory.find(e) for e in ('x264enc', 'x265enc', 'rtph264pay', 'h265parse'))"
    )
    try:
        done = subprocess.run(["/usr/bin/python3", "-c", probe], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no /usr/bin/python3"
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def encode_clip(
    path: Path, *, size: str = "320x240", fps: int = 15, gop: int = 15, seconds: int = 4, bframes: int = 0
) -> Path:
    """A real H.264 file with a keyframe exactly every `gop` pictures."""
    subprocess.run(
        [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}", "-t", str(seconds),
         "-c:v", "libx264", "-preset", "veryfast", "-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0",
         "-bf", str(bframes), "-pix_fmt", "yuv420p", "-y", str(path)],
        check=True,
    )  # fmt: skip
    return path
