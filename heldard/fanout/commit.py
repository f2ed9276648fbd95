"""What a lane commits: claims and effects in one unit of work."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from heldard.clock import SystemClock
from heldard.db import queries
from heldard.db.guard import SqlGuard
from heldard.db.names import Names
from heldard.events.service import Events
from heldard.plugin import ActionDraft, Effects, EventDraft, Severity

SQL = queries.load("heldard.fanout")

_REAL = SystemClock()

MAX_OPERATIONS = 10_000
"""Events, statements and actions that the effects of one batch may have."""

MAX_STATE_BYTES = 16 * 1024 * 1024
"""How large one state blob may be; it is written with each batch that changes it."""


class AlreadyClaimedError(Exception):
    """Somebody else drove this batch for this consumer; nothing of this unit was written."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What there is to tell after the commit. claimed_next: the batch after this one was claimed in the same unit."""

    events: list[tuple[int, EventDraft]]
    actions: int
    claimed_next: bool = False


class Effecting(Protocol):
    """Where a `Tx` puts the events and actions of its unit."""

    def event(self, draft: EventDraft) -> str: ...
    def act(self, action: ActionDraft) -> None: ...


class PluginTx:
    """The `Tx` of heldard.plugin: one unit's connection, held to the plugin's own tables."""

    def __init__(self, connection: sqlite3.Connection, guard: SqlGuard, effect: Effecting) -> None:
        self._connection = connection
        self._guard = guard
        self._effect = effect
        self.last_row_id = 0

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        self._guard.check(sql)
        cursor = self._connection.execute(sql, parameters)
        self.last_row_id = cursor.lastrowid or self.last_row_id
        return cursor.fetchall()

    def fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        self._guard.check(sql)
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._guard.check(sql)
        self._connection.executemany(sql, rows)

    def event(
        self,
        event_type: str,
        *,
        payload: dict[str, Any],
        at_ms: int,
        severity: Severity = "info",
        camera_id: str | None = None,
        evidence: str | None = None,
    ) -> str:
        return self._effect.event(EventDraft(event_type, at_ms, severity, camera_id, payload, evidence))

    def act(self, kind: str, *, payload: dict[str, Any], expires_ms: int, key: str) -> None:
        self._effect.act(ActionDraft(kind, payload, expires_ms, key))


