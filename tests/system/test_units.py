"""The units are what systemd accepts, keep to themselves, and are installed where it looks."""

from __future__ import annotations

import base64
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from heldard import config, systemd

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")

MOST_EXPOSURE = 2.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    systemd.install(tmp_path, prefix="/usr")
    for unit in (tmp_path / "etc/systemd/system").iterdir():
        # verify looks at the machine it runs on: the command has to be there, and heldard is not.
        unit.write_text(unit.read_text().replace("/usr/bin/heldard", "/bin/true"))
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("unit", ["heldard.service", "heldard-worker@.service"])
def test_systemd_finds_nothing_wrong_with_the_unit(root: Path, unit: str) -> None:
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(root / "etc/systemd/system" / unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr.strip()) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", ["heldard.service", "heldard-worker@.service"])
def test_the_units_exposure_is_low(root: Path, unit: str) -> None:
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--root={root}", "--no-pager", unit],
        capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", found.stdout)
    assert score is not None, found.stdout + found.stderr
    assert float(score[1]) < MOST_EXPOSURE


def test_install_puts_everything_in_place_and_keeps_what_is_there(tmp_path: Path) -> None:
    systemd.install(tmp_path, prefix="/srv/h")
    unit = (tmp_path / "etc/systemd/system/heldard.service").read_text()
    assert "ExecStart=/srv/h/bin/heldard serve" in unit
    assert systemd.PREFIX not in unit
    key, settings = tmp_path / "etc/heldard/secret.key", tmp_path / "etc/heldard/heldard.toml"
    assert len(base64.b64decode(key.read_text())) == 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    config.load(settings, {})
    settings.write_text("[server]\nport = 81\n")
    before = key.read_text()
    assert systemd.install(tmp_path, prefix="/srv/h") == []
    assert (key.read_text(), settings.read_text()) == (before, "[server]\nport = 81\n")


def test_the_daemon_stops_sooner_than_the_unit_gives_up() -> None:
    from heldard.serve import HANDLERS_S, MARGIN_S

    unit = (systemd.units() / "heldard.service").read_text()
    found = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert found is not None
    longest = config.Settings().server.stop_grace_s + MARGIN_S
    assert HANDLERS_S < longest <= 10 < int(found[1])
