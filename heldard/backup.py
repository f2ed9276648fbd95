"""Copies of the data that are known good: made beside a running daemon, checked before they are called backups."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from heldard import __version__
from heldard.clock import Clock, from_ms, rfc3339
from heldard.db.file import DatabaseFile
from heldard.errors import ConfigError, HeldardError
from heldard.frames.evidence import EvidenceStore
from heldard.lock import hold

DATABASE = "heldard.db"
MANIFEST = "manifest.json"
KEY = "secret.key"
FORMAT = 1

Tell = Callable[[str], None]


class BackupError(HeldardError):
    """A copy is not what it should be; nothing was changed."""

    default_code = "bad_backup"


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a backup. path: relative to it."""

    path: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. tables: rows of each at the moment of the copy. migrations: `owner/number`, all applied."""

    format: int
    made_at: str
    version: str
    tables: dict[str, int]
    migrations: list[str]
    files: list[FileEntry]
    with_evidence: bool
    with_key: bool


def make(data_dir: Path, into: Path, clock: Clock, *, evidence: bool, key: bool, tell: Tell = lambda _: None) -> Path:
    """A backup folder below `into`, named by the time. The daemon may run meanwhile and is not held up.

    Raises ConfigError when there is no database, no key where one is asked for, or no room, and BackupError when the
    copy turns out damaged.
    """
    source = data_dir / DATABASE
    if not source.exists():
        raise ConfigError(f"{source} is not there: give the data directory with --data-dir", code="no_database")
    if key and not (data_dir / KEY).exists():
        raise ConfigError(
            f"there is no {KEY} in {data_dir} to copy: it comes as a systemd credential, or none was needed yet; "
            "leave out --with-key and keep the file the unit takes it from, such as /etc/heldard/secret.key",
            code="no_secret_key",
        )
    _check_room(data_dir, into, evidence=evidence)
    now = clock.now_ms()
    target = into / f"heldard-{from_ms(now):%Y%m%dT%H%M%SZ}"
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True, mode=0o700)
        tell("copying the database")
        counts = copy_database(source, part / DATABASE)
        tell("checking the copy")
        applied = check_database(part / DATABASE, counts)
        files = [DATABASE, *_copy_files(data_dir, part, evidence=evidence, key=key)]
        tell("writing the manifest")
        manifest = Manifest(
            format=FORMAT, made_at=rfc3339(now), version=__version__, tables=counts, migrations=applied,
            files=[_entry(part, name) for name in files], with_evidence=evidence, with_key=key,
        )  # fmt: skip
        _write(part / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        part.rename(target)
        _sync(into)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise ConfigError(f"the backup could not be written: {error}") from None
    except HeldardError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return target


def verify(backup: Path) -> Manifest:
    """Read a backup whole and compare it with its manifest. Raises BackupError saying what differs."""
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise BackupError(f"{backup} has no readable {MANIFEST}: {error}") from None
    if manifest.format != FORMAT:
        raise BackupError(f"{backup} has format {manifest.format}; this program reads {FORMAT}")
    for entry in manifest.files:
        path = backup / entry.path
        if ".." in Path(entry.path).parts or Path(entry.path).is_absolute():
            raise BackupError(f"{backup}: {entry.path!r} leads out of the backup")
        if not path.is_file() or path.stat().st_size != entry.size_bytes or _sha256(path) != entry.sha256:
            raise BackupError(f"{path} is missing or was changed since the backup was made")
    check_database(backup / DATABASE, manifest.tables)
    return manifest


def restore(backup: Path, data_dir: Path, clock: Clock, *, replace: bool, tell: Tell = lambda _: None) -> Path | None:
    """Put a verified backup in place; where the database that was there lies now, None when there was none.

    Raises ConfigError while a daemon runs on the data directory, or when it has data and `replace` is not given;
    BackupError for a damaged backup. Nothing is changed then.
    """
    tell("verifying the backup")
    manifest = verify(backup)
    with hold(data_dir, "restore"):
        current = data_dir / DATABASE
        if current.exists() and not replace:
            raise ConfigError(f"{current} exists: move it away, or give --replace to have it kept beside the restored")
        tell("copying")
        fresh = data_dir / f"{DATABASE}.restoring"
        try:
            for entry in manifest.files:
                if entry.path != DATABASE:
                    _place(backup / entry.path, data_dir / entry.path)
            _copy(backup / DATABASE, fresh)
            aside = swap(current, fresh, f"before-restore-{from_ms(clock.now_ms()):%Y%m%dT%H%M%SZ}")
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise ConfigError(f"the backup could not be put in place: {error}") from None
        DatabaseFile(current).marker.unlink(missing_ok=True)
    return aside


# --- databases -------------------------------------------------------------------------------------------------------


def copy_database(source: Path, target: Path) -> dict[str, int]:
    """Copy a database as it is at one moment, whoever writes to it; rows by table at that moment.

    The copy is a plain file without a write-ahead log, synced to the disk.
    """
    with closing(_read_only(source)) as reader, closing(sqlite3.connect(target)) as copy:
        reader.execute("BEGIN")
        counts = count_rows(reader)
        # In one step: writers go on beside it into the log, and a step that follows their commits would begin anew.
        reader.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        reader.execute("ROLLBACK")
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return counts


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=10)
    connection.execute("PRAGMA query_only = ON")
    return connection


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    ).fetchall()
    counts = {}
    for (name,) in names:
        counts[name] = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - from the schema
    return counts


def check_database(path: Path, counts: dict[str, int]) -> list[str]:
    """The migrations a copy has, as `owner/number`. Raises BackupError when it is damaged or has other rows."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA integrity_check(5)").fetchall()
            if found != [("ok",)]:
                raise BackupError(f"{path} is damaged: {found[0][0]}; see `heldard doctor`")
            if broken := connection.execute("PRAGMA foreign_key_check").fetchall():
                raise BackupError(f"{path}: {len(broken)} rows refer to rows that are not there ({broken[0][0]})")
            if (have := count_rows(connection)) != counts:
                odd = sorted(name for name in have.keys() | counts.keys() if have.get(name) != counts.get(name))
                raise BackupError(f"{path} has other rows than it should: {', '.join(odd)}")
            rows = connection.execute("SELECT owner, number FROM migrations ORDER BY owner, number").fetchall()
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be read as a database: {error}") from None
    return [f"{owner}/{number:04}" for owner, number in rows]


