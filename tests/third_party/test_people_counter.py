"""A plugin our packages know nothing of, installed as a wheel beside the kernel's: in, out, and in again, newer."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from heldard.testing import Scene

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def call(method: str, url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Box:
    """An environment with the kernel's wheel in it, and a data directory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.python = place / "venv" / "bin" / "python"
        self.data = place / "data"
        self.posted = 0
        run(sys.executable, "-m", "venv", place / "venv")
        self.install(self.wheel(ROOT))

    def wheel(self, source: Path) -> Path:
        out = self.place / "dist" / source.name
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source)
        return next(out.glob("*.whl"))

    def install(self, *wheels: Path) -> None:
        run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", self.python, *wheels)

    def uninstall(self, name: str) -> None:
        run(sys.executable, "-m", "uv", "pip", "uninstall", "--quiet", "--python", self.python, name)

    @contextmanager
    def daemon(self) -> Iterator[str]:
        """Its address, while it runs."""
        command = [self.python.parent / "heldard", "serve", "--port", "0", "--data-dir", self.data]
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HELDARD_", "PYTHON"))}
        daemon = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**clean, "HELDARD_LOGS__FORMAT": "json"}
        )
        try:
            assert daemon.stderr is not None
            yield next(line["url"] for line in map(json.loads, daemon.stderr) if line["event"] == "listening")
            daemon.terminate()
            assert daemon.wait(timeout=15) == 0
        finally:
            daemon.kill()
            daemon.wait()
            assert daemon.stderr is not None
            daemon.stderr.close()

    def walk(self, url: str, *, to_the_right: bool) -> None:
        """Somebody crosses the picture."""
        self.posted += 1
        start, end = (0.1, 0.9) if to_the_right else (0.9, 0.1)
        scene = Scene("door", fps=2, epoch=f"run{self.posted}")
        scene.person("1").enter(0, at=(start, 0.9)).walk_to((end, 0.9), seconds=3)
        for shot in scene.shots():
            body = {
                "camera_id": "door", "task_type": "detection", "epoch": scene.epoch,
                "frame_id": f"{scene.epoch}-{shot.second}", "detections": list(shot.detections),
            }  # fmt: skip
            call("POST", f"{url}/api/v1/ai/events", body)

    def rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.data / "heldard.db")) as connection:
            return connection.execute(sql).fetchall()


def states(url: str) -> dict[str, str]:
    return {plugin["name"]: plugin["state"] for plugin in call("GET", f"{url}/api/v1/plugins")}


def newer(place: Path) -> Path:
    """Version 1.1.0: another migration, the rest as it was."""
    source = place / "people_counter_1_1"
    shutil.copytree(HERE / "people_counter", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "people_counter_next", source, dirs_exist_ok=True)
    for name in ("pyproject.toml", "people_counter/plugin.py"):
        text = (source / name).read_text("utf-8")
        assert '"1.0.0"' in text
        (source / name).write_text(text.replace('"1.0.0"', '"1.1.0"'), "utf-8")
    return source


def test_a_strangers_plugin_comes_goes_and_comes_back_newer(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.install(box.wheel(HERE / "people_counter"))
    with box.daemon() as url:
        assert states(url) == {"people_counter": "active"}
        call("POST", f"{url}/api/v1/cameras", {"id": "door", "name": "Door"})
        box.walk(url, to_the_right=True)
        box.walk(url, to_the_right=False)
        box.walk(url, to_the_right=True)
        assert call("GET", f"{url}/api/v1/people-counter") == {"version": "1.0.0", "left": 1, "right": 2}
        (shown,) = call("GET", f"{url}/api/v1/plugins")
        assert (shown["version"], shown["api"], shown["lag"], shown["problem"]) == ("1.0.0", ">=1.0,<2", 0, None)
        assert [(table["name"], table["rows"]) for table in shown["tables"]] == [("people_counter_passes", 3)]
        assert shown["tables"][0]["size_bytes"] > 0

    box.uninstall("people-counter")
    with box.daemon() as url:
        assert states(url) == {}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            call("GET", f"{url}/api/v1/people-counter")
        assert len(call("GET", f"{url}/api/v1/events?event_type=people_counter_passed")) == 3
        assert len(call("GET", f"{url}/api/v1/cameras/door/detections")) == 21
        box.walk(url, to_the_right=True)
        assert box.rows("SELECT count(*) FROM people_counter_passes") == [(3,)]

    box.install(box.wheel(newer(tmp_path)))
    with box.daemon() as url:
        assert call("GET", f"{url}/api/v1/people-counter") == {"version": "1.1.0", "left": 1, "right": 2}
        assert sum(count for (count,) in box.rows("SELECT count FROM people_counter_hours")) == 3
        box.walk(url, to_the_right=False)
        assert call("GET", f"{url}/api/v1/people-counter") == {"version": "1.1.0", "left": 2, "right": 2}
        assert sum(count for (count,) in box.rows("SELECT count FROM people_counter_hours")) == 4
