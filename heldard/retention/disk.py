"""Room on the disk, and who is refused when there is too little of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from heldard.config import RetentionSettings
from heldard.errors import DiskFullError
from heldard.retention.model import DiskView

MIB = 1024 * 1024
RESERVE_SHARE = 0.05
"""The reserve is never more than this share of the disk, so that a small disk is not refused from the start."""

RECOVERED = 1.05
"""How far above the reserve the free room must be before ingest goes on: no flapping at the edge."""

RETRY_AFTER_S = 30

Room = Callable[[Path], tuple[int, int]]
"""(total, free) bytes of the disk a folder is on."""


def room(path: Path) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


class DiskGuard:
    """Watches the reserve. `refresh` every second or two; `admit` before anything that may be large is taken in."""

    def __init__(self, path: Path, settings: RetentionSettings, measure: Room = room) -> None:
        self._path = path
        self._measure = measure
        self.settings = settings
        self.refused = 0
        self.total = self.free = 0
        self.low = False
        self.refresh()

    @property
    def reserve(self) -> int:
        return min(self.settings.disk_reserve_mb * MIB, int(self.total * RESERVE_SHARE))

    def refresh(self) -> bool:
        """Look again; whether `low` changed. Blocks for microseconds."""
        self.total, self.free = self._measure(self._path)
        before = self.low
        self.low = self.free < self.reserve * (RECOVERED if before else 1)
        return self.low != before

    def admit(self) -> None:
        """Raises DiskFullError while the reserve is reached. Events and the audit log do not ask."""
        if self.low:
            self.refused += 1
            raise DiskFullError(
                f"only {self.free // MIB} MiB are free on the disk and {self.reserve // MIB} MiB are held in reserve: "
                "nothing was written; free some space, or lower retention.disk_reserve_mb, then retry",
                code="disk_reserve",
                retry_after_s=RETRY_AFTER_S,
            )

    def view(self) -> DiskView:
        return DiskView(total_bytes=self.total, free_bytes=self.free, reserve_bytes=self.reserve, low=self.low)
