"""Plugins made up for a test: objects with hooks, and modules that a consumer's own process can import too."""

from __future__ import annotations

import importlib
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from heldard.plugin import Consumer, EventType, PluginInfo, hookimpl

MODULES = Path(__file__).parent / "modules"


def make_plugin(
    name: str, *consumers: Callable[[], Consumer], events: Sequence[str] = (), api: str = ">=1.0,<2", **hooks: Any
) -> Any:
    """An object as good as a plugin's module. `hooks`: its other functions, by the name of the hook."""
    made = types.SimpleNamespace(__name__=name)

    def heldard_register_plugin() -> PluginInfo:
        return PluginInfo(name, "1.0", api)

    def heldard_register_event_types() -> list[EventType]:
        return [EventType(kind, "Made up.") for kind in events]

    def heldard_register_consumers() -> list[Consumer]:
        return [consumer() for consumer in consumers]

    given = {
        "heldard_register_plugin": heldard_register_plugin,
        "heldard_register_event_types": heldard_register_event_types,
        "heldard_register_consumers": heldard_register_consumers,
        **hooks,
    }
    for hook, function in given.items():
        setattr(made, hook, hookimpl(function))
    return made


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of consumers that do their worst."""
    monkeypatch.syspath_prepend(MODULES)
    return importlib.import_module("hostile_consumers")


QUICK = {
    "fanout": {
        "consume_timeout_s": 0.3, "attempts": 2, "retry_first_s": 0.01, "retry_longest_s": 0.02,
        "quarantine_failures": 3, "blocked_ms": 40, "blocked_limit_ms": 200,
    },
    "ingest": {"fanout_wait_ms": 20},
}  # fmt: skip
"""Limits that a test can wait for."""
