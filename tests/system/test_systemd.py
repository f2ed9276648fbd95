"""The real unit under a real systemd, hardening and all, where this machine lets us run one in namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from heldard import systemd
from tests.system.namespaced import Namespaced, possible

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "systemd_namespace.sh"
API = "http://127.0.0.1:8000/api/v1"


class Machine(Namespaced):
    """A systemd that knows the installed units, with the tree under test in place of an installation."""

    def __init__(self, folder: Path, etc: Mapping[str, str]) -> None:
        """etc: contents of files in /etc/heldard, by name."""
        self.out = folder / "out"
        self.out.mkdir()
        media = folder / "media"
        media.mkdir()
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10:duration=10",
             "-c:v", "libx264", "-g", "10", "-pix_fmt", "yuv420p", str(media / "clip.mp4")], check=True,
        )  # fmt: skip
        systemd.install(folder / "installed", prefix="/usr")
        for name, content in etc.items():
            (folder / "installed/etc/heldard" / name).write_text(content)
        path = ":".join([str(ROOT), sysconfig.get_path("purelib")])
        super().__init__(
            folder / "console", str(SCRIPT), str(self.out), str(folder / "installed"), sys.base_prefix, path, str(media)
        )

    def run(self, *command: str, given: str | None = None) -> str:
        return self.execute(command, given=given).stdout

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "-p", name, "--value", "heldard").strip()

    def call(self, path: str, body: Any = None, token: str = "") -> Any:
        data = [] if body is None else ["-H", "content-type: application/json", "-d", json.dumps(body)]
        data += ["-H", f"authorization: Bearer {token}"] if token else []
        return json.loads(self.run("curl", "-s", *data, API + path) or "null")

    def log(self) -> str:
        return (self.out / "daemon.log").read_text()


MakeMachine = Callable[..., Machine]


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[MakeMachine]:
    if not possible("systemctl", "systemd-sysusers", "setpriv") or not Path("/lib/systemd/systemd").exists():
        pytest.skip("running systemd in namespaces takes root, and its tools")
    made: list[Machine] = []

    def make(etc: Mapping[str, str] = {}) -> Machine:
        machine = Machine(tmp_path, etc)
        made.append(machine)
        up = machine.comes_up(lambda: machine.run("systemctl", "is-active", "heldard").strip() == "active", 40)
        if not up and not (machine.out / "daemon.log").exists():
            pytest.skip("systemd does not come up in namespaces here")
        assert machine.show("ActiveState") == "active", machine.log()[-2000:]
        return machine

    yield make
    for machine in made:
        machine.close()


def _wait(what: Any, timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.3)


def _sampling(machine: Machine) -> bool:
    streams = machine.call("/ai/samplers")
    return bool(streams) and streams[0]["state"] == "sampling" and streams[0]["frames"] > 0


def test_the_hardened_unit_samples_reloads_is_restarted_by_the_watchdog_and_stops(
    make_machine: MakeMachine,
) -> None:
    machine = make_machine()
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


PASSWORD = "correct horse battery"
SECRETS = {
    "heldard.toml": "[auth]\nenabled = true\n",
    "bootstrap-admin-password": f"{PASSWORD}\n",
}


def test_secrets_are_handed_over_as_credentials_that_nobody_else_reads(make_machine: MakeMachine) -> None:
    machine = make_machine(SECRETS)
    token = machine.call("/auth/login", {"username": "admin", "password": PASSWORD})["token"]

    camera = {"id": "gate", "name": "Gate", "sub_stream_url": "file:clip.mp4", "username": "u", "password": "p"}
    assert machine.call("/cameras", camera, token)["id"] == "gate"
    assert "heldard.db" in machine.run("ls", "/var/lib/heldard")
    assert "secret.key" not in machine.run("ls", "/var/lib/heldard"), "what seals it is the credential"

    folder = "/run/credentials/heldard.service"
    names = ["bootstrap-admin-password", "secret-key"]
    assert machine.run("ls", folder).split() == names
    for name in names:
        assert machine.run("stat", "-c", "%U %a", f"{folder}/{name}").split() == ["heldard", "400"]
        assert machine.run("setpriv", "--reuid=65534", "--clear-groups", "cat", f"{folder}/{name}") == ""
    told = machine.run("cat", f"/proc/{machine.show('MainPID')}/environ") + machine.run("systemctl", "show", "heldard")
    assert "CREDENTIALS_DIRECTORY" in told
    assert PASSWORD not in told

    shown = machine.run("/mnt/heldard", "config", "show", "--config", "/etc/heldard/heldard.toml")
    for name in names:
        assert f'{name} = "***"  # credential' in shown
    assert PASSWORD not in shown


def test_the_worker_unit_reads_its_key_from_a_credential(make_machine: MakeMachine) -> None:
    machine = make_machine(SECRETS)
    token = machine.call("/auth/login", {"username": "admin", "password": PASSWORD})["token"]
    machine.call("/cameras", {"id": "gate", "name": "Gate", "sub_stream_url": "file:clip.mp4"}, token)
    machine.call("/cameras/gate/ai-tasks", {"task_type": "motion", "fps": 2, "width": 320}, token)
    key = machine.call("/api-keys", {"name": "worker"}, token)["key"]
    machine.run("sh", "-c", "umask 077; cat > /etc/heldard/worker-api-key", given=key)
    machine.run("systemctl", "start", "heldard-worker@1")

    def used() -> bool:
        return any(row["last_used_at"] for row in machine.call("/api-keys", token=token))

    _wait(used)
    unit = "heldard-worker@1.service"
    assert machine.run("systemctl", "is-active", unit).strip() == "active", (machine.out / "worker.log").read_text()
    told = machine.run("sh", "-c", f"cat /proc/$(systemctl show -p MainPID --value {unit})/environ")
    assert "CREDENTIALS_DIRECTORY" in told
    assert key not in told
    path = f"/run/credentials/{unit}/worker-api-key"
    assert machine.run("stat", "-c", "%a", path).strip() == "400"
    assert machine.run("setpriv", "--reuid=65534", "--clear-groups", "cat", path) == ""
