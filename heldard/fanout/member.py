"""One consumer in the kernel: its number, its figures, its budget of failures, and what its lanes need."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from heldard.db.group import Outcome
from heldard.db.guard import SqlGuard
from heldard.errors import BusyError, HeldardError
from heldard.fanout.commit import SQL, Committed, EffectWriter
from heldard.fanout.drive import ConsumeTimeoutError, Driver, LoopDriver, LoopHeldError, ThreadDriver
from heldard.fanout.lane import Lane
from heldard.fanout.model import FAILED
from heldard.fanout.process import ProcessDriver
from heldard.plugin import Batch, Consumer, Effects, EventDraft

if TYPE_CHECKING:
    from heldard.fanout.service import Fanout

BLOCKED_WINDOW_MS = 600_000
"""Calls that held the event loop count together when they come within this time of each other."""

log: Any = structlog.get_logger("heldard.fanout")


class Member:
    """A consumer with its number, its figures and what its lanes need from the kernel."""

    def __init__(self, fanout: Fanout, plugin: str, consumer: Consumer, guard: SqlGuard, row: sqlite3.Row) -> None:
        settings = fanout.settings
        self.fanout = fanout
        self.plugin = plugin
        self.consumer = consumer
        self.id: int = row["id"]
        self.since_seq: int = row["since_seq"]
        self.quarantined_ms: int | None = row["quarantined_ms"]
        self.last_error: str | None = row["last_error"]
        self.lane_limit = settings.lane_limit
        self.attempts = settings.attempts
        self.frames = fanout.frames
        self.lanes: dict[str, Lane] = {}
        self.last_error_ms: int | None = None
        self.delivered = self.retried = self.failed = self.timeouts = self.blocked = self.restarts = 0
        self._blocked_ms = 0
        self._in_a_row = self._ticks_in_a_row = self._blocked_in_a_row = 0
        self._guard = guard
        self.driver = self._driver()
        self.writer = EffectWriter(
            self.id, guard, fanout.names, fanout.events, fanout.decide_severity, fanout.clock.now_ms
        )

    @property
    def held(self) -> bool:
        return self.quarantined_ms is not None

    def _driver(self) -> Driver:
        """Where the consumer's code runs. Raises ValueError when it cannot run there."""
        consumer, settings = self.consumer, self.fanout.settings
        if consumer.runs_in == "loop":
            return LoopDriver(consumer.name, self.fanout.watchdog, settings.consume_timeout_s, self._note_blocked)
        if consumer.runs_in == "thread":
            return ThreadDriver(consumer.name, settings.consume_timeout_s)
        if consumer.runs_in == "process":
            memory_bytes = settings.process_memory_mb * 2**20
            return ProcessDriver(
                consumer, settings.consume_timeout_s, memory_bytes, self.frames, self._fetch, self._note_restarted
            )
        raise ValueError(f"consumer {consumer.name!r}: runs_in is {consumer.runs_in!r}, not loop, thread or process")

    async def _fetch(self, sql: str, parameters: Any) -> list[dict[str, Any]]:
        self._guard.check(sql)
        return [dict(row) for row in await self.fanout.db.fetch(sql, parameters)]

    def held_error(self) -> BusyError:
        return BusyError(f"consumer {self.consumer.name!r} is quarantined: resume it first", code="consumer_held")

    # --- what lanes ask for -----------------------------------------------------------------------------------------

    async def restore(self, camera_id: str) -> None:
        """Give the consumer what it last committed for this camera."""
        place = {"consumer": self.id, "camera": self.fanout.names.id(camera_id)}
        rows = await self.fanout.db.fetch(SQL["state_of_lane"], place)
        await self.driver.call(self.consumer.restore, camera_id, {row["key"]: row["value"] for row in rows})

    async def commit(self, unit: Callable[[sqlite3.Connection], Committed]) -> Committed:
        committed = await self.fanout.db.change(unit, self.fanout.told)
        self._note_writer_held()
        return committed

    @property
    def looks_ahead(self) -> bool:
        """Whether batches may be consumed before they are committed: where all that comes of it are effects, and they
        are there at once."""
        driver = self.driver
        plain = isinstance(driver, LoopDriver) and "consume" in driver.plain
        return plain and self.consumer.delivery == "effects" and not self.held

    def consume_ahead(self, batch: Batch, effects: Effects) -> bool:
        """Fill the effects of a batch that is not committed yet; False when they are not there at once."""
        assert isinstance(self.driver, LoopDriver)
        whole = self.driver.call_at_once(self.consumer.consume, batch, effects)
        return whole and not effects.frames  # pictures are written before the commit, which takes a while

    def commit_ahead(self, seq: int, effects: Effects, told: Callable[[bool], None]) -> None:
        """Queue claim and effects of a batch whose own unit was queued just now; `told(whether they were written)`.

        Raises StoreError when the queue is full.
        """

        def unit(connection: sqlite3.Connection) -> Committed | None:
            return self.writer.claim_ahead(connection, seq, effects)

        def ended(outcome: Outcome) -> None:
            written = outcome.error is None and outcome.value is not None
            if written:
                self.fanout.told(outcome.value)
            self._note_writer_held()
            told(written)

        self.fanout.db.writer.submit_and_tell(unit, ended)

    def _note_writer_held(self) -> None:
        held_s, self.writer.longest_s = self.writer.longest_s, 0.0
        if held_s > self.fanout.watchdog.limit_s:
            self._note_held("the store's writer", held_s, "do less in Effects.transact and in one statement")

    async def keep_frames(self, all_effects: Sequence[Effects]) -> None:
        """Write evidence before the commit that refers to it. Without room, the events go without their pictures."""
        for effects in all_effects:
            if not effects.frames:
                continue
            try:
                await asyncio.to_thread(self.fanout.evidence.write, effects.frames)
            except OSError as error:
                self.fanout.evidence_lost += len(effects.frames)
                log.warning("evidence_lost", consumer=self.consumer.name, error=str(error))
                effects.frames.clear()

    async def unclaimed(self, camera_id: str, after: int, limit: int) -> list[Batch]:
        camera = self.fanout.names.id(camera_id)
        place = {"camera": camera, "after": after, "consumer": self.id, "limit": limit}
        rows = await self.fanout.db.fetch(SQL["unclaimed_page"], place)
        return await self.fanout.log.to_batches(rows, replayed=True)

    async def begin_claim(self, seq: int) -> bool:
        """Commit a running claim; False when the batch is claimed already."""
        return await self.fanout.db.write(lambda connection: self.writer.begin_claim(connection, seq))

    async def park(self, seq: int, attempts: int, error: Exception) -> None:
        """End a batch as failed; waits for the store as long as it takes, so that the lane can go on."""
        row = (seq, self.id, FAILED, attempts, describe(error), self.fanout.clock.now_ms())
        while True:
            try:
                await self.fanout.db.write(lambda connection: connection.execute(SQL["park_claim"], row).rowcount)
                break
            except BusyError as busy:
                await self.wait_for_store(busy)
        self.failed += 1
        self._in_a_row += 1
        if self._in_a_row >= self._budget:
            await self.hold(self.last_error or "failed too often")

    async def back_off(self, attempt: int) -> None:
        self.retried += 1
        settings = self.fanout.settings
        await self.fanout.clock.sleep(min(settings.retry_longest_s, settings.retry_first_s * 2 ** (attempt - 1)))

    async def wait_for_store(self, error: HeldardError) -> None:
        """The store's trouble is not the consumer's failure: wait and go on."""
        log.warning("lane_waits_for_store", consumer=self.consumer.name, error=error.message)
        await self.fanout.clock.sleep(self.fanout.settings.retry_first_s)

    def recheck(self, batches: Sequence[Batch]) -> None:
        self.fanout.recheck(batches)

    async def forget(self, camera_id: str) -> None:
        """Tell the consumer that a camera is gone."""
        try:
            await self.driver.call(self.consumer.forget, camera_id)
        except Exception as error:  # noqa: BLE001 - a plugin's failure is its own
            self.note_failure(camera_id, None, 1, error)

    # --- failures ---------------------------------------------------------------------------------------------------

    @property
    def _budget(self) -> int:
        """Failures in a row, of one kind, that quarantine the consumer."""
        return self.fanout.settings.quarantine_failures

    def note_ended(self, batches: Sequence[Batch]) -> None:
        """For the figures: these were dealt with, and committed, just now."""
        now_ms = self.fanout.clock.now_ms()
        for batch in batches:
            self.fanout.meter.consumed(self.consumer.name, batch.received_ms, now_ms)

    def note_success(self, batches: int) -> None:
        self.delivered += batches
        self._in_a_row = 0

    def note_failure(self, camera_id: str, seq: int | None, attempt: int, error: Exception) -> None:
        self.last_error = describe(error)
        self.last_error_ms = self.fanout.clock.now_ms()
        self.timeouts += isinstance(error, ConsumeTimeoutError)
        if isinstance(error, LoopHeldError):  # it would hold up everybody again
            self._hold_soon(self.last_error)
        if attempt == 1:
            log.warning(
                "consumer_failed", consumer=self.consumer.name, plugin=self.plugin, camera_id=camera_id, seq=seq,
                error=self.last_error, exc_info=error,
            )  # fmt: skip

    def note_retry(self, camera_id: str, seq: int | None, error: Exception) -> None:
        """It failed where nothing is lost by it: the same is driven once more at once, and may well succeed."""
        self.retried += 1
        self.note_failure(camera_id, seq, 1, error)

    def note_tick(self, camera_id: str, error: Exception | None) -> None:
        """How a tick ended. Failing again and again is quarantined like failing on batches."""
        if error is None:
            self._ticks_in_a_row = 0
            return
        self._ticks_in_a_row += 1
        self.note_failure(camera_id, None, self._ticks_in_a_row, error)
        if self._ticks_in_a_row >= self._budget:
            self._hold_soon(f"tick: {self.last_error}")

    def _note_blocked(self, seconds: float) -> None:
        """A call held the event loop."""
        self._note_held("the event loop", seconds, "declare runs_in = 'thread' or 'process'")

    def _note_held(self, what: str, seconds: float, advice: str) -> None:
        """Only what was held too long comes here, so it is counted by time."""
        now = self.fanout.clock.now_ms()
        recent = now - self._blocked_ms < BLOCKED_WINDOW_MS
        self._blocked_in_a_row = self._blocked_in_a_row + 1 if recent else 1
        self._blocked_ms = self.last_error_ms = now
        self.blocked += 1
        self.last_error = f"held {what} for {seconds:.2f} s: {advice}"
        log.warning("consumer_held_others", consumer=self.consumer.name, plugin=self.plugin, error=self.last_error)
        if self._blocked_in_a_row >= self._budget:
            self._hold_soon(self.last_error)

    def _note_restarted(self, reason: str) -> None:
        self.restarts += 1
        self.last_error, self.last_error_ms = reason, self.fanout.clock.now_ms()
        log.warning("consumer_restarted", consumer=self.consumer.name, plugin=self.plugin, reason=reason)

    def _hold_soon(self, reason: str) -> None:
        if not self.held:
            self.quarantined_ms = self.fanout.clock.now_ms()
            self.fanout.once(f"hold.{self.consumer.name}", self._hold(reason))

    async def hold(self, reason: str) -> None:
        """Stop this consumer's lanes; the log keeps its place. Nothing changes for one that is held already."""
        if not self.held:
            self.quarantined_ms = self.fanout.clock.now_ms()
            await self._hold(reason)

    async def _hold(self, reason: str) -> None:
        for lane in self.lanes.values():
            lane.wake()
        payload = {"error": reason, "parked_in_a_row": self._in_a_row}
        while True:
            try:
                await self._write_hold(reason, "consumer_quarantined", payload)
                return
            except BusyError as busy:
                await self.wait_for_store(busy)

    async def resume(self) -> None:
        """Let the lanes run from where they stand. Nothing changes for a consumer that is not held."""
        if not self.held:
            return
        held_since, self.quarantined_ms = self.quarantined_ms, None
        try:
            await self._write_hold(None, "consumer_resumed", {})
        except BusyError:
            self.quarantined_ms = held_since
            raise
        self._in_a_row = self._ticks_in_a_row = self._blocked_in_a_row = 0
        await self.fanout.wake(self)

    async def _write_hold(self, reason: str | None, event_type: str, payload: dict[str, Any]) -> None:
        row = {"id": self.id, "quarantined_ms": self.quarantined_ms, "last_error": reason}
        now = self.fanout.clock.now_ms()
        draft = EventDraft(
            event_type, now, "critical" if reason else "info", None,
            {"consumer": self.consumer.name, "plugin": self.plugin, **payload},
        )  # fmt: skip

        def unit(connection: sqlite3.Connection) -> Committed:
            connection.execute(SQL["quarantine"], row)
            return Committed([(self.fanout.events.insert(connection, draft), draft)], 0)

        await self.commit(unit)


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