class EffectWriter:
    """Carries effects out inside a unit of work, for one consumer (or for a plugin's own writes, consumer 0)."""

    def __init__(
        self, consumer_id: int, guard: SqlGuard, names: Names, events: Events,
        decide_severity: Callable[[EventDraft], EventDraft], now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self.consumer_id = consumer_id
        self.guard = guard
        self.names = names
        self.events = events
        self.decide_severity = decide_severity
        self.now_ms = now_ms
        self.longest_s = 0.0
        """The longest that the effects of one unit kept the writer, since it was last set to 0."""

    def begin_claim(self, connection: sqlite3.Connection, seq: int) -> bool:
        """Claim a batch as running; False when it is claimed already."""
        return connection.execute(SQL["begin_claim"], (seq, self.consumer_id)).rowcount == 1

    def claims(
        self, connection: sqlite3.Connection, batches: Sequence[tuple[int, Effects]], attempts: int
    ) -> Committed:
        """Claim each batch as done and carry out its effects. Raises AlreadyClaimedError."""
        now = self.now_ms()
        try:
            connection.executemany(
                SQL["claim"], [(seq, self.consumer_id, 1, attempts if attempts > 1 else None, None, now)
                               for seq, _ in batches],
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise AlreadyClaimedError from error
        return self.effects(connection, [effects for _, effects in batches])

    def claim_ahead(self, connection: sqlite3.Connection, seq: int, effects: Effects) -> Committed | None:
        """As `claims`, for a batch whose own unit ran just before: None when that did not write it, and then nothing is
        written here either."""
        if connection.execute(SQL["claim_logged"], (self.consumer_id, self.now_ms(), seq)).rowcount != 1:
            return None
        return self.effects(connection, [effects])

    def effects(self, connection: sqlite3.Connection, all_effects: Sequence[Effects]) -> Committed:
        """Carry out the effects of one camera in order. Of state that several of them keep, the last is written."""
        committed = Committed([], 0)
        state: dict[tuple[int | None, str], bytes | None] = {}
        began = _REAL.monotonic()
        for effects in all_effects:
            if effects:
                committed = self._one(connection, effects, committed)
                camera = self.names.id(effects.camera_id)
                state.update({(camera, key): value for key, value in effects.state.items()})
        self.longest_s = max(self.longest_s, _REAL.monotonic() - began)
        for (camera, key), value in state.items():
            if value is None:
                connection.execute(SQL["drop_state"], (self.consumer_id, camera, key))
            else:
                connection.execute(SQL["put_state"], (self.consumer_id, camera, key, value))
        return committed

    def between(self, connection: sqlite3.Connection, effects: Effects) -> Committed:
        """Effects of a tick or an errand: no batch in the log says how far time had come, so a row does."""
        camera = self.names.id(effects.camera_id)
        connection.execute(SQL["lane_at"], (self.consumer_id, camera, effects.at_ms))
        return self.effects(connection, [effects])

    def _one(self, connection: sqlite3.Connection, effects: Effects, so_far: Committed) -> Committed:
        check_size(effects)
        for name, frame in effects.frames.items():
            row = (name, frame.camera_id, frame.captured_ms, len(frame.jpeg), self.now_ms())
            connection.execute(SQL["insert_evidence"], row)
        effect = UnitEffects(self, connection, effects.camera_id)
        tx = PluginTx(connection, self.guard, effect)
        for operation in effects.operations:
            if isinstance(operation, EventDraft):
                effect.event(operation)
            elif isinstance(operation, tuple):
                tx.execute(*operation)
            else:
                operation(tx)
        for action in effects.actions:
            effect.act(action)
        return Committed(so_far.events + effect.events, so_far.actions + effect.actions)


def check_size(effects: Effects) -> None:
    """Raises ValueError for effects that would hold up everybody who waits for the store."""
    count = len(effects.operations) + len(effects.actions)
    if count > MAX_OPERATIONS:
        raise ValueError(f"{count} operations in the effects of one batch; at most {MAX_OPERATIONS}")
    for key, value in effects.state.items():
        if value is not None and len(value) > MAX_STATE_BYTES:
            raise ValueError(f"state {key!r} is {len(value)} bytes; at most {MAX_STATE_BYTES}: keep rows in a table")


class UnitEffects:
    """Events and actions written inside one unit, counted for what is told after it."""

    def __init__(self, writer: EffectWriter, connection: sqlite3.Connection, camera_id: str) -> None:
        self._writer = writer
        self._connection = connection
        self._camera_id = camera_id
        self.events: list[tuple[int, EventDraft]] = []
        self.actions = 0

    def event(self, draft: EventDraft) -> str:
        if not self._writer.events.known(draft.event_type):
            raise ValueError(f"event type {draft.event_type!r} is not registered (heldard_register_event_types)")
        if draft.evidence is not None and not self._kept(draft.evidence):
            draft = msgspec.structs.replace(draft, evidence=None)
        decided = self._writer.decide_severity(draft)
        seq = self._writer.events.insert(self._connection, decided)
        self.events.append((seq, decided))
        return self._writer.events.public_id(seq)

    def _kept(self, evidence: str) -> bool:
        """Whether the picture is there: without room on the disk, events go without theirs."""
        return self._connection.execute(SQL["is_kept"], (evidence,)).fetchone() is not None

    def act(self, action: ActionDraft) -> None:
        writer = self._writer
        payload = msgspec.json.encode(action.payload).decode()
        row = (
            writer.consumer_id,
            action.kind,
            action.key,
            self._camera_id,
            payload,
            writer.now_ms(),
            action.expires_ms,
        )
        self._connection.execute(SQL["insert_action"], row)
        self.actions += 1
