"""Looks at the database now and then, so that what is lost is known before somebody needs it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import structlog

from heldard.clock import Clock
from heldard.db import migrations
from heldard.db.database import Database
from heldard.errors import HeldardError, StoreError
from heldard.fanout.service import Fanout
from heldard.plugins import Plugin, plugin_migrations

EVERY_S = 5.0

log: Any = structlog.get_logger("heldard.db")


class StoreWatch:
    """Finds out when the file is gone or spoilt, and when tables of the kernel or of a plugin are.

    problem: what is wrong with the database now, None when nothing is.
    """

    def __init__(self, db: Database, plugins: Iterable[Plugin], fanout: Fanout, clock: Clock) -> None:
        self._db = db
        self._plugins = list(plugins)
        self._fanout = fanout
        self._clock = clock
        self._expected: dict[str, set[str]] = {}
        self._missing: dict[str, set[str]] = {}
        self.problem: str | None = None

    async def run(self) -> None:
        self._expected = await asyncio.to_thread(expected_tables, self._plugins)
        while True:
            await self.look()
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """Once. A plugin whose tables are gone keeps its place in the log, and waits to be resumed."""
        try:
            tables = await asyncio.to_thread(self._db.look)
            if lost := self._expected.get("heldard", set()) - tables:
                raise StoreError(f"{self._db.path} lacks {', '.join(sorted(lost))}: restore a backup")
        except HeldardError as error:
            if self.problem is None and self._db.file.problem is None:
                log.error("database_spoilt", reason=error.message)
            self.problem = error.message
            return
        self.problem = None
        for plugin in self._plugins:
            missing = self._expected.get(plugin.name, set()) - tables
            if missing != self._missing.get(plugin.name, set()):
                self._missing[plugin.name] = missing
                await self._tell(plugin, sorted(missing))

    async def _tell(self, plugin: Plugin, missing: list[str]) -> None:
        if not missing:
            plugin.last_error = None
            log.info("plugin_tables_back", plugin=plugin.name, note="its consumers wait to be resumed")
            return
        plugin.last_error = f"its tables are gone: {', '.join(missing)}; restore a backup"
        log.error("plugin_tables_lost", plugin=plugin.name, tables=missing)
        for member in self._fanout.members():
            if member.plugin == plugin.name:
                await member.hold(plugin.last_error)


def expected_tables(plugins: Iterable[Plugin]) -> dict[str, set[str]]:
    """Which tables the kernel's migrations make, and each plugin's on top of them, by owner."""
    expected: dict[str, set[str]] = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrations.apply(connection, "heldard", migrations.find("heldard.db"), 0)
        seen = expected["heldard"] = _tables(connection)
        for plugin in plugins:
            try:
                migrations.apply(connection, plugin.name, plugin_migrations(plugin), 0)
            except HeldardError as error:
                # It could be applied to the database, or the plugin would be refused; it is only not watched over.
                log.warning("plugin_tables_unknown", plugin=plugin.name, reason=error.message)
            now = _tables(connection)
            expected[plugin.name], seen = now - seen, now
    return expected


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
