"""What is generated from the settings structs: the commented sample, the reference page, the schema, `config show`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from heldard.config import PREFIX, Layers, PluginSettings, Settings

Section = tuple[str, type[msgspec.Struct]]

SECRET = re.compile(r"password|secret|token|credential|api_key", re.IGNORECASE)
MASK = "***"

_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the pages show it. range: in words, empty without bounds. live: SIGHUP changes it."""

    section: str
    name: str
    kind: str
    default: Any
    range: str
    description: str
    live: bool

    @property
    def variable(self) -> str:
        return PREFIX + "__".join((*self.section.split("."), self.name)).upper()


def kernel_sections() -> list[Section]:
    """The sections of the settings tree, in its order. `plugins` holds only the settings about plugins."""
    return [(field.name, field.type) for field in msgspec.structs.fields(Settings)]


def plugin_sections(structs: Mapping[str, type[msgspec.Struct]]) -> list[Section]:
    return [(f"plugins.{name}", kind) for name, kind in sorted(structs.items())]


def settings_of(section: Section) -> Iterator[Setting]:
    """The settings of a section, in the order they are declared."""
    name, kind = section
    for field in msgspec.structs.fields(kind):
        if kind is PluginSettings and field.name == "sections":
            continue
        info: Any = inspect.type_info(field.type)
        schema: dict[str, Any] = {}
        live = False
        if isinstance(info, inspect.Metadata):
            schema, live, info = info.extra_json_schema or {}, bool((info.extra or {}).get("live")), info.type
        yield Setting(
            name, field.encode_name, _kind(info), _default(field), _range(info), schema.get("description", ""), live
        )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _kind(info: Any) -> str:
    match info:
        case inspect.UnionType():
            return " or ".join(_kind(choice) for choice in info.types if not isinstance(choice, inspect.NoneType))
        case inspect.LiteralType():
            return ", ".join(toml(value) for value in info.values)
        case inspect.ListType() | inspect.VarTupleType():
            return f"list of {_kind(info.item_type)}"
        case inspect.DictType() | inspect.StructType():
            return "table"
        case _:
            names = {"StrType": "text", "IntType": "integer", "FloatType": "number", "BoolType": "true or false"}
            return names.get(type(info).__name__, "any")


def _range(info: Any) -> str:
    if isinstance(info, inspect.UnionType):
        return "; ".join(filter(None, (_range(choice) for choice in info.types)))
    low, high = getattr(info, "ge", None), getattr(info, "le", None)
    above, below = getattr(info, "gt", None), getattr(info, "lt", None)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    words = (("at least", low), ("over", above), ("at most", high), ("below", below))
    return ", ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)


def toml(value: Any) -> str:
    """A value as TOML writes it. Raises TypeError for what settings cannot hold."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
        case list() | tuple() | set() | frozenset():
            return "[" + ", ".join(toml(item) for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
        case msgspec.Struct():
            return toml({key: item for key, item in msgspec.structs.asdict(value).items() if item is not None})
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a settings file")


# --- the sample file -------------------------------------------------------------------------------------------------


def sample(sections: Sequence[Section]) -> str:
    """Every setting, commented out, at its default: what stays so follows the defaults of later versions."""
    parts = [_SAMPLE_HEAD]
    for section in sections:
        parts += [f"\n[{section[0]}]", *(f"# {line}" for line in _purpose(section))]
        for setting in settings_of(section):
            parts += ["", *(f"# {line}" for line in _wrap(_sentence(setting)))]
            value = '""' if setting.default is None else toml(setting.default)
            parts.append(f"#{setting.name} = {value}" + ("  # unset" if setting.default is None else ""))
    return "\n".join(parts) + "\n"


_SAMPLE_HEAD = f"""\
# Settings of heldard. Made by `heldard config sample`; every line that is commented out shows the default.
# Each setting can also be given as {PREFIX}<SECTION>__<KEY>, such as {PREFIX}SERVER__PORT=8080, which wins over this
# file, or as a systemd credential named heldard.<section>.<key>, which wins over both; the command line wins over all.
# `heldard config check` reads this file as the daemon would."""


def _purpose(section: Section) -> list[str]:
    return _wrap((section[1].__doc__ or "").strip().partition("\n")[0])


