"""How a stream is doing: pure state, told what happened and what time it is (monotonic seconds)."""

from __future__ import annotations

import random
from collections import Counter, deque

from heldard.sampler.model import Cause, State

LADDER = ((5, 1.0), (5, 5.0), (10, 10.0))
"""How often to retry after how many seconds; `LAST_RUNG_S` from then on."""
LAST_RUNG_S = 60.0
JITTER = 0.2
GOOD_AFTER_S = 30.0
"""A stream that gave frames for this long begins with the first rung again."""
STALL_INTERVALS = 5
OBSERVED_S = 10.0


class Ladder:
    """When to try again. Cameras lock out who keeps sending a wrong password, so `auth` waits for the last rung."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._attempt = 0

    def next_delay(self, cause: Cause) -> float:
        """Seconds until the next attempt, within 20 % of the rung's."""
        rung = LAST_RUNG_S if cause == "auth" else self._rung()
        self._attempt += 1
        return rung * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def reset(self) -> None:
        self._attempt = 0

    def _rung(self) -> float:
        left = self._attempt
        for times, delay_s in LADDER:
            if left < times:
                return delay_s
            left -= times
        return LAST_RUNG_S


class Health:
    """State from frames received, never from processes started.

    down_since: since when there have been no frames although there should be; None while there are.
    """

    def __init__(self, now: float, ladder: Ladder, stall_s: float) -> None:
        self.state: State = "connecting"
        self.cause: Cause | None = None
        self.complaint = ""
        self.frames = 0
        self.stalls = 0
        self.restarts: Counter[str] = Counter()
        self.down_since: float | None = now
        self.retry_at: float | None = None
        self._ladder = ladder
        self._stall_s = stall_s
        self._attempt_began = now
        self._good_since: float | None = None
        self._recent: deque[float] = deque()

    def started(self, now: float) -> None:
        """A decoder was started. What was said of the last failure stands until there are frames."""
        self._attempt_began = now
        self._good_since = None
        self.retry_at = None

    def frame(self, now: float) -> None:
        if self._good_since is None:
            self._good_since = now
        elif now - self._good_since >= GOOD_AFTER_S:
            self._ladder.reset()
        self.frames += 1
        self.state, self.cause, self.complaint, self.down_since = "sampling", None, "", None
        self._recent.append(now)
        self._forget_old(now)

    def overdue(self, now: float, fps: float) -> bool:
        """Whether frames have been missing for so long that the decoder should be replaced."""
        last = self._recent[-1] if self._recent else self._attempt_began
        return now - max(last, self._attempt_began) > self.patience_s(fps)

    def patience_s(self, fps: float) -> float:
        return max(self._stall_s, STALL_INTERVALS / fps)

    def stalled(self, now: float, complaint: str) -> None:
        """The watchdog ended the decoder: `stalled` when it had given frames, else `offline`."""
        self.stalls += 1
        state: State = "offline" if self._good_since is None else "stalled"
        self._down(now, state, "timeout", complaint)

    def ended(self, now: float, cause: Cause, complaint: str) -> None:
        """The decoder ended by itself or could not be started."""
        self._down(now, "error" if cause in {"config", "decoder"} else "offline", cause, complaint)

    def reconnecting(self, now: float, why: str) -> None:
        """The decoder is being replaced because something else is wanted of it."""
        self.restarts[why] += 1
        if self.state == "sampling":
            self.state = "connecting"
            self.down_since = now

    def retry(self, now: float) -> float:
        """Count the restart and say after how many seconds it shall be."""
        assert self.cause is not None, "only what went down is retried"
        self.restarts[self.cause] += 1
        delay_s = self._ladder.next_delay(self.cause)
        self.retry_at = now + delay_s
        return delay_s

    def renewed(self, now: float) -> None:
        """The address was changed: what was learnt of the old one no longer counts."""
        self._ladder.reset()
        self.state, self.cause, self.complaint = "connecting", None, ""
        self.down_since = self.down_since if self.down_since is not None else now

    def down_for(self, now: float) -> float:
        return 0.0 if self.down_since is None else now - self.down_since

    def observed_fps(self, now: float) -> float:
        self._forget_old(now)
        return len(self._recent) / OBSERVED_S

    def _down(self, now: float, state: State, cause: Cause, complaint: str) -> None:
        self.state, self.cause, self.complaint = state, cause, complaint
        if self.down_since is None:
            self.down_since = self._recent[-1] if self._recent else now

    def _forget_old(self, now: float) -> None:
        while len(self._recent) > 1 and self._recent[0] <= now - OBSERVED_S:
            self._recent.popleft()
