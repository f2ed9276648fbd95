"""The three wheels, built and installed into an empty environment, make a working daemon with both plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT, ROOT / "plugins" / "heldard-zones", ROOT / "plugins" / "heldard-anpr")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("dist")
    for package in PACKAGES:
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, package)
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has nothing but the wheels and what they ask for."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    run(sys.executable, "-m", "venv", place)
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", place / "bin" / "python", *wheels)
    return place / "bin"


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def test_three_wheels_are_built(wheels: list[Path]) -> None:
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["heldard", "heldard_anpr", "heldard_zones"]


def test_plugins_list_shows_both_as_active(environment: Path, tmp_path: Path) -> None:
    lines = run(environment / "heldard", "plugins", "list", "--data-dir", tmp_path).splitlines()
    assert [line.split()[:3:2] for line in lines if line.startswith(("anpr", "zones"))] == [
        ["anpr", "active"],
        ["zones", "active"],
    ]


def test_the_daemon_serves_with_both_plugins_and_stops_on_sigterm(environment: Path, tmp_path: Path) -> None:
    command = [environment / "heldard", "serve", "--port", "0", "--data-dir", tmp_path / "data"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HELDARD_", "PYTHON"))}
    daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**clean, "HELDARD_LOGS__FORMAT": "json"})
    try:
        assert daemon.stderr is not None
        address = next(line["url"] for line in map(json.loads, daemon.stderr) if line["event"] == "listening")
        states = {plugin["name"]: plugin["state"] for plugin in get(f"{address}/api/v1/plugins")}
        assert states == {"anpr": "active", "zones": "active"}
        assert {consumer["name"] for consumer in get(f"{address}/api/v1/consumers")} >= {"anpr", "zones"}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{address}/api/v1/nothing")
        daemon.terminate()
        assert daemon.wait(timeout=10) == 0
    finally:
        daemon.kill()
        daemon.wait()
        assert daemon.stderr is not None
        daemon.stderr.close()
