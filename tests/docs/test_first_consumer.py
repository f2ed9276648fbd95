"""The tutorial's plugin, taken from the page as it stands there, is accepted and passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def run(place: Path, *command: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HELDARD_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=place, capture_output=True, text=True, check=False,
        env={**clean, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
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
