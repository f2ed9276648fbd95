"""What must be true at the end of a day."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

from heldard.db.database import CACHE_KIB, WAL_PAGES
from tests.day.day import Day

CATCH_UP_S = 600
"""Virtual time in which the last of everything must have reached everybody."""

EXPECTED_ANSWERS = {
    "frame 0": "a long poll was open when the daemon ended",
    "frame 304": "a long poll's time ran out as the frame came",
    "frame 404 not_sampled": "the task was switched off or its camera deleted",
    "frame 503 frame_stale": "the camera gave nothing for a while",
    "lease 0": "a lease was asked for when the daemon ended",
    "post 507 disk_reserve": "the disk's reserve was reached",
    "post 403 task_disabled": "the task was switched off under the worker's hands",
    "post 401 lease_missing": "the task was deleted, or its lease lapsed, under the worker's hands",
    "post 401 frame_ticket_invalid": "the batch was tried for longer than its ticket holds",
    "post 404 camera_not_found": "the camera was deleted under the worker's hands",
}

GROWING = frozenset({
    "events", "audit_log", "actions", "webhook_deliveries", "zone_events", "zone_occupancy_log", "zone_refusals",
    "entry_events", "anpr_visits", "anpr_reads", "anpr_decisions", "anpr_openings", "anpr_stays",
    "media_artifacts", "names",
})  # fmt: skip
"""Tables that are kept for days by age, so that they grow for as long; and words, which events bring."""

WINDOW = frozenset({"outbox", "detections", "consumer_fanout"})
"""Tables that hold the last hour, which the ledger knows to the row."""

GROWTH = 1.10
"""Of what the daemon holds itself: allocators breathe, leaks do not stop."""
SLACK = {"objects": 5000, "files": 8, "threads": 3, "tasks": 10, "sleepers": 8}
OWN_SLACK = 6 * 2**20
ROWS_SLACK = 20
MOST_WAL = 1.15 * WAL_PAGES * 4096
"""The log is written back once it has `WAL_PAGES`, and begun anew; what readers hold up is a little more."""
MOST_EVIDENCE = 3.5 * 2**20
"""`retention.evidence_max_mb`, and what comes in between two sweeps in the rush hour."""
MOST_SQLITE = CACHE_KIB * 1024 + 16 * 2**20
"""The writer's page cache and those of the readers: what is in them is not lost, and not more than this."""


async def judge(day: Day) -> None:
    """Raises AssertionError for anything that is not as it must be."""
    await _catch_up(day)
    await day.verify()
    assert day.ledger.verified > 0
    assert day.ledger.told > 0
    await _consumers(day)
    await asyncio.to_thread(_events, day)
    await _zones(day)
    _answers(day)
    for worker in list(day.workers):
        await worker.leave()
        day.remove_worker(worker)
    await day.viewer.hang_up()
    await day.daemon.stop()
    _complaints(day)
    await asyncio.to_thread(_database, day)


async def _catch_up(day: Day) -> None:
    """Until the target and the viewer have everything."""
    for _ in range(CATCH_UP_S):
        await day.pass_time(1)
        last, of_camera = await asyncio.to_thread(_last_events, day)
        if day.target.got[-1:] == [last] and day.viewer.heard[-1:] == [of_camera]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{day.target.got[-1:]} of {last} was delivered, {day.viewer.heard[-1:]} of {of_camera} heard")


