"""What workers know: which batches were acknowledged, and under what number. Compared with what the box kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.day.street import WELL_INSIDE

KEPT_MS = 3_600_000
"""`retention.detections_hours` of the box."""
SWEEP_MS = 300_000
SLACK_MS = 60_000
"""For steps of the wall clock, and for a sweep that waits for its turn."""

LOG = """
SELECT o.seq, c.task_id || ':' || o.frame AS frame_id, n.text AS camera, o.detection_count AS said, o.received_ms,
       (SELECT count(*) FROM detections d WHERE d.id >= o.seq * 1024 AND d.id < (o.seq + 1) * 1024) AS held,
       (SELECT count(*) FROM consumer_fanout f WHERE f.seq = o.seq AND f.state = 1) AS done,
       (SELECT count(*) FROM consumer_fanout f WHERE f.seq = o.seq AND f.state <> 1) AS undone
FROM outbox o JOIN channels c ON c.id = o.channel JOIN names n ON n.id = o.camera ORDER BY o.seq
"""

ENTERED = """
SELECT camera_id, track_id FROM zone_events WHERE event_type = 'enter'
UNION SELECT camera_id, track_id FROM entry_events
"""

LOOKS = 4
"""In so many pictures in a row, at least, something must be well inside for the box to have to tell of it."""
GAP_MS = 4_000
OVER_MS = 120_000
"""How long after its last picture a stay is surely told of."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An acknowledged batch. at_ms: the box's time at the first acknowledgement."""

    frame_id: str
    detections: int
    at_ms: int


@dataclass
class Ledger:
    """Entries that the box has surely forgotten are forgotten here too; the totals are not.

    now_ms: the box's wall clock. newest_ms: the latest it ever showed; what was old then may be gone, though the clock
    was set back. street_ms: the time before the cameras, which nobody sets.
    """

    now_ms: int = 0
    street_ms: int = 0
    newest_ms: int = 0
    set_back_ms: int = 0
    """By how much the wall clock was set back in all: what came right after that is kept for as much longer."""
    entries: dict[int, Entry] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    unanswered: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    detections: int = 0
    duplicates: int = 0
    refusals: int = 0
    abandoned: int = 0
    own_events: int = 0
    verified: int = 0
    told: int = 0
    deleted: set[str] = field(default_factory=set)
    """Cameras that were deleted, and their detections with them."""
    inside: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By camera and track: when acknowledged pictures were true that show it well inside."""

    def sent(self, body: dict[str, Any]) -> None:
        if body["frame_id"] not in self.numbers:
            self.unanswered[body["frame_id"]] = self.now_ms

    def acknowledged(self, body: dict[str, Any], receipt: dict[str, Any], street_ms: int) -> None:
        frame_id, seq, count = body["frame_id"], receipt["seq"], len(body["detections"])
        known = self.numbers.get(frame_id)
        if receipt.get("duplicate"):
            self.duplicates += 1
            assert receipt["detections_ingested"] == 0, receipt
            assert known in (None, seq), f"{frame_id} was {known} and is now {seq}"
        else:
            assert known is None, f"{frame_id} was stored as {known} and again as {seq}"
            assert receipt["detections_ingested"] == count, (receipt, count)
        self.unanswered.pop(frame_id, None)
        if known is None:
            assert seq not in self.entries, f"{seq} is {self.entries[seq].frame_id} and {frame_id}"
            self.entries[seq] = Entry(frame_id, count, self.now_ms)
            self.numbers[frame_id] = seq
            self.batches += 1
            self.detections += count
            self.own_events += "event" in body
            self._note_inside(body, street_ms)

    def _note_inside(self, body: dict[str, Any], street_ms: int) -> None:
        for seen in body["detections"]:
            x, _, width, _ = seen["bbox"]
            if WELL_INSIDE[0] <= x + width / 2 <= WELL_INSIDE[1]:
                self.inside.setdefault((body["camera_id"], seen["track_id"]), []).append(street_ms)

    def refused(self, _frame_id: str) -> None:
        self.refusals += 1

    def given_up(self, _frame_id: str) -> None:
        self.abandoned += 1

    # --- comparing ---------------------------------------------------------------------------------------------------

    def verify(self, database: Path) -> None:
        """Everything acknowledged and young enough is there, whole, and done by its consumers; nothing else is; and
        who stayed was told of."""
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            rows = {row[0]: row[1:] for row in connection.execute(LOG)}
            entered = {(camera, track.rpartition("/")[2]) for camera, track in connection.execute(ENTERED)}
        young_ms = self.newest_ms - KEPT_MS + SLACK_MS
        old_ms = self.now_ms - KEPT_MS - SWEEP_MS - SLACK_MS - self.set_back_ms
        for seq, entry in self.entries.items():
            assert seq in rows or entry.at_ms < young_ms, f"{entry} was acknowledged as {seq} and is gone"
        for seq, row in rows.items():
            self._verify_row(seq, *row, old_ms)
        self._verify_told(entered)
        self._forget(old_ms)

    def _verify_row(
        self, seq: int, frame_id: str, camera: str, said: int, received_ms: int, held: int, done: int, undone: int,
        old_ms: int,
    ) -> None:  # fmt: skip
        hours = (self.now_ms - received_ms) / KEPT_MS
        assert received_ms > old_ms, f"{seq} is {hours:.2f} hours old and still there"
        assert held == (0 if camera in self.deleted else said), f"{seq} has {held} detections of {said}"
        assert done >= 1, f"{seq} was done by no consumer"
        assert undone == 0, f"{seq} was not done by {undone} consumers"
        entry = self.entries.get(seq)
        if entry is None:
            assert frame_id in self.unanswered, f"{seq} is {frame_id}, which nobody sent"
        else:
            assert (entry.frame_id, entry.detections) == (frame_id, said), (seq, entry, frame_id, said)
        self.verified += 1

    def _verify_told(self, entered: set[tuple[str, str]]) -> None:
        """Who was well inside in enough pictures, and is gone, came in by what the box tells."""
        over = [who for who, times in self.inside.items() if times[-1] < self.street_ms - OVER_MS]
        for who in over:
            times = sorted(self.inside.pop(who))
            if who[0] not in self.deleted and _longest_row(times) >= LOOKS:
                assert who in entered, f"{who} was inside at {times} and nothing says so"
                self.told += 1

    def _forget(self, before_ms: int) -> None:
        self.unanswered = {frame: at_ms for frame, at_ms in self.unanswered.items() if at_ms >= before_ms}
        for seq in [seq for seq, entry in self.entries.items() if entry.at_ms < before_ms]:
            del self.numbers[self.entries.pop(seq).frame_id]


def _longest_row(times: list[int]) -> int:
    """How many pictures in a row, without a gap."""
    longest = row = 1
    for earlier, later in pairwise(times):
        row = row + 1 if later - earlier <= GAP_MS else 1
        longest = max(longest, row)
    return longest
