"""What retention tells of itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from heldard.plugin import EventType

EVENT_TYPES = (
    EventType("disk_reserve_reached", "Too little room is left on the disk: ingest answers 507 until there is more."),
    EventType("disk_recovered", "There is room on the disk again: ingest goes on."),
    EventType("retention_shed", "Rows went before their time, because the database or the disk had no room for them."),
)


class DiskView(msgspec.Struct, frozen=True, kw_only=True):
    """The disk under the data directory, in bytes. low: the reserve is reached and ingest is refused."""

    total_bytes: int
    free_bytes: int
    reserve_bytes: int
    low: bool


class DatabaseView(msgspec.Struct, frozen=True, kw_only=True):
    """The database file, in bytes. used_bytes: pages that hold rows; max_bytes: beyond, the cheapest rows are shed."""

    db_bytes: int
    used_bytes: int
    max_bytes: int
    wal_bytes: int


@dataclass(slots=True)
class Figures:
    """What retention did since the start; only ever rises. rows and shed: by table."""

    sweeps: int = 0
    failures: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    shed: Counter[str] = field(default_factory=Counter)
    evidence_files: int = 0
    orphan_files: int = 0
    vacuumed_pages: int = 0
    refused: int = 0
