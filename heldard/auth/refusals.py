"""Refused credentials in the audit log, in so few lines that no flood of them fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heldard.auth.audit import AuditLog
from heldard.auth.guard import NOBODY
from heldard.clock import Clock

WINDOW_MS = 10 * 60_000
MOST_KINDS = 32
"""Kinds of refusals that have a line of their own in one window; the others share one."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What refusals are told apart by. reason: a slug. about: the id of the user or key, where there is one: never what
    was typed, for people type passwords into the field for names. address: of the peer, which may be a proxy."""

    action: str
    reason: str
    about: str | None
    address: str | None


OTHERS = Refusal("credential_refused", "others", None, None)


class Refusals:
    """The first refusal of a kind is written at once; those that follow within ten minutes are counted, and told in one
    line when these are over. So at most 66 lines are written in ten minutes, whatever comes."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._began_ms = 0
        self._counts: dict[Refusal, int] = {}

    def take(self, refusal: Refusal) -> dict[str, Any] | None:
        """The line to write for it, None when one like it was written a short while ago."""
        if not self._counts:
            self._began_ms = self._clock.now_ms()
        if refusal not in self._counts and len(self._counts) >= MOST_KINDS:
            refusal = OTHERS
        known = refusal in self._counts
        self._counts[refusal] = self._counts.get(refusal, 0) + 1
        return None if known else self._line(refusal, {})

    async def settle(self, *, now: bool = False) -> None:
        """Tell how often refusals came again, when their window is over, or `now`. To be called every now and then."""
        if not now and 0 <= self._clock.now_ms() - self._began_ms < WINDOW_MS:
            return
        counts, self._counts = self._counts, {}
        for refusal, count in counts.items():
            if count > 1:
                await self._audit.write(self._line(refusal, {"again": count - 1}))

    def _line(self, refusal: Refusal, more: dict[str, int]) -> dict[str, Any]:
        detail = {"reason": refusal.reason, "from": refusal.address, **more}
        return self._audit.line(NOBODY, refusal.action, target_type="auth", target_id=refusal.about, detail=detail)
