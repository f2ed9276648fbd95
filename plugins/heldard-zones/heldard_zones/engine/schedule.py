"""Weekly hours in a time zone: whether a rule is on at a moment, and when that changes next."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from heldard.plugin import InvalidError

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ClockTime = Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]


class Window(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """Hours on some days. `from` and `to` are local `HH:MM`; `to` is not included and may be `24:00`.

    A window whose `to` is not after its `from` runs into the next day: 22:00 to 06:00 on `fri` ends Saturday morning.
    """

    start: ClockTime = "00:00"
    end: ClockTime = "24:00"
    days: tuple[Day, ...] = DAYS


class Schedule:
    """Windows joined: on while any of them is. Follows the time zone's changes of summer time."""

    __slots__ = ("_windows", "_zone")

    def __init__(self, windows: tuple[Window, ...], timezone: str) -> None:
        self._zone = load_timezone(timezone)
        self._windows = windows

    def is_open(self, at_ms: int) -> bool:
        return any(start <= at_ms < end for start, end in self._spans(at_ms))

    def next_change(self, at_ms: int) -> int:
        """The first moment after `at_ms` at which `is_open` may differ: a start or an end, at most a week off."""
        ahead = [edge for span in self._spans(at_ms) for edge in span if edge > at_ms]
        return min(ahead, default=at_ms + 7 * 86_400_000)

    def _spans(self, at_ms: int) -> list[tuple[int, int]]:
        """The windows' spans that begin between yesterday and a week ahead, in milliseconds."""
        today = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self._zone).date()
        found = []
        for offset in range(-1, 9):
            day = today + timedelta(days=offset)
            for window in self._windows:
                if DAYS[day.weekday()] in window.days:
                    last = day if window.end > window.start else day + timedelta(days=1)
                    found.append((self._moment(day, window.start), self._moment(last, window.end)))
        return found

    def _moment(self, day: date, text: str) -> int:
        if text == "24:00":
            day, text = day + timedelta(days=1), "00:00"
        return round(datetime.combine(day, time.fromisoformat(text), self._zone).timestamp() * 1000)


def load_timezone(name: str) -> ZoneInfo:
    """Raises InvalidError for a name the time zone database does not have."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidError(f"timezone {name!r} is not known: use a name such as Europe/Berlin or UTC") from None
