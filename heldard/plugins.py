"""Finds plugins, checks them, and calls them so that one plugin's failure reaches nobody else.

pluggy by itself stops at the first exception and goes newest first. Here each plugin is asked on its own, in the order
of their names, and what goes wrong is noted with the plugin it went wrong in.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import inspect
import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import msgspec
import pluggy
import structlog

from heldard import hookspecs
from heldard.api.endpoint import Endpoint
from heldard.clock import SystemClock
from heldard.db import migrations
from heldard.db.guard import SqlGuard
from heldard.errors import ConfigError
from heldard.events.model import SEVERITIES
from heldard.plugin import (
    API_VERSION,
    ActionHandler,
    Consumer,
    Eraser,
    EventDraft,
    EventType,
    Migrations,
    PluginInfo,
    Service,
)
from heldard.supervisor import Supervisor

GROUP = "heldard"
TELL_TIMEOUT_S = 5.0
"""How long one `heldard_on_*` may take."""

TELL_QUEUE = 1024
"""Events and batches that wait for one plugin's `heldard_on_*`; what comes on top is dropped and counted."""

DECIDE_SLOW_S = 0.05
DECIDE_FAILURES = 20
"""Answers of a `heldard_decide_*` in a row that failed or came too slowly, after which it is not asked any more."""

DISABLED_FILE = "plugins-disabled"
"""In the data directory: the plugins that `heldard plugins disable` named, one to a line."""

T = TypeVar("T")

_WORD = re.compile(r"[a-z0-9_]{1,64}")
_PARAMETER = re.compile(r"\{[^}]*\}")
_REAL = SystemClock()

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
    told_dropped: int = 0
    last_error: str | None = None
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

    def note(self, hook: str, error: BaseException | str) -> None:
        """A hook that is told or asked at run time went wrong; the log has it once, health has it until the end."""
        self.told_failures += 1
        said = f"{hook}: {error if isinstance(error, str) else _describe(error)}"
        if said != self.last_error:
            cause = error if isinstance(error, BaseException) else None
            log.warning("plugin_hook_failed", plugin=self.name, hook=hook, error=said, exc_info=cause)
        self.last_error = said


@dataclass
class Brought:
    """Everything one plugin registers, checked but not yet part of anything."""

    event_types: list[EventType]
    consumers: list[Consumer]
    actions: list[ActionHandler]
    routes: list[Endpoint]
    services: list[Service]
    erasers: list[Eraser]


