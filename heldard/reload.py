"""Reads the settings again while the daemon runs: validated whole, then applied or refused whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from aiohttp import web

from heldard import keys, logs
from heldard.config import Settings, check_plugin_sections
from heldard.config_pages import kernel_sections, settings_of
from heldard.errors import ConfigError
from heldard.plugins import read_settings
from heldard.sampler import routes as sampler_routes

log: Any = structlog.get_logger("heldard.reload")


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload means: dotted names of settings that change now, and of those that wait for a restart."""

    live: list[str]
    restart: list[str]


def compare(old: Settings, new: Settings) -> Change:
    """What differs between two settings."""
    live: list[str] = []
    restart: list[str] = []
    for section in kernel_sections():
        before, after = getattr(old, section[0]), getattr(new, section[0])
        for setting in settings_of(section):
            if getattr(before, setting.name) != getattr(after, setting.name):
                (live if setting.live else restart).append(f"{section[0]}.{setting.name}")
    sections = old.plugins.sections.keys() | new.plugins.sections.keys()
    restart += sorted(
        f"plugins.{name}" for name in sections if old.plugins.sections.get(name) != new.plugins.sections.get(name)
    )
    return Change(live, restart)


def take_live(old: Settings, new: Settings) -> Settings:
    """The old settings with the live ones of the new."""
    sections: dict[str, Any] = {}
    for section in kernel_sections():
        name, _ = section
        fresh = getattr(new, name)
        values = {setting.name: getattr(fresh, setting.name) for setting in settings_of(section) if setting.live}
        sections[name] = msgspec.structs.replace(getattr(old, name), **values)
    return msgspec.structs.replace(old, **sections)


class Reloader:
    """Holds what is in force. `read` gives the settings anew, from the same sources as at the start."""

    def __init__(self, app: web.Application, settings: Settings, read: Callable[[], Settings]) -> None:
        self._app = app
        self._read = read
        self.current = settings

    def reload(self) -> Change | None:
        """Apply what can change now and say what cannot; None, and nothing changed, when the settings are wrong."""
        try:
            new = self._read()
            self._check(new)
        except ConfigError as error:
            log.error("settings_refused", reason=error.message, note="nothing was changed")
            return None
        change = compare(self.current, new)
        self.current = take_live(self.current, new)
        self._apply(self.current)
        log.info("settings_reloaded", changed=change.live)
        if change.restart:
            log.warning("settings_need_restart", settings=change.restart)
        return change

    def _check(self, new: Settings) -> None:
        from heldard.serve import check_exposure

        check_exposure(new)
        everything = self._app[keys.PLUGINS]
        check_plugin_sections(new, [plugin.name for plugin in everything.all])
        for plugin in everything.active:
            read_settings(plugin, new.plugins.sections.get(plugin.name, {}))

    def _apply(self, settings: Settings) -> None:
        app = self._app
        logs.configure(settings.logs)
        app[keys.INGEST].reconfigure(settings.ingest)
        app[keys.FANOUT].reconfigure(settings.fanout)
        app[keys.RETENTION].settings = settings.retention
        app[sampler_routes.SAMPLER].reconfigure(settings.sampler)
