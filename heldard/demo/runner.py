"""Runs the demo: renders the video, starts the real daemon and the real worker, and tells what they report.

The daemon and the worker are separate processes that speak HTTP; this program is a third one and asks the same API
as everybody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from heldard.clock import Clock, SystemClock, parse_rfc3339
from heldard.demo import scene, site, tell
from heldard.demo.video import truth_beside, video_for
from heldard.errors import ConfigError

START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0
POLL_S = 0.5
STATUS_EVERY_S = 5.0
LOG_TAIL = 2000

Say = Callable[[str], None]


@dataclass
class Child:
    """A process of ours and where it logs."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def check(self) -> None:
        """Raises ConfigError with the end of its log when it is gone."""
        if self.process.returncode is not None:
            tail = self.log.read_text(errors="replace")[-LOG_TAIL:]
            raise ConfigError(f"the {self.name} ended with status {self.process.returncode}:\n{tail}")

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that was not enough."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def child(name: str, arguments: list[str], log: Path) -> AsyncIterator[Child]:
    """`heldard <arguments>` as a process of its own, in its own group so that Ctrl-C is ours to pass on."""
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "heldard", *arguments, stdout=sink, stderr=sink, stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    started = Child(name, process, log)
    try:
        yield started
    finally:
        await started.stop()


@dataclass
class Demo:
    """One run. base: the daemon's address, known once it is to start. seconds: None runs until stopped."""

    folder: Path
    port: int
    seconds: float | None
    say: Say
    clock: Clock = field(default_factory=SystemClock)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tally: tell.Tally = field(default_factory=tell.Tally)
    base: str = ""
    _told: int = 0
    _seq: int = 0
    _session: aiohttp.ClientSession | None = None

    async def run(self) -> int:
        """The exit status: 0 when everything that should happen did."""
        video = await asyncio.to_thread(video_for, self.folder / "video", self._progress)
        config = self._fresh_config(video)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as self._session,
            child("daemon", ["serve", "--config", str(config)], self.folder / "daemon.log") as daemon,
        ):
            await self._ready(daemon)
            # The worker is there first: the scene begins when its first task does.
            arguments = ["worker", "--api", self.base, "--worker-id", "demo", "--poll-interval", "1"]
            async with child("worker", arguments, self.folder / "worker.log") as worker:
                await self._require_plugins()
                await site.set_up(self.ask, video.name)
                self._greet()
                began = self.clock.monotonic()
                await self._watch([daemon, worker])
            await self._look()
        truth = msgspec.json.decode(truth_beside(video).read_bytes(), type=scene.Truth)
        self.say(tell.summary(self.tally, (p.plate for p in truth.plates), self.clock.monotonic() - began))
        return 1 if self.tally.lacking() else 0

    def _progress(self, done: int, total: int) -> None:
        """One line that is written over on a terminal; elsewhere a word at each end."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\rrendering the gate scene, once: {100 * done // total} % " + "\n" * (done == total))
            sys.stderr.flush()
        elif done in (0, total):
            self.say("rendering the gate scene, once" if done == 0 else "rendered")

    def _fresh_config(self, video: Path) -> Path:
        """Each run begins with an empty database, so that what is counted happened in it."""
        data = self.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        port = free_port(self.port)
        self.base = f"http://127.0.0.1:{port}"
        config = self.folder / "heldard.toml"
        config.write_text(site.config_text(str(data.resolve()), str(video.parent.resolve()), port))
        return config

    def _greet(self) -> None:
        self.say(f"live page     {self.base}/")
        self.say(f"logs          {self.folder}/daemon.log, worker.log")
        self.say("Ctrl-C ends it." if self.seconds is None else f"It ends by itself after {self.seconds:g} s.")
        self.say("")

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Call the daemon. Raises ConfigError with its own words when it refuses."""
        if self._session is None:
            raise AssertionError("asked outside of run")
        async with self._session.request(method, f"{self.base}/api/v1{path}", json=body) as response:
            if response.status >= 400:
                raise ConfigError(f"{method} {path}: {response.status} {(await response.text())[:500]}")
            return await response.json()

    async def _ready(self, daemon: Child) -> None:
        deadline = self.clock.monotonic() + START_LIMIT_S
        while self.clock.monotonic() < deadline:
            daemon.check()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session_or_fail().get(f"{self.base}/readyz") as response:
                    if response.status == 200:
                        return
            await self.clock.sleep(0.1)
        raise ConfigError(f"the daemon was not ready within {START_LIMIT_S:.0f} s; see {daemon.log}")

    async def _require_plugins(self) -> None:
        listed = {plugin["name"]: plugin for plugin in await self.ask("GET", "/plugins")}
        for name in ("zones", "anpr"):
            state = listed.get(name, {"state": "not installed"})
            if state["state"] != "active":
                why = f" ({state['reason']})" if state.get("reason") else ""
                raise ConfigError(f"the demo needs the plugin heldard-{name}, which is {state['state']}{why}")

    def _session_or_fail(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise AssertionError("asked outside of run")
        return self._session

    async def _watch(self, children: list[Child]) -> None:
        """Tell what happens until it is time to stop."""
        began = told = self.clock.monotonic()
        while not self.stopping.is_set():
            now = self.clock.monotonic()
            if self.seconds is not None and now - began >= self.seconds:
                return
            for each in children:
                each.check()
            await self._look()
            if now - told >= STATUS_EVERY_S:
                told = now
                self.say(tell.status_line(self.tally, await self.ask("GET", "/ai/samplers")))
            await self.clock.sleep(POLL_S)

    async def _look(self) -> None:
        """Ask for what is new since the last look."""
        self.tally.frames = sum(s.get("frames", 0) for s in await self.ask("GET", "/ai/samplers"))
        await self._look_at_batches()
        for event in sorted(await self.ask("GET", "/events?limit=500"), key=lambda event: event["seq"]):
            if event["seq"] > self._told:
                self._told = event["seq"]
                self.tally.events[event["event_type"]] += 1
                self.say(tell.event_line(event))
                if event["event_type"] in tell.PLATE_EVENTS and event["payload"].get("plate"):
                    self.tally.plates.add(event["payload"]["plate"])

    async def _look_at_batches(self) -> None:
        page = await self.ask("GET", f"/outbox?since_seq={self._seq}&limit=1000")
        for entry in page["entries"]:
            self._seq = entry["seq"]
            self.tally.batches += 1
            self.tally.detections += entry["detection_count"]
            captured_ms = captured_of(entry.get("frame_id"))
            if captured_ms is not None:
                self.tally.lag_ms.append(parse_rfc3339(entry["created_at"]) - captured_ms)


def captured_of(frame_id: str | None) -> int | None:
    """The capture time in a frame id, `...:<milliseconds>`."""
    last = (frame_id or "").rpartition(":")[2]
    return int(last) if last.isascii() and last.isdigit() else None


def free_port(wanted: int) -> int:
    """`wanted` if nobody has it, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise ConfigError("no free TCP port on 127.0.0.1")


async def run(folder: Path, port: int, seconds: float | None, say: Say) -> int:
    """The demo from the first frame to the summary; Ctrl-C and SIGTERM end it early but cleanly."""
    demo = Demo(folder, port, seconds, say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, demo.stopping.set)
    return await demo.run()