class Plugins:
    """All plugins, by name."""

    def __init__(self, plugins: Iterable[Plugin], order: Sequence[str] = ()) -> None:
        self.all = sorted(plugins, key=lambda plugin: plugin.name)
        self.active = [plugin for plugin in self.all if plugin.state == "active"]
        rank = {name: place for place, name in enumerate(order)}
        self._deciders = sorted(self.active, key=lambda plugin: rank.get(plugin.name, len(rank)))
        self._severity = [plugin for plugin in self._deciders if "heldard_decide_severity" in plugin.impls]
        self._decide_failures: dict[str, int] = {}
        self._waiting: dict[str, deque[tuple[str, dict[str, Any]]]] = {}
        self._due: dict[str, asyncio.Event] = {}

    def get(self, name: str) -> Plugin | None:
        return next((plugin for plugin in self.all if plugin.name == name), None)

    def owner_of(self, module: str) -> str | None:
        """The plugin whose code a module is."""
        for plugin in self.active:
            home = getattr(plugin.module, "__name__", "").partition(".")[0]
            if home and home == module.partition(".")[0] and home != "heldard":
                return plugin.name
        return None

    def refuse(self, plugin: Plugin, error: BaseException) -> None:
        """Something failed while the plugin was being set up; the daemon runs on without it."""
        plugin.state = "refused"
        plugin.reason = _describe(error)
        self.active = [other for other in self.active if other is not plugin]
        self._severity = [other for other in self._severity if other is not plugin]
        if plugin.guard is not None:
            plugin.guard.close()
        log.error("plugin_refused", plugin=plugin.name, reason=plugin.reason, exc_info=error)

    # --- asked at run time ------------------------------------------------------------------------------------------

    def decide_severity(self, draft: EventDraft) -> EventDraft:
        """Asked on the writer's thread, while others wait: who fails or dawdles again and again is not asked again."""
        for plugin in self._severity:
            if self._decide_failures.get(plugin.name, 0) >= DECIDE_FAILURES:
                continue
            answer = self._ask_severity(plugin, draft)
            if answer is not None:
                return msgspec.structs.replace(draft, severity=answer)
        return draft

    def _ask_severity(self, plugin: Plugin, draft: EventDraft) -> Any:
        hook, failure = "heldard_decide_severity", None
        began = _REAL.monotonic()
        answer: Any = None
        try:
            answer = plugin.ask(
                hook, event_type=draft.event_type, camera_id=draft.camera_id, severity=draft.severity
            )  # fmt: skip
            if answer is not None and answer not in SEVERITIES:
                failure, answer = f"answered {answer!r}, not {', '.join(SEVERITIES)} or None", None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises, the event is written
            failure = _describe(error)
        took = _REAL.monotonic() - began
        if failure is None and took > DECIDE_SLOW_S:
            failure = f"took {took:.2f} s while the store waited"
        if failure is None:
            self._decide_failures[plugin.name] = 0
            return answer
        self._decide_failures[plugin.name] = self._decide_failures.get(plugin.name, 0) + 1
        if self._decide_failures[plugin.name] == DECIDE_FAILURES:
            failure = f"not asked any more after {DECIDE_FAILURES} failures in a row: {failure}"
        plugin.note(hook, failure)
        return answer

    # --- told at run time -------------------------------------------------------------------------------------------

    def listens(self, hook: str) -> bool:
        return any(hook in plugin.impls for plugin in self.active)

    def start_telling(self, supervisor: Supervisor) -> None:
        """From here on `tell_soon` reaches the plugins that listen."""
        for plugin in self.active:
            if {"heldard_on_batch", "heldard_on_event"} & plugin.impls.keys():
                self._waiting[plugin.name], self._due[plugin.name] = deque(), asyncio.Event()
                supervisor.start(f"plugin.{plugin.name}.told", functools.partial(self._tell_on, plugin))

    def tell_soon(self, hook: str, **given: Any) -> None:
        """Queue it for every plugin that listens. A plugin that is slow to hear loses its own, nobody else's."""
        for plugin in self.active:
            waiting = self._waiting.get(plugin.name)
            if waiting is None or hook not in plugin.impls:
                continue
            if len(waiting) >= TELL_QUEUE:
                plugin.told_dropped += 1
                if plugin.told_dropped == 1:
                    plugin.note(hook, f"slower than things happen: over {TELL_QUEUE} waited, some were dropped")
                continue
            waiting.append((hook, given))
            self._due[plugin.name].set()

    async def _tell_on(self, plugin: Plugin) -> None:
        waiting, due = self._waiting[plugin.name], self._due[plugin.name]
        while True:
            await due.wait()
            due.clear()
            while waiting:
                hook, given = waiting.popleft()
                await self.tell_one(plugin, hook, **given)
                await asyncio.sleep(0)  # noqa: TID251 - not waiting: a hook that never awaits must let others run

    async def tell(self, hook: str, **given: Any) -> None:
        """Tell every plugin, one after the other, each within its time; failures are noted and reach nobody."""
        for plugin in self.active:
            await self.tell_one(plugin, hook, **given)

    async def tell_one(self, plugin: Plugin, hook: str, **given: Any) -> None:
        limit = asyncio.timeout(TELL_TIMEOUT_S)
        try:
            answer = plugin.ask(hook, **given)
            if inspect.isawaitable(answer):
                async with limit:
                    await answer
        except TimeoutError as error:
            plugin.note(hook, f"took longer than {TELL_TIMEOUT_S} s" if limit.expired() else error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            plugin.note(hook, error)


def discover(disabled: Sequence[str], found: Iterable[metadata.EntryPoint] | None = None,
             data_dir: Path | None = None) -> list[Plugin]:  # fmt: skip
    """Every entry point of the group, loaded and checked; what fails is refused with the reason."""
    reasons = dict.fromkeys(disabled, "disabled by the setting plugins.disabled")
    for name in () if data_dir is None else disabled_in(data_dir):
        reasons.setdefault(name, "disabled by `heldard plugins disable`")
    points = metadata.entry_points(group=GROUP) if found is None else found
    plugins: dict[str, Plugin] = {}
    for point in sorted(points, key=lambda point: (point.name, str(point.dist and point.dist.name))):
        plugin = _load(point, reasons)
        if plugin.name in plugins:
            plugin = Plugin(f"{plugin.name}@{plugin.distribution}", "refused", plugin.distribution,
                            f"another plugin is named {plugin.name!r} already")  # fmt: skip
        plugins[plugin.name] = plugin
    _refuse_shared_tables(plugins.values())
    return list(plugins.values())


def disabled_in(data_dir: Path) -> list[str]:
    """The plugins that an operator switched off on this box."""
    try:
        return (data_dir / DISABLED_FILE).read_text("utf-8").split()
    except FileNotFoundError:
        return []


def set_disabled(data_dir: Path, name: str, *, disabled: bool) -> None:
    """Switch a plugin off or on from the next start on."""
    names = {*disabled_in(data_dir), name} if disabled else set(disabled_in(data_dir)) - {name}
    data_dir.mkdir(parents=True, exist_ok=True)
    part = data_dir / f"{DISABLED_FILE}.part"
    part.write_text("".join(f"{one}\n" for one in sorted(names)), "utf-8")
    part.replace(data_dir / DISABLED_FILE)


def _load(point: metadata.EntryPoint, disabled: dict[str, str]) -> Plugin:
    distribution = point.dist.name if point.dist is not None else None
    if point.name in disabled:
        return Plugin(point.name, "disabled", distribution, disabled[point.name])
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
    where = f"plugins.{plugin.name}"
    if kind is None:
        if section:
            raise ConfigError(f"{where}.{next(iter(section))}: this plugin has no settings", code="unknown_setting")
        return None
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        raise TypeError(f"heldard_register_settings gave {kind!r}, not a class made with msgspec.Struct")
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    for key in section:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {where}.{near[0]}?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"unknown setting {where}.{key}: {hint}", code="unknown_setting")
    try:
        return msgspec.convert(section, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        raise ConfigError(f"{where}{place.rstrip('`')}: {message}") from None


def plugin_migrations(plugin: Plugin) -> list[migrations.Migration]:
    wanted = plugin.ask("heldard_register_migrations")
    if wanted is None:
        return []
    if not isinstance(wanted, Migrations):
        raise TypeError(f"heldard_register_migrations gave a {type(wanted).__name__}, not Migrations")
    return migrations.find(wanted.package, wanted.folder)


def bring(plugin: Plugin, context: Any, taken: set[tuple[str, str]]) -> Brought:
    """Ask a plugin for everything it registers. Raises what it raises, and TypeError or ValueError for what is not
    what the hook asks for. `taken`: (method, shape of the path) of the routes there are."""
    brought = Brought(
        event_types=_list_of(EventType, plugin, "heldard_register_event_types"),
        consumers=_list_of(Consumer, plugin, "heldard_register_consumers", context),
        actions=_list_of(ActionHandler, plugin, "heldard_register_actions", context),
        routes=_list_of(Endpoint, plugin, "heldard_register_routes", context),
        services=_list_of(Service, plugin, "heldard_register_services", context),
        erasers=_list_of(Eraser, plugin, "heldard_register_erasers", context),
    )
    for kind in brought.event_types:
        if _WORD.fullmatch(kind.event_type) is None:
            raise ValueError(f"event type {kind.event_type!r} is not 1 to 64 of a-z, 0-9 and _")
    names = [service.name for service in brought.services]
    if len(set(names)) < len(names):
        raise ValueError(f"its services have names twice: {', '.join(names)}")
    for endpoint in brought.routes:
        if not endpoint.path.startswith("/api/"):
            raise ValueError(f"route {endpoint.path} is not below /api/")
        if shape_of(endpoint) in taken:
            raise ValueError(f"route {endpoint.method} {endpoint.path} is taken")
        taken.add(shape_of(endpoint))
    return brought


def shape_of(endpoint: Endpoint) -> tuple[str, str]:
    """What makes two routes the same: the names of their parameters do not."""
    return endpoint.method, _PARAMETER.sub("{}", endpoint.path)


def _list_of(kind: type[T], plugin: Plugin, hook: str, context: Any = None) -> list[T]:
    answer = plugin.ask(hook, ctx=context)
    if answer is None:
        return []
    if isinstance(answer, str) or not isinstance(answer, Sequence):
        raise TypeError(f"{hook} gave a {type(answer).__name__}, not a list of {kind.__name__}")
    for one in answer:
        if not isinstance(one, kind):
            raise TypeError(f"{hook} gave a {type(one).__name__} in its list, not {kind.__name__}")
    return list(answer)


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


def sources(plugins: Iterable[Plugin]) -> dict[str, Path]:
    """Where the code of active plugins lies, by name: the package of the entry point, or its single module."""
    found: dict[str, Path] = {}
    for plugin in sorted(plugins, key=lambda plugin: plugin.name):
        file = getattr(plugin.module, "__file__", None)
        if plugin.state == "active" and file is not None:
            path = Path(file)
            found[plugin.name] = path.parent if getattr(plugin.module, "__package__", "") else path
    return found


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
