"""Keyset paging: `?cursor=` takes what the last page gave in the header `X-Next-Cursor`."""

from __future__ import annotations

import re

from heldard.clock import parse_rfc3339
from heldard.errors import InvalidError

NEXT_CURSOR = "X-Next-Cursor"

_NUMBER = re.compile(r"-?[0-9]{1,18}")
"""A number of a cursor: times before 1970 are negative, and what is longer than this would not fit the database."""


def page_cursor(*numbers: int) -> str:
    return ".".join(str(number) for number in numbers)


def read_cursor(text: str, parts: int) -> list[int]:
    """The numbers of a cursor. Raises InvalidError for anything this API did not hand out."""
    pieces = text.split(".")
    if len(pieces) != parts or not all(_NUMBER.fullmatch(piece) for piece in pieces):
        raise InvalidError(f"cursor {text[:60]!r} is not one this API gave out", code="bad_cursor")
    return [int(piece) for piece in pieces]


def clamp_limit(limit: int | None, default: int, most: int) -> int:
    return default if limit is None else max(1, min(most, limit))


def moment(text: str | None, name: str) -> int | None:
    """Milliseconds of an RFC 3339 query parameter; None when absent or empty."""
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidError(f"{name}: {error}", code="bad_timestamp") from None
