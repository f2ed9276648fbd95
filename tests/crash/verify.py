"""Looks at what a killed daemon left behind, in its files, with nothing of the daemon's own code."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

from tests.crash.load import Acknowledged


def verify(data: Path, trail: Path, kept: Acknowledged) -> dict[str, int]:
    """Assert every promise; what was looked at, counted."""
    connection = sqlite3.connect(f"file:{data / 'heldard.db'}?mode=ro", uri=True)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        batches = _log(connection, kept)
        counted = _effects(connection)
        acted = _actions(connection, trail)
    finally:
        connection.close()
    return {"batches": batches, "counted": counted, "acted": acted, "acknowledged": len(kept.by_frame)}


def _log(connection: sqlite3.Connection, kept: Acknowledged) -> int:
    """Acknowledged batches are there, once and whole."""
    rows = connection.execute(
        "SELECT o.seq, n.text, o.frame, o.detection_count, count(d.id), min(d.track), max(d.track), o.fanned_out_ms "
        "FROM outbox o JOIN names n ON n.id = o.camera "
        "LEFT JOIN detections d ON d.id BETWEEN o.seq * 1024 AND o.seq * 1024 + 1023 GROUP BY o.seq"
    ).fetchall()
    assert [row for row in rows if row[3] != row[4] or row[5] != row[6]] == [], "half-written batches"
    assert [row for row in rows if row[7] is None] == [], "batches that no drain finished"
    stored = {(camera, str(frame).removeprefix("w:")): seq for seq, camera, frame, *_ in rows if frame is not None}
    assert len(stored) == sum(row[2] is not None for row in rows), "a frame was stored twice"
    wrong = {key: (seq, stored.get(key)) for key, seq in kept.by_frame.items() if stored.get(key) != seq}
    assert wrong == {}, f"acknowledged but not at their place: {dict(list(wrong.items())[:5])}"
    nameless = Counter(row[5] for row in rows if row[2] is None)
    assert [token for token in kept.tokens if nameless[token] != 1] == [], "acknowledged without a frame id, not once"
    assert [token for token in kept.doubted if nameless[token] > 1] == []
    return len(rows)


def _effects(connection: sqlite3.Connection) -> int:
    """The effects of each batch exist once, in log order per camera, and the state went with them."""
    rows = connection.execute("SELECT camera, seq, count, at_ms FROM crashprobe_counts ORDER BY id").fetchall()
    by_camera: dict[str, list[tuple[int, int, int]]] = {}
    for camera, seq, count, at_ms in rows:
        by_camera.setdefault(camera, []).append((seq, count, at_ms))
    for camera, seen in by_camera.items():
        logged = [row[0] for row in connection.execute(
            "SELECT seq FROM outbox WHERE camera = (SELECT id FROM names WHERE text = ?) ORDER BY seq", (camera,)
        )]  # fmt: skip
        assert [seq for seq, _, _ in seen] == logged, f"{camera}: not each batch once and in order"
        assert [count for _, count, _ in seen] == list(range(1, len(seen) + 1)), f"{camera}: state and effects differ"
        times = [at_ms for _, _, at_ms in seen]
        assert times == sorted(times), f"{camera}: trusted time ran backwards"
        fifties = connection.execute(
            "SELECT json_extract(payload, '$.count') FROM events WHERE camera = (SELECT id FROM names WHERE text = ?) "
            "AND event_type = (SELECT id FROM names WHERE text = 'crashprobe_fifty') ORDER BY seq", (camera,)
        ).fetchall()  # fmt: skip
        assert [count for (count,) in fifties] == list(range(50, len(seen) + 1, 50)), f"{camera}: events"
    return len(rows)


def _actions(connection: sqlite3.Connection, trail: Path) -> int:
    """No action was done twice; one that was not done says `interrupted`."""
    done = Counter(int(line) for line in trail.read_text().split())
    assert [seq for seq, times in done.items() if times != 1] == [], "acted twice"
    states = dict(
        connection.execute(
            "SELECT seq, state FROM consumer_fanout WHERE consumer = "
            "(SELECT id FROM consumers WHERE name = 'crashprobe_acting')"
        ).fetchall()
    )
    logged = {row[0] for row in connection.execute("SELECT seq FROM outbox")}
    assert set(states) == logged, "every batch ends with a claim"
    assert [seq for seq, state in states.items() if state == 1 and seq not in done] == [], "done, but not done"
    assert [seq for seq in done if states.get(seq) not in (1, 3)] == [], "acted without a claim"
    return len(done)
