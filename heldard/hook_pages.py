"""The reference page of the plugin contract, made from `heldard.hookspecs` and `heldard.plugin`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import msgspec

from heldard import hookspecs, plugin

_HEAD = """\
# The plugin contract

Made from the code by `heldard pages hooks`; do not edit. Plugins import from `heldard.plugin`, their tests from
`heldard.testing`, and nothing else of heldard. The contract's version is {version}; a plugin says with `PluginInfo.api`
which versions it works with. How to use it is in [your first consumer](../tutorial/your-first-consumer.md), what it
promises in [delivery and state](../explanation/delivery-and-state.md)."""

TYPES = (
    "Consumer", "Batch", "Detection", "Provenance", "Frame", "FrameSource", "Effects", "Tx", "EventDraft",
    "PluginContext", "CameraInfo", "Principal", "Reply", "PluginInfo", "Migrations", "EventType", "Service",
    "ActionHandler", "Eraser", "Traces", "Erasure",
)  # fmt: skip


def hooks() -> list[tuple[str, Callable[..., Any]]]:
    """Every hook, in the order of the file."""
    found = inspect.getmembers(hookspecs, lambda thing: isinstance(thing, FunctionType))
    own = [(name, function) for name, function in found if name.startswith("heldard_")]
    return sorted(own, key=lambda pair: pair[1].__code__.co_firstlineno)


def reference() -> str:
    """The page `docs/reference/hooks.md`: a heading per hook and per type, each with its exact signature."""
    parts = [_HEAD.format(version=".".join(str(part) for part in plugin.API_VERSION)), "## Hooks"]
    parts.append((inspect.getdoc(hookspecs) or "").partition("\n\n")[2])
    for name, function in hooks():
        parts += [f"### {name}", _code(f"def {name}{_signature(function)}"), inspect.getdoc(function) or ""]
    parts.append("## Types")
    for name in TYPES:
        parts += _type(name, getattr(plugin, name))
    parts += ["## Functions", *_functions()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _functions() -> Iterator[str]:
    for name in ("route", "read_body", "call_api", "new_id", "of_row", "row_of", "rfc3339", "parse_rfc3339"):
        function = getattr(plugin, name)
        yield f"### {name}"
        yield _code(f"def {name}{_signature(function)}")
        yield inspect.getdoc(function) or ""


def _type(name: str, kind: type) -> Iterator[str]:
    yield f"### {name}"
    yield _code("\n".join([f"class {name}", *_fields(kind)]))
    yield inspect.getdoc(kind) or ""
    for member, value in vars(kind).items():
        doc = _doc(value)
        if member.startswith("_") or doc is None:
            continue
        if isinstance(value, property):
            yield f"`{name}.{member}`: {doc}"
        else:
            yield _code(f"def {member}{_signature(value)}")
            yield doc


def _doc(value: Any) -> str | None:
    return inspect.getdoc(value) if isinstance(value, (FunctionType, property)) else None


def _fields(kind: type) -> list[str]:
    if issubclass(kind, msgspec.Struct):
        return [_field(field.name, field.type, field.default) for field in msgspec.structs.fields(kind)]
    if dataclasses.is_dataclass(kind):
        return [_field(field.name, field.type, field.default) for field in dataclasses.fields(kind)]
    return [f"    {name}: {_plain(hint)}" for name, hint in inspect.get_annotations(kind).items()]


def _field(name: str, hint: Any, default: Any) -> str:
    given = default is not msgspec.NODEFAULT and default is not dataclasses.MISSING
    return f"    {name}: {_plain(hint)}" + (f" = {default!r}" if given else "")


def _signature(function: Any) -> str:
    return _plain(str(inspect.signature(function)))


def _plain(hint: Any) -> str:
    """A type as the source says it."""
    text = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    text = re.sub(r"\b(?:heldard|collections|typing|msgspec|click)(?:\.\w+)*\.(?=[A-Z])", "", text)
    return text.replace("'", "").replace("NoneType", "None")


def _code(text: str) -> str:
    return f"```text\n{text}\n```"
