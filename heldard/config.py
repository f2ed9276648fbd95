"""One tree of structs declares every setting: type, default, range and a sentence.

The commented sample file, the reference page and the JSON schema are made from it. Values come from the file, then from
the environment (`HELDARD_<SECTION>__<KEY>`), then from systemd credentials (`heldard.<section>.<key>`), then from the
command line.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs
from msgspec import Meta

from heldard import credentials
from heldard.errors import ConfigError
from heldard.sampler.settings import SamplerSettings

PREFIX = "HELDARD_"


LIVE = Meta(extra={"live": True})
"""Marks a setting that SIGHUP changes in the running daemon; every other one waits for a restart."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the settings structs. Unknown keys are errors."""


class ServerSettings(Section, frozen=True, kw_only=True):
    """Where the daemon listens and what it calls itself."""

    host: Annotated[str, Meta(description="Address to listen on. Other than loopback needs auth.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 8000
    site_id: Annotated[str | None, Meta(description="Identity of this box in events and feeds.")] = None
    site_name: Annotated[str, Meta(description="Name people know this site by.")] = "heldard"
    timezone: Annotated[str, Meta(description="IANA zone of the site, for schedules.")] = "UTC"
    stop_grace_s: Annotated[
        float, Meta(ge=0, le=60, description="Seconds to finish what was accepted before the database closes.")
    ] = 6.0


class StoreSettings(Section, frozen=True, kw_only=True):
    """The database file."""

    data_dir: Annotated[str | None, Meta(description="Folder of the database and evidence; platform's when unset.")] = (
        None
    )
    durability: Annotated[
        Literal["full", "normal"],
        Meta(description="full: acknowledged survives power loss. normal: survives crashes, several times faster."),
    ] = "full"
    queue_limit: Annotated[int, Meta(ge=16, description="Writes that may wait before callers get 503.")] = 4096
    queue_mb: Annotated[
        int, Meta(ge=1, description="Memory that waiting batches may hold, in MiB, before callers get 503.")
    ] = 256


class IngestSettings(Section, frozen=True, kw_only=True):
    """Taking detections in."""

    fanout_wait_ms: Annotated[
        int,
        LIVE,
        Meta(ge=0, le=10_000, description="How long an answer waits for consumers, so that callers read own writes."),
    ] = 250
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest body, decompressed.")] = 8 * 1024 * 1024
    provenance: Annotated[
        Literal["off", "warn", "enforce"],
        Meta(description="What to do with a batch that carries no frame ticket."),
    ] = "warn"
    frame_ticket_ttl_s: Annotated[int, Meta(ge=10, le=900, description="How long a frame ticket is good for.")] = 120


class FanoutSettings(Section, frozen=True, kw_only=True):
    """Driving consumers from the log."""

    lane_limit: Annotated[
        int, LIVE, Meta(ge=1, description="Batches a lane holds in memory; beyond, it reads the log.")
    ] = 256
    consume_timeout_s: Annotated[float, Meta(gt=0, description="Seconds one consume may take.")] = 10.0
    attempts: Annotated[int, LIVE, Meta(ge=1, description="Tries before a batch is parked as failed.")] = 5
    retry_first_s: Annotated[float, LIVE, Meta(gt=0, description="Wait before the second try; doubles from there.")] = (
        0.2
    )
    retry_longest_s: Annotated[float, LIVE, Meta(gt=0, description="Longest wait between two tries.")] = 30.0
    quarantine_failures: Annotated[
        int, LIVE, Meta(ge=1, description="Parked batches in a row that quarantine a consumer.")
    ] = 5
    tick_grace_ms: Annotated[
        int, LIVE, Meta(ge=0, description="How far ticks stay behind the clock, for batches that are still under way.")
    ] = 1500
    blocked_ms: Annotated[
        int, Meta(ge=1, description="Holding the event loop this long is named, and counts against the consumer.")
    ] = 250
    blocked_limit_ms: Annotated[
        int, Meta(ge=1, description="A consumer that holds the event loop this long is interrupted and quarantined.")
    ] = 1000
    process_memory_mb: Annotated[
        int, Meta(ge=64, description="A consumer's own process is started anew when it holds more memory than this.")
    ] = 1024


class AuthSettings(Section, frozen=True, kw_only=True):
    """Who may do what."""

    enabled: Annotated[bool, Meta(description="Ask for credentials. Must be on unless only loopback is served.")] = (
        False
    )
    allow_insecure: Annotated[bool, Meta(description="Serve other machines without auth. Say so on purpose.")] = False
    machine: Annotated[
        Literal["off", "warn", "enforce"],
        Meta(description="enforce: keys of role integration get only what workers need, and own their worker ids."),
    ] = "warn"
    cookie_secure: Annotated[bool, Meta(description="Session cookie over HTTPS only. Set it behind TLS.")] = False
    session_ttl_hours: Annotated[int, Meta(ge=1, le=8760, description="How long a sign-in lasts.")] = 12
    session_idle_min: Annotated[int, Meta(ge=0, description="Unused sessions end after this; 0: they do not.")] = 0
    session_max_hours: Annotated[
        int, Meta(ge=0, description="Use prolongs a session up to this in all; 0: use does not prolong.")
    ] = 0
    login_max_failures: Annotated[int, Meta(ge=0, description="Wrong passwords in a row that lock; 0: never.")] = 5
    login_lockout_min: Annotated[int, Meta(ge=1, le=10_080, description="How long a lockout lasts.")] = 15


class OutgoingSettings(Section, frozen=True, kw_only=True):
    """Events on their way out: webhooks and live streams."""

    allow_private: Annotated[bool, Meta(description="Webhooks may go to private and loopback addresses.")] = False
    max_webhooks: Annotated[int, Meta(ge=0, le=1000, description="Targets there may be.")] = 32
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="Seconds a target may take to answer.")] = 10.0
    give_up_hours: Annotated[
        int, Meta(ge=1, le=720, description="How long an event is tried before it is put aside as dead.")
    ] = 72
    coalesce_s: Annotated[
        int, Meta(ge=0, le=3600, description="Of alike events by workers, one in so many seconds is sent; 0: all.")
    ] = 10
    max_stream_clients: Annotated[int, Meta(ge=0, le=1000, description="Live event streams at once.")] = 32
    heartbeat_s: Annotated[float, Meta(gt=0, le=300, description="A silent stream says this often that it lives.")] = (
        15.0
    )


