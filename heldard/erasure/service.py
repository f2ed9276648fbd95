"""Erases what is stored about a subject: a durable errand that goes through the store in small steps.

The order matters. First the plugin says what it knows (which texts, which pictures) and lets go of what it has under
way. Then the log, since everything else comes of it. The plugin's tables come after it: they say what to look for, also
when a crash made it begin again. Events come after those, and what waits to be sent after the events. Each page is
rewritten, counted and left behind in one commit; a frame's file goes before the row that names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from heldard import ids
from heldard.clock import Clock
from heldard.erasure.model import DONE, OWN, PLACES, ErasureView, Job, Place
from heldard.erasure.store import PAGE, ErasureStore
from heldard.errors import ConflictError, DiskFullError, NotFoundError, StoreError
from heldard.events.service import Events
from heldard.fanout.commit import Committed
from heldard.frames.evidence import EvidenceStore
from heldard.plugin import Eraser, EventDraft, Traces, Tx
from heldard.supervisor import Supervisor

IDLE_S = 60.0
"""How often one that could not go on is tried again."""

CROWDED = 64
"""Units waiting for the writer from which on a step waits too."""
PAUSE_S = 0.02

log: Any = structlog.get_logger("heldard.erasure")


class Owner(Protocol):
    """The plugin's way into its tables, inside the kernel's unit."""

    def inside(
        self, connection: sqlite3.Connection, work: Callable[[Tx], dict[str, int]]
    ) -> tuple[dict[str, int], Committed]: ...


@dataclass(frozen=True, slots=True)
class _Known:
    eraser: Eraser
    owner: Owner


class Erasures:
    """`ask` for one; `run` for ever under the supervisor does them, one after the other."""

    def __init__(
        self, store: ErasureStore, evidence: EvidenceStore, events: Events, clock: Clock, supervisor: Supervisor
    ) -> None:
        self._store = store
        self._evidence = evidence
        self._events = events
        self._clock = clock
        self._supervisor = supervisor
        self._known: dict[str, _Known] = {}
        self._due = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False

    def register(self, eraser: Eraser, owner: Owner) -> None:
        """Raises ConflictError when the kind has an eraser already."""
        if eraser.kind in self._known:
            raise ConflictError(f"two erasers of kind {eraser.kind!r}")
        self._known[eraser.kind] = _Known(eraser, owner)

    def unregister(self, erasers: Iterable[Eraser]) -> None:
        """Take them back, before anything was erased."""
        for eraser in erasers:
            if eraser.kind in self._known and self._known[eraser.kind].eraser is eraser:
                del self._known[eraser.kind]

    def start(self) -> None:
        self._running = True
        self._supervisor.start("erasure", self._run)

    async def ask(self, kind: str, subject: str, options: Mapping[str, Any], by: str, wait_s: float) -> ErasureView:
        """Have it erased. Returns when it is done, waits, or after `wait_s`, and goes on all the same."""
        if kind not in self._known:
            raise NotFoundError(f"no plugin erases {kind!r}", code="eraser_not_found")
        now = self._clock.now_ms()
        erasure_id = await self._store.add(kind, subject, dict(options), by, now, ids.new("era"))
        self._due.set()
        try:
            async with asyncio.timeout(wait_s):
                while (view := await self.get(erasure_id)).state == "running" and view.error is None and self._running:
                    await self._ended.wait()
        except TimeoutError:
            view = await self.get(erasure_id)
        return view

    async def get(self, erasure_id: str) -> ErasureView:
        """Raises NotFoundError."""
        view = await self._store.view(erasure_id)
        if view is None:
            raise NotFoundError(f"no erasure {erasure_id!r}: see GET /api/v1/erasures", code="erasure_not_found")
        return view

    async def newest(self, limit: int) -> list[ErasureView]:
        return await self._store.newest(limit)

    # --- doing it ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._running = True
        try:
            while True:
                self._due.clear()
                for job in await self._store.under_way():
                    await self._try(job)
                await self._idle()
        finally:  # the daemon stops: who waits for an end is not kept
            self._running = False
            self._ended.set()

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                await self._due.wait()
        except TimeoutError:
            return

    async def _try(self, job: Job) -> None:
        """What goes wrong with one is noted with it and tried again later; it keeps no other waiting."""
        try:
            await self._erase(job)
        except (StoreError, DiskFullError) as error:
            log.warning("erasure_interrupted", erasure=job.id, kind=job.kind, error=error.message)
        except Exception as error:
            log.warning("erasure_waits", erasure=job.id, kind=job.kind, error=str(error), exc_info=True)
            await self._store.failed(job, f"{type(error).__name__}: {error}")
        finally:
            self._ended.set()
            self._ended = asyncio.Event()

    async def _erase(self, job: Job) -> None:
        known = self._known.get(job.kind)
        if known is None:
            raise NotFoundError(f"no plugin erases {job.kind!r} now: it goes on when one does", code="eraser_not_found")
        await self._store.overwrite(deleted=True)
        try:
            traces = await known.eraser.trace(job.subject)
            job = await self._frames(job, traces.frames)
            for place, then in zip(PLACES, [*(place.name for place in PLACES[1:]), DONE], strict=True):
                if job.place == place.name:
                    step = self._own_tables if place.name == OWN else self._through
                    job = await step(job, place, then, known, traces)
        finally:
            with contextlib.suppress(StoreError, DiskFullError):  # or it hides that the daemon stops
                await self._store.overwrite(deleted=False)
        await self._end(job)
        await asyncio.to_thread(self._store.checkpoint)

    async def _frames(self, job: Job, names: Sequence[str]) -> Job:
        for first in range(0, len(names), PAGE):
            page = names[first : first + PAGE]
            await asyncio.to_thread(self._unlink, page)
            job = await self._store.drop_frames(job, page)
        return job

    async def _through(self, job: Job, place: Place, then: str, _known: _Known, traces: Traces) -> Job:
        """Page by page through one of the kernel's tables."""
        while job.place == place.name:
            rows = await self._store.page(place, job.after)
            found = await asyncio.to_thread(self._store.search, place, rows, traces.names)
            await asyncio.to_thread(self._unlink, found.frames)
            after = (then, 0) if found.after is None else (place.name, found.after)
            job = await self._store.redact(job, place, found, after)
            await self._yield()
        return job

    async def _own_tables(self, job: Job, _place: Place, then: str, known: _Known, _traces: Traces) -> Job:
        """Until nothing is left in the plugin's tables. It lets go again first: of what came out of the log while that
        was gone through."""
        await known.eraser.trace(job.subject)
        forget = functools.partial(known.eraser.forget, subject=job.subject, options=job.options)
        more = True
        while more:
            job, more = await self._store.own(job, lambda connection: known.owner.inside(connection, forget)[0])
            await self._yield()
        return await self._store.go_on(job, then, 0)

    async def _end(self, job: Job) -> None:
        now = self._clock.now_ms()
        draft = EventDraft(
            "data_erased", now, "info", None, {"erasure_id": job.id, "kind": job.kind, "counts": dict(job.counts)}
        )

        def tell(connection: sqlite3.Connection) -> int:
            return self._events.insert(connection, draft)

        await self._store.end(job, now, tell, lambda seq: self._events.announce([(seq, draft)]))
        log.info("data_erased", erasure=job.id, kind=job.kind, **job.counts)

    def _unlink(self, names: Sequence[str]) -> None:
        for name in names:
            path = self._evidence.path(name)
            if path is not None:
                path.unlink(missing_ok=True)

    async def _yield(self) -> None:
        """Leave the writer to others while many wait for it."""
        for _ in range(50):
            if self._store.db.writer.waiting < CROWDED:
                return
            await self._clock.sleep(PAUSE_S)
