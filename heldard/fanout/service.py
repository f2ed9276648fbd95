"""Drives every consumer from the log: lanes, trusted time, quarantine, re-drive, and the mark that ends a batch."""

from __future__ import annotations

import asyncio
import operator
import re
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from heldard.clock import Clock, rfc3339
from heldard.config import FanoutSettings
from heldard.db.database import Database
from heldard.db.guard import SqlGuard
from heldard.db.names import Names
from heldard.db.witness import in_presence_of, present_witness
from heldard.errors import BusyError, ConflictError, NotFoundError
from heldard.events.service import Events
from heldard.fanout.commit import SQL, AlreadyClaimedError, Committed
from heldard.fanout.lane import Lane
from heldard.fanout.member import Member, describe
from heldard.fanout.model import CLAIM_STATES, ConsumerStatus, ParkedBatch, Redriven
from heldard.fanout.watchdog import Watchdog
from heldard.frames.evidence import EvidenceStore
from heldard.ingest.log import DetectionLog
from heldard.ingest.sources import Sources
from heldard.metrics import Meter
from heldard.plugin import Batch, Consumer, Effects, EventDraft, FrameSource
from heldard.supervisor import Supervisor

T = TypeVar("T")

TICK_S = 1.0
STANDSTILL_MS = 60_000
"""How long a camera's time may wait for a clock that was set back."""

MARK_S = 0.1
SWEEP_S = 15.0
SWEEP_PAUSE_S = 0.5
SWEEP_PAGE = 500
REDRIVE_LIMIT = 1000

_CONSUMER_NAME = re.compile(r"[a-z0-9_]{1,64}")

log: Any = structlog.get_logger("heldard.fanout")


class Pending:
    """A batch that is under way to its consumers. remaining: lanes that hold it in memory. by_log: others read it."""

    __slots__ = ("_fanout", "_on_end", "batch", "by_log", "remaining")

    def __init__(self, fanout: Fanout, batch: Batch, on_end: Callable[[], None] | None) -> None:
        self._fanout = fanout
        self._on_end = on_end
        self.batch = batch
        self.remaining = 0
        self.by_log = False

    def ended(self) -> None:
        """One of the lanes that hold it is done with it."""
        self.remaining -= 1
        if self.remaining > 0:
            return
        if self.by_log:
            self._fanout.recheck([self.batch])
            return
        self._fanout.finished(self.batch.seq)
        if self._on_end is not None:
            self._on_end()


