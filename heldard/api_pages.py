"""Generated pages of the reference: the OpenAPI document and the catalogue of error codes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from heldard import errors as error_classes

KERNEL = Path(__file__).parent

_INTRODUCTION = """# Errors

Every error answer is `{"error": "<what happened and what to do>", "code": "<stable name>"}`, with `details` where
useful. Codes are never reused. `…` stands for what differs from case to case. Written by `heldard errors`.

| Code | Status | Says |
| --- | --- | --- |
"""


def as_json(document: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def errors(packages: Sequence[Path] = (KERNEL,)) -> str:
    """The catalogue as Markdown: every code that is raised below these folders, once, with all it can say."""
    found: dict[str, tuple[set[int], set[str]]] = {}
    for package in packages:
        for path in sorted(package.rglob("*.py")):
            for code, status, text in raised(ast.parse(path.read_text("utf-8"))):
                statuses, texts = found.setdefault(code, (set(), set()))
                statuses.add(status)
                texts.add(text)
    rows = [
        f"| `{code}` | {', '.join(map(str, sorted(statuses)))} | {'<br>'.join(sorted(texts - {''}))} |"
        for code, (statuses, texts) in sorted(found.items())
    ]
    return _INTRODUCTION + "\n".join(rows) + "\n"


def raised(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """(code, status, message with `…` for what is filled in) of every error a module makes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (kind := _class_of(node)) is not None:
            given = next((word.value for word in node.keywords if word.arg == "code"), None)
            code = kind.default_code if given is None else _text(given)
            yield code, kind.status, _cell(_text(node.args[0]) if node.args else "")
        elif isinstance(node, ast.ClassDef):
            yield from _named_by(node)
        elif isinstance(node, ast.Dict):
            words = {_text(key): value for key, value in zip(node.keys, node.values, strict=True) if key is not None}
            if {"error", "code"} <= words.keys() and isinstance(words["code"], ast.Constant):
                yield (
                    _text(words["code"]),
                    _STATUS_OF_LITERALS.get(_text(words["code"]), 500),
                    _cell(_text(words["error"])),
                )


_STATUS_OF_LITERALS = {
    "no_such_path": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "internal": 500,
    "bad_http": 400,
}


def _named_by(node: ast.ClassDef) -> Iterator[tuple[str, int, str]]:
    """The code that an error class of its own module brings."""
    given = {
        target.id: part.value
        for part in node.body
        if isinstance(part, ast.Assign)
        for target in part.targets
        if isinstance(target, ast.Name)
    }
    base = next((getattr(error_classes, part.id, None) for part in node.bases if isinstance(part, ast.Name)), None)
    if "default_code" in given and isinstance(base, type) and issubclass(base, error_classes.HeldardError):
        status = given.get("status")
        says = (ast.get_docstring(node) or "").partition("\n")[0]
        yield _text(given["default_code"]), int(_text(status)) if status else base.status, _cell(says)


def _class_of(call: ast.Call) -> type[error_classes.HeldardError] | None:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    kind = getattr(error_classes, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, error_classes.HeldardError) else None


def _text(node: ast.AST) -> str:
    """What a string expression says, `…` for what only the run knows."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "…"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
