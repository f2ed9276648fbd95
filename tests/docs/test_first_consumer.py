"""The tutorial's plugin, taken from the page as it stands there, is accepted and passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from heldard.demo.runner import free_port

PAGE = Path(__file__).parents[2] / "docs/tutorial/your-first-consumer.md"
FILES = dict(re.findall(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The files of the page, beside what installing them would leave."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        f"Summary: {project['description']}\n\n{FILES['README.md']}"
    )
    points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"]["heldard"].items())
    (info / "entry_points.txt").write_text(f"[heldard]\n{points}\n")
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HELDARD_", "PYTEST_"))}
    return {**clean, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}


def run(place: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=place, capture_output=True, text=True, check=False,
        env=environment(place),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_all_files_of_the_plugin() -> None:
    assert set(FILES) == {
        "pyproject.toml", "README.md", "heldard_loiter/__init__.py", "heldard_loiter/migrations/0001_start.sql",
        "tests/test_loiter.py",
    }  # fmt: skip


def test_the_check_says_what_the_page_says(place: Path) -> None:
    said = run(place, "heldard", "plugins", "check", "loiter", "--data-dir", str(place / "data"))
    assert f"```text\n{said}```" in PAGE.read_text("utf-8")


@pytest.mark.timeout(240)
def test_the_pages_tests_pass(place: Path) -> None:
    said = run(place, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    assert re.search(r"\d\d passed", said), said


@pytest.mark.e2e
def test_what_the_page_types_shows_a_stay(place: Path) -> None:
    """As it stands there, but for the port, half a minute of waiting, and the settings that go with that."""
    given = re.search(r"^```sh\n(curl .*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert given is not None
    with served(place, "--data-dir", str(place / "data")) as base:
        typed = given[1].replace("localhost:8000", base).replace("seq 60", "seq 6")
        done = subprocess.run(["bash", "-ec", typed], capture_output=True, text=True, check=True, timeout=60)
        *_, stays = msgspec.json.Decoder().decode_lines(done.stdout.replace("}{", "}\n{").replace("}[", "}\n["))
        assert [sorted(stay) for stay in stays] == [["since", "told"]]


@contextmanager
def served(place: Path, *options: str) -> Iterator[str]:
    """`heldard serve` with a short stay, at a free port: where it answers."""
    port = free_port(0)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "heldard", "serve", "--port", str(port), *options], cwd=place,
        env={**environment(place), "HELDARD_PLUGINS__LOITER__SECONDS": "1"},
    )  # fmt: skip
    try:
        reach(f"http://127.0.0.1:{port}/readyz", daemon)
        yield f"127.0.0.1:{port}"
    finally:
        daemon.terminate()
        assert daemon.wait(30) == 0


def reach(url: str, daemon: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            assert daemon.poll() is None, "it ended by itself"
            assert time.monotonic() < until, "it does not answer"
            time.sleep(0.05)
