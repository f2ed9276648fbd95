"""Public identifiers: `<prefix>_<32 hex>` outside, small integers or slugs inside."""

from __future__ import annotations

import re
import secrets

_OTHER = re.compile(r"[^a-z0-9]+")


def new(prefix: str) -> str:
    """A random id of 128 bits, such as `ai_0f...`. For rows that are few."""
    return f"{prefix}_{secrets.token_hex(16)}"


def of_row(prefix: str, number: int) -> str:
    """The public id of a row that is keyed by a number (0 <= number < 2**128). For rows that are many."""
    return f"{prefix}_{number:032x}"


def row_of(prefix: str, public: str) -> int | None:
    """The number behind `of_row`, or None when the text is not such an id."""
    head, _, tail = public.partition("_")
    if head != prefix or len(tail) != 32:
        return None
    try:
        return int(tail, 16)
    except ValueError:
        return None


def slug(text: str) -> str:
    """Lower-case ASCII letters and digits, every other run one `_`, none at the ends; `camera` when nothing is left."""
    return _OTHER.sub("_", text.lower()).strip("_") or "camera"