class RetentionSettings(Section, frozen=True, kw_only=True):
    """How long things are kept, and how much room they may take. Old rows go in small steps beside ingest."""

    detections_hours: Annotated[
        int, LIVE, Meta(ge=1, description="Detections and the log. A batch some consumer has not ended stays longer.")
    ] = 168
    events_days: Annotated[int, LIVE, Meta(ge=1, description="Events, actions and the audit log.")] = 365
    evidence_days: Annotated[int, LIVE, Meta(ge=1, description="Kept frames.")] = 30
    evidence_max_mb: Annotated[int, LIVE, Meta(ge=1, description="Room for kept frames; beyond, the oldest go.")] = (
        10_240
    )
    max_db_mb: Annotated[
        int,
        LIVE,
        Meta(ge=8, description="Room for rows in the database; beyond, detections go first, then old events."),
    ] = 4096
    disk_reserve_mb: Annotated[
        int,
        LIVE,
        Meta(ge=0, description="Free room to leave on the disk (at most 5 % of it). Below, ingest answers 507."),
    ] = 5120
    emergency_hours: Annotated[
        int, LIVE, Meta(ge=1, description="What is younger is not deleted to win back the reserve.")
    ] = 24
    interval_s: Annotated[float, LIVE, Meta(ge=1, le=86_400, description="Seconds between two sweeps.")] = 300.0


class LogSettings(Section, frozen=True, kw_only=True):
    """What the daemon writes to standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], LIVE, Meta(description="Least severity shown.")] = (
        "info"
    )
    format: Annotated[Literal["auto", "text", "json"], Meta(description="auto: text on a terminal, else JSON.")] = (
        "auto"
    )


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which plugins run, and their own sections, still undecoded: each plugin's struct decides."""

    strict: Annotated[bool, Meta(description="A refused plugin stops the start.")] = False
    disabled: Annotated[list[str], Meta(description="Plugins not to load.")] = []
    order: Annotated[list[str], Meta(description="Whose decide-hooks are asked first.")] = []
    sections: Annotated[dict[str, dict[str, Any]], Meta(description="[plugins.<name>] tables.")] = {}


class Settings(Section, frozen=True, kw_only=True):
    """Everything heldard can be told."""

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    ingest: IngestSettings = IngestSettings()
    fanout: FanoutSettings = FanoutSettings()
    sampler: SamplerSettings = SamplerSettings()
    auth: AuthSettings = AuthSettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    retention: RetentionSettings = RetentionSettings()
    logs: LogSettings = LogSettings()
    plugins: PluginSettings = PluginSettings()

    @property
    def data_dir(self) -> Path:
        """Folder of the database, keys and evidence."""
        return Path(self.store.data_dir or platformdirs.user_data_dir("heldard", appauthor=False))


