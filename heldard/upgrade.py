"""A newer program meets an older database: migrations are rehearsed on a copy, and only a good copy takes its place."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from heldard.backup import DATABASE, check_database, copy_database, count_rows, remove_database, swap
from heldard.clock import Clock, SystemClock
from heldard.config import Settings
from heldard.db import migrations
from heldard.db.database import Database
from heldard.db.file import DatabaseFile
from heldard.errors import ConfigError, HeldardError
from heldard.plugins import Plugin, plugin_migrations, read_settings

REHEARSAL = "heldard.db.rehearsal"
KEPT = "before-upgrade"
KEEP_DAYS = 14
DAY_MS = 86_400_000

log: Any = structlog.get_logger("heldard.upgrade")

Pending = dict[str, list[migrations.Migration]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `heldard upgrade --check`. good: None where it is only information."""

    name: str
    good: bool | None
    text: str


def pending(database: Path, plugins: Sequence[Plugin]) -> Pending:
    """What this program would apply to a database, by owner. Raises ConfigError when the database is newer."""
    owners = {"heldard": migrations.find("heldard.db")}
    for plugin in plugins:
        if plugin.state == "active":
            owners[plugin.name] = plugin_migrations(plugin)
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=10)) as connection:
        applied = _applied(connection)
    missing: Pending = {}
    for owner, wanted in owners.items():
        have = applied.get(owner, {})
        if owner == "heldard":
            migrations.check(owner, have, wanted)
        if news := [migration for migration in wanted if migration.number not in have]:
            missing[owner] = news
    return missing


def _applied(connection: sqlite3.Connection) -> dict[str, dict[int, tuple[str, str]]]:
    applied: dict[str, dict[int, tuple[str, str]]] = {}
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone():
        for owner, number, name, sha256 in connection.execute("SELECT owner, number, name, sha256 FROM migrations"):
            applied.setdefault(owner, {})[number] = (name, sha256)
    return applied


def rehearse(database: Path, plugins: Sequence[Plugin], clock: Clock) -> Path:
    """A copy of the database beside it, migrated and checked. Raises ConfigError, and leaves no copy, when it fails.

    A plugin whose migration fails is left as it is: the daemon will refuse it and run on.
    """
    copy = database.with_name(REHEARSAL)
    remove_database(copy)
    try:
        copy_database(database, copy)
        _migrate(copy, plugins, clock)
        with closing(sqlite3.connect(copy)) as connection:
            counts = count_rows(connection)
        check_database(copy, counts)
    except (HeldardError, OSError, sqlite3.Error) as error:
        remove_database(copy)
        raise ConfigError(
            f"the upgrade was rehearsed on a copy and failed: {error}. The database is as it was: install the former "
            "version again to go on with it",
            code="upgrade_failed",
        ) from error
    return copy


def _migrate(copy: Path, plugins: Sequence[Plugin], clock: Clock) -> None:
    with closing(Database(copy, clock).connect()) as connection:
        migrations.apply(connection, "heldard", migrations.find("heldard.db"), clock.now_ms())
        for plugin in plugins:
            if plugin.state != "active":
                continue
            try:
                migrations.apply(connection, plugin.name, plugin_migrations(plugin), clock.now_ms())
            except ConfigError as error:
                log.error("plugin_upgrade_failed", plugin=plugin.name, reason=error.message)
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()


def prepare(data_dir: Path, plugins: Sequence[Plugin], clock: Clock) -> Path | None:
    """Before the daemon opens its database: where something is to be migrated, put a migrated copy in its place.

    Where the former database lies now; None when there was nothing to do. Raises ConfigError, with everything as it
    was, when the database was lost or the rehearsal fails. Without room for a copy the migrations run in place, each in
    its own transaction.
    """
    database = data_dir / DATABASE
    DatabaseFile(database).before_start()
    if not database.exists():
        log.info("database_made", path=str(database))
        return None
    news = pending(database, plugins)
    if not news:
        _drop_old(database.with_name(f"{DATABASE}.{KEPT}"), clock)
        return None
    names = [f"{owner}/{migration.number:04}_{migration.name}" for owner, found in news.items() for migration in found]
    if shutil.disk_usage(data_dir).free < database.stat().st_size * 1.1:
        log.warning("upgrade_in_place", migrations=names, note="there is no room for a copy")
        return None
    log.info("upgrade_begins", migrations=names)
    copy = rehearse(database, plugins, clock)
    kept = swap(database, copy, KEPT)
    log.info("upgrade_done", kept=str(kept))
    return kept


def undo(data_dir: Path) -> Path:
    """Put the database from before the last upgrade back; where the upgraded one lies now. Nobody may have it open.

    Raises ConfigError when there is none.
    """
    kept = data_dir / f"{DATABASE}.{KEPT}"
    if not kept.exists():
        raise ConfigError(f"{kept} is not there: nothing was upgraded, or it was removed since")
    return swap(data_dir / DATABASE, kept, "undone-upgrade") or kept


def _drop_old(kept: Path, clock: Clock) -> None:
    """The database from before an upgrade takes room; after two weeks nobody goes back to it."""
    if kept.exists() and clock.now_ms() - kept.stat().st_mtime * 1000 > KEEP_DAYS * DAY_MS:
        remove_database(kept)
        log.info("former_database_removed", path=str(kept))


def examine(settings: Settings, plugins: Sequence[Plugin]) -> Iterator[Finding]:
    """Everything that can be known before an upgrade, without changing anything. The daemon may run meanwhile."""
    for plugin in plugins:
        yield _examine_plugin(plugin, settings)
    database = settings.data_dir / DATABASE
    if not database.exists():
        yield Finding("database", None, f"{database} is not there: nothing to upgrade")
        return
    size, free = database.stat().st_size, shutil.disk_usage(settings.data_dir).free
    yield Finding("room for a copy", free >= size * 1.1, f"{size >> 20} MiB needed, {free >> 20} MiB free")
    try:
        news = pending(database, plugins)
    except HeldardError as error:
        yield Finding("migrations", False, error.message)
        return
    if not news:
        yield Finding("migrations", None, "nothing to migrate")
    for owner, found in news.items():
        yield Finding("migrations", None, f"{owner}: {', '.join(f'{m.number:04}_{m.name}' for m in found)}")
    yield _examine_copy(database, plugins)


def _examine_plugin(plugin: Plugin, settings: Settings) -> Finding:
    if plugin.state != "active":
        return Finding(f"plugin {plugin.name}", plugin.state == "disabled", plugin.reason or plugin.state)
    try:
        read_settings(plugin, settings.plugins.sections.get(plugin.name, {}))
    except ConfigError as error:
        return Finding(f"plugin {plugin.name}", False, error.message)
    assert plugin.info is not None
    return Finding(f"plugin {plugin.name}", True, f"{plugin.info.version}, API {plugin.info.api}")


def _examine_copy(database: Path, plugins: Sequence[Plugin]) -> Finding:
    try:
        remove_database(rehearse(database, plugins, SystemClock()))
    except ConfigError as error:
        return Finding("rehearsal", False, error.message)
    return Finding("rehearsal", True, "a copy was migrated and is sound")
