"""Real processes: the daemon and the worker as an operator starts them, on the demo's video."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from heldard.clock import SystemClock
from heldard.demo import site
from heldard.demo.runner import Child, child, free_port
from heldard.demo.video import video_for

CLOCK = SystemClock()


@pytest.fixture(scope="session")
def video(pytestconfig: pytest.Config) -> Path:
    """The demo's video, shared with `make demo`: rendering it takes some ten seconds."""
    return video_for(pytestconfig.rootpath / ".demo" / "video", lambda done, total: None)


@dataclass
class Box:
    """A machine with a daemon and a worker on it."""

    folder: Path
    video: Path
    port: int
    session: aiohttp.ClientSession
    stack: AsyncExitStack
    extra_config: str = ""
    token: str = ""
    starts: int = 0
    daemon: Child = field(init=False)
    worker: Child = field(init=False)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start_daemon(self) -> None:
        config = self.folder / "heldard.toml"
        text = site.config_text(str(self.folder / "data"), str(self.video.parent), self.port)
        config.write_text(text + self.extra_config)
        self.starts += 1
        log = self.folder / f"daemon-{self.starts}.log"
        self.daemon = await self.stack.enter_async_context(child("daemon", ["serve", "--config", str(config)], log))
        await self.until(self._ready, 30)

    async def start_worker(self, *more: str) -> None:
        arguments = ["worker", "--api", self.base, "--worker-id", "e2e", "--poll-interval", "1", *more]
        log = self.folder / "worker.log"
        self.worker = await self.stack.enter_async_context(child("worker", arguments, log))

    async def _ready(self) -> bool:
        self.daemon.check()
        try:
            async with self.session.get(f"{self.base}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.base}/api/v1{path}"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            assert response.status < 400, f"{method} {path}: {response.status} {await response.text()}"
            return await response.json()

    async def until(self, condition: Any, seconds: float) -> None:
        """Wait for an awaitable condition; fail with the ends of the logs."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    await CLOCK.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{condition} did not come true in {seconds} s\n{self.logs()}") from None

    def logs(self) -> str:
        """The end of each log, for a failure's message."""
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))


@asynccontextmanager
async def a_box(folder: Path, video: Path, extra_config: str = "") -> AsyncIterator[Box]:
    """A daemon that is ready; the worker is the test's to start."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session, AsyncExitStack() as stack:
        box = Box(folder, video, free_port(0), session, stack, extra_config)
        await box.start_daemon()
        yield box


@pytest.fixture
async def box(tmp_path: Path, video: Path) -> AsyncIterator[Box]:
    async with a_box(tmp_path, video) as started:
        await started.start_worker()
        yield started


@pytest.fixture
async def guarded_box(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Box]:
    """Auth on, tickets required; `token` is an admin's."""
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_USER", "admin")
    monkeypatch.setenv("HELDARD_BOOTSTRAP_ADMIN_PASSWORD", "correct horse battery")
    extra = '[auth]\nenabled = true\n[ingest]\nprovenance = "enforce"\n'
    async with a_box(tmp_path, video, extra) as started:
        login = {"username": "admin", "password": "correct horse battery"}
        started.token = (await started.ask("POST", "/auth/login", login))["token"]
        yield started
