"""Time, passed in. Nothing else in heldard reads the system's clocks.

Wall time travels as integer milliseconds since the Unix epoch (`..._ms`); durations are seconds (`..._s`).
"""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: an offset can carry a text that is within them out of what can be written again."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


class Clock(Protocol):
    """What time it is and how to wait for it."""

    def now_ms(self) -> int:
        """Wall time, milliseconds since the Unix epoch. May jump when the system's clock is set."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never runs backwards."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of this clock's time."""


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - this is the one place

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the one place


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime, exact."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


_FIRST_MS = to_ms(datetime.min.replace(tzinfo=UTC))
_LAST_MS = to_ms(datetime.max.replace(tzinfo=UTC))


def from_ms(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def rfc3339(ms: int) -> str:
    """The form JSON rows use: UTC, ending in `Z`, no fraction on a whole second, else three digits."""
    return _text(ms) + "Z"


def rfc3339_offset(ms: int) -> str:
    """The form frame and lease headers use: UTC, ending in `+00:00`, same fraction rule."""
    return _text(ms) + "+00:00"


def _text(ms: int) -> str:
    return from_ms(ms).replace(tzinfo=None).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")


def parse_rfc3339(text: str) -> int:
    """Milliseconds of an RFC 3339 time with an offset or `Z`; surrounding blanks are allowed.

    Raises ValueError for anything else, and for moments that UTC cannot write because their year there is 0 or 10000.
    """
    text = text.strip()
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z")
    # fromisoformat reads at most microseconds.
    ms = to_ms(datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.upper())))
    if not _FIRST_MS <= ms <= _LAST_MS:
        raise ValueError(f"{text!r} is not within the years 1 to 9999 of UTC")
    return ms