def swap(database: Path, fresh: Path, mark: str) -> Path | None:
    """Put `fresh` in a database's place and keep the former beside it under `mark`; where it lies, None without one.

    At every moment a whole database is under the name. The caller holds the data directory. Raises ConfigError when
    some other program has the database open.
    """
    aside = database.with_name(f"{database.name}.{mark}")
    if not database.exists():
        remove_database(database)
        fresh.rename(database)
        return None
    remove_database(aside)
    try:
        _fold_log(database)
    except sqlite3.Error:
        # Too damaged to be opened, which may be why it is replaced: its files go aside as they are.
        for suffix in ("-wal", "-shm", ""):
            beside = database.with_name(database.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        fresh.rename(database)
    else:
        try:
            os.link(database, aside)
        except OSError:  # a file system without links
            _copy(database, aside)
        fresh.replace(database)
    _sync(database.parent)
    return aside


def _fold_log(database: Path) -> None:
    """Move the write-ahead log into the database, so that the file is whole on its own.

    Raises sqlite3.Error for one that is damaged; an empty one is, and SQLite would delete the log beside it.
    """
    if database.stat().st_size == 0:
        raise sqlite3.DatabaseError("the file is empty")
    with closing(sqlite3.connect(database, timeout=5)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    log_file = database.with_name(database.name + "-wal")
    if log_file.exists() and log_file.stat().st_size:
        raise ConfigError(f"{database} is open in another program: end it, then try again", code="database_in_use")


def remove_database(database: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


# --- files -----------------------------------------------------------------------------------------------------------


def _copy_files(data_dir: Path, part: Path, *, evidence: bool, key: bool) -> Iterator[str]:
    """Copy evidence and key; their names relative to the backup. A file that retention takes meanwhile is left out."""
    if key:
        _copy(data_dir / KEY, part / KEY)
        (part / KEY).chmod(0o600)
        yield KEY
    root = EvidenceStore(data_dir).root
    if not evidence or not root.is_dir():
        return
    for path in sorted(root.glob("*/*.jpg")):
        name = str(path.relative_to(data_dir))
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(path, part / name)
        except FileNotFoundError:
            continue
        yield name


def _place(source: Path, target: Path) -> None:
    """Copy a file to where it is missing; what is there is newer and stays."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, target)
        shutil.copymode(source, target)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1024 * 1024)
        writing.flush()
        os.fsync(writing.fileno())


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(root: Path, name: str) -> FileEntry:
    return FileEntry(name, (root / name).stat().st_size, _sha256(root / name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_room(data_dir: Path, into: Path, *, evidence: bool) -> None:
    try:
        into.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(into).free
    except OSError as error:
        raise ConfigError(f"cannot write to {into}: {error.strerror}") from None
    wanted = (data_dir / DATABASE).stat().st_size
    if evidence:
        wanted += sum(path.stat().st_size for path in EvidenceStore(data_dir).root.glob("*/*.jpg"))
    if free < wanted:
        raise ConfigError(f"{into} has {free >> 20} MiB free and the backup needs {wanted >> 20}", code="no_room")