class Fanout:
    """All consumers. `offer` is called in log order, after each commit, on the event loop."""

    def __init__(
        self, db: Database, names: Names, sources: Sources, events: Events, detection_log: DetectionLog,
        frames: FrameSource, evidence: EvidenceStore, supervisor: Supervisor, clock: Clock, settings: FanoutSettings,
    ) -> None:  # fmt: skip
        self.db = db
        self.names = names
        self.events = events
        self.log = detection_log
        self.frames = frames
        self.evidence = evidence
        self.clock = clock
        self.settings = settings
        self.decide_severity: Callable[[EventDraft], EventDraft] = lambda draft: draft
        self.on_actions: Callable[[], None] = lambda: None
        self.on_batch: Callable[[Batch], None] | None = None
        self.evidence_lost = 0
        self.meter = Meter()
        self._sources = sources
        self._supervisor = supervisor
        self._members: dict[str, Member] = {}
        self._interest: dict[str, tuple[Member, ...]] = {}
        self._at: dict[str, int] = {}
        self._in_flight: dict[str, int] = {}
        self._finished: list[int] = []
        self._recheck: dict[int, tuple[int, ...]] = {}
        self._forgotten: set[str] = set()
        self._sweep_from = (0, 0)
        self._mark_due = asyncio.Event()
        self.watchdog = Watchdog(settings.blocked_ms / 1000, settings.blocked_limit_ms / 1000)

    def once(self, name: str, run: Awaitable[Any]) -> None:
        """Run something to its end, beside everything else."""
        self._supervisor.once(name, run)

    def reconfigure(self, settings: FanoutSettings) -> None:
        """Take up settings that can change while the daemon runs; the drivers keep their time limits."""
        self.settings = settings
        for member in self._members.values():
            member.lane_limit = settings.lane_limit
            member.attempts = settings.attempts

    # --- start and stop ---------------------------------------------------------------------------------------------

    async def register(self, plugin: str, consumer: Consumer, guard: SqlGuard) -> None:
        """Add a consumer. Raises ConflictError when its name is taken."""
        check_consumer(consumer)
        if consumer.name in self._members:
            owner = self._members[consumer.name].plugin
            raise ConflictError(f"consumer {consumer.name!r} is one of plugin {owner!r} already: names are unique")
        await self.db.write(lambda connection: connection.execute(SQL["register_consumer"], {"name": consumer.name}))
        row = await self.db.fetch_one(SQL["consumer_by_name"], {"name": consumer.name})
        assert row is not None
        member = Member(self, plugin, consumer, guard, row)
        member.driver.check()
        self._members[consumer.name] = member
        self._interest.clear()

    def unregister(self, plugin: str) -> None:
        """Take a plugin's consumers back, before anything was driven. Their places in the log are kept."""
        self._members = {name: member for name, member in self._members.items() if member.plugin != plugin}
        self._interest.clear()

    async def start(self) -> None:
        """End what a crash left running, take up every lane that has state or work, begin ticking."""
        self.watchdog.start()
        await self.log.open()
        now = self.clock.now_ms()
        await self.db.write(lambda connection: connection.execute(SQL["interrupt_claims"], {"now": now}))
        for sql in (SQL["lane_times"], SQL["newest_times"]):
            for row in await self.db.fetch(sql):
                camera_id = self.names.text(row["camera"])
                self._at[camera_id] = max(self._at.get(camera_id, 0), row["at_ms"] or 0)
        for member in self._members.values():
            await self.wake(member)
        self._supervisor.start("fanout.tick", self._tick)
        self._supervisor.start("fanout.mark", self._mark)
        self._supervisor.start("fanout.sweep", self._sweep_often)

    async def wake(self, member: Member) -> None:
        """Take up the lanes of a consumer that have state or unfinished batches."""
        for row in await self.db.fetch(SQL["lanes_with_state"], {"consumer": member.id}):
            self._lane(member, self.names.text(row["camera"]))
        for row in await self.db.fetch(SQL["unfinished_cameras"]):
            self._lane(member, self.names.text(row["camera"])).fall_behind()
        for lane in member.lanes.values():
            lane.wake()

    async def drain(self) -> None:
        """Wait until every lane that is not held has nothing to do and every finished batch is marked."""
        while not all(lane.idle for member in self._members.values() if not member.held
                      for lane in member.lanes.values()):  # fmt: skip
            await self.clock.sleep(0.01)
        await self._write_marks()

    async def stop(self) -> None:
        """Write the marks that are due, end what runs beside the loop. Lanes end with the supervisor."""
        await self._write_marks()
        for member in self._members.values():
            await member.driver.close()
        self.watchdog.stop()

    # --- trusted time -----------------------------------------------------------------------------------------------

    def begin(self, camera_id: str, wanted_ms: int) -> int:
        """The trusted time of a batch that is about to be written; never earlier than any before it on this camera.

        Ticks of the camera wait until `end`.
        """
        at_ms = max(wanted_ms, self._at.get(camera_id, 0))
        self._at[camera_id] = at_ms
        self._in_flight[camera_id] = self._in_flight.get(camera_id, 0) + 1
        if self._forgotten:
            self._forgotten.discard(camera_id)
        return at_ms

    def end(self, camera_id: str) -> None:
        self._in_flight[camera_id] -= 1

    # --- batches ----------------------------------------------------------------------------------------------------

    def interested(self, task_type: str) -> tuple[Member, ...]:
        """The consumers that want a task type."""
        found = self._interest.get(task_type)
        if found is None:
            found = tuple(member for member in self._members.values() if member.consumer.wants(task_type))
            if len(self._interest) < 1024:
                self._interest[task_type] = found
        return found

    def foresee(self, batch: Batch) -> None:
        """A batch's unit of work was queued just now: lanes that can, consume it at once. `offer` follows its commit.

        Not while an older one of the camera is on its way, for that comes first.
        """
        if self._in_flight[batch.camera_id] > 1 or batch.camera_id in self._forgotten:
            return
        for member in self.interested(batch.task_type):
            lane = member.lanes.get(batch.camera_id)
            if lane is not None and member.looks_ahead:
                lane.take_ahead(batch)

    def offer(self, batch: Batch, on_end: Callable[[], None] | None = None) -> bool:
        """Hand a committed batch to its lanes. True when all of them take it now, and then `on_end` is called when the
        last has ended; False when a lane is held or behind, for then it can take long."""
        if self.on_batch is not None:
            self.on_batch(batch)
        members = self.interested(batch.task_type)
        if batch.camera_id in self._forgotten:
            members = ()
            self.finished(batch.seq)
        pending = Pending(self, batch, on_end)
        prompt = True
        for member in members:
            if self._lane(member, batch.camera_id).offer(batch, pending):
                pending.remaining += 1
            else:
                pending.by_log = True
            prompt = prompt and not member.held
        if not members and on_end is not None:
            on_end()
        return prompt and not pending.by_log

    def _lane(self, member: Member, camera_id: str) -> Lane:
        lane = member.lanes.get(camera_id)
        if lane is None:
            lane = Lane(member, camera_id)
            member.lanes[camera_id] = lane
            self._supervisor.start(f"lane.{member.consumer.name}.{camera_id}", lane.run)
            lane.wake()
        return lane

    def told(self, committed: Committed) -> None:
        self.events.announce(committed.events)
        if committed.actions:
            self.on_actions()

    # --- the mark that ends a batch ---------------------------------------------------------------------------------

    def finished(self, seq: int) -> None:
        self._finished.append(seq)
        self._mark_due.set()

    def recheck(self, batches: Sequence[Batch]) -> None:
        """These were dealt with by a lane that reads the log: mark those whose other consumers have ended too."""
        for batch in batches:
            self._recheck[batch.seq] = tuple(member.id for member in self.interested(batch.task_type))
        if batches:
            self._mark_due.set()

    async def _mark(self) -> None:
        while True:
            await self._mark_due.wait()
            await self.clock.sleep(MARK_S)
            self._mark_due.clear()
            await self._write_marks()

    async def _write_marks(self) -> None:
        finished, self._finished = self._finished, []
        recheck, self._recheck = self._recheck, {}
        if not finished and not recheck:
            return
        now = self.clock.now_ms()

        def unit(connection: sqlite3.Connection) -> None:
            complete = finished + [seq for seq, needed in recheck.items() if _all_ended(connection, seq, needed)]
            connection.execute(SQL["finish"], {"now": now, "seqs": msgspec.json.encode(complete).decode()})

        try:
            await self.db.write(unit, hurry=False)
        except BusyError:
            self._finished += finished
            self._recheck.update(recheck)
            self._mark_due.set()

    async def _sweep_often(self) -> None:
        """Marks lost to a crash are found again, a page at a time: with a consumer held for days, there are many
        batches that are rightly unfinished."""
        while True:
            await self._sweep()
            await self.clock.sleep(SWEEP_S if self._sweep_from == (0, 0) else SWEEP_PAUSE_S)

    async def _sweep(self) -> None:
        """Look at the next page of unfinished batches and mark those whose claims have all ended."""
        camera, after = self._sweep_from
        place = {"camera": camera, "after": after, "limit": SWEEP_PAGE}
        rows = await self.db.fetch(SQL["unfinished_page"], place)
        sources = await self._sources.of({row["source"] for row in rows})
        for row in rows:
            members = self.interested(sources[row["source"]].task_type)
            self._recheck[row["seq"]] = tuple(member.id for member in members)
        await self._write_marks()
        self._sweep_from = (rows[-1]["camera"], rows[-1]["seq"]) if len(rows) == SWEEP_PAGE else (0, 0)

    # --- time without traffic ---------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(TICK_S)
            self.tick(self.clock.now_ms() - self.settings.tick_grace_ms)

    def tick(self, now_ms: int) -> None:
        """Tell idle lanes that time has come to `now_ms`; a camera with a batch under way is told later.

        A lane that is behind keeps no other from its ticks: what it has yet to read is older, and its own.
        """
        for camera_id in {camera for member in self._members.values() for camera in member.lanes}:
            at_ms = self._next_tick(camera_id, now_ms)
            if self._in_flight.get(camera_id) or self._at.get(camera_id, 0) >= at_ms:
                continue
            self._at[camera_id] = at_ms
            for member in self._members.values():
                if not member.held and (lane := member.lanes.get(camera_id)) is not None:
                    lane.tick(at_ms)

    def _next_tick(self, camera_id: str, now_ms: int) -> int:
        """Now; or, where the clock was set back by so much that a camera's time would stand still for long, a tick
        after that time, so that whoever stays, leaves or waits is still seen to."""
        at_ms = self._at.get(camera_id, 0)
        return at_ms + int(TICK_S * 1000) if at_ms - now_ms > STANDSTILL_MS else now_ms

    # --- for plugins and operators ----------------------------------------------------------------------------------

    async def in_lane(self, consumer: str, camera_id: str, work: Callable[[Effects], T]) -> T:
        """Run `work` between two batches and commit its effects."""
        member = self.member(consumer)
        if member.held:
            raise member.held_error()
        await self.names.intern([camera_id])
        at_ms = self.begin(camera_id, self.clock.now_ms() - self.settings.tick_grace_ms)

        async def fill(effects: Effects) -> T:
            return work(effects)

        witness = present_witness()

        async def errand(lane: Lane) -> T:
            with in_presence_of(witness):
                result: T = await lane.effects_of(fill, at_ms)
            return result

        try:
            lane = self._lane(member, camera_id)
            result: T = await lane.ask(errand)
            if member.consumer.runs_in == "process":
                lane.restore_next()
            return result
        finally:
            self.end(camera_id)

    def member(self, name: str) -> Member:
        """Raises NotFoundError."""
        if name not in self._members:
            raise NotFoundError(f"no consumer {name!r}: see GET /api/v1/consumers", code="consumer_not_found")
        return self._members[name]

    def members(self) -> list[Member]:
        return [self._members[name] for name in sorted(self._members)]

    async def status(self, member: Member) -> ConsumerStatus:
        lag = await self.db.fetch_one(SQL["lag"], {"consumer": member.id, "since": member.since_seq,
                                                   "task_types": await self._wanted_types(member)})  # fmt: skip
        parked = await self.db.fetch_one(SQL["count_parked"], {"consumer": member.id})
        assert lag is not None
        assert parked is not None
        return ConsumerStatus(
            name=member.consumer.name,
            plugin=member.plugin,
            delivery=member.consumer.delivery,
            runs_in=member.consumer.runs_in,
            state="quarantined" if member.held else "active",
            lag=lag["lag"],
            oldest_unfinished_at=_when(lag["oldest_ms"]),
            delivered=member.delivered,
            retried=member.retried,
            failed=member.failed,
            timeouts=member.timeouts,
            blocked=member.blocked,
            restarts=member.restarts,
            memory_bytes=member.driver.rss_bytes,
            parked=parked["parked"],
            last_error=member.last_error,
            last_error_at=_when(member.last_error_ms),
            quarantined_at=_when(member.quarantined_ms),
        )

    async def _wanted_types(self, member: Member) -> str:
        """Numbers of the task types in the log that a consumer wants, as a JSON array."""
        rows = await self.db.fetch(SQL["task_types"])
        wanted = [row["task_type"] for row in rows if member.consumer.wants(self.names.text(row["task_type"]))]
        return msgspec.json.encode(wanted).decode()

    async def parked(self, member: Member, limit: int) -> list[ParkedBatch]:
        rows = await self.db.fetch(SQL["odd_claims"], {"consumer": member.id, "limit": limit})
        sources = await self._sources.of({row["source"] for row in rows})
        return [
            ParkedBatch(
                seq=row["seq"], camera_id=sources[row["source"]].camera_id, task_type=sources[row["source"]].task_type,
                state=CLAIM_STATES[row["state"]], attempts=row["attempts"] or 1, error=row["error"],
                ended_at=_when(row["ended_ms"]),
            )
            for row in rows
        ]  # fmt: skip

    async def redrive(self, member: Member) -> Redriven:
        """Try parked batches again, oldest first, each between two batches of its lane, at the lane's present time."""
        if member.consumer.delivery != "effects":
            raise ConflictError(
                f"{member.consumer.name!r} acts at most once: what it failed or was interrupted in is not run again",
                code="at_most_once",
            )
        if member.held:
            raise member.held_error()
        done: list[int] = []
        failed: dict[str, str] = {}
        place = {"consumer": member.id, "limit": REDRIVE_LIMIT}
        for row in await self.db.fetch(SQL["parked_seqs"], place):
            try:
                await self._redrive_one(member, row["seq"], self.names.text(row["camera"]))
                done.append(row["seq"])
            except AlreadyClaimedError:
                continue
            except Exception as error:  # noqa: BLE001 - the answer says which failed and why
                failed[str(row["seq"])] = describe(error)
        return Redriven(done=done, failed=failed)

    async def _redrive_one(self, member: Member, seq: int, camera_id: str) -> None:
        rows = await self.db.fetch(SQL["batch_by_seq"], {"seq": seq})
        for batch in await self.log.to_batches(rows, replayed=True):
            await self._lane(member, camera_id).ask(operator.methodcaller("redrive", batch))

    async def forget_camera(self, camera_id: str) -> None:
        """A camera was deleted: end its lanes, drop their state, finish what was on its way to them."""
        self._forgotten.add(camera_id)
        for member in self._members.values():
            lane = member.lanes.pop(camera_id, None)
            if lane is None:
                continue
            await self._supervisor.end(f"lane.{member.consumer.name}.{camera_id}")
            lane.close()
            await member.forget(camera_id)
        camera, now = self.names.id(camera_id), self.clock.now_ms()
        if camera is not None:
            await self.db.write(lambda connection: _forget(connection, camera, now))
        if not self._in_flight.get(camera_id):
            self._at.pop(camera_id, None)
            self._in_flight.pop(camera_id, None)


