"""The daemon as a process, and a service manager's side of the notify protocol."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Manager:
    """What systemd does for a unit of Type=notify with WatchdogSec, as far as a process can tell."""

    def __init__(self, folder: Path, watchdog_s: float | None = None) -> None:
        self.folder = folder
        self.watchdog_s = watchdog_s
        self.data_dir = folder / "data"
        self.config = folder / "heldard.toml"
        self.config.write_text("")
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.headers: dict[str, str] = {}
        self._address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HELDARD_")}
        environment["NOTIFY_SOCKET"] = self._address
        if self.watchdog_s is not None:
            environment["WATCHDOG_USEC"] = str(int(self.watchdog_s * 1e6))
        self.starts += 1
        with (self.folder / f"log-{self.starts}").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "heldard", "serve", "--port", "0", "--data-dir", str(self.data_dir),
                 "--config", str(self.config)], env=environment, stderr=log,
            )  # fmt: skip

    def receive(self, timeout_s: float = 20.0) -> dict[str, str]:
        """The next notification. Raises TimeoutError."""
        self._socket.settimeout(timeout_s)
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def wait_for(self, name: str, timeout_s: float = 20.0) -> dict[str, str]:
        """The next notification that carries `name`. Raises TimeoutError."""
        until = time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0:
            found = self.receive(left)
            if name in found:
                return found
        raise TimeoutError(name)

    def watch(self) -> None:
        """Return when the daemon misses its watchdog; then do as systemd does: abort it and start it again."""
        assert self.watchdog_s is not None
        while True:
            try:
                self.wait_for("WATCHDOG", self.watchdog_s)
            except TimeoutError:
                break
        assert self.process is not None
        self.process.send_signal(signal.SIGABRT)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(10)
        self.start()

    @property
    def url(self) -> str:
        return str(next(line["url"] for line in self.log() if line["event"] == "listening"))

    def log(self) -> list[dict[str, Any]]:
        """The lines the running daemon has logged."""
        return [
            json.loads(line)
            for line in (self.folder / f"log-{self.starts}").read_text().splitlines()
            if line[:1] == "{"
        ]

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json"} | self.headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def wait_until_answered(self, method: str, path: str, timeout_s: float = 20.0) -> None:
        """Until the daemon answers with a 2xx: it notices new keys within seconds."""
        until = time.monotonic() + timeout_s
        while self.call(method, path)[0] >= 300:
            assert time.monotonic() < until
            time.sleep(0.2)

    def close(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        self._socket.close()


@pytest.fixture
def make_manager(tmp_path: Path) -> Iterator[Callable[..., Manager]]:
    made: list[Manager] = []

    def make(watchdog_s: float | None = None) -> Manager:
        made.append(Manager(tmp_path, watchdog_s))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


@pytest.fixture
def manager(make_manager: Callable[..., Manager]) -> Manager:
    return make_manager()
