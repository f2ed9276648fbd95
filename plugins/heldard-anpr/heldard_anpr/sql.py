"""SQL is written as SQL, in the `queries.sql` of each domain: `-- name: purpose`, then the statement."""

from __future__ import annotations

import re
from importlib.resources import files

_HEAD = re.compile(r"^-- (\w+): .+$", re.MULTILINE)


def load(package: str) -> dict[str, str]:
    """The queries of a domain by name. Raises ValueError when a name comes twice."""
    text = files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    found: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        if head[1] in found:
            raise ValueError(f"{package}: two queries are named {head[1]}")
        found[head[1]] = text[head.end() : following.start() if following else None].strip().rstrip(";")
    return found


def where(conditions: dict[str, object]) -> tuple[str, list[object]]:
    """A WHERE clause of those fixed conditions whose value is not None, and its parameters in order. A tuple is the
    parameters of one condition."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    values = [part for value in given.values() for part in (value if isinstance(value, tuple) else (value,))]
    return (f"WHERE {' AND '.join(given)}" if given else ""), values