def _sentence(setting: Setting) -> str:
    choices = f" One of {setting.kind}." if setting.kind.startswith('"') else ""
    bounds = f" {setting.range.capitalize()}." if setting.range else ""
    live = " Can change while the daemon runs (SIGHUP)." if setting.live else ""
    return f"{setting.description}{choices}{bounds}{live}".strip()


def _wrap(text: str) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


# --- the reference page ----------------------------------------------------------------------------------------------


def reference(sections: Sequence[Section]) -> str:
    """The page `docs/reference/settings.md`: a heading per section and per setting."""
    parts = [_PAGE_HEAD]
    for section in sections:
        parts += [f"## [{section[0]}]", " ".join(_purpose(section))]
        for setting in settings_of(section):
            parts += [f"### {section[0]}.{setting.name}", setting.description, _facts(setting)]
    return "\n\n".join(part for part in parts if part) + "\n"


_PAGE_HEAD = f"""\
# Settings

Made from the settings structs by `heldard pages settings`; do not edit.

Values come from the TOML file given with `--config`, then from the environment
(`{PREFIX}<SECTION>__<KEY>`), then from systemd credentials (`heldard.<section>.<key>`, for the secrets of plugins),
then from the command line; the later wins. An unknown setting is an error that names the nearest known one. In the
environment and in credentials an empty value counts as unset; texts are taken as they are, everything else is read as
TOML. *Live* settings change when the daemon gets SIGHUP; the others wait for a restart. A plugin's settings are in
`[plugins.<name>]`, described on the plugin's own page; `heldard config sample` shows those of installed ones."""


def _facts(setting: Setting) -> str:
    facts = [
        f"- Type: {setting.kind}" + (f", {setting.range}" if setting.range else ""),
        f"- Default: {'unset' if setting.default is None else f'`{toml(setting.default)}`'}",
        f"- Environment: `{setting.variable}`",
    ]
    return "\n".join(facts + ["- Live: yes"] * setting.live)


# --- the schema and what is in force ---------------------------------------------------------------------------------


def schema(plugins: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """A JSON schema (2020-12) of the settings file, with the sections of the given plugins."""
    kinds: list[Any] = [Settings, *plugins.values()]
    references, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    own = components["PluginSettings"]["properties"]
    del own["sections"]
    own.update(dict(zip(plugins, references[1:], strict=True)))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "heldard settings"}
    return {**head, **references[0], "$defs": components}


@dataclass(frozen=True, slots=True)
class Value:
    """A setting in force: its dotted name, its value and where it came from."""

    name: str
    value: Any
    source: str


def values(settings: Settings, found: Layers, plugins: Mapping[str, Any]) -> list[Value]:
    """Every setting in force with its source; secrets, and whatever is given as a credential, masked.

    plugins: decoded settings by plugin.
    """
    shown: list[Value] = []
    sections = [(name, getattr(settings, name)) for name, _ in kernel_sections()]
    sections += [(f"plugins.{name}", struct) for name, struct in sorted(plugins.items()) if struct is not None]
    for name, struct in sections:
        for setting in settings_of((name, type(struct))):
            value = msgspec.structs.asdict(struct)[_attribute(type(struct), setting.name)]
            dotted = f"{name}.{setting.name}"
            source = source_of(dotted, found)
            shown.append(Value(dotted, MASK if source == "credential" else mask(setting.name, value), source))
    return shown


def _attribute(kind: type[msgspec.Struct], encoded: str) -> str:
    return next(field.name for field in msgspec.structs.fields(kind) if field.encode_name == encoded)


def mask(name: str, value: Any) -> Any:
    """The value, or `***` for what a setting of that name should not show; names of files and switches stay."""
    telling = SECRET.search(name) is not None and not name.endswith(("_file", "_path", "_s", "_minutes", "_hours"))
    return MASK if telling and isinstance(value, str) and value else value


def source_of(dotted: str, found: Layers) -> str:
    """The strongest source that gives a setting; `default` when none does."""
    for source, tree in reversed(found):
        place: Any = tree
        for part in dotted.split("."):
            place = place.get(part, msgspec.UNSET) if isinstance(place, Mapping) else msgspec.UNSET
        if place is not msgspec.UNSET:
            return source
    return "default"
