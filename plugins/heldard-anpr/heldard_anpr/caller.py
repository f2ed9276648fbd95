"""Who asks, and how what they send is read: shared by the routes of all domains."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiohttp import web

from heldard.plugin import PRINCIPAL, InvalidError, parse_rfc3339, rfc3339
from heldard_anpr.plates.normal import normalise


class Caller(NamedTuple):
    """The principal of a request, for records."""

    id: str
    name: str


def caller(request: web.Request) -> Caller:
    principal = request[PRINCIPAL]
    return Caller(principal.id, getattr(principal, "name", None) or principal.id)


def sees(request: web.Request, camera_id: str | None) -> bool:
    """Whether the caller's camera scope covers it; what belongs to no camera is for callers without a scope."""
    principal = request[PRINCIPAL]
    return bool(principal.sees(camera_id if camera_id is not None else ""))


def limited(limit: int, most: int) -> int:
    return min(max(limit, 1), most)


def moment(text: str | None, name: str) -> int | None:
    """An RFC 3339 time as ms; None for None and for a blank. Raises InvalidError naming the field."""
    if text is None or not text.strip():
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidError(f"{name}: {error}", details={"element": name}) from None


def shown(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)


def plate_of(text: str, name: str = "plate") -> str:
    """The normal form; raises InvalidError when nothing is left of it."""
    plate = normalise(text)
    if not plate:
        raise InvalidError(f"{name}: {text!r} has no letter and no digit", details={"element": name})
    return plate


def clean(value: Any) -> str | None:
    """A text without blanks around it; None for an empty one."""
    return (value.strip() or None) if isinstance(value, str) else None
