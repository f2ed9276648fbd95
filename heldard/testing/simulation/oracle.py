"""What a run must have left behind: computed from the log by a plain model, compared with what the kernel did."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass

from heldard.fanout.actions import DONE, EXPIRED
from heldard.frames.evidence import EvidenceStore
from heldard.testing.simulation.consumers import DUE_AFTER_MS, LEDGERS
from heldard.testing.simulation.life import picture
from heldard.testing.simulation.world import World


@dataclass(frozen=True)
class Findings:
    """How much was looked at."""

    batches: int
    alarms: int
    acted: int


@dataclass(frozen=True)
class Logged:
    """A batch as it lies in the log."""

    seq: int
    camera: str
    task_type: str
    frame: str | None
    at_ms: int
    detections: int
    tokens: frozenset[str]


def check(world: World) -> Findings:
    """Raises AssertionError naming what is wrong."""
    _equal("nothing went unhandled", world.failures, [])
    connection = sqlite3.connect(world.path)
    connection.row_factory = sqlite3.Row
    try:
        log = _log(connection)
        _acknowledged(world, log)
        _events(world, connection, log)
        for name in LEDGERS:
            _ledger(connection, log, name)
        _seen(world, connection, log)
        _opened(world, connection, log)
        _alarms(connection, log)
        _actor(world, connection, log)
        _finished(connection)
    finally:
        connection.close()
    return Findings(len(log), sum(batch.task_type == "anpr" for batch in log.values()), len(world.acted))


def _log(connection: sqlite3.Connection) -> dict[int, Logged]:
    log: dict[int, Logged] = {}
    newest: dict[str, int] = {}
    for row in connection.execute(
        "SELECT o.seq, c.text AS camera, t.text AS task_type, o.frame, o.at_ms, o.detection_count FROM outbox o "
        "JOIN sources s ON s.id = o.source JOIN names c ON c.id = s.camera JOIN names t ON t.id = s.task_type "
        "ORDER BY o.seq"
    ):
        found = [d["track"] for d in connection.execute(
            "SELECT track FROM detections WHERE id BETWEEN ? * 1024 AND ? * 1024 + 1023", (row["seq"], row["seq"])
        )]  # fmt: skip
        frame = None if row["frame"] is None else str(row["frame"]).removeprefix("w:")
        batch = Logged(row["seq"], row["camera"], row["task_type"], frame, row["at_ms"], len(found), frozenset(found))
        _equal(f"batch {batch.seq} is whole", len(found), row["detection_count"])
        _true(f"batch {batch.seq} is of one post", len(batch.tokens) <= 1)
        _true(f"time of {batch.camera} does not run backwards", batch.at_ms >= newest.get(batch.camera, 0))
        newest[batch.camera] = batch.at_ms
        log[batch.seq] = batch
    frames = Counter((b.camera, b.task_type, b.frame) for b in log.values() if b.frame is not None)
    _equal("each frame is stored once", [key for key, times in frames.items() if times > 1], [])
    return log


def _acknowledged(world: World, log: dict[int, Logged]) -> None:
    for sent in world.acknowledged:
        batch = log.get(sent.seq or 0)
        _true(f"{sent} is in the log", batch is not None)
        assert batch is not None
        kept = (batch.camera, batch.task_type, batch.frame)
        _equal("what was acknowledged is at its place", kept, (sent.camera, sent.task_type, sent.frame_id))
    nameless = [sent for sent in world.acknowledged if sent.frame_id is None]
    _equal("without a frame id, each post is a batch", len({s.seq for s in nameless}), len(nameless))
    posted = Counter(sent.token for sent in world.tokens_sent if sent.frame_id is None and sent.detections)
    stored = Counter(token for batch in log.values() if batch.frame is None for token in batch.tokens)
    _equal("no batch without a frame id came twice", {t: n for t, n in stored.items() if n > posted[t]}, {})


def _events(world: World, connection: sqlite3.Connection, log: dict[int, Logged]) -> None:
    """The worker's own event is there exactly when its batch is."""
    raised = Counter(
        row[0]
        for row in connection.execute(
            "SELECT json_extract(payload, '$.token') FROM events "
            "WHERE event_type = (SELECT id FROM names WHERE text = 'mine')"
        )
    )
    with_event = {sent.token for sent in world.tokens_sent if sent.event}
    named = {sent.token for sent in world.tokens_sent if sent.frame_id is not None}
    _equal("an event is raised once per batch", {t: n for t, n in raised.items() if n > 1 and t in named}, {})
    stored = {token for batch in log.values() for token in batch.tokens}
    _equal("a stored batch has its event", sorted((stored & with_event) - set(raised)), [])


