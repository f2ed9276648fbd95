"""The real unit under a real systemd, hardening and all, where this machine lets us run one in namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heldard import systemd

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "systemd_namespace.sh"
NAMESPACES = ["--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
API = "http://127.0.0.1:8000/api/v1"


def _possible() -> bool:
    tools = all(shutil.which(name) for name in ("unshare", "nsenter", "curl", "systemctl", "systemd-sysusers", "ip"))
    if os.geteuid() != 0 or not tools or not Path("/lib/systemd/systemd").exists():
        return False
    return subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


class Machine:
    """A systemd in namespaces, and commands run inside them."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.out.mkdir()
        media = folder / "media"
        media.mkdir()
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration=10",
             "-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p", str(media / "clip.mp4")], check=True,
        )  # fmt: skip
        systemd.install(folder / "installed", prefix="/usr")
        path = ":".join([str(ROOT), sysconfig.get_path("purelib")])
        with (folder / "console").open("wb") as console:
            self.process = subprocess.Popen(
                ["bash", str(SCRIPT), str(self.out), str(folder / "installed"), sys.base_prefix, path, str(media)],
                stdout=console, stderr=console,
            )  # fmt: skip
        self.init = ""

    def up(self, timeout_s: float = 40.0) -> bool:
        """Whether systemd answers and the service is active."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and self.process.poll() is None:
            found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if found:
                self.init = found[0]
                if self.run("systemctl", "is-active", "heldard").strip() == "active":
                    return True
            time.sleep(0.3)
        return False

    def run(self, *command: str) -> str:
        inside = ["nsenter", "-t", self.init, "-m", "-p", "-n", "-C", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=30).stdout

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "-p", name, "--value", "heldard").strip()

    def call(self, path: str, body: Any = None) -> Any:
        data = [] if body is None else ["-H", "content-type: application/json", "-d", json.dumps(body)]
        return json.loads(self.run("curl", "-s", *data, API + path) or "null")

    def log(self) -> str:
        return (self.out / "daemon.log").read_text()

    def close(self) -> None:
        self.process.kill()  # --kill-child takes systemd along, and everything below it
        self.process.wait()
        for root in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup"):
            group = Path(root, f"heldard-test-{self.process.pid}")
            until = time.monotonic() + 5
            while group.is_dir() and time.monotonic() < until:
                subprocess.run(["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"],
                               capture_output=True, check=False)  # fmt: skip
                time.sleep(0.1)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if not _possible():
        pytest.skip("running systemd in namespaces takes root, and its tools")
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.close()


def _wait(what: Any, timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.3)


def _sampling(machine: Machine) -> bool:
    streams = machine.call("/ai/samplers")
    return bool(streams) and streams[0]["state"] == "sampling" and streams[0]["frames"] > 0


def test_the_hardened_unit_samples_reloads_is_restarted_by_the_watchdog_and_stops(machine: Machine) -> None:
    if not machine.up() and not (machine.out / "daemon.log").exists():
        pytest.skip("systemd does not come up in namespaces here")
    assert machine.show("ActiveState") == "active", machine.log()[-2000:]
    assert machine.show("StatusText").startswith(("serving", "listening"))
    assert machine.call("/cameras", {"id": "gate", "name": "Gate", "sub_stream_url": "file:clip.mp4"})["id"] == "gate"
    machine.call("/cameras/gate/ai-tasks", {"task_type": "detection", "fps": 2, "width": 320})
    _wait(lambda: _sampling(machine))

    machine.run("systemctl", "reload", "heldard")
    _wait(lambda: "settings_reloaded" in machine.log())

    first = machine.show("MainPID")
    machine.run("kill", "-STOP", first)
    _wait(lambda: machine.show("NRestarts") == "1" and machine.show("ActiveState") == "active")
    assert machine.show("MainPID") != first
    _wait(lambda: _sampling(machine))

    began = time.monotonic()
    machine.run("systemctl", "stop", "heldard")
    assert time.monotonic() - began < 15
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")
    assert '"stopped"' in machine.log()
