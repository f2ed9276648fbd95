"""The installation guide, followed to the letter: its own commands, on a Debian that has nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.namespaced import Namespaced, possible

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/how-to/install.md"
SCRIPT = Path(__file__).parent / "empty_box.sh"
SUITE = "bookworm"
MIRROR = os.environ.get("HELDARD_TEST_DEBIAN_MIRROR", "http://deb.debian.org/debian")
PYTHON = "3.11"
"""What the suite brings."""

ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive")
WHEELS = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels")
"""heldard's own wheels, and what they need, come from a folder: pip takes the same names as from an index."""


def commands(after: str) -> list[str]:
    """The commands of the first block after a line of the guide."""
    _, _, rest = GUIDE.read_text("utf-8").partition(f"{after}\n")
    block = re.search(r"```sh\n(.*?)```", rest, re.DOTALL)
    assert block is not None, after
    return block[1].strip().splitlines()


def test_the_guide_needs_five_commands() -> None:
    assert len(commands("# Install on Debian")) == 5


class Box(Namespaced):
    """A freshly made Debian, booted with its own systemd."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.parent / "console", str(SCRIPT), str(folder))

    def follow(self, command: str) -> str:
        """Run one command of the guide as root. Only apt sees the network."""
        online = command.startswith("apt-get")
        done = self.execute(
            [*ENVIRONMENT, *WHEELS, "sh", "-c", command], timeout_s=1200,
            namespaces=("-m", "-p", "-C", "-u", "-i", *(() if online else ("-n",))),
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def is_active(self, unit: str) -> bool:
        return self.execute(["systemctl", "is-active", unit]).stdout.strip() == "active"


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _fill(folder: Path) -> None:
    """Every wheel that the guide's names mean."""
    folder.mkdir()
    for package in (ROOT, ROOT / "plugins/heldard-zones", ROOT / "plugins/heldard-anpr"):
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, package)
    ours = sorted(folder.glob("heldard*.whl"))
    kernel = next(path for path in ours if path.name.startswith("heldard-"))
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", PYTHON,
         "--dest", folder, *ours, f"{kernel}[worker]")  # fmt: skip


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    if not possible("debootstrap"):
        pytest.skip("making and booting a Debian takes root, debootstrap and namespaces")
    root = tmp_path / "root"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", SUITE, str(root), MIRROR],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"no Debian to be had from {MIRROR}: {made.stdout[-300:]}")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    _fill(root / "wheels")
    machine = Box(root)
    try:
        assert machine.comes_up(lambda: machine.is_active("multi-user.target"), 120), "the Debian does not boot"
        yield machine
    finally:
        machine.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_an_empty_debian_serves_after_the_guides_commands_and_after_each_start(box: Box) -> None:
    for command in commands("# Install on Debian"):
        box.follow(command)
    assert box.is_active("heldard")
    assert box.execute(["systemctl", "is-enabled", "heldard"]).stdout.strip() == "enabled"
    _look(box)
    _work(box)
    box.follow("systemctl restart heldard")
    assert box.is_active("heldard")


def _look(box: Box) -> None:
    """What the guide says to look at shows a service that is well."""
    told = "\n".join(box.follow(command) for command in commands("Look at it:"))
    assert '{"status":"ok"}' in told
    assert "BAD" not in told
    plugins = json.loads(box.follow("curl -s http://127.0.0.1:8000/api/v1/plugins"))
    assert {plugin["name"]: plugin["state"] for plugin in plugins} == {"anpr": "active", "zones": "active"}


def _work(box: Box) -> None:
    """The worker's commands make a worker that holds leases."""
    box.follow("""curl -sf -H 'content-type: application/json' -d '{"id": "gate", "name": "Gate"}' """
               "http://127.0.0.1:8000/api/v1/cameras")  # fmt: skip
    box.follow("""curl -sf -H 'content-type: application/json' -d '{"task_type": "detection"}' """
               "http://127.0.0.1:8000/api/v1/cameras/gate/ai-tasks")  # fmt: skip
    for command in commands("## A worker on the same box"):
        box.follow(command)
    until = time.monotonic() + 120
    while not json.loads(box.follow("curl -s http://127.0.0.1:8000/api/v1/ai/leases")):
        assert time.monotonic() < until, box.follow("journalctl -u heldard-worker@1 -o cat --no-pager")
        time.sleep(1)
    assert box.is_active("heldard-worker@1")
