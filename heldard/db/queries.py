"""SQL lives in `queries.sql` files beside the domain that owns the tables; this reads them.

-- name: newest_events
-- The newest events of all cameras.
SELECT ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(package: str) -> Mapping[str, str]:
    """The named statements of a package's `queries.sql`. Raises ValueError for a doubled name or a missing purpose."""
    return parse(resources.files(package).joinpath("queries.sql").read_text("utf-8"))


def parse(text: str) -> Mapping[str, str]:
    parts = _HEAD.split(text)[1:]
    found: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in found:
            raise ValueError(f"two queries are named {name}")
        if not body.lstrip().startswith("--"):
            raise ValueError(f"query {name} does not say its purpose in a comment line")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        found[name] = "\n".join(lines).strip().rstrip(";")
    return MappingProxyType(found)
