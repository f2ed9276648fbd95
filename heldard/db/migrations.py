"""Numbered SQL files, hashed, applied once. The kernel and each plugin have a sequence of their own."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from heldard.errors import ConfigError

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_LEDGER = """
CREATE TABLE IF NOT EXISTS migrations (
  owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_ms INTEGER NOT NULL,
  PRIMARY KEY (owner, number)
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def find(package: str, folder: str = "migrations") -> list[Migration]:
    """The migrations of a package's folder, by number. Raises ConfigError for a doubled number or another file name."""
    found: dict[int, Migration] = {}
    for entry in resources.files(package).joinpath(folder).iterdir():
        if entry.name.startswith("__"):
            continue
        match = _NAME.fullmatch(entry.name)
        if match is None:
            raise ConfigError(f"{package}/{folder}/{entry.name}: migrations are named like 0001_what.sql")
        number = int(match[1])
        if number in found:
            raise ConfigError(f"{package}/{folder}: two migrations have the number {number:04}")
        found[number] = Migration(number, match[2], entry.read_text("utf-8"))
    return [found[number] for number in sorted(found)]


def apply(connection: sqlite3.Connection, owner: str, migrations: Sequence[Migration], now_ms: int) -> list[Migration]:
    """Apply what is missing, each in a transaction of its own; those applied now.

    Raises ConfigError when the file knows a migration this program does not, or one was edited after it was applied.
    """
    connection.execute(_LEDGER)
    rows = connection.execute("SELECT number, name, sha256 FROM migrations WHERE owner = ?", (owner,)).fetchall()
    applied = {number: (name, sha256) for number, name, sha256 in rows}
    check(owner, applied, migrations)
    missing = [migration for migration in migrations if migration.number not in applied]
    for migration in missing:
        _apply_one(connection, owner, migration, now_ms)
    return missing


def check(owner: str, applied: dict[int, tuple[str, str]], migrations: Sequence[Migration]) -> None:
    known = {migration.number: migration for migration in migrations}
    for number, (name, sha256) in sorted(applied.items()):
        if number not in known:
            raise ConfigError(
                f"the database was written by a newer {owner}: it has migration {number:04}_{name}, which this program "
                f"does not know; install the newer version again, or restore a backup made before the upgrade",
                code="database_too_new",
            )
        if known[number].sha256 != sha256:
            raise ConfigError(
                f"migration {number:04}_{name} of {owner} was edited after it was applied; restore the file",
                code="migration_edited",
            )


def _apply_one(connection: sqlite3.Connection, owner: str, migration: Migration, now_ms: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements(migration.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migrations VALUES (?, ?, ?, ?, ?)",
            (owner, migration.number, migration.name, migration.sha256, now_ms),
        )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise ConfigError(f"migration {migration.number:04}_{migration.name} of {owner} failed: {error}") from error


def statements(sql: str) -> list[str]:
    """The statements of a script; triggers, which contain semicolons, are kept whole."""
    found: list[str] = []
    current = ""
    for piece in sql.split(";"):
        current += piece + ";"
        if sqlite3.complete_statement(current):
            found.append(current.strip())
            current = ""
    return [statement for statement in found if _has_code(statement)]


def _has_code(statement: str) -> bool:
    lines = (line.strip() for line in statement.splitlines())
    return any(line and not line.startswith("--") and line != ";" for line in lines)
