"""Whether keyframes suffice: decided from what a stream shows, and decided again when it shows something else."""

from __future__ import annotations

from heldard.sampler.decoder import Seen, Strategy

ENOUGH = 1.05
"""Keyframes suffice when they come at most 5 % more rarely than frames are wanted..."""
TOO_RARE = 1.3
"""...and no longer do when they come 30 % more rarely. Between the two, nothing is changed."""
LOOK_S = 6.0
"""How long a stream is watched before keyframes are trusted."""
DISTRUST_S = 120.0
"""The same for a stream whose keyframes became rare before, as those of cameras with adaptive intervals do."""


def choose(now: Strategy, fps: float, seen: Seen, watched_s: float, *, was_wrong: bool) -> Strategy:
    """The strategy a stream shall have from here on. watched_s: for how long its present decoder has run."""
    gop_s = seen.gop_s
    if gop_s is None:
        return now
    if now == "keyframes":
        return "full" if gop_s * fps > TOO_RARE else "keyframes"
    patience_s = DISTRUST_S if was_wrong else LOOK_S
    trusted = len(seen.keyframes) >= 3 and watched_s >= patience_s
    return "keyframes" if trusted and gop_s * fps <= ENOUGH else "full"
