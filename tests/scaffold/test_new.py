"""`heldard plugin new` makes a distribution that passes its own tests and the kernel's check, untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heldard import scaffold
from heldard.errors import ConflictError, InvalidError


def run(*command: str | Path, where: Path, path: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HELDARD_", "PYTEST_"))}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=where,
        env={**clean, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_new_plugin_passes_its_own_tests_and_the_kernels_check(tmp_path: Path) -> None:
    place, installed = tmp_path / "made", tmp_path / "installed"
    scaffold.new("door_counter", place)
    run(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", installed, place,
        where=tmp_path, path=installed)  # fmt: skip
    said = run(sys.executable, "-m", "heldard", "plugins", "check", "door_counter", "--data-dir", tmp_path / "data",
               where=tmp_path, path=installed)  # fmt: skip
    assert said.split()[:3] == ["door_counter", "active", "0.1.0:"]
    tests = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", where=place, path=installed)
    assert " passed" in tests
    assert "skipped" not in tests


def test_nothing_of_the_template_is_left_in_it(tmp_path: Path) -> None:
    written = scaffold.new("door_counter", tmp_path / "made")
    assert {path.relative_to(tmp_path / "made").parts[0] for path in written} >= {
        "pyproject.toml", "README.md", "CHANGELOG.md", ".ci", "heldard_door_counter", "tests",
    }  # fmt: skip
    for path in written:
        assert not any(word in path.read_text("utf-8") for word in ("@name@", "@package@", "@Class@", "@dist@"))
    assert os.access(tmp_path / "made" / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("name", ["", "x", "Counter", "1st", "with-dash", "class", "heldard", "a" * 40, "../up"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot be a plugin's name"):
        scaffold.new(name, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_it_does_not_write_over_anything(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not empty"):
        scaffold.new("door_counter", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
