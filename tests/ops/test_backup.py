"""A backup is whole or it is none, and what is restored is what was backed up."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from heldard import backup
from heldard.backup import BackupError
from heldard.clock import SystemClock
from heldard.db import migrations
from heldard.db.database import Database
from heldard.errors import ConfigError
from heldard.lock import hold

CLOCK = SystemClock()


def _fill(data_dir: Path, names: int = 50) -> sqlite3.Connection:
    """A database with rows, some of them only in the write-ahead log; still open."""
    data_dir.mkdir(parents=True, exist_ok=True)
    connection = Database(data_dir / "heldard.db", CLOCK).connect()
    migrations.apply(connection, "heldard", migrations.find("heldard.db"), 0)
    connection.executemany("INSERT INTO names (text) VALUES (?)", [(f"n{n}",) for n in range(names)])
    picture = data_dir / "snapshots/gate/gate-sub-1.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(b"jpeg")
    key = data_dir / "secret.key"
    key.write_text("key")
    key.chmod(0o600)
    return connection


def _names(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "heldard.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM names").fetchone()[0]
        return count


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    _fill(tmp_path / "data").close()
    return tmp_path / "data"


@pytest.fixture
def made(data_dir: Path, tmp_path: Path) -> Path:
    return backup.make(data_dir, tmp_path / "backups", CLOCK, evidence=True, key=False)


def test_a_backup_comes_back_as_it_was(made: Path, tmp_path: Path) -> None:
    assert backup.restore(made, tmp_path / "new", CLOCK, replace=False) is None
    assert _names(tmp_path / "new") == 50
    assert (tmp_path / "new/snapshots/gate/gate-sub-1.jpg").read_bytes() == b"jpeg"
    assert not (tmp_path / "new/secret.key").exists(), "the key is only in a backup that asked for it"


def test_the_key_comes_along_when_asked_for_and_stays_private(data_dir: Path, tmp_path: Path) -> None:
    made = backup.make(data_dir, tmp_path / "b", CLOCK, evidence=False, key=True)
    assert not (made / "snapshots").exists()
    backup.restore(made, tmp_path / "new", CLOCK, replace=False)
    assert stat.S_IMODE((tmp_path / "new/secret.key").stat().st_mode) == 0o600


def test_a_key_that_is_not_there_to_copy_is_said_before_anything_is_written(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "secret.key").unlink()
    with pytest.raises(ConfigError, match="systemd credential"):
        backup.make(data_dir, tmp_path / "b", CLOCK, evidence=False, key=True)
    assert not (tmp_path / "b").exists()


def test_a_backup_made_while_others_write_is_of_one_moment(tmp_path: Path) -> None:
    connection = _fill(tmp_path / "data")
    stop = threading.Event()

    def write() -> None:
        writing = Database(tmp_path / "data/heldard.db", CLOCK).connect()
        n = 0
        while not stop.is_set():
            n += 1
            writing.execute("BEGIN IMMEDIATE")
            writing.execute("INSERT INTO names (text) VALUES (?)", (f"a{n}",))
            writing.execute("INSERT INTO settings VALUES (?, '', 0)", (f"a{n}",))
            writing.execute("COMMIT")
        writing.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            made = backup.make(tmp_path / "data", tmp_path / "b", CLOCK, evidence=False, key=False)
            tables = backup.verify(made).tables
            assert tables["names"] - 50 == tables["settings"]
            made.rename(tmp_path / f"kept-{tables['names']}")
    finally:
        stop.set()
        thread.join()
        connection.close()


@pytest.mark.parametrize("harm", ["flip", "cut", "missing", "manifest", "escape"])
def test_a_damaged_backup_is_refused_and_changes_nothing(made: Path, data_dir: Path, harm: str) -> None:
    database, manifest = made / "heldard.db", made / "manifest.json"
    content = database.read_bytes()
    if harm == "flip":
        database.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif harm == "cut":
        database.write_bytes(content[:-4096])
    elif harm == "missing":
        (made / "snapshots/gate/gate-sub-1.jpg").unlink()
    elif harm == "manifest":
        manifest.write_text("{}")
    else:
        manifest.write_text(manifest.read_text().replace("snapshots/gate/", "../../../etc/"))
    before = (data_dir / "heldard.db").read_bytes()
    with pytest.raises(BackupError):
        backup.restore(made, data_dir, CLOCK, replace=True)
    assert (data_dir / "heldard.db").read_bytes() == before


def test_a_database_that_is_damaged_gives_no_backup(data_dir: Path, tmp_path: Path) -> None:
    database = data_dir / "heldard.db"
    content = bytearray(database.read_bytes())
    content[4096 * 3 : 4096 * 3 + 200] = b"\xff" * 200
    database.write_bytes(content)
    with pytest.raises((BackupError, sqlite3.DatabaseError)):
        backup.make(data_dir, tmp_path / "b", CLOCK, evidence=False, key=False)
    assert not [path for path in (tmp_path / "b").iterdir() if not path.name.endswith(".part")]


def test_restore_refuses_a_running_daemon(made: Path, data_dir: Path) -> None:
    with hold(data_dir), pytest.raises(ConfigError, match="in use by another heldard"):
        backup.restore(made, data_dir, CLOCK, replace=True)


def test_restore_keeps_the_former_database_beside(made: Path, data_dir: Path) -> None:
    with pytest.raises(ConfigError, match="--replace"):
        backup.restore(made, data_dir, CLOCK, replace=False)
    with closing(sqlite3.connect(data_dir / "heldard.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO names (text) VALUES ('later')")
    aside = backup.restore(made, data_dir, CLOCK, replace=True)
    assert _names(data_dir) == 50
    assert aside is not None
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("SELECT count(*) FROM names").fetchone() == (51,)


def test_restore_replaces_even_what_is_no_database_any_more(made: Path, data_dir: Path) -> None:
    (data_dir / "heldard.db").write_bytes(b"not a database" * 1000)
    aside = backup.restore(made, data_dir, CLOCK, replace=True)
    assert _names(data_dir) == 50
    assert aside is not None
    assert aside.read_bytes().startswith(b"not a database")


def test_swap_refuses_while_somebody_reads(made: Path, data_dir: Path) -> None:
    writer = Database(data_dir / "heldard.db", CLOCK).connect()
    writer.execute("INSERT INTO names (text) VALUES ('later')")
    reader = sqlite3.connect(data_dir / "heldard.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM names").fetchone()
    try:
        with pytest.raises(ConfigError, match="open in another program"):
            backup.restore(made, data_dir, CLOCK, replace=True)
    finally:
        reader.close()
        writer.close()
    assert _names(data_dir) == 51


def test_no_room_is_said_before_anything_is_written(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heldard.backup.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(ConfigError, match="the backup needs"):
        backup.make(data_dir, tmp_path / "b", CLOCK, evidence=True, key=False)
    assert list((tmp_path / "b").iterdir()) == []


def test_no_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        backup.make(tmp_path, tmp_path / "b", CLOCK, evidence=True, key=False)
