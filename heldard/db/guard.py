"""Keeps a plugin's SQL within its own tables.

SQLite's authorizer would have every prepared statement made anew when it is switched on and off around a plugin's
work. So each distinct statement is prepared once on a connection of its own that always has the authorizer, and its
verdict is remembered; the writer's connection never pays for it.
"""

from __future__ import annotations

import fnmatch
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence

from heldard.errors import ForbiddenError

REMEMBERED = 2048
"""Verdicts kept per plugin; a plugin that builds texts without end is checked each time."""

_TABLE_ACTIONS = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_READ}
_HARMLESS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_SHARED = {"json_each", "json_tree"}
_EXPRESSION = re.compile(r"(\w+)\s*(?:\([^()]*\)\s*)?AS\s+(?:NOT\s+)?(?:MATERIALIZED\s*)?\(", re.IGNORECASE)


class SqlGuard:
    """One plugin's allowance. `tables`: names or `prefix_*` patterns."""

    def __init__(self, owner: str, tables: Sequence[str], connect: Callable[[], sqlite3.Connection]) -> None:
        self._owner = owner
        self._tables = tuple(tables)
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._allowed: set[str] = set()
        self._lock = threading.Lock()
        self._denied: str | None = None
        self._looking = False
        self._expressions: set[str] = set()

    def owns(self, table: str) -> bool:
        return any(fnmatch.fnmatchcase(table, pattern) for pattern in self._tables)

    def check(self, sql: str) -> None:
        """Raises ForbiddenError when the statement reaches beyond the plugin's tables, sqlite3.Error when it is wrong.

        May be called from any thread.
        """
        if sql in self._allowed:
            return
        with self._lock:
            self._denied = None
            self._look_around(sql)
            try:
                self._open().execute(f"EXPLAIN {sql}").close()
            except sqlite3.ProgrammingError as error:
                if "binding" not in str(error):  # a missing value is only noticed once the statement was accepted
                    raise
            except sqlite3.DatabaseError as error:
                if self._denied is None:
                    raise
                raise ForbiddenError(
                    f"plugin {self._owner} may not {self._denied}: its tables are {', '.join(self._tables)}",
                    code="not_its_table",
                ) from error
            if len(self._allowed) < REMEMBERED:
                self._allowed.add(sql)

    def _look_around(self, sql: str) -> None:
        """Which names in the statement are its own common table expressions, and no table of anybody's."""
        connection = self._open()
        self._looking = True
        try:
            there = {name.lower() for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        finally:
            self._looking = False
        self._expressions = {name.lower() for name in _EXPRESSION.findall(sql)} - there

    def close(self) -> None:
        """After the last unit of work that may be checked; waits for a check that is under way."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            # Their first use declares them, which the authorizer would take for a change of the schema.
            self._connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").close()
            self._connection.set_authorizer(self._authorise)
        return self._connection

    def _authorise(self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None) -> int:
        if self._looking or action in _HARMLESS:
            return sqlite3.SQLITE_OK
        if action in _TABLE_ACTIONS and first is not None and self._may_use(first):
            return sqlite3.SQLITE_OK
        self._denied = f"use table {first!r}" if action in _TABLE_ACTIONS else f"run this kind of statement ({action})"
        return sqlite3.SQLITE_DENY

    def _may_use(self, table: str) -> bool:
        return self.owns(table) or table in _SHARED or table.lower() in self._expressions
