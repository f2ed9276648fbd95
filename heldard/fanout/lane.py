"""One consumer, one camera: batches in log order, one commit for claim and effects.

A lane that has nothing else to do consumes a batch as soon as the batch's own unit of work is queued: its claim and
effects are queued right behind, so that one commit takes both, and are written only if the batch is. Whatever goes
wrong on that way undoes itself: the lane restores its state, and drives the batch from its queue like any other.

A lane holds a bounded number of batches in memory. When more come than it may hold it lets them go and reads the log
from where it stands until it has caught up; so does a lane that starts with batches a crash cut short. That is the
drainer: there is no other.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from heldard.errors import DiskFullError, HeldardError, NotFoundError, StoreError
from heldard.fanout.commit import SQL, AlreadyClaimedError, Committed
from heldard.fanout.drive import ConsumerRestartedError, ConsumeTimeoutError, LoopHeldError
from heldard.plugin import Batch, Effects

if TYPE_CHECKING:
    from heldard.fanout.member import Member
    from heldard.fanout.service import Pending

CHUNK = 32
"""Batches driven before one commit, while all goes well."""

PAGE = 64
"""Batches read from the log at once."""

STORE_TROUBLE = (StoreError, DiskFullError)
"""Not the consumer's failure: it is waited out, however long it takes."""

NOT_ITS_FAILURE = (*STORE_TROUBLE, AlreadyClaimedError, ConsumerRestartedError)
"""What ends an attempt although the consumer did what it should."""

Errand = tuple[Callable[["Lane"], Awaitable[Any]], asyncio.Future[Any]]


