"""Five plugins, each with one consumer that does its worst; entry points name them by attribute."""

from __future__ import annotations

import types
from typing import Any

import hostile_consumers as worst

from heldard.plugin import Consumer, EventType, PluginInfo, hookimpl


def _plugin(name: str, kind: type[Consumer]) -> Any:
    made = types.SimpleNamespace(__name__="hostile_consumers")

    def heldard_register_plugin() -> PluginInfo:
        return PluginInfo(name, "1.0", ">=1.0,<2")

    def heldard_register_event_types() -> list[EventType]:
        return [EventType(f"{name}_seen", "Made up.")]

    def heldard_register_consumers() -> list[Consumer]:
        return [kind()]

    for hook in (heldard_register_plugin, heldard_register_event_types, heldard_register_consumers):
        setattr(made, hook.__name__, hookimpl(hook))
    return made


raises = _plugin("raises", worst.Raises)
sometimes = _plugin("sometimes", worst.RaisesSometimes)
sleeps = _plugin("sleeps", worst.Sleeps)
blocks = _plugin("blocks", worst.Blocks)
writes = _plugin("writes", worst.Writes)
