"""Finds plugins, checks them, and calls them so that one plugin's failure reaches nobody else.

pluggy by itself stops at the first exception and goes newest first. Here each plugin is asked on its own, in the order
of their names, and what goes wrong is noted with the plugin it went wrong in.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

import click
import msgspec
import pluggy
import structlog

from heldard import hookspecs
from heldard.db import migrations
from heldard.db.guard import SqlGuard
from heldard.errors import ConfigError
from heldard.plugin import API_VERSION, EventDraft, PluginInfo

GROUP = "heldard"
TELL_TIMEOUT_S = 5.0

log: Any = structlog.get_logger("heldard.plugins")


@dataclass
class Plugin:
    """A plugin as found: `active` with what it is, or `refused` or `disabled` with the reason."""

    name: str
    state: Literal["active", "refused", "disabled"]
    distribution: str | None = None
    reason: str | None = None
    info: PluginInfo | None = None
    module: Any = None
    settings: Any = None
    guard: SqlGuard | None = None
    told_failures: int = 0
    impls: dict[str, pluggy.HookImpl] = field(default_factory=dict)

    @property
    def tables(self) -> tuple[str, ...]:
        assert self.info is not None
        return self.info.tables or (f"{self.info.name}_*",)

    def ask(self, hook: str, **given: Any) -> Any:
        """Call the plugin's function of that name with the arguments it takes; None when it has none."""
        impl = self.impls.get(hook)
        if impl is None:
            return None
        return impl.function(*(given[name] for name in impl.argnames))


