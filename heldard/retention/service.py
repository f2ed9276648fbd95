"""Keeps the box within its bounds: what is old goes, what has no room is shed cheapest first, and the disk keeps a
reserve. Everything happens in small steps that wait while the writer is busy.

What is shed, in this order: batches that all consumers have ended with, then batches some have not, then events.
The audit log goes by age alone. Plugins keep their own tables bounded.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from heldard.clock import Clock, rfc3339
from heldard.config import RetentionSettings
from heldard.errors import BusyError, DiskFullError
from heldard.frames.evidence import EvidenceStore
from heldard.ingest.sources import Sources
from heldard.plugin import EventDraft, Severity
from heldard.retention.disk import MIB, DiskGuard
from heldard.retention.model import DatabaseView, Figures
from heldard.retention.store import STEP_ROWS, RetentionStore

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ALL_TIME = 2**62

LOOK_S = 2.0
"""How often the disk is looked at."""
SIZE_S = 10.0
"""How often the database's size is looked at."""
DEEP_S = 6 * 3600.0
"""How often files without a row, and sources without a batch, are looked for: both read everything."""

FIRST_S = 60.0
"""Before the first sweep: a box without a battery learns the time from the network after it has started."""

PAUSE_S = 0.02
"""Between two steps: 500 rows each give at most 25,000 rows a second."""
CROWDED = 64
"""Units waiting for the writer from which on a step waits too."""
SHED_TO = 0.95
"""How full the database may be, of its cap, when shedding ends."""
SHED_STEP = 100
"""Batches shed between two looks at the size."""
VACUUM_FROM, VACUUM_TO = 0.20, 0.10
"""Free pages, of all, from which on they are given back, and until when. Free pages are reused, so some may stay."""
ORPHAN_AGE_MS = HOUR_MS
"""A file without a row is left alone for this long: its commit may be under way."""

Emit = Callable[[EventDraft], Awaitable[object]]

log: Any = structlog.get_logger("heldard.retention")


