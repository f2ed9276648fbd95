"""The database's file as the file system has it: what SQLite does not notice while it is open, and would cover up at a
start.

SQLite goes on writing into a file that was removed or emptied, and what was acknowledged is gone when the last process
closes it. Before a start it takes a missing or empty file for a new database and deletes the log beside it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import structlog

from heldard.errors import ConfigError, StoreError

SMALLEST = 512
"""No SQLite database has fewer bytes, once anything was written."""

log: Any = structlog.get_logger("heldard.db")


class DatabaseFile:
    """Watches over the file at `path`. `check` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        """What is wrong with the file that is open; None while nothing is."""
        self._known: tuple[int, int] | None = None
        self._emptied = False
        self._lock = threading.Lock()

    @property
    def marker(self) -> Path:
        """Says, over a restart, that the database was lost while it was open. Removed with what it tells of."""
        return self.path.with_name(f"{self.path.name}.lost")

    def before_start(self) -> None:
        """Raises as `ensure_kept`; then a new database may be begun, and what was lost and came back is forgotten."""
        self.ensure_kept()
        self.marker.unlink(missing_ok=True)

    def ensure_kept(self) -> None:
        """Raises ConfigError where opening the database would begin an empty one in place of one that held data."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        size = self.path.stat().st_size if self.path.exists() else None
        lost = self._read_marker()
        if size == 0:
            why = "is empty: it was truncated, or its first start was cut short"
        elif lost is not None and (size is None or lost == "emptied"):
            why = f"was {lost} while it was open"
        elif size is None and wal.exists() and wal.stat().st_size > 0:
            why = f"is missing, but its log {wal} holds data"
        else:
            return
        raise ConfigError(
            f"{self.path} {why}. Put it back, or restore a backup with `heldard restore --replace`; to begin with an "
            f"empty database instead, move {self.path.name}* away",
            code="database_lost",
        )

    def _read_marker(self) -> str | None:
        try:
            return self.marker.read_text("utf-8").strip()
        except FileNotFoundError:
            return None

    def remember(self) -> None:
        """The file that is at the path now is the one that is opened."""
        self._known = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """Raises StoreError when the file that is open is not the one at the path, or nothing is left in it.

        Removed or replaced, all goes on when the file is back; emptied, only a restored backup helps.
        """
        what = self._look()
        with self._lock:
            if what != (self.problem and self.problem.partition(" ")[0]):
                self._changed(what)
            problem = self.problem
        if problem is not None:
            raise StoreError(
                f"{self.path} was {problem}: nothing was written; see `heldard doctor`", code="store_replaced"
            )

    def _look(self) -> str | None:
        if self._emptied:
            return "emptied"
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return "removed"
        if (found.st_dev, found.st_ino) != self._known:
            return "replaced"
        self._emptied = found.st_size < SMALLEST
        return "emptied" if self._emptied else None

    def _changed(self, what: str | None) -> None:
        advice = {
            "removed": "removed while it was open; put it back, or stop heldard and restore a backup",
            "replaced": "replaced while it was open; put it back, or restart heldard to go on with what is there now",
            "emptied": "emptied while it was open; stop heldard and restore a backup",
        }
        self.problem = advice[what] if what is not None else None
        if self.problem is None:
            self.marker.unlink(missing_ok=True)
            log.info("database_back", path=str(self.path))
            return
        log.error("database_lost", path=str(self.path), problem=self.problem, note="nothing is written meanwhile")
        if what != "replaced":
            self._mark(what or "")

    def _mark(self, what: str) -> None:
        try:
            self.marker.write_text(f"{what}\n", "utf-8")
        except OSError as error:
            log.error("database_loss_not_marked", path=str(self.marker), error=error.strerror)
