"""The demo's words: one line per event, the status line, the summary. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ZONE_EVENTS = ("zone_enter", "zone_exit", "zone_dwell", "zone_cross_ab", "zone_cross_ba")
PLATE_EVENTS = ("entry_matched", "entry_unmatched", "entry_exception", "entry_blocked")

_VERBS = {
    "zone_enter": "enters", "zone_exit": "leaves", "zone_dwell": "stays in", "zone_cross_ab": "crosses",
    "zone_cross_ba": "crosses back over", "zone_static_suppressed": "parks in",
}  # fmt: skip


@dataclass
class Tally:
    """What came out so far. lag_ms: capture to committed, of the last batches."""

    frames: int = 0
    batches: int = 0
    detections: int = 0
    lag_ms: deque[int] = field(default_factory=lambda: deque(maxlen=200))
    events: Counter[str] = field(default_factory=Counter)
    plates: set[str] = field(default_factory=set)

    def lacking(self) -> list[str]:
        """What should have happened and did not."""
        needed = {
            "frames were sampled": self.frames,
            "detections were taken in": self.detections,
            "zone events happened": sum(self.events[kind] for kind in ZONE_EVENTS),
            "plate events happened": sum(self.events[kind] for kind in PLATE_EVENTS),
        }
        return [f"no {what}" for what, count in needed.items() if not count]


def event_line(event: Mapping[str, Any]) -> str:
    """One event for people: time, camera, what happened."""
    clock = str(event.get("timestamp", ""))[11:19]
    kind, payload = str(event["event_type"]), event.get("payload") or {}
    what = _zone(kind, payload) or _plate(kind, payload) or kind.replace("_", " ")
    mark = {"warning": "!", "critical": "!!"}.get(str(event.get("severity")), "")
    return f"{clock}  {event.get('camera_id') or '-':<6} {mark:<2} {what}"


def _zone(kind: str, payload: Mapping[str, Any]) -> str | None:
    verb = _VERBS.get(kind)
    if verb is None:
        return None
    who = f"{payload.get('label') or 'something'} {payload.get('track_id') or ''}".strip()
    dwell = payload.get("dwell_seconds")
    word = "after" if kind == "zone_exit" else "for"
    how_long = f" {word} {dwell:.0f} s" if isinstance(dwell, int | float) and dwell else ""
    return f"{who} {verb} {payload.get('zone') or 'a zone'}{how_long}"


def _plate(kind: str, payload: Mapping[str, Any]) -> str | None:
    if not kind.startswith("entry_"):
        return None
    plate = payload.get("plate") or "no plate"
    passage = {"vehicle_exit": "out", "vehicle_entry": "in"}.get(str(payload.get("event_type")), "")
    return f"plate {plate} {passage:<3} {kind.removeprefix('entry_')}"


def status_line(tally: Tally, tasks: Iterable[Mapping[str, Any]]) -> str:
    """How it goes: frames, batches, lag, and what each camera does."""
    states = ", ".join(f"{s['camera_id']} {s['state']} {s.get('observed_fps') or 0:.1f}/s" for s in tasks)
    recent = sorted(tally.lag_ms)
    lag = f"{recent[len(recent) // 2]} ms" if recent else "-"
    return f"-- frames {tally.frames}  batches {tally.batches}  detections {tally.detections}  lag {lag}  [{states}]"


def summary(tally: Tally, drawn: Iterable[str], seconds: float) -> str:
    """The last words."""
    read, there = sorted(tally.plates), set(drawn)
    right = [plate for plate in read if plate in there]
    lines = [
        "",
        f"In {seconds:.0f} s:",
        f"  frames sampled    {tally.frames}",
        f"  batches           {tally.batches}",
        f"  detections        {tally.detections}",
        *(f"  {kind:<17} {count}" for kind, count in sorted(tally.events.items())),
        f"  plates read       {len(right)} of the {len(there)} in the scene",
    ]
    wrong = [plate for plate in read if plate not in there]
    if wrong:
        lines.append(f"  not in the scene  {', '.join(wrong)}")
    lines += [f"  FAILED: {what}" for what in tally.lacking()]
    return "\n".join(lines)
