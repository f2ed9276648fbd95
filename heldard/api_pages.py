"""Generated pages of the reference: the OpenAPI document and the catalogue of error codes."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from heldard import errors as error_classes

KERNEL = Path(__file__).parent

_INTRODUCTION = """# Errors

Every error answer is `{"error": "<what happened and what to do>", "code": "<stable name>"}`, with `details` where
useful. Codes are never reused. `…` stands for what differs from case to case. Those of the kernel come first, then what
each plugin raises. `x-errors` in the served OpenAPI document has them too. Written by `heldard errors --plugins`.
"""

_TABLE = """
## {title}

| Code | Status | Says |
| --- | --- | --- |
"""


@dataclass(frozen=True)
class ErrorCode:
    """A row of the catalogue: one code, with everything it says anywhere."""

    code: str
    statuses: tuple[int, ...]
    says: tuple[str, ...]


def as_json(document: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def errors(sources: Mapping[str, Path]) -> str:
    """The catalogue as Markdown. sources: where the code of the kernel and of plugins lies, by title."""
    tables = (
        _TABLE.format(title=title) + "".join(_row(found) for found in catalogue(path))
        for title, path in sources.items()
    )
    return _INTRODUCTION + "".join(tables)


def _row(found: ErrorCode) -> str:
    says = "<br>".join(text.replace("|", "\\|") for text in found.says)
    return f"| `{found.code}` | {', '.join(map(str, found.statuses))} | {says} |\n"


def for_openapi(sources: Mapping[str, Path]) -> dict[str, Any]:
    """The catalogue as the OpenAPI document has it: by title, then by code."""
    return {
        title: {found.code: {"statuses": list(found.statuses), "says": list(found.says)} for found in catalogue(path)}
        for title, path in sources.items()
    }


@functools.cache
def catalogue(source: Path) -> tuple[ErrorCode, ...]:
    """Every code that is raised in a package (or a single module), once, with all it can say."""
    paths = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    trees = [ast.parse(path.read_bytes()) for path in paths]
    kinds = _kinds(trees)
    found: dict[str, tuple[set[int], set[str]]] = {}
    for tree in trees:
        for code, status, text in raised(tree, kinds):
            statuses, texts = found.setdefault(code, (set(), set()))
            statuses.add(status)
            texts.add(text)
    return tuple(
        ErrorCode(code, tuple(sorted(statuses)), tuple(sorted(texts - {""})))
        for code, (statuses, texts) in sorted(found.items())
        if code != UNKNOWN
    )


UNKNOWN = "…"


@dataclass(frozen=True)
class _Kind:
    """An error class as its source has it."""

    status: int
    default_code: str


def _kinds(trees: Sequence[ast.Module]) -> dict[str, _Kind]:
    """The error classes of heldard.errors and those made of them in these modules, by name."""
    kinds = {
        name: _Kind(kind.status, kind.default_code)
        for name, kind in vars(error_classes).items()
        if isinstance(kind, type) and issubclass(kind, error_classes.HeldardError)
    }
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    grown = True
    while grown:
        grown = False
        for node in classes:
            base = next((kinds[name] for part in node.bases if (name := _name(part)) in kinds), None)
            if base is not None and node.name not in kinds:
                kinds[node.name] = _made_of(base, node)
                grown = True
    return kinds


def _made_of(base: _Kind, node: ast.ClassDef) -> _Kind:
    given = _assigned(node)
    status, code = given.get("status"), given.get("default_code")
    return _Kind(
        int(_text(status)) if isinstance(status, ast.Constant) else base.status,
        base.default_code if code is None else _text(code),
    )


def _assigned(node: ast.ClassDef) -> dict[str, ast.expr]:
    given: dict[str, ast.expr] = {}
    for part in node.body:
        if isinstance(part, ast.Assign):
            given |= {target.id: part.value for target in part.targets if isinstance(target, ast.Name)}
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.value is not None:
            given[part.target.id] = part.value
    return given


def raised(tree: ast.Module, kinds: Mapping[str, _Kind]) -> Iterator[tuple[str, int, str]]:
    """(code, status, message with `…` for what is filled in) of every error a module makes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (kind := kinds.get(_name(node.func))) is not None:
            given = next((word.value for word in node.keywords if word.arg == "code"), None)
            for code in (kind.default_code,) if given is None else _codes(given, kind):
                yield code, kind.status, _line(_text(node.args[0]) if node.args else "")
        elif isinstance(node, ast.ClassDef) and "default_code" in _assigned(node) and node.name in kinds:
            kind = kinds[node.name]
            yield kind.default_code, kind.status, _line((ast.get_docstring(node) or "").partition("\n")[0])
        elif isinstance(node, ast.Dict):
            words = {_text(key): value for key, value in zip(node.keys, node.values, strict=True) if key is not None}
            if {"error", "code"} <= words.keys() and isinstance(words["code"], ast.Constant):
                code = _text(words["code"])
                yield code, _STATUS_OF_LITERALS.get(code, 500), _line(_text(words["error"]))


def _codes(node: ast.expr, kind: _Kind) -> Iterator[str]:
    """The codes that an expression can be: `"a"`, or `"a" if ... else "b"`, or `... or None`."""
    if isinstance(node, ast.IfExp):
        yield from _codes(node.body, kind)
        yield from _codes(node.orelse, kind)
    elif isinstance(node, ast.Constant) and node.value is None:
        yield kind.default_code
    else:
        yield _text(node)


_STATUS_OF_LITERALS = {
    "no_such_path": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "internal": 500,
    "bad_http": 400,
}


def _name(node: ast.expr) -> str:
    """What a class is called where it is used, with or without its module."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _text(node: ast.AST) -> str:
    """What a string expression says, `…` for what only the run knows."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return UNKNOWN


def _line(text: str) -> str:
    return text.replace("\n", " ")
