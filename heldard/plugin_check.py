"""Sets plugins up as the daemon would, on an empty data directory, without listening or driving anything."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from heldard import keys
from heldard.app import BROUGHT, build
from heldard.config import Settings
from heldard.errors import NotFoundError
from heldard.plugins import Plugin, discover


@dataclass(frozen=True, slots=True)
class Finding:
    """state: `active` where all is well, else `refused` or `disabled`; text: what it brings, or the reason."""

    name: str
    state: str
    text: str


async def check(settings: Settings, names: Sequence[str] = ()) -> list[Finding]:
    """One finding per plugin, by name. Raises NotFoundError for a name that is not installed."""
    found = discover(settings.plugins.disabled, data_dir=settings.data_dir)
    unknown = set(names) - {plugin.name for plugin in found}
    if unknown:
        raise NotFoundError(f"no plugin {min(unknown)!r} is installed; there are: {', '.join(p.name for p in found)}")
    chosen = [plugin for plugin in found if not names or plugin.name in names]
    with tempfile.TemporaryDirectory(prefix="heldard-check-") as folder:
        app = await build(_apart(settings, folder, chosen), found=chosen)
        try:
            return [_finding(app, plugin) for plugin in app[keys.PLUGINS].all]
        finally:
            await app[keys.FANOUT].stop()
            await app[keys.DB].close()


def _apart(settings: Settings, folder: str, chosen: Sequence[Plugin]) -> Settings:
    """The settings with another data directory, and only the sections of the chosen plugins."""
    names = {plugin.name for plugin in chosen}
    sections = {name: section for name, section in settings.plugins.sections.items() if name in names}
    return msgspec.structs.replace(
        settings,
        store=msgspec.structs.replace(settings.store, data_dir=folder),
        plugins=msgspec.structs.replace(settings.plugins, sections=sections, strict=False),
    )


def _finding(app: Any, plugin: Plugin) -> Finding:
    if plugin.state != "active":
        return Finding(plugin.name, plugin.state, plugin.reason or "")
    assert plugin.info is not None
    brought = app[BROUGHT][plugin.name]
    counts = {
        "consumers": brought.consumers, "routes": brought.routes, "event types": brought.event_types,
        "services": brought.services, "kinds of action": brought.actions,
    }  # fmt: skip
    said = ", ".join(f"{len(items)} {what}" for what, items in counts.items() if items)
    return Finding(plugin.name, "active", f"{plugin.info.version}: {said or 'hooks only'}")
