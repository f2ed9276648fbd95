"""A consumer on a bench: no kernel, no loop of its own, tables in memory. For quick tests of what it decides.

It keeps the kernel's promises as far as one consumer and one process can see them: effects happen after `consume`
returned or not at all, SQL reaches only the plugin's tables, only registered types of events can be raised, state comes
back through `restore`. What it cannot show are crashes, other consumers and time limits: `Kernel` does that.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import msgspec

from heldard.db import migrations
from heldard.db.guard import SqlGuard
from heldard.fanout.commit import PluginTx
from heldard.plugin import ActionDraft, Batch, Consumer, Effects, EventDraft, Migrations
from heldard.testing.clock import START_MS

EVENT_ID = "00000000-0000-8000-8000-{:012}"


class Bench:
    """`with Bench(consumer, migrations=..., event_types=...) as bench:`; `events` and `actions` are what happened.

    tables: what the plugin owns, names or `prefix_*`. event_types: those it registers; None allows any.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        migrations: Migrations | None = None,
        tables: Sequence[str] = (),
        event_types: Sequence[str] | None = None,
    ) -> None:
        self.consumer = consumer
        self.events: list[EventDraft] = []
        self.actions: list[ActionDraft] = []
        self.state: dict[str, dict[str, bytes]] = {}
        self._migrations = migrations
        self._event_types = event_types
        self._connection = self._connect()
        self._guard = SqlGuard(consumer.name, tables or (f"{consumer.name}_*",), self._connect)
        self._restored: set[str] = set()
        self._taken: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._guard.close()
        self._connection.close()

    def consume(self, batch: Batch) -> list[EventDraft]:
        """Drive one batch, once; the events it led to. Raises what the consumer raises, and then nothing happened."""
        if batch.seq in self._taken:
            return []
        effects = Effects(batch.camera_id, batch.at_ms, batch.frames)
        events = self._drive(batch.camera_id, effects, lambda: self.consumer.consume(batch, effects))
        self._taken.add(batch.seq)
        return events

    def tick(self, now_ms: int = START_MS, camera_id: str = "gate") -> list[EventDraft]:
        """Time has come to `now_ms`; the events it led to."""
        effects = Effects(camera_id, now_ms)
        return self._drive(camera_id, effects, lambda: self.consumer.tick(camera_id, now_ms, effects))

    def restart(self, consumer: Consumer) -> None:
        """A new process: `consumer` takes the place of the old one and is given the state back."""
        self.consumer = consumer
        self._restored.clear()

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of the plugin's own tables."""
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def _drive(self, camera_id: str, effects: Effects, call: Callable[[], Awaitable[None] | None]) -> list[EventDraft]:
        try:
            if camera_id not in self._restored:
                _finish(self.consumer.restore(camera_id, dict(self.state.get(camera_id, {}))))
                self._restored.add(camera_id)
            _finish(call())
            return self._commit(effects)
        except BaseException:
            self._restored.discard(camera_id)
            raise

    def _commit(self, effects: Effects) -> list[EventDraft]:
        happened = _Happened(self._event_types)
        tx = PluginTx(self._connection, self._guard, happened)
        self._connection.execute("BEGIN")
        try:
            for operation in effects.operations:
                if isinstance(operation, EventDraft):
                    happened.event(operation)
                elif isinstance(operation, tuple):
                    tx.execute(*operation)
                else:
                    operation(tx)
            for action in effects.actions:
                msgspec.json.encode(action.payload)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        kept = self.state.setdefault(effects.camera_id, {})
        for key, value in effects.state.items():
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = bytes(value)
        self.events += happened.events
        known = {action.key for action in self.actions}
        self.actions += [action for action in [*effects.actions, *happened.actions] if action.key not in known]
        return happened.events

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        migrations.apply(connection, "heldard", migrations.find("heldard.db"), START_MS)
        if self._migrations is not None:
            found = migrations.find(self._migrations.package, self._migrations.folder)
            migrations.apply(connection, self.consumer.name, found, START_MS)
        return connection


class _Happened:
    """The events and actions of one unit, remembered instead of written."""

    def __init__(self, event_types: Sequence[str] | None) -> None:
        self._event_types = event_types
        self.events: list[EventDraft] = []
        self.actions: list[ActionDraft] = []

    def event(self, draft: EventDraft) -> str:
        if self._event_types is not None and draft.event_type not in self._event_types:
            raise ValueError(f"event type {draft.event_type!r} is not registered (heldard_register_event_types)")
        msgspec.json.encode(draft.payload)
        self.events.append(draft)
        return EVENT_ID.format(len(self.events))

    def act(self, action: ActionDraft) -> None:
        self.actions.append(action)


def _finish(answer: Awaitable[None] | None) -> None:
    """Run a consumer's coroutine to its end, also from a test that runs in a loop itself."""
    if not inspect.isawaitable(answer):
        return

    async def wait() -> None:
        await answer

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(wait())).result()
