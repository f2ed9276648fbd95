"""Drive every installed consumer over the stored log again, on a copy, and compare what comes out with what was live.

The copy keeps cameras, tasks, the log and what people entered into the plugins' tables (zones, lists); claims, states,
events and the tables that plugins say are derived from the log start empty. Time stands where the log ends, so that
only batches move it. Nothing is done in the world: actions are noted and never run.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from heldard import keys
from heldard.app import build
from heldard.clock import SystemClock, rfc3339
from heldard.config import Settings
from heldard.errors import NotFoundError
from heldard.plugins import Plugin, discover

Fact = tuple[str, str | None, int]
"""(event type, camera, at_ms): what two runs are compared by."""

_FACTS = """
SELECT t.text, c.text, e.at_ms FROM events e JOIN names t ON t.id = e.event_type LEFT JOIN names c ON c.id = e.camera
ORDER BY e.at_ms, e.seq
"""
_START_EMPTY = (
    "DELETE FROM consumer_fanout",
    "DELETE FROM consumer_state",
    "DELETE FROM consumer_lanes",
    "DELETE FROM actions",
    "DELETE FROM events",
    "UPDATE consumers SET since_seq = 0, quarantined_ms = NULL",
    "UPDATE outbox SET fanned_out_ms = NULL",
)


class LogEndClock(SystemClock):
    """The time at which the log ends, for ever."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a replay, up to the end of the log; of the types of events that plugins raise."""

    batches: int
    replayed: list[Fact]
    only_live: list[Fact]
    only_replayed: list[Fact]

    @property
    def same(self) -> bool:
        return not (self.only_live or self.only_replayed)


async def replay(settings: Settings, say: Callable[[str], None]) -> Comparison:
    """Raises NotFoundError when there is no database to replay."""
    original = settings.data_dir / "heldard.db"
    if not original.exists():
        raise NotFoundError(f"there is no database at {original}: name the data directory with --data-dir")
    with tempfile.TemporaryDirectory(prefix="heldard-replay-") as folder:
        scratch = Path(folder)
        say(f"copying {original} ...")
        found = discover(settings.plugins.disabled)
        live, batches, end_ms = prepare(original, scratch / "heldard.db", found)
        if (settings.data_dir / "secret.key").exists():
            shutil.copy2(settings.data_dir / "secret.key", scratch / "secret.key")
        say(f"replaying {batches} batches ...")
        replayed = await _drive(_on(scratch, settings), found, end_ms)
    kinds = _raised_by_plugins(found)
    before = Counter(fact for fact in live if fact[0] in kinds and fact[2] <= end_ms)
    after = Counter(fact for fact in replayed if fact[0] in kinds and fact[2] <= end_ms)
    return Comparison(
        batches, sorted(after.elements(), key=_by_time), sorted((before - after).elements(), key=_by_time),
        sorted((after - before).elements(), key=_by_time),
    )  # fmt: skip


def prepare(original: Path, copy: Path, found: Sequence[Plugin]) -> tuple[list[Fact], int, int]:
    """Copy the database and empty what a replay makes anew: (the live events, how many batches, where the log ends)."""
    with closing(sqlite3.connect(f"file:{original}?mode=ro", uri=True)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)
        live: list[Fact] = to.execute(_FACTS).fetchall()
        there = {name for (name,) in to.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        derived = {table for plugin in found if plugin.info for table in plugin.info.derived} & there
        for statement in (*_START_EMPTY, *(f'DELETE FROM "{table}"' for table in sorted(derived))):  # noqa: S608
            to.execute(statement)
        to.commit()
        batches, end_ms = to.execute("SELECT count(*), coalesce(max(at_ms), 0) FROM outbox").fetchone()
        return live, batches, end_ms


def _on(scratch: Path, settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings,
        store=msgspec.structs.replace(settings.store, data_dir=str(scratch), durability="normal"),
        sampler=msgspec.structs.replace(settings.sampler, enabled=False),
    )


async def _drive(settings: Settings, found: Sequence[Plugin], end_ms: int) -> list[Fact]:
    """Everything the consumers raise when the log is driven through them once."""
    app = await build(settings, LogEndClock(end_ms), found)
    fanout, db = app[keys.FANOUT], app[keys.DB]
    try:
        await fanout.start()
        await fanout.drain()
    finally:
        await app[keys.SUPERVISOR].stop()
        await fanout.stop()
        rows = await db.fetch(_FACTS)
        await db.close()
    return [(row[0], row[1], row[2]) for row in rows]


def _raised_by_plugins(found: Sequence[Plugin]) -> set[str]:
    """Types of events that plugins raise from the log alone."""
    registered = (kind for plugin in found for kind in plugin.ask("heldard_register_event_types") or ())
    return {kind.event_type for kind in registered if not kind.of_action}


def _by_time(fact: Fact) -> tuple[int, str]:
    return fact[2], fact[0]


def describe(fact: Fact) -> str:
    kind, camera_id, at_ms = fact
    return f"{rfc3339(at_ms)}  {kind:<28} {camera_id or ''}".rstrip()
