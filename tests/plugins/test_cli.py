"""`heldard plugins`: what an operator sees and switches."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from heldard.cli import main
from heldard.plugins import disabled_in, discover

SOURCE = """
from heldard.plugin import Consumer, PluginInfo, hookimpl

class Quiet(Consumer):
    name = "quiet"
    def consume(self, batch, effects):
        pass

@hookimpl
def heldard_register_plugin():
    return PluginInfo("quiet", "3.2", ">=1.0,<2")

@hookimpl
def heldard_register_consumers():
    return [Quiet()]
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two plugins: `quiet`, and `broken`, which cannot be imported."""
    place = tmp_path / "installed"
    info = place / "quiet-3.2.dist-info"
    info.mkdir(parents=True)
    (place / "quiet_plugin.py").write_text(SOURCE)
    (place / "broken_plugin.py").write_text("import no_such_module")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quiet\nVersion: 3.2\n")
    (info / "entry_points.txt").write_text("[heldard]\nquiet = quiet_plugin\nbroken = broken_plugin\n")
    monkeypatch.syspath_prepend(place)
    for name in [name for name in os.environ if name.startswith("HELDARD_")]:
        monkeypatch.delenv(name)
    return place


def heldard(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["plugins", *words, "--data-dir", str(tmp_path / "data")])


def row(result: Result, name: str) -> list[str]:
    return next(line.split(maxsplit=4) for line in result.stdout.splitlines() if line.startswith(f"{name} "))


def test_list_shows_version_state_range_and_reason(installed: Path, tmp_path: Path) -> None:
    result = heldard(tmp_path, "list")
    assert row(result, "quiet")[:4] == ["quiet", "3.2", "active", ">=1.0,<2"]
    assert row(result, "broken")[2] == "refused"
    assert "ModuleNotFoundError: No module named 'no_such_module'" in result.stdout


def test_check_says_what_a_plugin_brings_and_fails_for_one_that_is_refused(installed: Path, tmp_path: Path) -> None:
    good = heldard(tmp_path, "check", "quiet")
    assert (good.exit_code, good.stdout.split()) == (0, ["quiet", "active", "3.2:", "1", "consumers"])
    bad = heldard(tmp_path, "check", "broken")
    assert bad.exit_code == 1
    assert "no_such_module" in bad.stdout
    assert not (tmp_path / "data").exists()


def test_check_and_disable_name_what_is_installed_when_the_name_is_wrong(installed: Path, tmp_path: Path) -> None:
    for word in ("check", "disable", "enable"):
        result = heldard(tmp_path, word, "quite")
        assert result.exit_code == 1
        assert "no plugin 'quite' is installed; there are:" in result.stderr
        assert "quiet" in result.stderr


def test_disable_and_enable_are_kept_in_the_data_directory(installed: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert heldard(tmp_path, "disable", "quiet").exit_code == 0
    assert heldard(tmp_path, "disable", "quiet").exit_code == 0
    assert disabled_in(data) == ["quiet"]
    assert row(heldard(tmp_path, "list"), "quiet")[2] == "disabled"
    found = {plugin.name: plugin for plugin in discover((), data_dir=data)}
    assert found["quiet"].reason == "disabled by `heldard plugins disable`"
    assert heldard(tmp_path, "enable", "quiet").exit_code == 0
    assert disabled_in(data) == []
    assert row(heldard(tmp_path, "list"), "quiet")[2] == "active"


def test_enable_says_when_the_settings_still_keep_it_off(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELDARD_PLUGINS__DISABLED", json.dumps(["quiet"]))
    result = heldard(tmp_path, "enable", "quiet")
    assert result.exit_code == 1
    assert "take it out of the setting plugins.disabled" in result.stderr


async def test_a_disabled_plugin_is_shown_and_not_driven_and_the_daemon_runs_beside_a_broken_one(
    installed: Path, tmp_path: Path
) -> None:
    from heldard.testing import Kernel

    heldard(tmp_path, "disable", "quiet")

    class AsInstalled(Kernel):
        """With what is installed, as the daemon starts."""

        def _discover(self) -> Any:
            return None

    async with AsInstalled(tmp_path / "data") as kernel:
        shown = {plugin["name"]: plugin for plugin in await kernel.get("/api/v1/plugins")}
        assert (shown["quiet"]["state"], shown["broken"]["state"]) == ("disabled", "refused")
        assert "no_such_module" in shown["broken"]["problem"]
        assert "quiet" not in {row["name"] for row in await kernel.get("/api/v1/consumers")}
