"""How long to wait before asking again. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from heldard.clock import to_ms

LONGEST_RETRY_AFTER_S = 60.0
"""A server that asks for more is asked again after this anyway: it may have been restarted since."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling waits. base_s: the first wait. cap_s: the longest. jitter: greatest share added at random, so that
    workers that lost the same server do not come back all at once."""

    base_s: float = 0.5
    cap_s: float = 15.0
    jitter: float = 0.25

    def delay_s(self, attempt: int, chance: float, retry_after_s: float | None = None) -> float:
        """The wait before retry number `attempt` (from 1). chance: 0..1, drawn by the caller.

        What the server asked for (Retry-After) is a floor, not a replacement.
        """
        doubled = self.base_s * 2.0 ** min(attempt - 1, 60)
        wanted = min(self.cap_s, doubled)
        floor = min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
        return max(wanted, floor) * (1 + self.jitter * chance)


def parse_retry_after(value: str | None, now_ms: int) -> float | None:
    """Seconds that a Retry-After header asks for; None for none and for nonsense. Both forms of RFC 9110 10.2.3."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        seconds = (to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now_ms) / 1000
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