class Lane:
    """Runs until it is stopped; `offer`, `ask` and `tick` give it work and return at once."""

    def __init__(self, member: Member, camera_id: str) -> None:
        self.member = member
        self.camera_id = camera_id
        self._queue: deque[tuple[Batch, Pending]] = deque()
        self._errands: deque[Errand] = deque()
        self._wake = asyncio.Event()
        self._behind = False
        self._offered_behind = 0
        self._cursor = member.since_seq
        self._restored = False
        self._life = 0
        self._tick_ms: int | None = None
        self._working = False
        self._ahead: tuple[Batch, Pending | None] | None = None
        self._looks_ahead = True
        self._closed = False
        self.at_ms = 0

    # --- giving it work ---------------------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        return self._behind

    @property
    def idle(self) -> bool:
        return not (self._queue or self._behind or self._errands or self._ahead)

    def offer(self, batch: Batch, pending: Pending) -> bool:
        """Queue a batch that was just committed. False when it will be read from the log later."""
        if self._ahead is not None and self._ahead[0] is batch:
            self._ahead = batch, pending
            return True
        if self._behind or len(self._queue) >= self.member.lane_limit:
            self.fall_behind()
            return False
        self._queue.append((batch, pending))
        self._wake.set()
        return True

    def fall_behind(self) -> None:
        """There are batches in the log that are not in memory."""
        self._behind = True
        self._offered_behind += 1
        self._wake.set()

    def ask(self, errand: Callable[[Lane], Awaitable[Any]]) -> asyncio.Future[Any]:
        """Run something between two batches; its result."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._errands.append((errand, future))
        self._wake.set()
        return future

    def tick(self, now_ms: int) -> None:
        if self.idle:
            self._tick_ms = now_ms
            self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """The lane has ended for good: whoever waits for it is told, batches in memory count as dealt with."""
        self._closed = True
        while self._queue:
            self._queue.popleft()[1].ended()
        self._refuse_errands(NotFoundError(f"camera {self.camera_id!r} was deleted", code="camera_not_found"))

    def _refuse_errands(self, error: HeldardError) -> None:
        while self._errands:
            _, future = self._errands.popleft()
            if not future.done():
                future.set_exception(error)

    # --- working ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._working = True
            while not self.member.held and await self._step():
                pass
            self._working = False
            if self.member.held:
                self._refuse_errands(self.member.held_error())

    async def _step(self) -> bool:
        """Do the next thing; False when there is none, or when what was done ahead is not committed yet."""
        if self._ahead is not None:
            return False
        if self._errands:
            await self._run_errand(*self._errands.popleft())
        elif self._queue:
            await self._drive_queue()
        elif self._behind:
            await self._drive_page()
        elif self._tick_ms is not None:
            now_ms, self._tick_ms = self._tick_ms, None
            await self._drive_tick(now_ms)
        else:
            return False
        return True

    async def _run_errand(self, errand: Callable[[Lane], Awaitable[Any]], future: asyncio.Future[Any]) -> None:
        try:
            result = await errand(self)
        except Exception as error:  # noqa: BLE001 - whoever asked hears of it
            self._restored = False
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)

    async def _drive_queue(self) -> None:
        chunk = [self._queue[n] for n in range(min(CHUNK, len(self._queue)))]
        handled = await self._drive([batch for batch, _ in chunk])
        self.member.note_ended([batch for batch, _ in chunk[:handled]])
        for _ in range(handled):
            batch, pending = self._queue.popleft()
            self._cursor = max(self._cursor, batch.seq)
            pending.ended()

    async def _drive_page(self) -> None:
        """Take the next page from the log; caught up when there is none and none was offered meanwhile."""
        before = self._offered_behind
        page = await self.member.unclaimed(self.camera_id, self._cursor, PAGE)
        if not page:
            if self._offered_behind == before:
                self._behind = False
            return
        wanted = [batch for batch in page if self.member.consumer.wants(batch.task_type)]
        handled = await self._drive(wanted) if wanted else 0
        if handled == len(wanted):
            self._cursor = page[-1].seq
        elif handled:
            self._cursor = wanted[handled - 1].seq
        self.member.note_ended(wanted[:handled])
        self.member.recheck(wanted[:handled])

    async def _drive(self, batches: Sequence[Batch]) -> int:
        """Drive batches in order, together while all goes well, one by one when not; how many were dealt with."""
        member = self.member
        if member.consumer.delivery == "effects" and len(batches) > 1:
            try:
                await self._consume_and_claim(batches, 1)
            except ConsumeTimeoutError as error:
                self._restored = False
                member.note_failure(self.camera_id, batches[0].seq, 1, error)
                if isinstance(error, LoopHeldError):  # not again, to find out with which batch
                    return 0
            except NOT_ITS_FAILURE:
                self._restored = False
            except Exception as error:  # noqa: BLE001 - which of them it was shows when they are driven one by one
                self._restored = False
                member.note_retry(self.camera_id, None, error)
            else:
                return len(batches)
        if member.consumer.delivery == "at_most_once":
            return await self._at_most_once(batches)
        handled = 0
        for batch in batches:
            if member.held or not await self._effects_once(batch):
                break
            handled += 1
        return handled

    # --- ahead of the batch's own commit ----------------------------------------------------------------------------

    def take_ahead(self, batch: Batch) -> None:
        """Consume a batch whose own unit was queued just now, if nothing stands in the way; `offer` follows when it is
        committed.

        After a duplicate or a failure, not before a batch was driven the other way: such things come in rows, and each
        costs reading the state back.
        """
        member = self.member
        if not (self._looks_ahead and self._restored and self.idle) or self._working or self._tick_ms is not None:
            return
        effects = Effects(self.camera_id, batch.at_ms, batch.frames)
        self._restored = self._looks_ahead = False
        try:
            if member.consume_ahead(batch, effects):
                member.commit_ahead(batch.seq, effects, self._told_ahead)
                self._ahead, self._restored, self._looks_ahead = (batch, None), True, True
        except STORE_TROUBLE:
            return
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its failure; the queue brings it again
            member.note_retry(self.camera_id, batch.seq, error)

    def _told_ahead(self, written: bool) -> None:
        """The claim queued behind its batch was committed, or was not; `offer` came before if the batch was."""
        assert self._ahead is not None
        (batch, pending), self._ahead = self._ahead, None
        if written:
            self.at_ms = max(self.at_ms, batch.at_ms)
            self._cursor = max(self._cursor, batch.seq)
            self.member.note_success(1)
            self.member.note_ended([batch])
        else:
            self._restored = self._looks_ahead = False
        if pending is not None:
            if written or self._closed:
                pending.ended()
            else:
                self._queue.appendleft((batch, pending))
        self._wake.set()

    # --- effects: claim and effects in one commit -------------------------------------------------------------------

    async def _effects_once(self, batch: Batch) -> bool:
        """Until the batch is claimed as done or failed; False when the consumer was held meanwhile."""
        member = self.member
        attempt = 1
        while not member.held:
            try:
                await self._consume_and_claim([batch], attempt)
            except AlreadyClaimedError:
                self._restored = False
                return True
            except STORE_TROUBLE as error:
                self._restored = False
                await member.wait_for_store(error)
            except ConsumerRestartedError:
                self._restored = False
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its failure
                self._restored = False
                if await self._failed(batch, attempt, error):
                    return True
                attempt += 1
            else:
                return True
        return False

    async def _failed(self, batch: Batch, attempt: int, error: Exception) -> bool:
        """Note a failed attempt; wait for the next, or park the batch. True when parked."""
        member = self.member
        member.note_failure(self.camera_id, batch.seq, attempt, error)
        if attempt < member.attempts:
            await member.back_off(attempt)
            return False
        await member.park(batch.seq, attempt, error)
        return True

    async def _consume_and_claim(self, batches: Sequence[Batch], attempt: int) -> None:
        member = self.member
        await self._restore()
        claims: list[tuple[int, Effects]] = []
        for batch in batches:
            effects = Effects(self.camera_id, batch.at_ms, batch.frames)
            await self._call(member.consumer.consume, batch, effects)
            claims.append((batch.seq, effects))
        await member.keep_frames([effects for _, effects in claims])
        await member.commit(functools.partial(_claims, member, claims, attempt))
        self.at_ms = max(self.at_ms, batches[-1].at_ms)
        self._looks_ahead = True
        member.note_success(len(batches))

    # --- at most once: claim, then run ------------------------------------------------------------------------------

    async def _at_most_once(self, batches: Sequence[Batch]) -> int:
        """Claim, run and end each in turn; how many were dealt with before the consumer was held.

        One commit ends a batch and claims the next, which then is run whatever happens to the consumer meanwhile.
        """
        claimed = False
        for number, batch in enumerate(batches):
            if not claimed:
                begun = await self._begin(batch)
                if begun is None:
                    return number
                if not begun:
                    continue
            following = batches[number + 1].seq if number + 1 < len(batches) else None
            claimed = await self._run_claimed(batch, None if self.member.held else following)
        return len(batches)

    async def _run_claimed(self, batch: Batch, following: int | None) -> bool:
        """Run a batch that is claimed and end its claim; whether the following one was claimed with that."""
        effects = Effects(self.camera_id, batch.at_ms, batch.frames)
        try:
            await self._consume(batch, effects)
            await self.member.keep_frames([effects])
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its failure
            await self._park(batch, 1, error)
            return False
        return await self._end_at_most_once(batch, effects, following)

    async def _consume(self, batch: Batch, effects: Effects) -> None:
        """Once; a call that found a new process instead of the one that was restored has not been one."""
        while True:
            try:
                await self._restore()
                await self._call(self.member.consumer.consume, batch, effects)
                return
            except ConsumerRestartedError:
                self._restored = False

    async def _begin(self, batch: Batch) -> bool | None:
        """Whether the claim is ours to run; None when the consumer is held."""
        while not self.member.held:
            try:
                await self._restore()
                return await self.member.begin_claim(batch.seq)
            except STORE_TROUBLE as error:
                await self.member.wait_for_store(error)
            except Exception as error:  # noqa: BLE001 - it could not even be restored
                await self._park(batch, 1, error)
                return False
        return None

    async def _park(self, batch: Batch, attempt: int, error: Exception) -> None:
        self._restored = False
        self.member.note_failure(self.camera_id, batch.seq, attempt, error)
        await self.member.park(batch.seq, attempt, error)

    async def _end_at_most_once(self, batch: Batch, effects: Effects, following: int | None) -> bool:
        """The claim ends as done with the effects; when those cannot be written, as failed without them. Whether the
        following batch was claimed too."""
        member = self.member
        while True:
            try:
                committed = await member.commit(functools.partial(_end_with, member, batch.seq, effects, following))
                member.note_success(1)
                return committed.claimed_next
            except STORE_TROUBLE as error:
                await member.wait_for_store(error)
            except Exception as error:  # noqa: BLE001 - the plugin's own SQL or event type
                await self._park(batch, 1, error)
                return False

    # --- time, and work between batches -----------------------------------------------------------------------------

    async def _drive_tick(self, now_ms: int) -> None:
        if now_ms <= self.at_ms:
            return
        try:
            await self.effects_of(lambda effects: self._call(
                self.member.consumer.tick, self.camera_id, effects.at_ms, effects), now_ms)  # fmt: skip
        except STORE_TROUBLE as error:
            await self.member.wait_for_store(error)
        except ConsumerRestartedError:
            self._tick_ms = now_ms
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its failure
            self.member.note_tick(self.camera_id, error)
        else:
            self.member.note_tick(self.camera_id, None)

    async def effects_of(self, work: Callable[[Effects], Awaitable[Any]], at_ms: int) -> Any:
        """Let `work` fill effects at `at_ms` and commit them; its result. On failure the state is restored later."""
        member = self.member
        try:
            await self._restore()
            effects = Effects(self.camera_id, max(at_ms, self.at_ms), member.frames)
            result = await work(effects)
            if effects:
                await member.keep_frames([effects])
                await member.commit(functools.partial(_effects, member, effects))
        except BaseException:
            self._restored = False
            raise
        self.at_ms = max(self.at_ms, effects.at_ms)
        return result

    async def redrive(self, batch: Batch) -> None:
        """Drive a parked batch again. Raises what the consumer raises, AlreadyClaimedError when it is not parked.

        The lane's time does not run backwards for it: effects are dated by where the lane stands.
        """
        member = self.member
        try:
            effects = Effects(self.camera_id, max(batch.at_ms, self.at_ms), batch.frames)
            await self._consume(batch, effects)
            await member.keep_frames([effects])
            await member.commit(functools.partial(_redeem, member, batch.seq, effects))
        except BaseException:
            self._restored = False
            raise

    def restore_next(self) -> None:
        """What the consumer has in memory is not what was committed last."""
        self._restored = False

    async def _restore(self) -> None:
        life = self.member.driver.life
        if not self._restored or self._life != life:
            await self.member.restore(self.camera_id)
            self._restored, self._life = True, life

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> None:
        """Call the consumer as it was restored. Raises ConsumerRestartedError when that one is gone."""
        await self.member.driver.call(method, *arguments, life=self._life)


def _claims(
    member: Member, claims: list[tuple[int, Effects]], attempt: int, connection: sqlite3.Connection
) -> Committed:
    return member.writer.claims(connection, claims, attempt)


def _effects(member: Member, effects: Effects, connection: sqlite3.Connection) -> Committed:
    return member.writer.between(connection, effects)


def _end_with(
    member: Member, seq: int, effects: Effects, following: int | None, connection: sqlite3.Connection
) -> Committed:
    connection.execute(SQL["end_claim"], (member.writer.now_ms(), seq, member.id))
    committed = member.writer.effects(connection, [effects])
    claimed_next = following is not None and member.writer.begin_claim(connection, following)
    return dataclasses.replace(committed, claimed_next=claimed_next)


def _redeem(member: Member, seq: int, effects: Effects, connection: sqlite3.Connection) -> Committed:
    if connection.execute(SQL["redeem_claim"], (member.writer.now_ms(), seq, member.id)).rowcount != 1:
        raise AlreadyClaimedError
    return member.writer.effects(connection, [effects])