class PluginView(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin as the API shows it."""

    name: str
    version: str | None
    api: str | None
    summary: str | None
    distribution: str | None
    state: str
    reason: str | None
    consumers: list[str]
    tables: list[str]


class Plugins:
    """All plugins, by name."""

    def __init__(self, plugins: Iterable[Plugin], order: Sequence[str] = ()) -> None:
        self.all = sorted(plugins, key=lambda plugin: plugin.name)
        self.active = [plugin for plugin in self.all if plugin.state == "active"]
        rank = {name: place for place, name in enumerate(order)}
        self._deciders = sorted(self.active, key=lambda plugin: rank.get(plugin.name, len(rank)))
        self._severity = [plugin for plugin in self._deciders if "heldard_decide_severity" in plugin.impls]

    def get(self, name: str) -> Plugin | None:
        return next((plugin for plugin in self.all if plugin.name == name), None)

    def refuse(self, plugin: Plugin, error: Exception) -> None:
        """Something failed while the plugin was being set up; the daemon runs on without it."""
        plugin.state = "refused"
        plugin.reason = _describe(error)
        self.active = [other for other in self.active if other is not plugin]
        log.error("plugin_refused", plugin=plugin.name, reason=plugin.reason, exc_info=error)

    def decide_severity(self, draft: EventDraft) -> EventDraft:
        for plugin in self._severity:
            try:
                answer = plugin.ask(
                    "heldard_decide_severity", event_type=draft.event_type, camera_id=draft.camera_id,
                    severity=draft.severity,
                )  # fmt: skip
            except Exception:
                plugin.told_failures += 1
                log.exception("plugin_hook_failed", plugin=plugin.name, hook="heldard_decide_severity")
                continue
            if answer is not None:
                return msgspec.structs.replace(draft, severity=answer)
        return draft

    def listens(self, hook: str) -> bool:
        return any(hook in plugin.impls for plugin in self.active)

    async def tell(self, hook: str, **given: Any) -> None:
        """Tell every plugin, one after the other, each within its time; failures are noted and reach nobody."""
        for plugin in self.active:
            await self.tell_one(plugin, hook, **given)

    async def tell_one(self, plugin: Plugin, hook: str, **given: Any) -> None:
        try:
            answer = plugin.ask(hook, **given)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(TELL_TIMEOUT_S):
                    await answer
        except Exception as error:
            plugin.told_failures += 1
            log.exception("plugin_hook_failed", plugin=plugin.name, hook=hook, error=_describe(error))


def discover(disabled: Sequence[str], found: Iterable[metadata.EntryPoint] | None = None) -> list[Plugin]:
    """Every entry point of the group, loaded and checked; what fails is refused with the reason."""
    points = metadata.entry_points(group=GROUP) if found is None else found
    plugins: dict[str, Plugin] = {}
    for point in sorted(points, key=lambda point: (point.name, str(point.dist and point.dist.name))):
        plugin = _load(point, disabled)
        if plugin.name in plugins:
            plugin = Plugin(f"{plugin.name}@{plugin.distribution}", "refused", plugin.distribution,
                            f"another plugin is named {plugin.name!r} already")  # fmt: skip
        plugins[plugin.name] = plugin
    _refuse_shared_tables(plugins.values())
    return list(plugins.values())


def _load(point: metadata.EntryPoint, disabled: Sequence[str]) -> Plugin:
    distribution = point.dist.name if point.dist is not None else None
    if point.name in disabled:
        return Plugin(point.name, "disabled", distribution, "disabled in plugins.disabled")
    try:
        module = point.load()
        impls = _implementations(point.name, module)
        info = _checked(impls["heldard_register_plugin"].function(), point.name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Plugin(point.name, "refused", distribution, _describe(error))
    return Plugin(info.name, "active", distribution, info=info, module=module, impls=impls)


def _implementations(name: str, module: Any) -> dict[str, pluggy.HookImpl]:
    """The plugin's functions by hook. Raises ValueError or pluggy's error for unknown hooks and wrong arguments."""
    manager = pluggy.PluginManager("heldard")
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    manager.check_pending()
    callers = manager.get_hookcallers(module) or []
    impls = {caller.name: caller.get_hookimpls()[0] for caller in callers}
    if "heldard_register_plugin" not in impls:
        raise ValueError("it has no heldard_register_plugin marked with @hookimpl")
    return impls


def _checked(info: Any, entry_name: str) -> PluginInfo:
    if not isinstance(info, PluginInfo):
        raise TypeError(f"heldard_register_plugin returned {type(info).__name__}, not PluginInfo")
    if info.name != entry_name:
        raise ValueError(f"its entry point is named {entry_name!r} but it calls itself {info.name!r}")
    if not supports(info.api, API_VERSION):
        have = ".".join(str(part) for part in API_VERSION)
        raise ValueError(f"it works with plugin API {info.api}; this kernel has {have}: install a matching version")
    return info


def supports(wanted: str, have: tuple[int, int]) -> bool:
    """Whether a range such as `>=1.0,<2` holds for a (major, minor). Raises ValueError when it is no such range."""
    comparisons: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "==": lambda a, b: a == b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
    }
    for clause in wanted.split(","):
        clause = clause.strip()
        operator = next((sign for sign in comparisons if clause.startswith(sign)), None)
        numbers = clause.removeprefix(operator or "").strip().split(".")
        if operator is None or not all(number.isdigit() for number in numbers) or len(numbers) > 2:
            raise ValueError(f"api {wanted!r} is not a range like '>=1.0,<2'")
        version = tuple(int(number) for number in numbers)
        if not comparisons[operator](have, (*version, 0)[:2]):
            return False
    return True


def _refuse_shared_tables(plugins: Iterable[Plugin]) -> None:
    taken: dict[str, str] = {}
    for plugin in plugins:
        if plugin.state != "active":
            continue
        for table in plugin.tables:
            owner = next((name for other, name in taken.items() if _overlap(other, table)), None)
            if owner is not None or table.startswith("*"):
                plugin.state = "refused"
                plugin.reason = f"its tables {table!r} belong to {owner or 'nobody alone'}"
                break
        else:
            taken.update((table, plugin.name) for table in plugin.tables)


def _overlap(one: str, other: str) -> bool:
    if one.endswith("*") and other.endswith("*"):
        return one[:-1].startswith(other[:-1]) or other[:-1].startswith(one[:-1])
    if one.endswith("*"):
        return other.startswith(one[:-1])
    if other.endswith("*"):
        return one.startswith(other[:-1])
    return one == other


def read_settings(plugin: Plugin, section: dict[str, Any]) -> Any:
    """The plugin's settings struct from its section. Raises ConfigError naming the setting."""
    kind = plugin.ask("heldard_register_settings")
    if kind is None:
        if section:
            raise ConfigError(f"[plugins.{plugin.name}]: this plugin has no settings")
        return None
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    for key in section:
        if key not in known:
            raise ConfigError(
                f"unknown setting plugins.{plugin.name}.{key}; known are {', '.join(sorted(known))}",
                code="unknown_setting",
            )
    try:
        return msgspec.convert(section, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[plugins.{plugin.name}]: {error}") from None


def plugin_migrations(plugin: Plugin) -> list[migrations.Migration]:
    wanted = plugin.ask("heldard_register_migrations")
    return [] if wanted is None else migrations.find(wanted.package, wanted.folder)


def commands(plugins: Iterable[Plugin]) -> dict[str, click.Command]:
    """What plugins add to the command line, by name. One that fails here is logged and adds nothing."""
    found: dict[str, click.Command] = {}
    for plugin in plugins:
        if plugin.state != "active":
            continue
        try:
            brought: Sequence[click.Command] = plugin.ask("heldard_register_commands") or ()
        except Exception as error:
            log.exception("plugin_hook_failed", plugin=plugin.name, hook="heldard_register_commands", error=str(error))
            continue
        found.update((command.name, command) for command in brought if command.name is not None)
    return found


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
