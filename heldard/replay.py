"""Drive every installed consumer over the stored log again, on a copy, and compare what comes out with what was live.

The copy keeps cameras, tasks, the log and the plugins' own tables (zones, lists); claims, states and events start
empty. Nothing is done in the world: actions are noted and never run.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from heldard import keys
from heldard.app import build
from heldard.clock import rfc3339
from heldard.config import Settings
from heldard.errors import NotFoundError

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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of a replay. `live` and `replayed` are of the event types that consumers raise."""

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
        live, batches = prepare(original, scratch / "heldard.db")
        for name in ("secret.key",):
            if (settings.data_dir / name).exists():
                shutil.copy2(settings.data_dir / name, scratch / name)
        say(f"replaying {batches} batches ...")
        replayed = await _drive(_on(scratch, settings))
    kinds = {kind for kind, _, _ in replayed} | _raised_by_consumers(live)
    before, after = Counter(fact for fact in live if fact[0] in kinds), Counter(replayed)
    return Comparison(batches, replayed, sorted((before - after).elements(), key=_by_time),
                      sorted((after - before).elements(), key=_by_time))  # fmt: skip


def prepare(original: Path, copy: Path) -> tuple[list[Fact], int]:
    """Copy the database and empty what a replay makes anew: (the live events, how many batches)."""
    with closing(sqlite3.connect(f"file:{original}?mode=ro", uri=True)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)
        live: list[Fact] = to.execute(_FACTS).fetchall()
        for statement in _START_EMPTY:
            to.execute(statement)
        to.commit()
        return live, to.execute("SELECT count(*) FROM outbox").fetchone()[0]


def _on(scratch: Path, settings: Settings) -> Settings:
    return msgspec.structs.replace(
        settings,
        store=msgspec.structs.replace(settings.store, data_dir=str(scratch), durability="normal"),
        sampler=msgspec.structs.replace(settings.sampler, enabled=False),
    )


async def _drive(settings: Settings) -> list[Fact]:
    """Everything the consumers raise when the log is driven through them once."""
    app = await build(settings)
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


def _raised_by_consumers(live: list[Fact]) -> set[str]:
    """Types in the live log that only consumers raise, so that one that vanished altogether is noticed."""
    prefixes = ("zone_", "entry_")
    return {kind for kind, _, _ in live if kind.startswith(prefixes)}


def _by_time(fact: Fact) -> tuple[int, str]:
    return fact[2], fact[0]


def describe(fact: Fact) -> str:
    kind, camera_id, at_ms = fact
    return f"{rfc3339(at_ms)}  {kind:<28} {camera_id or ''}".rstrip()
