"""The driver's end of the box: starts it, moves its time, kills it, reads what it logged."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

START_LIMIT_S = 60.0
STOP_LIMIT_S = 60.0
REPOSITORY = Path(__file__).parents[2]

ADMIN, PASSWORD = "root", "correct horse battery"

# What watches real time is given more of it: a busy machine moves this box a day on within minutes.
SETTINGS = """\
[server]
port = 0
[store]
data_dir = "{data}"
durability = "normal"
[auth]
enabled = true
[fanout]
consume_timeout_s = 60
blocked_ms = 20000
blocked_limit_ms = 30000
[outgoing]
allow_private = true
timeout_s = 60
[retention]
detections_hours = 1
evidence_max_mb = 2
disk_reserve_mb = 1024
[logs]
format = "json"
{more}
[plugins]
strict = true
[plugins.anpr.cameras.gate]
direction = "inbound"
[plugins.anpr.cameras.gate.actuator]
type = "simulated"
"""


class Daemon:
    """`heldard serve` on one data directory, one process after the other. `now_ms` is its wall clock."""

    def __init__(self, folder: Path, begins_ms: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "heldard.toml"
        self.now_ms = begins_ms
        self.url = ""
        self.starts = 0
        self.write_settings()
        self._process: asyncio.subprocess.Process | None = None
        self._sockets = Path(tempfile.mkdtemp(prefix="day-"))  # a socket's path must be short
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def write_settings(self, more: str = "") -> None:
        self.config.write_text(SETTINGS.format(data=self.data, more=more))

    # --- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it on what is there; returns when it listens."""
        self.starts += 1
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HELDARD_")}
        socket = self._sockets / str(self.starts)
        environment |= {
            "DAY_SOCKET": str(socket), "DAY_BEGINS_MS": str(self.now_ms),
            "HELDARD_BOOTSTRAP_ADMIN_USER": ADMIN, "HELDARD_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD,
        }  # fmt: skip
        with self._log(self.starts).open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-W", "always::ResourceWarning", "-m", "tests.day.box", "serve",
                "--config", str(self.config),
                cwd=REPOSITORY, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(START_LIMIT_S):
            while (url := self._listens_at()) is None:
                assert self._process.returncode is None, f"it ended by itself:\n{self.log_end()}"
                await asyncio.sleep(0.02)
        self.url = url
        self._reader, self._writer = await asyncio.open_unix_connection(str(socket), limit=2**20)

    def _listens_at(self) -> str | None:
        return next((line["url"] for line in self.log(self.starts) if line["event"] == "listening"), None)

    async def stop(self) -> None:
        """SIGTERM, as systemd stops it."""
        assert self._process is not None
        await self.order("run_free")
        self._process.send_signal(signal.SIGTERM)
        assert await self._ended() == 0, self.log_end()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._ended()

    async def _ended(self) -> int:
        assert self._process is not None
        assert self._writer is not None
        async with asyncio.timeout(STOP_LIMIT_S):
            code = await self._process.wait()
        self._writer.close()
        self._process = None
        return code

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def close(self) -> None:
        if self._process is not None:
            await self.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)

    # --- orders ------------------------------------------------------------------------------------------------------

    async def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        line = await self._reader.readline()
        assert line, f"it is gone:\n{self.log_end()}"
        return json.loads(line)  # type: ignore[no-any-return]

    async def advance(self, seconds: float) -> dict[str, int]:
        """Let time pass; the capture times of the streams that have a new frame."""
        told = await self.order("advance", seconds=seconds)
        self.now_ms = told["now_ms"]
        return dict(told["frames"])

    async def set_wall(self, shift_ms: int) -> None:
        await self.order("wall", shift_ms=shift_ms)
        self.now_ms += shift_ms

    async def command(self, *arguments: str) -> str:
        """Another command of heldard on the same configuration; what it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "heldard", *arguments, cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
        return told.decode()

    # --- the log -----------------------------------------------------------------------------------------------------

    def _log(self, start: int) -> Path:
        return self.folder / f"log-{start}"

    def log(self, start: int) -> list[dict[str, Any]]:
        """The lines of one start; what is no JSON is an error of its own."""
        whole = self._log(start).read_text().split("\n")[:-1]
        return [json.loads(line) if line[:1] == "{" else {"level": "error", "event": line} for line in whole]

    def complaints(self) -> list[dict[str, Any]]:
        """Every line of every start that is a warning or worse."""
        lines = [line for start in range(1, self.starts + 1) for line in self.log(start)]
        return [line for line in lines if line.get("level") not in ("debug", "info")]

    def log_end(self) -> str:
        return self._log(self.starts).read_text()[-4000:]