def _ledger(connection: sqlite3.Connection, log: dict[int, Logged], name: str) -> None:
    rows = connection.execute(f"SELECT camera, seq, count, at_ms FROM sim_{name} ORDER BY id").fetchall()
    _equal(f"each batch is in the {name} once", sorted(row["seq"] for row in rows), sorted(log))
    parked = {row[0] for row in connection.execute("SELECT seq FROM consumer_fanout WHERE attempts IS NOT NULL "
                                                   "AND error IS NOT NULL AND consumer = "
                                                   "(SELECT id FROM consumers WHERE name = ?)", (name,))}  # fmt: skip
    for camera in {row["camera"] for row in rows}:
        mine = [row for row in rows if row["camera"] == camera]
        _equal(f"state and rows of {camera} agree", [row["count"] for row in mine], list(range(1, len(mine) + 1)))
        in_order = [row["seq"] for row in mine if row["seq"] not in parked]
        _equal(f"batches of {camera} came in order", in_order, sorted(in_order))
        _equal(f"times of {camera}", [row["at_ms"] for row in mine], [log[row["seq"]].at_ms for row in mine])


def _alarms(connection: sqlite3.Connection, log: dict[int, Logged]) -> None:
    rung = connection.execute(
        "SELECT json_extract(payload, '$.seq') AS seq, at_ms FROM events "
        "WHERE event_type = (SELECT id FROM names WHERE text = 'sim_alarm')"
    ).fetchall()
    wanted = sorted((b.seq, b.at_ms + DUE_AFTER_MS) for b in log.values() if b.task_type == "anpr")
    _equal("each alarm rings once, dated by when it was due", sorted(tuple(row) for row in rung), wanted)


def _seen(world: World, connection: sqlite3.Connection, log: dict[int, Logged]) -> None:
    """Each batch was seen once; the picture its event names is there, whole; none is missing without a reason."""
    rows = connection.execute(
        "SELECT json_extract(payload, '$.seq') AS seq, evidence FROM events "
        "WHERE event_type = (SELECT id FROM names WHERE text = 'sim_seen')"
    ).fetchall()
    _equal("each batch is seen once", sorted(row["seq"] for row in rows), sorted(log))
    kept = {
        row["path"]: row["captured_ms"] for row in connection.execute("SELECT path, captured_ms FROM media_artifacts")
    }
    for row in rows:
        name = row["evidence"]
        _true(f"the event of {row['seq']} has its picture", name is not None or world.pictures_lost)
        _true(f"{name} is kept", name is None or kept.get(name) == log[row["seq"]].at_ms)
    store = EvidenceStore(world.evidence)
    found = {name: _content(store, name) for name in kept}
    _equal("pictures are whole", found, {name: picture(captured_ms) for name, captured_ms in kept.items()})


def _content(store: EvidenceStore, name: str) -> bytes | None:
    path = store.path(name)
    return path.read_bytes() if path is not None and path.exists() else None


def _opened(world: World, connection: sqlite3.Connection, log: dict[int, Logged]) -> None:
    """Each action was asked for once and ended; it was carried out at most once, and where it is said, it was."""
    opened = Counter(world.opened)
    _equal("nothing is opened twice", {seq: n for seq, n in opened.items() if n > 1}, {})
    rows = connection.execute("SELECT CAST(key AS INTEGER) AS seq, state FROM actions ORDER BY seq").fetchall()
    _equal("each batch asked for one action", [row["seq"] for row in rows], sorted(log))
    _equal("every action ended", [row["seq"] for row in rows if row["state"] < DONE], [])
    _equal("done means done", [r["seq"] for r in rows if r["state"] == DONE and not opened[r["seq"]]], [])
    _equal("expired means not done", [r["seq"] for r in rows if r["state"] == EXPIRED and opened[r["seq"]]], [])


def _actor(world: World, connection: sqlite3.Connection, log: dict[int, Logged]) -> None:
    acted = Counter(world.acted)
    _equal("nothing is acted twice", {seq: n for seq, n in acted.items() if n > 1}, {})
    states = dict(
        connection.execute(
            "SELECT seq, state FROM consumer_fanout WHERE consumer = (SELECT id FROM consumers WHERE name = 'actor')"
        ).fetchall()
    )
    _equal("every batch has a claim that ended", sorted(states), sorted(log))
    _equal("no claim is left running", [seq for seq, state in states.items() if state == 0], [])
    _equal("done means done", [seq for seq, state in states.items() if state == 1 and seq not in acted], [])


def _finished(connection: sqlite3.Connection) -> None:
    left = connection.execute("SELECT seq FROM outbox WHERE fanned_out_ms IS NULL").fetchall()
    _equal("every batch is marked as finished", [row[0] for row in left], [])


def _equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"not true: {what}\n  found  {found}\n  wanted {wanted}")


def _true(what: str, holds: bool) -> None:
    _equal(what, holds, True)