class Retention:
    """`run` for ever under the supervisor, or `sweep` once. `settings` may be replaced at any time."""

    def __init__(
        self, store: RetentionStore, evidence: EvidenceStore, sources: Sources, guard: DiskGuard, clock: Clock,
        emit: Emit, settings: RetentionSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._evidence = evidence
        self._sources = sources
        self._clock = clock
        self._emit = emit
        self._settings = settings
        self._cap_mb: float | None = None
        self._over_cap = False
        self._told_low = False
        self.guard = guard
        self.figures = Figures()

    @property
    def store(self) -> RetentionStore:
        return self._store

    async def load(self) -> None:
        """Take up the cap that was set in an earlier run."""
        self._cap_mb = await self._store.cap_mb()

    async def size(self) -> DatabaseView:
        return await self._store.size(self._cap_bytes)

    @property
    def cap_overridden(self) -> bool:
        """Whether a cap that was set while heldard ran stands before the configuration's."""
        return self._cap_mb is not None

    @property
    def _cap_bytes(self) -> int:
        return round((self._settings.max_db_mb if self._cap_mb is None else self._cap_mb) * MIB)

    async def set_cap(self, cap_mb: float | None) -> None:
        """Cap the database from now on, over restarts; None goes back to the configuration's cap."""
        await self._store.put_cap(cap_mb, self._clock.now_ms())
        self._cap_mb = cap_mb

    @property
    def settings(self) -> RetentionSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: RetentionSettings) -> None:
        self._settings = settings
        self.guard.settings = settings

    async def run(self) -> None:
        """The disk every 2 s, the size every 10 s, what is old every `interval_s`, what reads everything every 6 h."""
        start = self._clock.monotonic()
        first = start + min(self._settings.interval_s, FIRST_S)
        due = {"size": start, "sweep": first, "deep": first + FIRST_S}
        while True:
            await self.look()
            now = self._clock.monotonic()
            for name, work, every in (
                ("size", self.keep_bounds, SIZE_S),
                ("sweep", self.sweep, self._settings.interval_s),
                ("deep", self.sweep_deep, DEEP_S),
            ):
                if now >= due[name]:
                    await self._try(name, work)
                    due[name] = self._clock.monotonic() + every
            await self._clock.sleep(LOOK_S)

    async def _try(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """The store's trouble ends this round; the next one goes on where it stood."""
        try:
            await work()
        except BusyError as error:
            self.figures.failures += 1
            log.warning("retention_interrupted", work=name, error=error.message)

    # --- the disk ---------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Refuse ingest when the reserve is reached, win room back, and say so once."""
        changed = self.guard.refresh()
        await self._tell_disk()
        if changed and self.guard.low:
            await self._try("emergency", self.win_room)

    async def _tell_disk(self) -> None:
        """Say so once when the reserve is reached, and once when it is not any more, whoever notices first."""
        guard = self.guard
        if guard.low == self._told_low:
            return
        self._told_low = guard.low
        payload = {"free_bytes": guard.free, "reserve_bytes": guard.reserve, "total_bytes": guard.total}
        if guard.low:
            log.error("disk_reserve_reached", **payload)
            await self._say("disk_reserve_reached", "critical", payload)
        else:
            log.info("disk_recovered", **payload)
            await self._say("disk_recovered", "info", payload)

    async def _say(self, event_type: str, severity: Severity, payload: dict[str, Any]) -> None:
        try:
            await self._emit(EventDraft(event_type, self._clock.now_ms(), severity, None, payload))
        except BusyError as error:
            log.warning("event_lost", event_type=event_type, error=error.message)

    async def win_room(self) -> None:
        """Below the reserve: the oldest kept frames and finished batches go early, but nothing younger than
        `emergency_hours`; then free pages are given back."""
        await asyncio.to_thread(self._store.checkpoint)
        before_ms = self._clock.now_ms() - self._settings.emergency_hours * HOUR_MS
        shed = 0
        while self.guard.low:
            files = await self._drop_evidence_first(before_ms)
            batches = await self._drop_log(before_ms, most=1000)
            shed += batches
            await self._vacuum(down_to=0.0)
            await asyncio.to_thread(self._store.checkpoint)
            self.guard.refresh()
            if not files and not batches:
                break
        await self._tell_disk()
        await self._tell_shed("disk_reserve", {"batches": shed})

    # --- age --------------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """What is older than the settings say goes."""
        now, settings = self._clock.now_ms(), self._settings
        await self._drop_log(now - settings.detections_hours * HOUR_MS)
        old_ms = now - settings.events_days * DAY_MS
        for table in ("events", "actions", "audit_log", "erasures"):
            await self._drop_rows(table, old_ms)
        await self._drop_rows("sessions", now)
        while await self._drop_evidence(now - settings.evidence_days * DAY_MS, limit=100):
            pass
        await self._cap_evidence()
        await self._vacuum(down_to=VACUUM_TO, start_at=VACUUM_FROM)
        self.figures.sweeps += 1

    async def _drop_log(self, before_ms: int, *, most: int = ALL_TIME, unfinished: bool = False) -> int:
        """Delete batches received before a time, oldest first, at most about `most`; how many went.

        A batch dated after now (the clock was set back) neither goes nor ends the search.
        """
        now, after, gone = self._clock.now_ms(), 0, 0
        step: list[tuple[int, int]] = []
        while gone < most and (page := await self._store.log_page(after)):
            for row in page:
                if before_ms <= row["received_ms"] <= now:
                    return gone + await self._delete(step, unfinished=unfinished)
                after = row["seq"]
                if (row["finished"] or unfinished) and row["received_ms"] < before_ms:
                    step.append((row["seq"], row["detection_count"]))
                if sum(count + 1 for _, count in step) >= STEP_ROWS:
                    gone += await self._delete(step, unfinished=unfinished)
                    step = []
        return gone + await self._delete(step, unfinished=unfinished)

    async def _delete(self, step: Sequence[tuple[int, int]], *, unfinished: bool) -> int:
        if not step:
            return 0
        gone = await self._store.delete_batches(step, unfinished=unfinished)
        self.figures.rows["outbox"] += gone
        self.figures.rows["detections"] += sum(count for _, count in step)
        await self._yield()
        return gone

    async def _drop_rows(self, table: str, before_ms: int, *, most: int = ALL_TIME) -> int:
        gone = 0
        while gone < most and (rows := await self._store.delete_rows(f"delete_{table}", before_ms)):
            gone += rows
            self.figures.rows[table] += rows
            await self._yield()
        return gone

    async def _yield(self) -> None:
        """Leave the writer to others; longer while many wait for it."""
        await self._clock.sleep(PAUSE_S)
        for _ in range(50):
            if self._store.db.writer.waiting < CROWDED:
                return
            await self._clock.sleep(PAUSE_S)

    # --- kept frames ------------------------------------------------------------------------------------------------

    async def _drop_evidence(self, before_ms: int, limit: int) -> int:
        """Rows first, then files: a file without a row is found later, a row without a file never is."""
        oldest = await self._store.evidence_before(before_ms, limit)
        if not oldest:
            return 0
        names = [name for name, _ in oldest]
        await self._store.delete_evidence(names)
        self.figures.rows["media_artifacts"] += len(names)
        self.figures.evidence_files += await asyncio.to_thread(self._unlink, names)
        await self._yield()
        return len(names)

    async def _drop_evidence_first(self, before_ms: int) -> int:
        """As `_drop_evidence`; on a disk so full that not even rows can go, the files go first, the rows next time."""
        try:
            return await self._drop_evidence(before_ms, limit=100)
        except DiskFullError:
            oldest = await self._store.evidence_before(before_ms, 100)
            self.figures.evidence_files += await asyncio.to_thread(self._unlink, [name for name, _ in oldest])
            raise

    async def _cap_evidence(self) -> None:
        excess = await self._store.evidence_size() - self._settings.evidence_max_mb * MIB
        while excess > 0:
            oldest = await self._store.evidence_before(ALL_TIME, 100)
            enough = next((n for n in range(len(oldest)) if sum(size for _, size in oldest[:n]) >= excess), len(oldest))
            if not await self._drop_evidence(ALL_TIME, limit=enough):
                return
            excess -= sum(size for _, size in oldest[:enough])

    def _unlink(self, names: Sequence[str]) -> int:
        gone = 0
        for name in names:
            path = self._evidence.path(name)
            if path is None:
                log.warning("evidence_name_unknown", name=name)
                continue
            path.unlink(missing_ok=True)
            gone += 1
        return gone

    # --- what reads everything --------------------------------------------------------------------------------------

    async def sweep_deep(self) -> None:
        """Files that no row refers to, and sources that no batch refers to."""
        root = self._evidence.root
        for folder in await asyncio.to_thread(_folders, root):
            files = await asyncio.to_thread(_old_files, folder, self._clock.now_ms() - ORPHAN_AGE_MS)
            for first in range(0, len(files), STEP_ROWS):
                page = files[first : first + STEP_ROWS]
                orphans = await self._store.unknown_evidence(page)
                await asyncio.to_thread(_unlink_files, folder, orphans)
                self.figures.orphan_files += len(orphans)
                await self._yield()
        removed = await self._sources.prune(self._store.used_sources)
        self.figures.rows["sources"] += removed

    # --- size -------------------------------------------------------------------------------------------------------

    async def keep_bounds(self) -> None:
        if self.guard.low:
            await self.win_room()
        await self.shed_size()

    async def shed_size(self) -> None:
        """Over the cap: finished batches, then unfinished ones, then events that are older than `emergency_hours`."""
        cap = self._cap_bytes
        old_ms = self._clock.now_ms() - self._settings.emergency_hours * HOUR_MS
        used = (await self._store.size(cap)).used_bytes
        if used <= cap:
            self._over_cap = False
            return
        shed: dict[str, int] = {}
        tiers: tuple[tuple[str, Callable[[], Awaitable[int]]], ...] = (
            ("batches", lambda: self._drop_log(ALL_TIME, most=SHED_STEP)),
            ("unfinished_batches", lambda: self._drop_log(ALL_TIME, most=SHED_STEP, unfinished=True)),
            ("events", lambda: self._drop_rows("events", old_ms, most=2000)),
        )
        for name, drop in tiers:
            while used > cap * SHED_TO and (gone := await drop()):
                shed[name] = shed.get(name, 0) + gone
                used = (await self._store.size(cap)).used_bytes
        await self._tell_shed("max_db_mb", shed)
        if used > cap and not self._over_cap:
            self._over_cap = True
            log.error("database_over_cap", used_bytes=used, cap_bytes=cap, note="what is left is not shed: see plugins")

    async def _tell_shed(self, reason: str, shed: dict[str, int]) -> None:
        shed = {name: count for name, count in shed.items() if count}
        if not shed:
            return
        self.figures.shed.update(shed)
        oldest = await self._store.log_page(0)
        payload: dict[str, Any] = {"reason": reason, **shed}
        if oldest:
            payload["oldest_kept_at"] = rfc3339(oldest[0]["received_ms"])
        lost = "unfinished_batches" in shed or "events" in shed
        log.warning("retention_shed", **payload)
        await self._say("retention_shed", "critical" if lost else "warning", payload)

    async def _vacuum(self, *, down_to: float, start_at: float = 0.0) -> None:
        free, total = await self._store.free_pages()
        if free <= total * start_at:
            return
        while free > total * down_to and free:
            await self._store.vacuum()
            before, (free, total) = free, await self._store.free_pages()
            if free >= before:
                return
            self.figures.vacuumed_pages += before - free
            await self._yield()


def _folders(root: Path) -> list[Path]:
    return [Path(entry) for entry in os.scandir(root) if entry.is_dir()] if root.is_dir() else []


def _old_files(folder: Path, before_ms: int) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.is_file() and entry.stat().st_mtime * 1000 < before_ms]


def _unlink_files(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