def check_consumer(consumer: Any) -> None:
    """Raises TypeError or ValueError for what cannot be driven as a consumer."""
    if not isinstance(consumer, Consumer):
        raise TypeError(f"heldard_register_consumers gave a {type(consumer).__name__}, not a heldard.plugin.Consumer")
    name = getattr(consumer, "name", None)
    if not isinstance(name, str) or _CONSUMER_NAME.fullmatch(name) is None:
        raise ValueError(f"{type(consumer).__name__}.name is {name!r}, not 1 to 64 of a-z, 0-9 and _")
    if consumer.delivery not in ("effects", "at_most_once"):
        raise ValueError(f"consumer {name!r}: delivery is {consumer.delivery!r}, not effects or at_most_once")


def _forget(connection: sqlite3.Connection, camera: int, now: int) -> None:
    for name in ("forget_state_of_camera", "forget_lanes_of_camera", "finish_camera"):
        connection.execute(SQL[name], {"camera": camera, "now": now})


def _all_ended(connection: sqlite3.Connection, seq: int, consumers: tuple[int, ...]) -> bool:
    place = {"seq": seq, "consumers": msgspec.json.encode(consumers).decode()}
    ended: int = connection.execute(SQL["ended_claims"], place).fetchone()[0]
    return ended >= len(consumers)


def _when(ms: int | None) -> str | None:
    return None if ms is None else rfc3339(ms)
