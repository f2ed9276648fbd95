"""A daemon of one's own to kill: the real command, with a plugin installed beside it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import aiohttp

from heldard.clock import SystemClock

CLOCK = SystemClock()
START_LIMIT_S = 60.0

_ENTRY_POINTS = "[heldard]\ncrashprobe = heldard_crashprobe\n"
_METADATA = "Metadata-Version: 2.1\nName: heldard-crashprobe\nVersion: 1.0\n"


def install_plugin(folder: Path) -> Path:
    """Lay the probe out as an installed distribution; the folder for PYTHONPATH."""
    place = folder / "site"
    shutil.copytree(Path(__file__).parent / "plugin", place)
    info = place / "heldard_crashprobe-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(_METADATA)
    (info / "entry_points.txt").write_text(_ENTRY_POINTS)
    return place


class Daemon:
    """`heldard serve` on a data directory, again and again on the same port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.trail = folder / "trail"
        self.base = f"http://127.0.0.1:{port}"
        self._port = port
        self._site = install_plugin(folder)
        self._log = folder / "daemon.log"
        self._process: asyncio.subprocess.Process | None = None
        self._config = folder / "heldard.toml"
        self._config.write_text(
            f'[store]\ndata_dir = "{self.data}"\n'
            '[plugins]\ndisabled = ["zones", "anpr"]\n'
            f'[plugins.crashprobe]\ntrail = "{self.trail}"\n'
            '[logs]\nlevel = "warning"\n'
        )

    async def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(self._site)}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "heldard", "serve", "--config", str(self._config), "--port", str(self._port),
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until it answers. Raises AssertionError with its log when it ends or takes too long."""
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while not await self._answers(session):
                    assert self._process is not None
                    assert self._process.returncode is None, f"it ended by itself:\n{self.log_end()}"
                    await CLOCK.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"it does not answer:\n{self.log_end()}") from None

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.base}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """As an operator stops it. Asserts that it ended well."""
        assert await self._end(signal.SIGTERM) == 0, self.log_end()

    async def _end(self, number: int) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        return await process.wait()

    def log_end(self) -> str:
        return self._log.read_text()[-4000:] if self._log.exists() else ""
