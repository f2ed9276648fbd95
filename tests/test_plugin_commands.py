"""What plugins add to the command line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import click
import pytest

from heldard.plugin import PluginInfo, hookimpl
from heldard.plugins import commands, discover


def entry_point(name: str, commands_hook: Any) -> Any:
    @hookimpl
    def heldard_register_plugin() -> PluginInfo:
        return PluginInfo(name, "1", ">=1.0,<2")

    module = SimpleNamespace(
        heldard_register_plugin=heldard_register_plugin, heldard_register_commands=hookimpl(commands_hook)
    )
    return SimpleNamespace(name=name, dist=None, load=lambda: module)


def test_the_commands_of_active_plugins_are_added() -> None:
    def heldard_register_commands() -> list[click.Command]:
        return [click.Command("look")]

    assert list(commands(discover((), [entry_point("one", heldard_register_commands)]))) == ["look"]
    assert commands(discover(("one",), [entry_point("one", heldard_register_commands)])) == {}


def test_a_plugin_that_fails_adds_nothing_and_hides_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    def heldard_register_commands() -> list[click.Command]:
        raise RuntimeError("no commands today")

    def fine() -> list[click.Command]:
        return [click.Command("look")]

    fine.__name__ = "heldard_register_commands"
    points = [entry_point("bad", heldard_register_commands), entry_point("good", fine)]
    assert list(commands(discover((), points))) == ["look"]
