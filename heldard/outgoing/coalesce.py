"""Leaves out what floods: of events alike, the first in each window goes out, and the next says how many did not.

Only the sending is thinned; the log of events keeps every one. Windows follow the events' own times, so that the same
log gives the same sendings.
"""

from __future__ import annotations

from collections.abc import Callable

from heldard.clock import parse_rfc3339
from heldard.events.model import Event

MOST_KINDS = 4096
"""Kinds (camera and type) whose window is remembered; the one that was sent longest ago is forgotten first."""


class Coalescer:
    """One per receiver. `floods` tells which types are thinned."""

    def __init__(self, window_s: int, floods: Callable[[str], bool]) -> None:
        self._window_ms = window_s * 1000
        self._floods = floods
        self._sent: dict[tuple[str | None, str], tuple[int, int]] = {}

    def take(self, event: Event) -> int | None:
        """How many like it were left out before it; None when it is to be left out itself."""
        if self._window_ms == 0 or not self._floods(event.event_type):
            return 0
        kind = (event.camera_id, event.event_type)
        at_ms = parse_rfc3339(event.timestamp)
        sent_ms, left_out = self._sent.get(kind, (None, 0))
        if sent_ms is not None and 0 <= at_ms - sent_ms < self._window_ms:
            self._sent[kind] = (sent_ms, left_out + 1)
            return None
        self._sent.pop(kind, None)
        if len(self._sent) >= MOST_KINDS:
            del self._sent[next(iter(self._sent))]
        self._sent[kind] = (at_ms, 0)
        return left_out
