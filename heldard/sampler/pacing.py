"""Which packets of a stream have to be decoded so that pictures come at a given rate. Pure; imports nothing of ours.

A picture can be decoded only after all since the last keyframe, for it builds on them. So within a group of pictures (a
keyframe and what follows until the next) decoding begins at the keyframe and ends with the last picture that is wanted
of that group; the rest is skipped. Where the group ends is known from the groups before. A keyframe stands in for a
picture that is due up to half a period later or a quarter earlier, for it costs least: where they suffice, nothing
else is decoded.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

REMEMBERED_GROUPS = 4
KEYLESS_S = 10.0
"""A stream that marks no keyframe for this long (it refreshes bit by bit) is decoded whole."""


class Verdict(NamedTuple):
    """What to do with a packet. decode: give it to the decoder. keep: its picture is wanted. last: nothing after it is
    needed before the next keyframe."""

    decode: bool
    keep: bool
    last: bool


SKIP = Verdict(False, False, False)


class Pacing:
    """Told of every packet in the order of decoding; all times are seconds of the stream's own clock.

    That order is not the pictures' where some build on later ones (B-frames): up to a fifth fewer are then taken.
    """

    def __init__(self, fps: float) -> None:
        self.period = 1 / fps
        self._due = -math.inf
        self._began: float | None = None
        self._keyframe: float | None = None
        self._groups: deque[float] = deque(maxlen=REMEMBERED_GROUPS)
        self._open = False
        self._end = math.inf
        self._before = -math.inf
        # Between one packet and the next; where pictures build on later ones, the smallest of a few is the interval.
        self._steps: deque[float] = deque([0.0], maxlen=4)

    def set_fps(self, fps: float) -> None:
        """Another rate from the next packet on."""
        self.period = 1 / fps
        self._due = min(self._due, self._before + self.period)

    def packet(self, at: float, *, key: bool) -> Verdict:
        self._follow_clock(at)
        if key:
            self._begin_group(at)
        elif self._keyframe is None and self._began is not None and at - self._began > KEYLESS_S:
            self._open = True
        if not self._open:
            return SKIP
        keep = at >= self._due - self._slack(key)
        if keep:
            late = at > self._due + self.period / 2
            self._due = (at if late else self._due) + self.period
        last = not self._more_due()
        self._open = not last
        return Verdict(True, keep, last)

    def _follow_clock(self, at: float) -> None:
        if self._began is None or at < self._before - max(10.0, 3 * self.period):
            self._began, self._keyframe, self._due, self._open = at, None, -math.inf, False
            self._groups.clear()
        elif at != self._before:
            self._steps.append(abs(at - self._before))
        self._before = at

    def _begin_group(self, at: float) -> None:
        if self._keyframe is not None and at > self._keyframe:
            self._groups.append(at - self._keyframe)
        self._keyframe = at
        self._end = at + max(self._groups) if self._groups else math.inf
        self._open = at >= self._due - self._slack(True) or self._more_due()

    def _more_due(self) -> bool:
        """Whether something is due that the next keyframe cannot stand in for."""
        return self._due < self._end - self.period / 4

    def _slack(self, key: bool) -> float:
        """How early a picture may be taken: a keyframe by half a period, others by half a picture."""
        half = self.period / 2
        return half if key else min(half, min(self._steps) / 2)