Layers = list[tuple[str, dict[str, Any]]]
"""Where values come from, weakest first: `file`, `env`, `credential`, `command line`, each with its tree of tables."""


def load(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read, merge and check. Raises ConfigError naming the setting and, for a typo, the nearest known one."""
    return settle(merged(layers(path, environment, overrides)))


def layers(path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Layers:
    """What each source says, still unchecked. Raises ConfigError for a file that cannot be read."""
    found: Layers = [("file", _read(path))] if path is not None else []
    found += [("env", from_environment(environment)), ("credential", from_credentials(environment))]
    return [*found, ("command line", dict(overrides or {}))]


def merged(found: Layers) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _, layer in found:
        merge(tree, layer)
    return tree


def settle(tree: dict[str, Any]) -> Settings:
    """The settings a merged tree of tables means."""
    _refuse_unknown(tree, Settings, "")
    plugins = dict(tree.get("plugins", {}))
    known = {"strict", "disabled", "order"}
    own = {key: plugins.pop(key) for key in list(plugins) if key in known}
    try:
        return msgspec.convert({**tree, "plugins": {**own, "sections": plugins}}, Settings)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        raise ConfigError(f"{where.rstrip('`').removeprefix('$.') or 'settings'}: {message}") from None


def check_plugin_sections(settings: Settings, plugins: Iterable[str]) -> list[str]:
    """The `[plugins.<name>]` of plugins that are not installed: what an uninstalled one left behind is no error.

    Raises ConfigError for one that looks like a misspelt name, and with `plugins.strict` for any.
    """
    names = sorted(plugins)
    unused = [name for name in settings.plugins.sections if name not in names]
    for name in unused:
        near = difflib.get_close_matches(name, [*names, "strict", "disabled", "order"], 1)
        hint = f": did you mean plugins.{near[0]}?" if near else f"; installed are: {', '.join(names) or 'none'}"
        if near or settings.plugins.strict:
            raise ConfigError(f"[plugins.{name}]: no such plugin is installed{hint}", code="unknown_setting")
    return unused


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`HELDARD_SERVER__PORT=8080` as `{"server": {"port": 8080}}`. An empty value counts as unset.

    Settings that are texts take the value as it is; others, and all of plugins, are read as TOML where it is TOML.
    """
    return _tree(
        (name, tuple(name.removeprefix(PREFIX).lower().split("__")), text)
        for name, text in sorted(environment.items())
        if name.startswith(PREFIX) and "__" in name and text
    )


def from_credentials(environment: Mapping[str, str]) -> dict[str, Any]:
    """The credential `heldard.plugins.gate.password` as `{"plugins": {"gate": {"password": ...}}}`; read as variables
    are. Raises ConfigError for one that cannot be read."""
    return _tree(credentials.settings(environment))


def _tree(given: Iterable[tuple[str, tuple[str, ...], str]]) -> dict[str, Any]:
    """Texts and their places as a tree of tables."""
    tree: dict[str, Any] = {}
    for name, (*sections, key), text in given:
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{name}: {section} is a setting, not a section")
        table[key] = text if _is_text((*sections, key)) and text[0] not in "\"'" else _value(text)
    return tree


def _is_text(place: tuple[str, ...]) -> bool:
    """Whether the setting at that place holds text and nothing else."""
    kind: Any = Settings
    for name in place:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return False
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.name == name), None)
    info = None if kind is None else msgspec.inspect.type_info(kind)
    info = info.type if isinstance(info, msgspec.inspect.Metadata) else info
    choices = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    texts = (msgspec.inspect.StrType, msgspec.inspect.NoneType, msgspec.inspect.LiteralType)
    return all(isinstance(choice, texts) for choice in choices)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def _refuse_unknown(tree: Mapping[str, Any], kind: type[msgspec.Struct], where: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in tree.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f": did you mean {where}{near[0]}?" if near else f"; known are {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown setting {where}{key}{hint}", code="unknown_setting")
        inner = fields[key]
        if (
            isinstance(inner, type)
            and issubclass(inner, msgspec.Struct)
            and key != "plugins"
            and isinstance(value, Mapping)
        ):
            _refuse_unknown(value, inner, f"{where}{key}.")
