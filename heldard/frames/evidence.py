"""Frames kept for good: JPEG files below the data directory, written before the commit that refers to them.

A file whose commit never came is removed by retention; a row without its file cannot be.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from heldard.plugin import Frame

_NAME = re.compile(r"([a-z0-9_]{1,200})-(main|sub)-(\d{1,15})\.jpg")


class EvidenceStore:
    """One folder per camera below `snapshots`."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "snapshots"
        self.has_room: Callable[[], bool] = lambda: True

    def path(self, name: str) -> Path | None:
        """Where a name is kept; None for anything that is not a name of ours."""
        match = _NAME.fullmatch(name)
        return None if match is None else self.root / match[1] / name

    def write(self, frames: Mapping[str, Frame]) -> None:
        """Write each frame that is not there yet, whole or not at all. Blocking.

        Raises OSError, also when only the disk's reserve is left: rows are worth more than pictures.
        """
        if not self.has_room():
            raise OSError(errno.ENOSPC, "only the reserve is left on the disk")
        for name, frame in frames.items():
            path = self.path(name)
            assert path is not None
            if path.exists():
                os.utime(path)  # young again, so that retention does not take it for one whose commit never came
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, frame.jpeg)


def _write_whole(path: Path, content: bytes) -> None:
    """Under a name of its own until it is on the disk: several consumers may keep the same frame at the same time."""
    part = path.with_suffix(f".{threading.get_native_id()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """So that the name survives power loss as the content does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