def _read(day: Day, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{day.database}?mode=ro", uri=True)) as connection:
        return connection.execute(sql, values).fetchall()


def _last_events(day: Day) -> tuple[int, int]:
    mine = "SELECT max(seq) FROM events WHERE camera = (SELECT id FROM names WHERE text = ?)"
    return _read(day, "SELECT max(seq) FROM events")[0][0], _read(day, mine, day.viewer.camera)[0][0]


async def _consumers(day: Day) -> None:
    for consumer in await day.admin.ask("GET", "/api/v1/consumers"):
        told = {name: consumer[name] for name in ("lag", "parked", "failed", "last_error")}
        assert told == {"lag": 0, "parked": 0, "failed": 0, "last_error": None}, consumer


def _events(day: Day) -> None:
    """The viewer heard each event of its camera once, in order; the target each event, and none out of order."""
    everything = [seq for (seq,) in _read(day, "SELECT seq FROM events ORDER BY seq")]
    sql = "SELECT seq FROM events WHERE camera = (SELECT id FROM names WHERE text = ?) AND seq >= ? ORDER BY seq"
    mine = [seq for (seq,) in _read(day, sql, day.viewer.camera, day.viewer.heard[0])]
    assert day.viewer.heard == mine
    first_time = list(dict.fromkeys(day.target.got))
    assert first_time == [seq for seq in everything if seq >= day.target.got[0]]
    again = len(day.target.got) - len(first_time)
    assert again <= 2 * day.daemon.starts, f"{again} were delivered twice: only what a kill cuts short may be"
    own = _read(day, "SELECT count(*) FROM events e JOIN names n ON n.id = e.event_type WHERE n.text = 'bag_left'")
    unsure = len(day.ledger.unanswered) + day.ledger.abandoned
    assert day.ledger.own_events <= own[0][0] <= day.ledger.own_events + unsure


async def _zones(day: Day) -> None:
    """Who came in went out, or is inside now; nobody twice."""
    stays: set[str] = set()
    for camera in day.zones:
        answer = await day.admin.ask("GET", f"/api/v1/cameras/{camera}/zones/stays")
        stays |= {stay["visit"] for stay in answer["stays"] if stay["visit"] is not None}
    visits: dict[str, Counter[str]] = {}
    sql = "SELECT camera_id || ' ' || zone_id, visit, event_type FROM zone_events ORDER BY id"
    for zone, visit, event_type in await asyncio.to_thread(_read, day, sql):
        visits.setdefault(f"{zone} {visit}", Counter())[event_type] += 1
    entered = sum(counts["enter"] for counts in visits.values())
    left = sum(counts["exit"] for counts in visits.values())
    open_visits = {visit.split(" ", 2)[2] for visit, counts in visits.items() if not counts["exit"]}
    assert all(counts["enter"] == 1 and counts["exit"] <= 1 for counts in visits.values())
    assert open_visits == stays, (open_visits, stays)
    assert entered == left + len(stays)
    assert entered > 0


def _answers(day: Day) -> None:
    """Nobody was told anything that a named incident does not explain."""
    odd = day.odd + sum((worker.odd for worker in day.workers), Counter())
    assert odd.keys() <= EXPECTED_ANSWERS.keys(), odd
    assert day.scraper.faults.keys() <= {"507", "503"}, day.scraper.faults
    assert day.scraper.scrapes > 0
    assert day.viewer.pictures > 0


def _complaints(day: Day) -> None:
    """The log holds what the incidents brought, each as often as it happened, and nothing else."""
    found = day.daemon.complaints()
    told = Counter(line["event"] for line in found if line["event"] not in day.possible)
    assert told == day.named, found


def _database(day: Day) -> None:
    assert _read(day, "PRAGMA integrity_check") == [("ok",)]
    assert _read(day, "PRAGMA foreign_key_check") == []


def judge_flatness(day: Day, from_hour: float) -> dict[str, Any]:
    """Nothing but what is kept for days has grown since `from_hour`; first and last figures, for the record."""
    same = [sample for sample in day.samples if sample["start"] == day.daemon.starts and sample["hour"] >= from_hour]
    first, last = same[0], same[-1]
    assert last["hour"] > first["hour"]
    kinds = {
        kind: (first["kinds"].get(kind, 0), count)
        for kind, count in last["kinds"].items()
        if count > 1.2 * first["kinds"].get(kind, 0) + 100
    }
    for name, slack in SLACK.items():
        assert last[name] <= first[name] * GROWTH + slack, f"{name}: {[sample[name] for sample in same]}; {kinds}"
    # What SQLite once held stays with the allocator: its pages come back into use, the process does not shrink.
    cached = max(sample["sqlite"] for sample in same)
    own = first["resident"] - first["sqlite"], last["resident"] - cached
    assert own[1] <= own[0] * GROWTH + OWN_SLACK, f"{own}: {[(s['resident'], s['sqlite']) for s in same]}; {kinds}"
    assert cached <= MOST_SQLITE, [sample["sqlite"] for sample in same]
    assert max(sample["wal"] for sample in same) <= MOST_WAL, [sample["wal"] for sample in same]
    assert max(sample["evidence"] for sample in same) <= MOST_EVIDENCE, [sample["evidence"] for sample in same]
    for table, rows in last["rows"].items():
        if table not in GROWING | WINDOW:
            assert rows <= first["rows"].get(table, 0) + ROWS_SLACK, f"{table}: {[s['rows'].get(table) for s in same]}"
    shown = (*SLACK, "hour", "resident", "sqlite", "wal", "database", "evidence", "rows")
    return {"own": own, **{name: (first[name], last[name]) for name in shown}}
